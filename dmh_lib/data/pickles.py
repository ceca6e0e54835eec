"""The decision transformer's datasets, which are Python pickles.

A pickle is a program that `pickle.load` runs: whoever made the file decides what happens on the machine that
reads it. So nothing here loads one in this process. A child process does, with a reader that knows the few
names of NumPy that arrays need and refuses all others, within limits of memory and time. It hands over plain
arrays, which are checked like those of any stranger.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from dmh_lib.data.storage import write_hdf5
from dmh_lib.data.trajectories import Trajectories
from dmh_lib.errors import DataError

_CHILD = Path(__file__).with_name("unpickle_child.py")
_ARRAYS = ("observations", "actions", "rewards", "terminals", "lengths")


def convert_pickle(
    source: str | os.PathLike[str], target: str | os.PathLike[str], *, timeout: float = 600.0
) -> Trajectories:
    """Write an HDF5 file in D4RL's schema with the episodes of one of the decision transformer's pickles.

    Such a file holds a list of dictionaries with `observations`, `actions`, `rewards` and `terminals`, an
    episode each. One whose last step is no terminal was ended by the time limit.

    Args:
        source: for example hopper-medium-v2.pkl.
        target: HDF5 file to write; only once all was read.
        timeout: seconds that reading may take.

    Raises DataError when the pickle asks for more than arrays, does not hold such a list, or takes too long.
    """
    path = Path(source)
    if not path.is_file():
        raise DataError(f"{path}: does not exist; give the path of a pickle of the decision transformer's")
    with tempfile.TemporaryDirectory() as folder:
        arrays = Path(folder, "arrays.npz")
        try:
            # -I: neither the working directory nor the environment decides what is imported
            child = subprocess.run(
                [sys.executable, "-I", str(_CHILD), str(path.resolve()), str(arrays)],
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise DataError(f"{path}: reading took over {timeout:g} s; it is no such dataset") from error
        if child.returncode != 0:
            said = child.stderr.strip().splitlines()
            reason = said[-1] if said else f"its reader ended with {child.returncode}"
            raise DataError(f"{path}: {reason}; take D4RL's own file, `dmh data fetch`")
        with np.load(arrays, allow_pickle=False) as found:
            observations, actions, rewards, terminals, lengths = (found[name] for name in _ARRAYS)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    last = np.zeros(len(rewards), dtype=np.bool_)
    last[offsets[1:] - 1] = True
    zeros = np.zeros(len(lengths), dtype=np.int64)
    trajectories = Trajectories(
        observations,
        actions,
        rewards,
        terminals & last,
        ~terminals & last,
        offsets,
        zeros,
        zeros,
        {"path": str(path), "converted_from": path.name},
    )
    write_hdf5(trajectories, target)
    return trajectories
