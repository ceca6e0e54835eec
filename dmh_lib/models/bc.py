"""Behaviour cloning: the action of the data, from the current state and nothing else.

What D4RL's tables and DM-H's paper call BC, and BC-10% when it learns from the best tenth of the episodes.
Departs from them:

- The best share is taken of each task's episodes, so that every task is kept. D4RL's datasets have one task
  each, where it comes to the same.
- Choices are learned by cross-entropy and sampled in play; numbers by mean squared error, as there.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

from torch import Tensor, nn

from dmh_lib.data.pairs import PairBatch
from dmh_lib.errors import SettingError
from dmh_lib.models.base import ActionModel, ModelConfig, mean_over_processes


@dataclass(frozen=True)
class BCConfig(ModelConfig):
    """What behaviour cloning is built from, and which episodes it clones."""

    best_share: float = 1.0
    """Share of each task's episodes that is learned from, the best in return; 0.1 is BC-10%."""
    d_model: int = 256
    """Width of the hidden layers."""
    layers: int = 2
    """Hidden layers."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_at_least(1, "d_model")
        self._require_layers("layers")
        if not 0 < self.best_share <= 1:
            raise SettingError(f"best_share: a share above 0 and up to 1, got {self.best_share}")

    @property
    def label(self) -> str:
        """BC, or BC-10% and the like."""
        return "BC" if self.best_share == 1 else f"BC-{100 * self.best_share:g}%"

    @classmethod
    def small(cls, obs_dim: int, action_dim: int, **changes: Any) -> "BCConfig":
        """What a laptop trains in seconds: two hidden layers of 256, as is usual on D4RL's tasks."""
        return cls(obs_dim, action_dim, **changes)


class BCLoss(NamedTuple):
    """The loss of a batch, scalars."""

    total: Tensor
    """The action loss; nothing else is learned."""
    action: Tensor
    """Mean over the steps."""


class BC(ActionModel):
    """A multi-layer perceptron from state to action."""

    loss_names = BCLoss._fields
    config: BCConfig

    def __init__(self, config: BCConfig) -> None:
        super().__init__(config)
        widths = [config.seen_dim, *[config.d_model] * config.layers]
        hidden = [part for a, b in pairwise(widths) for part in (nn.Linear(a, b), nn.ReLU())]
        self.layers = nn.Sequential(*hidden, nn.Linear(config.d_model, config.action_dim))

    def predict(self, observations: Tensor) -> Tensor:
        """Logits or continuous actions (B, action_dim) for observations (B, obs_dim) in raw units."""
        return self.finish(self.layers(self.see(observations)))

    def forward(self, batch: PairBatch) -> BCLoss:
        """The loss of a batch."""
        predictions = self.predict(batch.observations)  # (B, A)
        errors = self.errors(predictions[:, None], batch.actions[:, None])  # (B, 1)
        action = errors.sum() / mean_over_processes(errors.new_tensor(errors.numel()))
        return BCLoss(action, action)
