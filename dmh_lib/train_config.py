"""How a model is trained: the settings of the training loop."""

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

from dmh_lib.errors import SettingError, require_choice

Schedule = Literal["cosine", "constant"]
Precision = Literal["32-true", "bf16-mixed"]


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained; the defaults are those of the walkthrough."""

    updates: int = 2000
    """Gradient steps."""
    batch_size: int = 64
    """Contexts (DM-H) or windows (all others) per update."""
    learning_rate: float = 3e-3
    """Peak learning rate of AdamW."""
    weight_decay: float = 1e-2
    """Of AdamW, on matrices only."""
    warmup: int = 100
    """Updates over which the learning rate rises."""
    schedule: Schedule = "cosine"
    """What the learning rate does after the warm-up."""
    clip: float = 1.0
    """Largest norm of the gradient."""
    seed: int = 0
    """Of the initial weights, the batches and the noise of sub-goals and dropout."""
    log_every: int = 10
    """Updates between log entries, each the mean of what lies between."""
    checkpoint_every: int = 500
    """Updates between checkpoints."""
    precision: Precision = "32-true"
    """Number format; bf16-mixed pays on GPUs."""

    def __post_init__(self) -> None:
        require_choice("schedule", self.schedule, get_args(Schedule))
        require_choice("precision", self.precision, get_args(Precision))
        for name in ("updates", "batch_size", "log_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise SettingError(f"{name}: must be at least 1, got {getattr(self, name)}")
        if self.seed < 0:
            raise SettingError(f"seed: must be 0 or more, got {self.seed}")
        if not self.learning_rate > 0:
            raise SettingError(f"learning_rate: must be positive, got {self.learning_rate}")

    @classmethod
    def paper(cls, **changes: Any) -> "TrainConfig":
        """The paper's settings; its warm-up is as long as its training."""
        settings: dict[str, Any] = {
            "updates": 100_000,
            "batch_size": 128,
            "learning_rate": 1e-4,
            "weight_decay": 1e-4,
            "warmup": 100_000,
            "schedule": "constant",
            "clip": 0.25,
            "log_every": 100,
            "checkpoint_every": 5000,
        }
        return cls(**(settings | changes))

    def rate(self, step: int) -> float:
        """Learning rate of the update after `step` updates."""
        warm = min(1.0, (step + 1) / max(1, self.warmup))
        if self.schedule == "constant":
            return self.learning_rate * warm
        return self.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * step / self.updates))
