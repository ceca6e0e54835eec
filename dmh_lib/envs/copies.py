"""Copies of a Gymnasium environment side by side, as all play here expects them."""

from typing import Any

import gymnasium as gym
from gymnasium.vector import AutoresetMode

from dmh_lib.errors import SettingError


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
    try:
        env = gym.make_vec(env_id, count, vectorization_mode="sync", vector_kwargs=same_step, **kwargs)
    except gym.error.Error as error:
        raise SettingError(f"environment: {env_id} cannot be made ({error}); check its id") from error
    assert isinstance(env, gym.vector.SyncVectorEnv)  # what was asked for
    return env
