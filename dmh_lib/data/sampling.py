"""What every sampler of training batches shares: seeded draws that can be stored, batches that can move."""

from typing import Any, Protocol, Self

import numpy as np
import torch

from dmh_lib.errors import SettingError


class Batch:
    """Base of the dataclasses of tensors that one update needs, (B, …) each unless they say otherwise."""

    def to(self, device: torch.device | str) -> Self:
        """The batch on another device."""
        return type(self)(
            **{name: tensor.to(device, non_blocking=True) for name, tensor in vars(self).items()}
        )

    def part(self, number: int, parts: int) -> "Batch":
        """One of the parts of a batch, every so-manieth of it, for training with several processes.

        Raises SettingError where it has fewer rows than there are parts.
        """
        require_rows(len(next(iter(vars(self).values()))), parts)
        return type(self)(**{name: tensor[number::parts] for name, tensor in vars(self).items()})


def require_rows(rows: int, parts: int) -> None:
    """Raise SettingError unless a batch has a row for each of its parts."""
    if rows < parts:
        raise SettingError(
            f"batch_size: {rows} in a batch are too few for {parts} devices; take larger batches"
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
