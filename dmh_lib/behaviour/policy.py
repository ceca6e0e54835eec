"""A policy that draws bounded actions, and the file that it lives in."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from numpy.typing import ArrayLike, NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

from dmh_lib.errors import CheckpointError
from dmh_lib.files import atomic_path

LOG_STD = (-20.0, 2.0)  # limits of the log standard deviation, SAC's


class GaussianPolicy(nn.Module):
    """Two hidden layers, and the Gaussian whose tanh is the action (Haarnoja et al. 2018).

    Args:
        obs_dim: numbers in an observation.
        low, high: (A,) bounds of the actions.
        hidden: units of each layer.
    """

    low: Tensor
    high: Tensor

    def __init__(self, obs_dim: int, low: ArrayLike, high: ArrayLike, hidden: int = 256) -> None:
        super().__init__()
        bounds = [torch.as_tensor(np.asarray(bound, dtype=np.float32)) for bound in (low, high)]
        self.register_buffer("low", bounds[0])
        self.register_buffer("high", bounds[1])
        self.body = nn.Sequential(nn.Linear(obs_dim, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU())
        self.mu = nn.Linear(hidden, len(bounds[0]))
        self.log_std = nn.Linear(hidden, len(bounds[0]))

    def forward(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation before the tanh, (B, A) each, of observations (B, obs_dim)."""
        x = self.body(observations)  # (B, hidden)
        return self.mu(x), self.log_std(x).clamp(*LOG_STD)

    @torch.inference_mode()
    def act(
        self, observations: NDArray[Any], generator: torch.Generator | None = None
    ) -> NDArray[np.float32]:
        """Actions (B, A) for observations (B, obs_dim): drawn, or the mean's without a generator."""
        mean, log_std = self(torch.as_tensor(observations, dtype=torch.float32))
        if generator is not None:
            mean = mean + log_std.exp() * torch.randn(mean.shape, generator=generator)
        actions: NDArray[np.float32] = (self.low + (self.high - self.low) * (mean.tanh() + 1) / 2).numpy()
        return actions


def save_policy(policy: GaussianPolicy, path: str | os.PathLike[str], about: dict[str, Any]) -> None:
    """Write a policy as one safetensors file; `about` (plain JSON values) goes into its header."""
    with atomic_path(path) as temporary:
        tensors = {name: tensor.contiguous() for name, tensor in policy.state_dict().items()}
        save_file(tensors, temporary, metadata={"about": json.dumps(about)})


def load_policy(path: str | os.PathLike[str]) -> tuple[GaussianPolicy, dict[str, Any]]:
    """A policy, and what was noted about it.

    Raises CheckpointError, naming the file, when it is missing, broken or holds something else.
    """
    file = Path(path)
    if not file.is_file():
        raise CheckpointError(f"{file}: does not exist; learn policies with `dmh data behaviour`")
    try:
        with safetensors.safe_open(file, "pt") as opened:
            about = json.loads((opened.metadata() or {})["about"])
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        hidden, obs_dim = tensors["body.0.weight"].shape
        policy = GaussianPolicy(obs_dim, tensors["low"], tensors["high"], hidden)
        policy.load_state_dict(tensors)
    except (safetensors.SafetensorError, OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise CheckpointError(f"{file}: no policy, or broken ({error!r}); learn or copy it again") from error
    return policy.eval(), dict(about)
