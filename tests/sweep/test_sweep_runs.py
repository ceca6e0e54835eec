"""Sweeps that are run: failures stay where they are, what is done is not done again, no process is left."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import numpy as np
import psutil
import pytest

from dmh_lib.data import write_hdf5
from dmh_lib.data.histories import make_histories
from dmh_lib.data.searcher import SearcherConfig
from dmh_lib.envs import make_split
from dmh_lib.errors import SettingError
from dmh_lib.files import only_one_at
from dmh_lib.results import read_results
from dmh_lib.sweep.gather import overview
from dmh_lib.sweep.orders import EXECUTED, RESULTS
from dmh_lib.sweep.runner import Limits, run_sweep, unfinished
from dmh_lib.sweep.spec import read_sweep
from dmh_lib.sweep.store import LOG, folder_of, read_state
from dmh_lib.sweep.worker import LOCK

PARAMETERS = "what = 'work'\nseed = 0\nrun_dir = 'nowhere'\nflag = ''"
BODY = """
import os, sys, time
from pathlib import Path
assert Path.cwd().joinpath("job.ipynb").exists()
Path(run_dir).mkdir(exist_ok=True)
print("threads", os.environ["OMP_NUM_THREADS"])
if what == "raise" and not Path(flag).exists():
    raise ValueError("planted")
if what == "sleep" and not Path(flag).exists():
    time.sleep(600)
if what == "die" and not Path(flag).exists():
    os.kill(os.getpid(), 9)
Path(run_dir, "made").write_text(f"{what} {seed}")
"""


@pytest.fixture
def sweep_file(tmp_path: Path) -> Path:
    cells = [nbformat.v4.new_code_cell(PARAMETERS), nbformat.v4.new_code_cell(BODY)]
    cells[0].metadata["tags"] = ["parameters"]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(notebook, tmp_path / "job.ipynb")
    path = tmp_path / "sweep.yaml"
    path.write_text(
        f"notebook: job.ipynb\nparameters: {{flag: {tmp_path}/mended}}\n"
        "product: {what: [raise, work, sleep, die], seed: [7]}\n"
    )
    return path


def of_this_test(folder: Path) -> list[psutil.Process]:
    """Processes, workers or kernels, that work on a sweep below this folder or were started from it."""
    found = []
    for process in psutil.process_iter():
        try:
            told = " ".join(process.cmdline()) + process.cwd()
        except psutil.Error:
            continue
        if str(folder) in told and process.pid != os.getpid():
            found.append(process)
    return found


def test_failures_stay_where_they_are(sweep_file: Path) -> None:
    """An exception, a run over its time and a killed kernel beside one that works; then they are mended."""
    folder = sweep_file.parent
    out = folder / "out"
    orders = read_sweep(sweep_file).orders()
    # the one that sleeps alone has little time, or a busy machine might end the others too
    timed = [order for order in orders if order.swept["what"] == "sleep"]
    ended = [
        *run_sweep([order for order in orders if order not in timed], out, Limits(2)),
        *run_sweep(timed, out, Limits(2, minutes=0.2)),
    ]
    outcomes = {outcome.order.swept["what"]: outcome for outcome in ended}
    assert outcomes["work"].why is None
    assert "ValueError in cell 3: planted" in str(outcomes["raise"].why)
    assert "took longer than 0.2 minutes" in str(outcomes["sleep"].why)
    assert "Kernel died" in str(outcomes["die"].why)
    assert not of_this_test(folder)
    for order in orders:
        what, place = order.swept["what"], folder_of(order, out)
        assert (place / LOG).is_file()
        assert (place / "files/made").exists() == (what == "work")
        if what in ("work", "raise"):
            executed = nbformat.read(place / EXECUTED, as_version=4)
            said = "".join(
                output.get("text", "") for cell in executed.cells for output in cell.get("outputs", [])
            )
            assert f"threads {max(1, len(os.sched_getaffinity(0)) // 2)}" in said
    table = overview(orders, out, {}).set_index("what")
    assert table["state"].to_dict() == {"raise": "failed", "work": "done", "sleep": "failed", "die": "failed"}
    again = unfinished(orders, out)
    assert [order.swept["what"] for order in again] == ["raise", "sleep", "die"]
    (folder / "mended").touch()
    assert [outcome.why for outcome in run_sweep(again, out, Limits(2))] == [None] * 3
    assert not unfinished(orders, out)
    assert not of_this_test(folder)


def test_what_failed_is_tried_again(tmp_path: Path) -> None:
    (tmp_path / "data.hdf5").write_bytes(b"no data")
    (tmp_path / "sweep.yaml").write_text("train: data.hdf5")
    orders = read_sweep(tmp_path / "sweep.yaml").orders()
    (outcome,) = run_sweep(orders, tmp_path / "out", Limits(1, retries=1))
    assert "data.hdf5" in str(outcome.why)
    log = (folder_of(orders[0], tmp_path / "out") / LOG).read_text()
    assert log.count("error: ") == 2


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(sweep_file: Path, how: signal.Signals) -> None:
    """Ctrl-C, or SIGTERM, ends workers and kernels, and the next call begins what was not done."""
    folder, out = sweep_file.parent, sweep_file.parent / "out"
    sweep_file.write_text(sweep_file.read_text().replace("raise, work, sleep, die", "sleep"))
    (order,) = read_sweep(sweep_file).orders()
    command = [sys.executable, "-m", "dmh_lib.cli", "sweep", str(sweep_file), "--out", str(out)]
    # a shell's background job would ignore Ctrl-C, and so would its children
    heed = "import os, signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    start = f"{heed}; os.execv({sys.executable!r}, {command!r})"
    process = subprocess.Popen([sys.executable, "-c", start], stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 120
    while not (folder_of(order, out) / "files").exists() and time.monotonic() < until:  # the cell has begun
        time.sleep(0.1)
    assert len(of_this_test(folder)) >= 3  # the sweep, its worker, its kernel
    process.send_signal(how)
    _, said = process.communicate(timeout=60)
    assert process.returncode == (130 if how == signal.SIGINT else 143), said
    assert "Traceback" not in said
    assert not of_this_test(folder)
    assert unfinished([order], out) == [order]


def test_one_process_at_a_sweep(sweep_file: Path) -> None:
    orders = read_sweep(sweep_file).orders()
    first = run_sweep(orders[1:2], sweep_file.parent / "out", Limits(1))
    second = run_sweep(orders, sweep_file.parent / "out", Limits(1))
    next(first)
    with pytest.raises(SettingError, match="out: another process is at it"):
        next(second)
    first.close()


def test_one_process_at_a_run(sweep_file: Path) -> None:
    """A worker that finds another one there says so, and leaves it the state to write."""
    (order, *_), out = read_sweep(sweep_file).orders(), sweep_file.parent / "out"
    code = (
        "import sys, dmh_lib.sweep.worker as at; at.PATIENCE = 0.1; sys.exit(at.main(at.Path(sys.argv[1])))"
    )
    command = [sys.executable, "-c", code, str(folder_of(order, out))]
    with only_one_at(folder_of(order, out), LOCK, SettingError):
        late = subprocess.run(command, capture_output=True, text=True, check=False)
    assert late.returncode == 1
    assert re.fullmatch(r"error: .*: another process is at it .*; wait for it\n", late.stderr)
    assert read_state(order, out) is None


def test_trainings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From data to one table of lifetimes, by the command."""
    from dmh_lib.cli import main

    data = make_histories(make_split("darkroom", num_train=2), SearcherConfig(runs_per_task=1, episodes=3))
    write_hdf5(data, tmp_path / "data.hdf5")
    (tmp_path / "two.yaml").write_text(
        "train: data.hdf5\nepisodes: 2\nseeds: [0]\n"
        "parameters: {training.updates: 1, training.batch_size: 2, model.d_model: 16}\n"
        "product: {training.seed: {range: 2}}\n"
    )
    command = ["sweep", str(tmp_path / "two.yaml"), "--out", str(tmp_path / "out")]
    main([*command, "--list"])
    assert capsys.readouterr().out.count("missing") == 2
    main(command)
    assert "2 of 2 runs are done" in capsys.readouterr().out
    table = read_results(tmp_path / "out" / RESULTS)
    ours = table[table["method"] == "DM-H"]
    assert ours.groupby("swept.training.seed").size().nunique() == 1
    assert set(ours["episode"]) == {1, 2}
    assert ours["run"].nunique() == 2
    main([*command, "--list"])
    listed = capsys.readouterr().out
    assert listed.count("done") == 2
    assert "percent_of_optimum" in listed
    began = time.monotonic()
    main(command)
    assert time.monotonic() - began < 5  # nothing is done twice


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"minutes": 0.0}, {"minutes": np.nan}, {"retries": -1}])
def test_limits(wrong: dict[str, float]) -> None:
    with pytest.raises(SettingError, match=f"{next(iter(wrong))}: must be"):
        Limits(**wrong)  # type: ignore[arg-type]
