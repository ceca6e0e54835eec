"""Environments, one or copies side by side, as all play here expects them."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode

from dmh_lib.errors import SettingError

OLD_GYM = "gym:"
"""What the id of an environment begins with that only Gymnasium's forerunner has: `gym:Maze-v0`."""

_log = logging.getLogger(__name__)


def make_one(env_id: str) -> gym.Env[Any, Any]:
    """An environment by its Gymnasium id, or by `gym:` and its id in the old gym, through Shimmy.

    Raises:
        SettingError: there is no such environment, or it lacks what it needs.
    """
    with _found(env_id) as spec:
        return gym.make(spec)


def make_copies(env_id: str, count: int, **kwargs: Any) -> gym.vector.SyncVectorEnv:
    """`count` copies in this process, each reset in the step in which its episode ends.

    Args:
        env_id: as `make_one` takes it.
        count: of copies.
        kwargs: of the environment.

    Raises:
        SettingError: there is no such environment, or it lacks what it needs.
    """
    same_step = {"autoreset_mode": AutoresetMode.SAME_STEP}
    with _found(env_id) as spec:
        env = gym.make_vec(spec, count, vectorization_mode="sync", vector_kwargs=same_step, **kwargs)
    assert isinstance(env, gym.vector.SyncVectorEnv)  # what was asked for
    return env


@contextmanager
def _found(env_id: str) -> Iterator[EnvSpec]:
    """How to make an environment; what fails in the meantime is said to be a fault of its id."""
    try:
        spec = _of_old_gym(env_id) if env_id.startswith(OLD_GYM) else gym.spec(env_id)
        if str(spec.entry_point).startswith("gymnasium.envs.mujoco"):
            _take_warnings()
        yield spec
    except gym.error.Error as error:
        raise SettingError(f"environment: {env_id} cannot be made ({error}); check its id") from error


def _of_old_gym(env_id: str) -> EnvSpec:
    try:
        import gym as old  # only for those who have such an environment
        import shimmy  # noqa: F401
    except ImportError as error:
        raise SettingError(
            f"environment: {env_id} needs the old gym and Shimmy ({error}); pip install 'dmh-lib[gym]'"
        ) from error
    name = env_id.removeprefix(OLD_GYM)
    try:
        limit = old.spec(name).max_episode_steps
    except old.error.Error as error:
        raise SettingError(f"environment: the old gym has no {name} ({error}); check its id") from error
    return EnvSpec(
        name,
        "shimmy.openai_gym_compatibility:GymV26CompatibilityV0",
        max_episode_steps=limit,
        # the old gym's own checker does not work with NumPy 2; Gymnasium's checks the same
        kwargs={"env_id": name, "make_kwargs": {"disable_env_checker": True}},
    )


def _take_warnings() -> None:
    """Let Python's log have MuJoCo's warnings, which else leave a MUJOCO_LOG.TXT wherever one works."""
    import mujoco  # only for those who have such an environment

    mujoco.set_mju_user_warning(_log.info)
