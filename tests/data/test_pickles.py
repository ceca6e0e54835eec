"""Pickles of the decision transformer's, and those that would do something."""

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dmh_lib.data import read_hdf5
from dmh_lib.data.pickles import convert_pickle
from dmh_lib.errors import DataError


def episodes(count: int = 3) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    return [
        {
            "observations": rng.normal(size=(steps, 4)).astype(np.float32),
            "next_observations": rng.normal(size=(steps, 4)).astype(np.float32),
            "actions": rng.normal(size=(steps, 2)).astype(np.float32),
            "rewards": rng.normal(size=steps).astype(np.float32),
            "terminals": np.arange(steps) == (steps - 1 if steps % 2 else -1),
        }
        for steps in range(3, 3 + count)
    ]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_conversion(tmp_path: Path, protocol: int) -> None:
    source, made = tmp_path / "walker.pkl", episodes()
    source.write_bytes(pickle.dumps(made, protocol))
    convert_pickle(source, tmp_path / "walker.hdf5")
    data = read_hdf5(tmp_path / "walker.hdf5")
    for ours, theirs in zip(data, made, strict=True):
        for field in ("observations", "actions", "rewards"):
            np.testing.assert_array_equal(getattr(ours, field), theirs[field])
        assert ours.terminated == theirs["terminals"][-1]
        assert ours.truncated != ours.terminated


class Does:
    """What a stranger may put into a pickle."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.what = function, arguments

    def __reduce__(self) -> tuple:
        return self.what


@pytest.mark.parametrize("function", [exec, eval, __import__, subprocess.call, getattr, open])
@pytest.mark.parametrize("inside", [False, True])
def test_nothing_is_executed(tmp_path: Path, function: object, inside: bool) -> None:
    proof = tmp_path / "executed"
    argument: object = f"open({str(proof)!r}, 'w')"
    if function is subprocess.call:
        argument = [sys.executable, "-c", argument]
    bad: object = Does(function, argument)
    if inside:  # in an array of objects
        array = np.empty(3, dtype=object)
        array[:] = [bad, 1.0, 2.0]
        bad = [{**episodes(1)[0], "rewards": array}]
    source = tmp_path / "bad.pkl"
    source.write_bytes(pickle.dumps(bad))
    with pytest.raises(DataError, match=r"bad.pkl: it asks for .*, which no array needs"):
        convert_pickle(source, tmp_path / "bad.hdf5")
    assert not proof.exists()
    assert not (tmp_path / "bad.hdf5").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "no list of episodes"),
        ({"observations": np.zeros(3)}, "no list of episodes"),
        ([1, 2], "episode 0 is no dictionary"),
        ([{"observations": np.zeros((2, 2))}], "episode 0: field 'actions' holds no numbers"),
        ([episodes(1)[0] | {"rewards": np.zeros(2)}], "field 'rewards' has another length"),
        ([episodes(1)[0] | {"rewards": np.array(["a", "b", "c"])}], "field 'rewards' holds no numbers"),
        ([*episodes(1), episodes(1)[0] | {"actions": np.zeros((3, 5))}], "dimension"),
        ([episodes(1)[0] | {"rewards": np.full(3, np.nan)}], "rewards"),
    ],
)
def test_what_holds_something_else(tmp_path: Path, content: object, message: str) -> None:
    source = tmp_path / "other.pkl"
    source.write_bytes(pickle.dumps(content))
    with pytest.raises(DataError, match=message):
        convert_pickle(source, tmp_path / "other.hdf5")
    assert not (tmp_path / "other.hdf5").exists()


@pytest.mark.parametrize("keep", [0, 10, 200])
def test_what_is_cut_off(tmp_path: Path, keep: int) -> None:
    source = tmp_path / "cut.pkl"
    source.write_bytes(pickle.dumps(episodes())[:keep])
    with pytest.raises(DataError, match=r"cut\.pkl"):
        convert_pickle(source, tmp_path / "cut.hdf5")


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        convert_pickle(tmp_path / "none.pkl", tmp_path / "none.hdf5")


def test_it_takes_no_longer_than_it_may(tmp_path: Path) -> None:
    source = tmp_path / "slow.pkl"
    source.write_bytes(pickle.dumps(episodes()))
    with pytest.raises(DataError, match="took over"):
        convert_pickle(source, tmp_path / "slow.hdf5", timeout=0.001)
