"""Environments as they are made for play."""

import logging
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from dmh_lib.envs.copies import make_copies, make_one
from dmh_lib.errors import SettingError


def test_mujoco_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What MuJoCo says of an old model goes to the log, not into a file where one works."""
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.INFO)
    make_one("HalfCheetah-v5").close()
    make_copies("HalfCheetah-v5", 2).close()
    assert not list(tmp_path.iterdir())
    assert sum("settotalmass" in line for line in caplog.messages) >= 3


@pytest.mark.parametrize("env_id", ["Nowhere-v0", "Hopper-v99", "a b", "gym:Nowhere-v0", "gym:"])
def test_unknown(env_id: str) -> None:
    for make in (make_one, lambda name: make_copies(name, 2)):
        with pytest.raises(SettingError, match="check its id"):
            make(env_id)


def test_old_gym() -> None:
    """CartPole, which both have: the same episodes, spaces of Gymnasium's, and ends known apart."""
    ours, theirs = make_copies("CartPole-v1", 3), make_copies("gym:CartPole-v1", 3)
    for one in (theirs.single_observation_space, theirs.single_action_space):
        assert isinstance(one, gym.Space)
    assert theirs.spec is not None
    assert theirs.spec.max_episode_steps == 500
    np.testing.assert_allclose(theirs.reset(seed=[1, 2, 3])[0], ours.reset(seed=[1, 2, 3])[0])
    rng = np.random.default_rng(0)
    ended = 0
    while ended < 4:
        actions = rng.integers(2, size=3)
        step, expected = theirs.step(actions), ours.step(actions)
        ends = step[2] | step[3]
        np.testing.assert_array_equal(step[2], expected[2])
        np.testing.assert_array_equal(step[3], expected[3])
        np.testing.assert_allclose(step[0][~ends], expected[0][~ends], rtol=1e-5)
        ended += int(ends.sum())
        if ends.any():  # what comes next is drawn by generators of their own
            seeds = rng.integers(99, size=3).tolist()
            np.testing.assert_allclose(theirs.reset(seed=seeds)[0], ours.reset(seed=seeds)[0])


def test_old_gym_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gym", None)
    with pytest.raises(SettingError, match=r"needs the old gym and Shimmy.*pip install 'dmh-lib\[gym\]'"):
        make_one("gym:CartPole-v1")
