"""Lifetimes in files, in the same format as data to learn from."""

import os
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dmh_lib.data.storage import read_hdf5, write_hdf5
from dmh_lib.envs import full_env_id, room_of
from dmh_lib.envs.rooms import MOVES
from dmh_lib.errors import DataError
from dmh_lib.explore.lives import Episode, as_trajectories


def write_life(path: str | os.PathLike[str], episodes: Sequence[Episode], env_id: str, task: int) -> None:
    """Write a lifetime in a dark room as data of one task and one run; raises as `write_hdf5` does."""
    data = as_trajectories(episodes, len(MOVES))
    tasks = np.full(data.num_episodes, task, dtype=np.int64)
    about = {"env_id": full_env_id(env_id), "behaviour": "explorer", **data.metadata}
    write_hdf5(replace(data, task_ids=tasks, metadata=about), path)


def read_life(
    path: str | os.PathLike[str], env_id: str, run: int = 0, most: int | None = None
) -> tuple[int, tuple[Episode, ...]]:
    """A lifetime in a dark room from a file of data: the task of its first episode, and its episodes.

    Where the last step of an episode led is not on record in such files, but follows from the room's rules.

    Args:
        path: of an HDF5 file that `dmh data make` or `write_life` wrote.
        env_id: the room that the data must be of; one whose actions are not permuted.
        run: which lifetime of the file, from 0.
        most: episodes that are taken, evenly from the first to the last; None takes all.

    Raises:
        DataError: the file cannot be read, is of another environment, has no such run, or actions that the
            room does not know.
    """
    data, wanted = read_hdf5(path), full_env_id(env_id)
    found = data.metadata.get("env_id")
    if found != wanted:
        problem = f"field 'env_id': its episodes are of {found}, not of {wanted}"
        raise DataError(f"{path}: {problem}; give another file")
    last = len(data.run_offsets) - 2
    if not 0 <= run <= last:
        raise DataError(f"{path}: run {run}: there are runs 0 … {last}; choose one of them")
    size = room_of(wanted).size
    first, end = (int(place) for place in data.run_offsets[run : run + 2])
    episodes = []
    count = min(most or end - first, end - first)
    for number in np.linspace(first, end - 1, count).round().astype(int):
        lived = data.episode(int(number))
        if lived.actions.ndim > 1 or not 0 <= lived.actions.min() <= lived.actions.max() < len(MOVES):
            raise DataError(
                f"{path}: field 'actions': a room has actions 0 … {len(MOVES) - 1}; give another file"
            )
        led_to = _after(np.asarray(lived.observations[-1]), int(lived.actions[-1]), size)
        episodes.append(
            Episode(
                np.concatenate([lived.observations, led_to[None]]).astype(np.float32),
                np.array(lived.actions),
                np.array(lived.rewards, dtype=np.float32),
                terminated=lived.terminated,
            )
        )
    return int(data.task_ids[first]), tuple(episodes)


def _after(place: NDArray[np.floating], action: int, size: int) -> NDArray[np.floating]:
    """The cell (2,) that an action leads to."""
    return np.clip(place + MOVES[action], 0, size - 1)
