"""What every agent offers, and how a trained model plays."""

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dmh_lib.errors import CheckpointError, SettingError


class Agent(Protocol):
    """Plays B environments and learns within its context: `begin`, then `act` and `observe` in turn."""

    def begin(self, num_envs: int, seed: int | None = None) -> None:
        """Start B lifetimes with an empty memory; `seed` makes the actions reproducible."""

    def act(self, observations: NDArray[Any]) -> NDArray[Any]:
        """Actions for observations (B, obs_dim): (B,) int64 or (B, act_dim) float32."""

    def observe(
        self,
        rewards: NDArray[Any],
        terminations: NDArray[np.bool_],
        truncations: NDArray[np.bool_],
        actions: NDArray[Any] | None = None,
    ) -> None:
        """What the last actions brought, (B,) each; `actions` (B, …) where others were taken than chosen."""

    def forget(self, rows: NDArray[np.bool_]) -> None:
        """Empty the memory of the environments marked in `rows` (B,), at the start of an episode."""


@dataclass(frozen=True)
class PlayConfig:
    """How a trained model plays."""

    temperature: float = 1.0
    """Of the sampled discrete actions; 0 takes the likeliest, which cannot explore."""
    target_return: float = 0.0
    """What to aim at, in raw units; only for models that use the return-to-go."""

    def __post_init__(self) -> None:
        if not self.temperature >= 0:
            raise SettingError(f"temperature: must be 0 or more, got {self.temperature}")
        for name in ("temperature", "target_return"):
            if not math.isfinite(getattr(self, name)):
                raise SettingError(f"{name}: must be finite, got {getattr(self, name)}")


def sample_actions(logits: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    """One action per row of logits (B, A), (B,) int64; temperature 0 takes the likeliest."""
    if temperature == 0:
        return logits.argmax(-1)
    chances = (logits / temperature).softmax(-1)
    try:
        return torch.multinomial(chances, 1, generator=generator)[:, 0]
    except RuntimeError as error:  # in place of a check of each step
        problem = f"its outputs are no chances ({error})"
        raise CheckpointError(f"model: {problem}; take a checkpoint with smaller weights") from error


def as_actions(actions: NDArray[Any], like: Tensor) -> Tensor:
    """Actions that were taken, (B, …), as a tensor like those that were chosen; raises SettingError unless
    there are as many."""
    taken = torch.as_tensor(np.asarray(actions), dtype=like.dtype, device=like.device)
    if taken.shape != like.shape:
        raise SettingError(f"actions: expected shape {tuple(like.shape)}, got {tuple(taken.shape)}")
    return taken
