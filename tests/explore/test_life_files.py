"""Lifetimes in files: written and read again, histories of others, and files that do not fit."""

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from dark_rooms import PERFECT, split_of
from explored import agent_of, lifetime

from dmh_lib.data import write_hdf5
from dmh_lib.data.histories import make_histories
from dmh_lib.errors import DataError
from dmh_lib.explore import Episode, read_life, write_life


def test_a_lifetime_is_read_as_it_was_written(tmp_path: Path) -> None:
    life = lifetime(agent_of())
    write_life(tmp_path / "life.hdf5", life, "darkroom", 3)
    task, found = read_life(tmp_path / "life.hdf5", "dmh/Darkroom-v0")
    assert task == 3
    for one, other in zip(found, life, strict=True):
        np.testing.assert_array_equal(one.observations, other.observations)  # the last one too
        np.testing.assert_array_equal(one.actions, other.actions)
        np.testing.assert_array_equal(one.rewards, other.rewards)
        assert one.terminated == other.terminated


@pytest.mark.parametrize("env_id", ["dmh/DarkroomEps-v0", "dmh/DarkKeyToDoor-v0"])
def test_histories_of_others(env_id: str, tmp_path: Path) -> None:
    histories = make_histories(split_of(env_id, [5, 7]), replace(PERFECT, episodes=6))
    write_hdf5(histories, tmp_path / "histories.hdf5")
    task, life = read_life(tmp_path / "histories.hdf5", env_id, run=1, most=3)
    assert (task, len(life)) == (7, 3)
    chosen = [histories.episode(int(histories.run_offsets[1]) + number) for number in (0, 2, 5)]
    for one, other in zip(life, chosen, strict=True):
        np.testing.assert_array_equal(one.observations[:-1], other.observations)
        assert one.terminated == other.terminated
        assert abs(one.observations[-1] - one.observations[-2]).sum() <= 1


def test_files_that_do_not_fit(tmp_path: Path) -> None:
    life = lifetime(agent_of())
    path = tmp_path / "life.hdf5"
    write_life(path, life, "darkroom", 3)
    with pytest.raises(
        DataError, match=r"life\.hdf5: field 'env_id'.*Darkroom-v0, not of dmh/LargeDarkroom-v0"
    ):
        read_life(path, "largedarkroom")
    for run in (-1, 1):
        with pytest.raises(DataError, match=r"run -?1: there are runs 0 … 0"):
            read_life(path, "darkroom", run)
    with pytest.raises(DataError, match="does not exist"):
        read_life(tmp_path / "other.hdf5", "darkroom")
    wrong = Episode(life[0].observations, np.full(len(life[0]), 4), life[0].rewards)
    write_life(path, [wrong], "darkroom", 3)
    with h5py.File(path, "r+") as file:
        file["actions"][0] = 7
    with pytest.raises(DataError, match=r"life\.hdf5.*actions"):
        read_life(path, "darkroom")
