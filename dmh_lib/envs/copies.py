"""Gymnasium's environments, one or copies side by side, as all play here expects them."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium as gym
from gymnasium.vector import AutoresetMode

from dmh_lib.errors import SettingError

_log = logging.getLogger(__name__)


def make_one(env_id: str) -> gym.Env[Any, Any]:
    """An environment by its Gymnasium id.

    Raises:
        SettingError: there is no such environment, or it lacks what it needs.
    """
    with _making(env_id):
        return gym.make(env_id)


def make_copies(env_id: str, count: int, **kwargs: Any) -> gym.vector.SyncVectorEnv:
    """`count` copies in this process, each reset in the step in which its episode ends.

    Args:
        env_id: of Gymnasium.
        count: of copies.
        kwargs: of the environment.

    Raises:
        SettingError: there is no such environment, or it lacks what it needs.
    """
    same_step = {"autoreset_mode": AutoresetMode.SAME_STEP}
    with _making(env_id):
        env = gym.make_vec(env_id, count, vectorization_mode="sync", vector_kwargs=same_step, **kwargs)
    assert isinstance(env, gym.vector.SyncVectorEnv)  # what was asked for
    return env


@contextmanager
def _making(env_id: str) -> Iterator[None]:
    try:
        if str(gym.spec(env_id).entry_point).startswith("gymnasium.envs.mujoco"):
            _take_warnings()
        yield
    except gym.error.Error as error:
        raise SettingError(f"environment: {env_id} cannot be made ({error}); check its id") from error


def _take_warnings() -> None:
    """Let Python's log have MuJoCo's warnings, which else leave a MUJOCO_LOG.TXT wherever one works."""
    import mujoco  # only for those who have such an environment

    mujoco.set_mju_user_warning(_log.info)
