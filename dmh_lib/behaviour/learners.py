"""Learners of SBX (Stable-Baselines3 in JAX), and what of them is a policy, is kept, and is gone on with."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray

from dmh_lib.behaviour.config import BehaviourConfig, PPOConfig, SACConfig
from dmh_lib.behaviour.policy import GaussianPolicy
from dmh_lib.envs.copies import make_one
from dmh_lib.errors import SettingError

Arrays = dict[str, NDArray[Any]]


class PolicyLearner(ABC):
    """One of SBX's models.

    Args:
        config: its settings.
        kept: steps that a run which is gone on with has behind it.

    Attributes:
        model: SBX's.

    Raises:
        SettingError: no such environment, its actions have no bounds, or SBX is not installed.
    """

    model: Any

    def __init__(self, config: BehaviourConfig, kept: int = 0) -> None:
        env = make_one(config.env_id)
        if not isinstance(env.action_space, gym.spaces.Box) or not env.action_space.is_bounded():
            problem = f"has actions {env.action_space}, which have no bounds"
            raise SettingError(f"environment: {config.env_id} {problem}; take one with bounded actions")
        try:  # six seconds to import
            from stable_baselines3.common.vec_env import DummyVecEnv

            copies = DummyVecEnv([lambda: make_one(config.env_id)] * config.copies)
            self.model = self.make(config, copies, kept)
        except ImportError as error:
            raise SettingError("to learn policies: pip install -e '.[behaviour]'") from error
        self.hidden = config.hidden

    @abstractmethod
    def make(self, config: Any, env: Any, kept: int) -> Any:
        """The model for copies of an environment."""

    @abstractmethod
    def policy(self) -> GaussianPolicy:
        """The actor alone."""

    @abstractmethod
    def learned(self) -> dict[str, Any]:
        """Weights and moments, JAX's trees."""

    @abstractmethod
    def take_learned(self, trees: Mapping[str, Any]) -> None:
        """Put them back."""

    @abstractmethod
    def memory(self) -> Arrays:
        """What else there is to go on with."""

    @abstractmethod
    def take_memory(self, arrays: Arrays) -> None:
        """Put it back."""

    def _actor(self, *, squash: bool) -> GaussianPolicy:
        """A policy with the actor's layers; only one that squashes has a layer for the spread."""
        space, seen = self.model.action_space, self.model.observation_space.shape[0]
        policy = GaussianPolicy(seen, space.low, space.high, self.hidden, squash=squash)
        theirs = self.model.policy.actor_state.params["params"]
        layers = [policy.body[0], policy.body[2], policy.mu, *([policy.log_std] if squash else [])]
        for number, layer in enumerate(layers):
            kernel, bias = (np.array(theirs[f"Dense_{number}"][part]) for part in ("kernel", "bias"))
            layer.weight.data = torch.from_numpy(kernel.T.copy())  # JAX has (in, out)
            layer.bias.data = torch.from_numpy(bias)
        return policy


class SACLearner(PolicyLearner):
    """Soft actor-critic, whose memory holds all steps, or those from before where they are more."""

    _REPLAY = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")

    def make(self, config: SACConfig, env: Any, kept: int) -> Any:
        from sbx import SAC

        return SAC(
            "MlpPolicy",
            env,
            learning_rate=config.learning_rate,
            qf_learning_rate=config.critic_learning_rate,
            policy_delay=config.actor_every,
            buffer_size=max(config.steps, kept) + config.copies,
            learning_starts=config.random_steps,
            batch_size=config.batch_size,
            gradient_steps=config.updates,
            policy_kwargs={"net_arch": [config.hidden, config.hidden]},
            seed=config.seed,
        )

    def policy(self) -> GaussianPolicy:
        return self._actor(squash=True)

    def learned(self) -> dict[str, Any]:
        model = self.model
        states = {"actor": model.policy.actor_state, "critic": model.policy.qf_state}
        return {**states, "entropy": model.ent_coef_state}

    def take_learned(self, trees: Mapping[str, Any]) -> None:
        self.model.policy.actor_state, self.model.policy.qf_state = trees["actor"], trees["critic"]
        self.model.ent_coef_state = trees["entropy"]

    def memory(self) -> Arrays:
        buffer = self.model.replay_buffer
        have = buffer.buffer_size if buffer.full else buffer.pos
        return {name: getattr(buffer, name)[:have] for name in self._REPLAY}  # each (rounds, copies, …)

    def take_memory(self, arrays: Arrays) -> None:
        buffer, have = self.model.replay_buffer, len(arrays["rewards"])
        for name in self._REPLAY:
            getattr(buffer, name)[:have] = arrays[name]
        buffer.pos, buffer.full = have % buffer.buffer_size, have == buffer.buffer_size


class PPOLearner(PolicyLearner):
    """Proximal policy optimisation on observations and rewards in units of their running spread."""

    _MOMENTS = ("mean", "var", "count")

    def make(self, config: PPOConfig, env: Any, kept: int) -> Any:
        from sbx import PPO
        from stable_baselines3.common.vec_env import VecNormalize

        model = PPO(
            "MlpPolicy",
            VecNormalize(env),
            learning_rate=config.learning_rate,
            n_steps=config.rollout,
            batch_size=config.batch_size,
            n_epochs=config.epochs,
            policy_kwargs={"net_arch": [config.hidden, config.hidden]},
            seed=config.seed,
        )

        def rate(_: float) -> float:  # what SBX would tell is how far one call of `learn` is
            before = model.num_timesteps - config.rollout * config.copies  # but for the newest rollout
            return config.learning_rate * max(0.0, 1 - before / config.steps)

        model.lr_schedule = rate
        return model

    def policy(self) -> GaussianPolicy:
        policy, seen = self._actor(squash=False), self.model.get_vec_normalize_env()
        policy.log_std.weight.data.zero_()
        spread = self.model.policy.actor_state.params["params"]["log_std"]
        policy.log_std.bias.data = torch.tensor(np.asarray(spread))
        policy.obs_mean.copy_(torch.as_tensor(seen.obs_rms.mean))
        policy.obs_std.copy_(torch.as_tensor(np.sqrt(seen.obs_rms.var + seen.epsilon)))
        return policy

    def learned(self) -> dict[str, Any]:
        return {"actor": self.model.policy.actor_state, "critic": self.model.policy.vf_state}

    def take_learned(self, trees: Mapping[str, Any]) -> None:
        self.model.policy.actor_state, self.model.policy.vf_state = trees["actor"], trees["critic"]

    def memory(self) -> Arrays:
        env = self.model.get_vec_normalize_env()
        moments = {"observations": env.obs_rms, "returns": env.ret_rms}
        return {
            f"{name}.{part}": np.asarray(getattr(running, part), dtype=np.float64)
            for name, running in moments.items()
            for part in self._MOMENTS
        }

    def take_memory(self, arrays: Arrays) -> None:
        env = self.model.get_vec_normalize_env()
        for name, running in (("observations", env.obs_rms), ("returns", env.ret_rms)):
            for part in self._MOMENTS:
                value = arrays[f"{name}.{part}"]
                setattr(running, part, float(value) if part == "count" else value.copy())


LEARNERS: dict[str, type[PolicyLearner]] = {"sac": SACLearner, "ppo": PPOLearner}
