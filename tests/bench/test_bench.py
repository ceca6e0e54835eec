"""The benchmarks on tiny shapes: they run, notice a wrong side, and say what they found. Nothing is timed."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dmh_lib.bench import BENCHMARKS, block, common, envs, labels, scan, suite
from dmh_lib.bench.common import (
    MIB,
    Check,
    Report,
    agreement,
    format_report,
    format_table,
    peak_memory,
    timed,
)
from dmh_lib.cli import main
from dmh_lib.errors import BenchmarkError

MODULES = {"scan": scan, "block": block, "labels": labels, "envs": envs}


@pytest.fixture(autouse=True)
def _small_yardstick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common, "MATMUL_SIZE", 32)


@pytest.mark.parametrize("name", MODULES)
def test_runs_and_reports(name: str) -> None:
    settings = MODULES[name].Settings.quick()
    report = BENCHMARKS[name](settings)
    assert report.name == name
    assert report.rows
    assert all(set(row) <= set(report.columns) for row in report.rows)
    assert all(check.passed for check in report.checks)
    for key in ("vectors", "cores", "threads", "matmul_gflop_per_s", "torch", "numba", "python"):
        assert report.machine[key]
    written = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert set(written) == {"name", "question", "settings", "checks", "columns", "rows", "machine"}
    assert Report.from_dict(written) == report
    page = format_report(report)
    assert page.startswith(f"## {name}\n")
    for row in report.rows:
        assert f"| {next(iter(row.values()))} " in page


@pytest.mark.parametrize("wrong", [1.1, float("nan")])
def test_agreement(wrong: float) -> None:
    right = torch.ones(3)
    assert agreement("a", [right + 1e-6, right], [right, right], at_most=1e-3).passed
    with pytest.raises(BenchmarkError, match="a: differs"):
        agreement("a", [right, torch.tensor([1.0, wrong, 1.0]), right], [right] * 3, at_most=1e-3)


def halved(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda *args: 0.5 * function(*args)


@pytest.mark.parametrize("name", ["fused", "reference", "mambapy"])
def test_a_wrong_scan_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "mambapy":
        pytest.importorskip("mambapy")
    monkeypatch.setitem(scan.SCANS, name, halved(scan.SCANS[name]))
    with pytest.raises(BenchmarkError, match="differs from the reference"):
        scan.run(scan.Settings.quick())


def test_a_wrong_gradient_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*inputs: Tensor) -> Tensor:
        out = scan.reference(*inputs)
        return 2 * out - out.detach()

    monkeypatch.setitem(scan.SCANS, "fused", wrong)
    with pytest.raises(BenchmarkError, match="fused: differs"):
        scan.run(scan.Settings.quick())


class Halved(nn.Module):
    """Somebody's mixer with the right parameters and wrong outputs."""

    def __init__(self, mixer: nn.Module) -> None:
        super().__init__()
        self.mixer = [mixer]  # in a list, so that it is no submodule: parameters keep their names
        for key, child in mixer.named_children():
            self.add_module(key, child)
        for key, parameter in mixer.named_parameters(recurse=False):
            self.register_parameter(key, parameter)

    def forward(self, hidden: Tensor) -> Tensor:
        return 0.5 * self.mixer[0](hidden)


@pytest.mark.parametrize("name", ["mambapy", "transformers"])
def test_a_wrong_block_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(name)
    build = block.MIXERS[name]
    monkeypatch.setitem(block.MIXERS, name, lambda d_model: Halved(build(d_model)))
    with pytest.raises(BenchmarkError, match=f"{name}: differs"):
        block.run(block.Settings.quick())


def test_wrong_goals_and_rooms_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labels, "plain", lambda data, rule: np.zeros(data.num_steps, dtype=np.int64))
    with pytest.raises(BenchmarkError, match="mean_reward: differs"):
        labels.run(labels.Settings.quick())
    monkeypatch.setattr(envs, "single", lambda env_id, steps: lambda: -1.0)
    with pytest.raises(BenchmarkError, match="Darkroom-v0: the batched room differs"):
        envs.run(envs.Settings.quick())


@pytest.mark.parametrize("name", ["scan", "block"])
def test_missing_peers_are_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MODULES[name], "installed", lambda package: False)
    report = BENCHMARKS[name](MODULES[name].Settings.quick())
    assert "mambapy is not installed: pip install 'dmh-lib[bench]'" in format_table(report)


def test_table() -> None:
    columns = {"who": "", "time": "ms", "steps": "", "note": "", "empty": "s"}
    rows = [{"who": "fused", "time": 0.012345, "steps": 1234567}, {"who": "other", "note": "missing"}]
    report = Report("x", "Who?", {"a": 1}, [], columns, rows, machine={"cores": 2})
    assert format_table(report).splitlines() == [
        "| who   | time (ms) |     steps | note    |",
        "| ----- | --------: | --------: | ------- |",
        "| fused |    0.0123 | 1,234,567 |         |",
        "| other |           |           | missing |",
    ]


def test_checks() -> None:
    assert str(Check("ratio", 25.0, at_least=20)) == "ratio: 25 (at least 20: kept)"
    missed = Check("memory", 4.0, at_most=3)
    assert not missed.passed
    assert "MISSED" in str(missed)
    assert not Check("error", float("nan"), at_most=1).passed


def test_timed_counts_calls() -> None:
    calls: list[None] = []
    assert timed(lambda: calls.append(None), runs=4).runs == 4
    assert len(calls) == 5  # one of them warms up
    calls.clear()
    assert timed(lambda: calls.append(None), runs=4, budget=0.0).runs == 1
    assert len(calls) == 1


def fill(mib: int, warm: int) -> Callable[[], Tensor]:
    torch.ones(warm * MIB // 4)  # freed again, and not to be taken unseen
    return partial(torch.ones, mib * MIB // 4)


@pytest.mark.parametrize("warm", [1, 64])
def test_peak_memory(warm: int) -> None:
    added = peak_memory(partial(fill, 48, warm))
    if added is None:
        pytest.skip("this system does not say")
    assert 48 <= added / MIB < 52


def test_command_and_suite(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    main(["bench", "labels", "--quick", "--json", str(tmp_path / "one.json")])
    assert json.loads((tmp_path / "one.json").read_text())["name"] == "labels"
    assert "| mean_reward |" in capfd.readouterr().out
    page = suite.run_all(tmp_path / "all", ["labels", "envs"], quick=True)
    assert {path.name for path in page.parent.iterdir()} == {"labels.json", "envs.json", page.name}
    assert "## labels" in page.read_text()
    assert "## envs" in page.read_text()
    shown = capfd.readouterr()
    assert "| mean_reward |" in shown.out
    assert shown.err == ""  # bars only where somebody looks
    with pytest.raises(BenchmarkError, match="nothing: failed"):
        suite.run_all(tmp_path / "none", ["nothing"])
