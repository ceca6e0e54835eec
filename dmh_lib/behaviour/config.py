"""How behaviour policies are learned."""

from dataclasses import dataclass
from typing import Literal, get_args

from dmh_lib.errors import SettingError, require_choice

ENVIRONMENTS = {"hopper": "Hopper-v5", "halfcheetah": "HalfCheetah-v5", "walker2d": "Walker2d-v5"}
Kind = Literal["medium", "medium-replay", "medium-expert", "expert"]
MIXED: tuple[Kind, ...] = ("medium", "medium-replay", "medium-expert")
"""The kinds that papers compare on."""


@dataclass(frozen=True)
class Mixture:
    """Which policies a dataset is of, and how large it is."""

    kind: Kind = "medium"
    """medium: one of D4RL's score 40; expert: the best; medium-replay: all up to the medium one."""
    steps: int = 1_000_000
    """At least; an episode that has begun is brought to its end."""
    seed: int = 0

    def __post_init__(self) -> None:
        require_choice("kind", self.kind, get_args(Kind))
        if self.steps < 1:
            raise SettingError(f"steps: must be at least 1, got {self.steps}")


@dataclass(frozen=True)
class BehaviourConfig:
    """How a behaviour policy is learned: soft actor-critic as CleanRL sets it, with half the updates."""

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
    """Of the actor and the entropy's weight."""
    critic_learning_rate: float = 1e-3
    actor_every: int = 2
    """Updates of the critics for one of the actor."""
    random_steps: int = 5_000
    """With random actions, before the first update."""
    save_every: int = 10_000
    """Steps from checkpoint to checkpoint; each is judged and its policy kept."""
    judged_episodes: int = 10
    """For each point of the curve, with the mean action."""

    def __post_init__(self) -> None:
        sizes = ("steps", "hidden", "copies", "updates", "actor_every", "batch_size", "save_every")
        for name in (*sizes, "judged_episodes"):
            if getattr(self, name) < 1:
                raise SettingError(f"{name}: must be at least 1, got {getattr(self, name)}")
        for name in ("steps", "save_every"):
            if getattr(self, name) % self.copies:
                problem = f"must be a multiple of copies ({self.copies}), got {getattr(self, name)}"
                raise SettingError(f"{name}: {problem}")

    @property
    def env_id(self) -> str:
        return ENVIRONMENTS.get(self.env, self.env)
