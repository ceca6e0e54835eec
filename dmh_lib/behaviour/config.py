"""How behaviour policies are learned."""

from dataclasses import dataclass
from typing import Literal

from dmh_lib.errors import SettingError

ENVIRONMENTS = {"hopper": "Hopper-v5", "halfcheetah": "HalfCheetah-v5", "walker2d": "Walker2d-v5"}
Kind = Literal["medium", "medium-replay", "medium-expert", "expert"]


@dataclass(frozen=True)
class BehaviourConfig:
    """How a behaviour policy is learned; SAC's usual settings for MuJoCo, but for half as many updates."""

    env: str = "hopper"
    """hopper, halfcheetah, walker2d, or the id of another Gymnasium environment with bounded actions."""
    steps: int = 600_000
    """Of the environment, in all its copies."""
    seed: int = 0
    hidden: int = 256
    """Units of each of two layers."""
    copies: int = 8
    """Of the environment, side by side."""
    updates: int = 4
    """After each step of all copies."""
    batch_size: int = 256
    learning_rate: float = 3e-4
    random_steps: int = 5_000
    """With random actions, before the first update."""
    save_every: int = 10_000
    """Steps from checkpoint to checkpoint; each is judged and its policy kept."""
    judged_episodes: int = 10
    """For each point of the curve, with the mean action."""

    def __post_init__(self) -> None:
        for name in ("steps", "hidden", "copies", "updates", "batch_size", "save_every", "judged_episodes"):
            if getattr(self, name) < 1:
                raise SettingError(f"{name}: must be at least 1, got {getattr(self, name)}")
        for name in ("steps", "save_every"):
            if getattr(self, name) % self.copies:
                problem = f"must be a multiple of copies ({self.copies}), got {getattr(self, name)}"
                raise SettingError(f"{name}: {problem}")

    @property
    def env_id(self) -> str:
        return ENVIRONMENTS.get(self.env, self.env)
