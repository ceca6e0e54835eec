"""Sweeps on a Ray cluster of this machine: all results, exactly once, also where a worker is lost."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import nbformat
import psutil
import pytest

from dmh_lib.errors import SettingError
from dmh_lib.sweep.on_ray import Shares, run_on_ray
from dmh_lib.sweep.runner import Limits, unfinished
from dmh_lib.sweep.spec import read_sweep
from dmh_lib.sweep.store import folder_of

ray = pytest.importorskip("ray")
RUNS = 4
BODY = """
import os, time
from pathlib import Path
with Path(shared, "begun").open("a") as file:
    file.write(f"{number} {os.environ['OMP_NUM_THREADS']}\\n")
if number == 1 and not Path(shared, "lost").exists():
    time.sleep(300)  # until its worker is killed
if number == 2:
    raise ValueError("planted")
with Path(shared, "ended").open("a") as file:
    file.write(f"{number}\\n")
"""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Of a cluster of two machines with a core each, as far as Ray knows."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    for last in (False, False, True):  # Ray gives a machine half a minute to start, too little for a busy one
        try:
            cluster = Cluster(
                initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
            )
            break
        except Exception:
            if last:
                raise
    cluster.add_node(num_cpus=1)
    yield cluster.address
    cluster.shutdown()


@pytest.fixture
def sweep_file(tmp_path: Path) -> Path:
    cells = [nbformat.v4.new_code_cell("number = 0\nshared = ''"), nbformat.v4.new_code_cell(BODY)]
    cells[0].metadata["tags"] = ["parameters"]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(
        nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), tmp_path / "job.ipynb"
    )
    path = tmp_path / "sweep.yaml"
    path.write_text(
        f"notebook: job.ipynb\nparameters: {{shared: {tmp_path}}}\nproduct: {{number: {{range: {RUNS}}}}}\n"
    )
    return path


def lines(file: Path) -> list[str]:
    return sorted(file.read_text().split("\n")[:-1]) if file.exists() else []


def test_a_lost_worker_loses_no_run(address: str, sweep_file: Path) -> None:
    """By the command; a Ray worker is killed while it does a run, and a run fails by itself."""
    folder, out = sweep_file.parent, sweep_file.parent / "out"
    orders = read_sweep(sweep_file).orders()
    command = [sys.executable, "-m", "dmh_lib.cli", "sweep", str(sweep_file), "--out", str(out)]
    sweep = subprocess.Popen([*command, "--ray", address], stdout=subprocess.PIPE, text=True)
    until = time.monotonic() + 200
    while not any(line.startswith("1 ") for line in lines(folder / "begun")) and time.monotonic() < until:
        time.sleep(0.1)
    ours = str(folder_of(orders[1], out))
    (worker,) = (
        one for one in psutil.process_iter() if ours in " ".join(_told(one)) and "worker" in str(_told(one))
    )
    (folder / "lost").touch()
    os.kill(worker.ppid(), signal.SIGKILL)  # Ray's process
    said, _ = sweep.communicate(timeout=300)
    assert sweep.returncode == 1, said
    assert f"{RUNS - 1} of {RUNS} runs are done" in said
    assert lines(folder / "ended") == ["0", "1", "3"]
    assert lines(folder / "begun") == ["0 1", "1 1", "1 1", "2 1", "3 1"]
    (failed,) = unfinished(orders, out)
    assert failed == orders[2]
    assert not [one for one in psutil.process_iter() if str(out) in " ".join(_told(one))]


def _told(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def test_stopped_in_the_middle(address: str, sweep_file: Path) -> None:
    """What a caller no longer waits for does not go on."""
    orders = read_sweep(sweep_file).orders()
    outcomes = run_on_ray(orders[:2], sweep_file.parent / "out", address, Limits(minutes=5))
    assert next(outcomes).why is None
    outcomes.close()
    assert not [one for one in psutil.process_iter() if str(sweep_file.parent) in " ".join(_told(one))]


def test_no_cluster(sweep_file: Path) -> None:
    with pytest.raises(SettingError, match=r"ray: no cluster at 127\.0\.0\.1:1 "):
        next(run_on_ray(read_sweep(sweep_file).orders(), sweep_file.parent / "out", "127.0.0.1:1"))


@pytest.mark.parametrize("wrong", [{"cpus": 0}, {"gpus": -1.0}, {"gpus": float("nan")}])
def test_shares(wrong: dict[str, float]) -> None:
    with pytest.raises(SettingError, match=f"{next(iter(wrong))}: must be"):
        Shares(**wrong)  # type: ignore[arg-type]


def test_a_cluster_that_wants_a_token(sweep_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise ray.exceptions.AuthenticationError("no token")

    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(SettingError, match=r"no token.*export RAY_AUTH_MODE=token"):
        next(run_on_ray(read_sweep(sweep_file).orders(), sweep_file.parent / "out", "auto"))
