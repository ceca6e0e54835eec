"""The benchmarks on tiny shapes: they run, notice a wrong side, and say what they found. Nothing is timed."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dmh_lib.agents import ADAgent, DMHAgent
from dmh_lib.bench import BENCHMARKS, block, common, envs, labels, mujoco, online, scaling, scan, suite, train
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
from dmh_lib.bench.flops import FlopCounter
from dmh_lib.bench.results import load_reports, series, speedups
from dmh_lib.cli import main
from dmh_lib.data.contexts import ContextBatch
from dmh_lib.errors import BenchmarkError
from dmh_lib.files import write_json
from dmh_lib.models import AD, DMH, ADConfig

MODULES = {
    "scan": scan,
    "block": block,
    "train": train,
    "online": online,
    "mujoco": mujoco,
    "scaling": scaling,
    "labels": labels,
    "envs": envs,
}


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


def test_a_wrong_update_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    right = train.gradients

    def wrong(model: DMH, batch: ContextBatch, slice_bytes: int | None) -> list[Tensor]:
        return [(1.0 if slice_bytes is None else 1.1) * part for part in right(model, batch, slice_bytes)]

    monkeypatch.setattr(train, "gradients", wrong)
    with pytest.raises(BenchmarkError, match="an update in slices: differs"):
        train.run(train.Settings.quick())


@pytest.mark.parametrize("name", ["DM-H", "AD, key/value cache"])
def test_a_wrong_player_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def other_weights(settings: online.Settings) -> dict[str, DMHAgent | ADAgent]:
        agents = right(settings)
        model = agents[name].model
        agents[name].model = type(model)(model.config)
        return agents

    right = online.make_agents
    monkeypatch.setattr(online, "make_agents", other_weights)
    with pytest.raises(BenchmarkError, match=f"{name}: differs"):
        online.run(online.Settings.quick())


def test_flops_are_those_of_the_matrix_products() -> None:
    a, b = torch.randn(3, 5, requires_grad=True), torch.randn(5, 7, requires_grad=True)
    with FlopCounter() as counter:
        (a @ b).sum().backward()
    assert counter.total == 3 * 2 * 3 * 5 * 7  # forward, and one product for each gradient


def test_what_must_hold_in_play() -> None:
    def row(method: str, environments: int, median: float, ratio: float) -> dict[str, Any]:
        each = median / environments
        context = 4000 if environments == 1 else 0
        return {"method": method, "environments": environments, "context": context, "median": median,
                "per_environment": each, "ratio": ratio}  # fmt: skip

    rows = [
        row("DM-H", 1, 0.2, 1.0),
        row(online.CACHED, 1, 4.0, 20.0),
        row(online.RECOMPUTING, 1, 100.0, 500.0),
        row("DM-H", 256, 20.0, 1.0),
    ]
    found = {check.what: (check.value, check.passed) for check in online.required(rows, 4000, speed=1.5)}
    assert [passed for _, passed in found.values()] == [True, False, False, True]
    assert [value for value, _ in found.values()] == pytest.approx([0.3, 1.5 * 20 / 256, 500, 20])


def test_memory_of_a_cache_that_is_too_large_to_make() -> None:
    settings = scaling.Settings()
    config = ADConfig.paper(2, 5, context_len=50)
    agent = ADAgent(AD(config))
    agent.begin(1)
    assert agent.state_bytes > scaling.ad_cache(settings, 50) * MIB  # beside the cache, the window's steps
    assert scaling.ad_cache(settings, 10**9) == pytest.approx(scaling.ad_cache(settings, 10**3) * 10**6)


def test_results_on_disk(tmp_path: Path) -> None:
    columns = {"scan": "", "length": "", "time": "ms", "ratio": ""}
    rows = [
        {"scan": "fused", "length": 1, "time": 2.0, "ratio": 1.0},
        {"scan": "mambapy", "length": 1, "time": 90.0, "ratio": 45.0},
        {"scan": "mambapy", "length": 2, "time": None, "ratio": None},
        {"scan": "fused", "length": 2, "time": 4.0, "ratio": 1.0},
    ]
    report = Report("scan", "Who?", {}, [], columns, rows, machine={"cores": 2})
    own, kept = tmp_path / "own", tmp_path / "kept"
    for folder, text in ((own, "own"), (kept, "kept")):
        write_json(folder / "scan.json", {**report.to_dict(), "question": text})
    write_json(kept / "envs.json", {**report.to_dict(), "name": "envs"})
    reports = load_reports(own, kept)
    assert {name: found.question for name, found in reports.items()} == {"scan": "own", "envs": "Who?"}
    assert series(report, "scan", "length", "time") == {"fused": ([1, 2], [2, 4]), "mambapy": ([1], [90])}
    assert series(report, "scan", "length", "time", scan="fused", length=2) == {"fused": ([2], [4])}
    assert series(report, "nothing", "length", "time") == {}
    assert speedups(reports) == {"selective scan, training: mamba.py": 45.0}
    with pytest.raises(BenchmarkError, match=r"nowhere.*dmh bench all"):
        load_reports(tmp_path / "nowhere")
    write_json(own / "subgoals.json", {"of": "some other program"})
    assert list(load_reports(own)) == ["scan"]
    check = {"what": "same", "value": "x", "at_least": None, "at_most": None}
    for wrong in (
        {},
        {"rows": [1]},
        {"columns": {"a": 1}},
        {"machine": 3},
        {"checks": [check]},
        {"settings": []},
    ):
        write_json(own / "train.json", {**report.to_dict(), **wrong} if wrong else {"name": "x"})
        with pytest.raises(BenchmarkError, match=r"train\.json: not a benchmark's result"):
            load_reports(own)


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
