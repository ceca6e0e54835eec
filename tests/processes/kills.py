"""SIGKILL at random moments, over trainings and sweeps: what is resumed ends as if nothing had happened.

`python tests/processes/kills.py --kills 25` does so many to each and prints what came of it; tests do a few.
"""

import argparse
import multiprocessing as mp
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import lightning_fabric.loggers.tensorboard  # noqa: F401 (or each fork would import it again)
import psutil
import torch
from tqdm import tqdm

from dmh_lib.checkpoints import load_checkpoint, load_training
from dmh_lib.data import read_hdf5, write_hdf5
from dmh_lib.data.contexts import ContextConfig
from dmh_lib.data.histories import make_histories
from dmh_lib.data.searcher import SearcherConfig
from dmh_lib.envs import make_split
from dmh_lib.models import DMHConfig
from dmh_lib.sweep.runner import unfinished
from dmh_lib.sweep.spec import read_sweep
from dmh_lib.sweep.store import folder_of
from dmh_lib.train_config import TrainConfig
from dmh_lib.training import train

MODEL = DMHConfig.small(2, 5, d_model=16, d_state=4, dropout=0.1)
TRAINING = TrainConfig(updates=60, batch_size=4, warmup=3, log_every=2, checkpoint_every=3)
SWEEP = """
train: data.hdf5
episodes: 1
seeds: [0]
parameters: {training.updates: 60, training.batch_size: 4, training.checkpoint_every: 3, model.d_model: 16}
product: {training.seed: {range: 2}}
"""


def make_data(folder: Path) -> Path:
    """A small dataset in a folder."""
    data = make_histories(make_split("darkroom", num_train=2), SearcherConfig(runs_per_task=3, episodes=6))
    write_hdf5(data, folder / "data.hdf5")
    return folder / "data.hdf5"


def require_equal(found: Path, expected: Path) -> None:
    """Two runs end with the same weights, optimizer, random states, sampler and logged curve, to the bit."""
    weights = load_checkpoint(expected).model.state_dict()
    for name, tensor in load_checkpoint(found).model.state_dict().items():
        assert torch.equal(tensor, weights[name]), name
    one, other = load_training(found), load_training(expected)
    assert one.tensors.keys() == other.tensors.keys()
    for name, tensor in one.tensors.items():
        assert torch.equal(tensor, other.tensors[name]), name
    assert (one.step, one.sampler, one.history) == (other.step, other.sampler, other.history)
    assert not [path for path in found.iterdir() if path.name.startswith(".")]


def _train(data_file: Path, run_dir: Path) -> None:
    torch.set_num_threads(1)
    train(read_hdf5(data_file), MODEL, run_dir, ContextConfig(4), TRAINING, resume=True)


def kill_trainings(folder: Path, kills: int, rng: random.Random, told: Callable[[], object]) -> int:
    """Kill a training at random moments until it has got through, again and again; gives the trainings."""
    data_file, trainings = make_data(folder), 0
    _train_in_child(data_file, folder / "expected", None)  # compiles what is not yet
    shutil.rmtree(folder / "expected")
    began = time.monotonic()
    assert _train_in_child(data_file, folder / "expected", None)
    seconds = time.monotonic() - began
    while kills > 0:
        trainings += 1
        run_dir = folder / f"run-{trainings}"
        while not _train_in_child(data_file, run_dir, rng.uniform(0, seconds) if kills > 0 else None):
            kills -= 1
            told()
        require_equal(run_dir, folder / "expected")
    return trainings


def _train_in_child(data_file: Path, run_dir: Path, seconds: float | None) -> bool:
    """Train in a process of its own and kill it after so many seconds; whether it got through before."""
    child = mp.get_context("fork").Process(target=_train, args=(data_file, run_dir))  # has imported all
    child.start()
    child.join(seconds)
    if child.exitcode is None:
        child.kill()
        child.join()
        return False
    assert child.exitcode == 0, child.exitcode
    return True


def kill_sweeps(folder: Path, kills: int, rng: random.Random, told: Callable[[], object]) -> int:
    """Kill a sweep, or one of its workers, until it has got through, again and again; gives the sweeps."""
    make_data(folder)
    file = folder / "sweep.yaml"
    file.write_text(SWEEP)
    orders, sweeps = read_sweep(file).orders(), 0
    began = time.monotonic()
    assert _start(file, folder / "expected").wait() == 0
    seconds = time.monotonic() - began
    while kills > 0:
        sweeps += 1
        out = folder / f"out-{sweeps}"
        while unfinished(orders, out):
            sweep = _start(file, out)
            if kills > 0:
                kills -= _kill(sweep, rng, rng.uniform(0, seconds))
                told()
            sweep.wait()
        for order in orders:
            ours, theirs = folder_of(order, out) / "files", folder_of(order, folder / "expected") / "files"
            require_equal(ours, theirs)
    assert not [child for child in psutil.Process().children(recursive=True) if child.is_running()]
    return sweeps


def _start(file: Path, out: Path) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "dmh_lib.cli", "sweep", str(file), "--out", str(out)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _kill(sweep: "subprocess.Popen[bytes]", rng: random.Random, seconds: float) -> int:
    """Kill the sweep or a worker of it after so many seconds, if it is not through by then; 1 if so."""
    try:
        sweep.wait(seconds)
    except subprocess.TimeoutExpired:
        process = psutil.Process(sweep.pid)
        victim = rng.choice([process, process, *process.children(recursive=True)])
        victim.kill()
        return 1
    return 0


def main() -> None:
    """So many kills to each, counted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("of", nargs="*", default=["trainings", "sweeps"], help="trainings, sweeps or both")
    parser.add_argument("--kills", type=int, default=25, help="of each")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    for name in given.of:
        kill = {"trainings": kill_trainings, "sweeps": kill_sweeps}[name]
        with (
            tempfile.TemporaryDirectory() as folder,
            tqdm(total=given.kills, desc=name, disable=not sys.stderr.isatty()) as bar,
        ):
            through = kill(Path(folder), given.kills, random.Random(given.seed), bar.update)
        sys.stdout.write(
            f"{given.kills} kills over {through} {name}, each as an undisturbed one to the bit\n"
        )


if __name__ == "__main__":
    main()
