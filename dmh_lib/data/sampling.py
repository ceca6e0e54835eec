"""What every sampler of training batches shares: seeded draws that can be stored, batches that can move."""

from typing import Any, Protocol, Self

import numpy as np
import torch


class Batch:
    """Base of the dataclasses of tensors that one update needs."""

    def to(self, device: torch.device | str) -> Self:
        """The batch on another device."""
        return type(self)(
            **{name: tensor.to(device, non_blocking=True) for name, tensor in vars(self).items()}
        )


class SeededDraws:
    """Reproducible draws whose state can be stored and taken up again."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)

    def state_dict(self) -> dict[str, Any]:
        """The random state, as plain JSON values."""
        return dict(self._rng.bit_generator.state)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue the draws from a stored state."""
        self._rng.bit_generator.state = state


class Sampler(Protocol):
    """Draws training batches, reproducibly."""

    def sample(self, batch_size: int) -> Batch:
        """Draw a batch."""

    def state_dict(self) -> dict[str, Any]:
        """The random state, as plain JSON values."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue the draws from a stored state."""
