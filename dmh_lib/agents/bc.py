"""Behaviour cloning at play: it remembers nothing."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dmh_lib.agents.protocol import PlayConfig, sample_actions
from dmh_lib.models import BC


class BCAgent:
    """Behaviour cloning at play; each action depends on the current observation alone.

    Args:
        model: what plays.
        play: how.

    Attributes:
        logits: (B, action_dim) of the last `act`: logits, or continuous actions.
    """

    def __init__(self, model: BC, play: PlayConfig | None = None) -> None:
        self.model, self.play = model, play or PlayConfig()
        self._device = model.obs_mean.device
        self._generator = torch.Generator(self._device)

    def begin(self, num_envs: int, seed: int | None = None) -> None:
        """Start `num_envs` lifetimes."""
        if seed is not None:
            self._generator.manual_seed(seed)
        self.model.eval()

    @torch.inference_mode()
    def act(self, observations: NDArray[Any]) -> NDArray[Any]:
        """Choose an action in every environment."""
        raw = torch.as_tensor(np.asarray(observations, dtype=np.float32), device=self._device)  # (B, obs_dim)
        self.logits = self.model.predict(raw)  # (B, A)
        if self.model.config.discrete:
            return sample_actions(self.logits, self.play.temperature, self._generator).cpu().numpy()
        return self.logits.cpu().numpy()

    def observe(
        self,
        rewards: NDArray[Any],
        terminations: NDArray[np.bool_],
        truncations: NDArray[np.bool_],
        actions: NDArray[Any] | None = None,
    ) -> None:
        """Nothing is learned from what comes."""

    def forget(self, rows: NDArray[np.bool_]) -> None:
        """There is nothing to forget."""
