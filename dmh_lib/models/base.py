"""What all models that predict actions share: their settings, the units of the data, the loss per step."""

import math
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn import functional as F
from tyro.conf import Suppress  # the command line takes these from the data

from dmh_lib.data.trajectories import Trajectories
from dmh_lib.errors import SettingError

MOST_LAYERS, MOST_WAVES = 128, 16  # bounds for settings that come with a stranger's checkpoint
LONGEST_WAVE = 4 * 3**0.5  # in standard deviations, twice the width of what is spread evenly
Tokens = Literal["fused", "paper"]


@dataclass(frozen=True)
class ModelConfig:
    """What a model is built from; stored as JSON beside the weights."""

    obs_dim: Suppress[int]
    """Numbers in an observation."""
    action_dim: Suppress[int]
    """Number of actions when discrete, else numbers in an action."""
    discrete: Suppress[bool] = True
    """Whether actions are choices (cross-entropy) or numbers (mean squared error)."""
    state_waves: int = 0
    """Beyond the papers: sines and cosines of every number in a state, at so many wavelengths, stand beside
    it. The longest is twice the width of the data, each other half of one; they tell near places of a large
    room apart."""

    def __post_init__(self) -> None:
        self._require_at_least(1, "obs_dim", "action_dim")
        if not 0 <= self.state_waves <= MOST_WAVES:
            raise SettingError(f"state_waves: must be 0 to {MOST_WAVES}, got {self.state_waves}")

    @property
    def seen_dim(self) -> int:
        """Numbers in a state as the modules see it."""
        return self.obs_dim * (1 + 2 * self.state_waves)

    @property
    def wants_target(self) -> bool:
        """Whether the model is told in play which return to aim at."""
        return False

    def to_dict(self) -> dict[str, Any]:
        """The settings as they are stored in JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Self:
        """Settings read back from JSON; raises SettingError for an unknown or missing field."""
        unknown = set(stored) - {entry.name for entry in fields(cls)}
        if unknown:
            raise SettingError(f"{min(unknown)}: not a setting of this version of {cls.__name__}")
        try:
            return cls(**stored)
        except TypeError as error:
            raise SettingError(f"{cls.__name__}: {error}") from error

    def _require_at_least(self, least: int, *names: str) -> None:
        for name in names:
            if getattr(self, name) < least:
                raise SettingError(f"{name}: must be at least {least}, got {getattr(self, name)}")

    def _require_layers(self, *names: str) -> None:
        for name in names:
            if not 1 <= getattr(self, name) <= MOST_LAYERS:
                raise SettingError(f"{name}: must be 1 to {MOST_LAYERS}, got {getattr(self, name)}")


def require_transformer(width: int, heads: int, dropout: float) -> None:
    """Raise SettingError unless a transformer of this width can have these heads and this dropout."""
    if not 0 <= dropout < 1:
        raise SettingError(f"dropout: a share below 1, got {dropout}")
    if heads < 1:
        raise SettingError(f"heads: must be at least 1, got {heads}")
    if width % heads:
        raise SettingError(f"heads: {heads} does not divide d_model {width}")


def action_embedding(config: ModelConfig, width: int) -> nn.Module:
    """Actions (…) or (…, action_dim) → (…, width)."""
    return nn.Embedding(config.action_dim, width) if config.discrete else nn.Linear(config.action_dim, width)


def with_waves(states: Tensor, count: int) -> Tensor:
    """Normalised states (…, O) and behind them their sines and cosines at `count` wavelengths.

    Each number x becomes x, sin(2ⁱ k x) and cos(2ⁱ k x), i = 0 … count - 1, k = 2 π / `LONGEST_WAVE`: the
    features of Tancik et al. (2020), at wavelengths that halve. Gives (…, O (1 + 2 count)).
    """
    if count == 0:
        return states
    waves = 2 * math.pi / LONGEST_WAVE * 2.0 ** torch.arange(count, device=states.device)  # (count,)
    angles = (states[..., None] * waves).flatten(-2)  # (…, O count)
    return torch.cat([states, angles.sin(), angles.cos()], dim=-1)


def mean_over_processes(count: Tensor) -> Tensor:
    """What all processes count, over their number; `count` itself where there is one process.

    A process whose loss is its sum over this has gradients whose mean over all processes, which is what each
    of them gets, is the gradient of the whole batch's mean loss: (1/P) Σₚ ∇Σₚ / (N/P) = ∇Σ / N.
    """
    if not dist.is_initialized():
        return count
    total = count.clone()
    dist.all_reduce(total)
    return total / dist.get_world_size()


class ActionModel(nn.Module):
    """A model that predicts actions and learns from a batch: `forward` gives a tuple of scalar losses.

    It owns the normalisation of observations and actions, so that a checkpoint plays as it trained.
    """

    loss_names: ClassVar[tuple[str, ...]]
    """Names of the losses that `forward` gives, `total` first."""
    config: ModelConfig
    obs_mean: Tensor
    obs_std: Tensor
    action_scale: Tensor
    noise: torch.Generator | None = None
    """What draws the noise of sub-goals in training; None for PyTorch's own."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("obs_mean", torch.zeros(config.obs_dim))
        self.register_buffer("obs_std", torch.ones(config.obs_dim))
        self.register_buffer("action_scale", torch.ones(1 if config.discrete else config.action_dim))

    def fit_normalisation(self, trajectories: Trajectories) -> None:
        """Take mean and spread of the observations, and the range of continuous actions, from the data."""
        observations = trajectories.observations
        self.obs_mean.copy_(torch.from_numpy(observations.mean(0, dtype="float64")))
        self.obs_std.copy_(torch.from_numpy(observations.std(0, dtype="float64")).clamp(min=1e-3))
        if not self.config.discrete:
            self.action_scale.copy_(torch.from_numpy(abs(trajectories.actions).max(0)).clamp(min=1e-3))

    def normalise(self, observations: Tensor) -> Tensor:
        """Observations (…, obs_dim) in units of the data's mean and spread."""
        return (observations - self.obs_mean) / self.obs_std

    def see(self, observations: Tensor) -> Tensor:
        """Observations (…, obs_dim) as the modules see them, (…, seen_dim)."""
        return with_waves(self.normalise(observations), self.config.state_waves)

    def scale_actions(self, actions: Tensor) -> Tensor:
        """Actions as the modules see them: choices as they are, numbers in units of their range."""
        return actions if self.config.discrete else actions / self.action_scale

    def finish(self, outputs: Tensor) -> Tensor:
        """The head's outputs as logits, or as actions within the range of the data."""
        return outputs if self.config.discrete else outputs.tanh() * self.action_scale

    def errors(self, predictions: Tensor, actions: Tensor) -> Tensor:
        """Cross-entropy, or squared error in units of the action range, per step (S, c)."""
        if self.config.discrete:
            return F.cross_entropy(predictions.flatten(0, 1), actions.flatten(), reduction="none").view_as(
                actions
            )
        return ((predictions - actions) / self.action_scale).square().mean(-1)
