"""How behaviour policies are learned."""

from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Literal, get_args

from dmh_lib.errors import SettingError, require_choice

ENVIRONMENTS = {"hopper": "Hopper-v5", "halfcheetah": "HalfCheetah-v5", "walker2d": "Walker2d-v5"}
Learner = Literal["ppo", "sac"]
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
    """What every behaviour policy is learned with."""

    learner: ClassVar[Learner]
    env: str = "hopper"
    """hopper, halfcheetah, walker2d, or the id of another Gymnasium environment with bounded actions."""
    steps: int = 1_000_000
    """Of the environment, in all its copies."""
    seed: int = 0
    hidden: int = 64
    """Units of each of two layers."""
    copies: int = 8
    """Of the environment, side by side."""
    batch_size: int = 64
    save_every: int = 10_000
    """Steps from checkpoint to checkpoint; each is judged and its policy kept."""
    judged_episodes: int = 10
    """For each point of the curve, with drawn actions."""

    def __post_init__(self) -> None:
        for entry in fields(self):
            value = getattr(self, entry.name)
            if entry.name not in ("env", "seed") and not value > 0:
                raise SettingError(f"{entry.name}: must be above 0, got {value}")

    @property
    def env_id(self) -> str:
        """The Gymnasium id."""
        return ENVIRONMENTS.get(self.env, self.env)

    def to_dict(self) -> dict[str, Any]:
        """All settings as JSON."""
        return {"learner": self.learner, **asdict(self)}


@dataclass(frozen=True)
class PPOConfig(BehaviourConfig):
    """Proximal policy optimisation as CleanRL sets it, quick where falling ends an episode."""

    learner = "ppo"
    rollout: int = 256
    """Steps of each copy between updates."""
    epochs: int = 10
    """Passes over each rollout."""
    learning_rate: float = 3e-4
    """At first; it falls to 0 by the last step."""


@dataclass(frozen=True)
class SACConfig(BehaviourConfig):
    """Soft actor-critic as CleanRL sets it, in half its updates; quick in HalfCheetah, which cannot fall."""

    learner = "sac"
    env: str = "halfcheetah"
    steps: int = 300_000
    hidden: int = 256
    batch_size: int = 256
    updates: int = 4
    """After each step of all copies."""
    actor_every: int = 2
    """Updates of the critics for one of the actor."""
    learning_rate: float = 3e-4
    """Of the actor and the entropy's weight."""
    critic_learning_rate: float = 1e-3
    random_steps: int = 5_000
    """With random actions, before the first update."""
