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
LARGEST = 1e6  # of all weights, bounds and means; larger ones do not come about
MOST_SEEN = 10.0  # standard deviations that an observation is cut off at, Stable-Baselines3's


class GaussianPolicy(nn.Module):
    """Two hidden layers and a Gaussian, of which draws become actions.

    Args:
        obs_dim: numbers in an observation.
        low, high: (A,) bounds of the actions.
        hidden: units of each layer.
        squash: the tanh of a draw, put between the bounds, is the action, as in soft actor-critic (Haarnoja
            et al. 2018), whose units are rectified. Else the draw itself, cut off at the bounds, as in
            proximal policy optimisation (Schulman et al. 2017), whose units are tanh.
    """

    low: Tensor
    high: Tensor
    obs_mean: Tensor
    obs_std: Tensor

    def __init__(
        self, obs_dim: int, low: ArrayLike, high: ArrayLike, hidden: int = 256, *, squash: bool = True
    ) -> None:
        super().__init__()
        self.squash = squash
        bounds = [torch.as_tensor(np.asarray(bound, dtype=np.float32)) for bound in (low, high)]
        self.register_buffer("low", bounds[0])
        self.register_buffer("high", bounds[1])
        self.register_buffer("obs_mean", torch.zeros(obs_dim))
        self.register_buffer("obs_std", torch.ones(obs_dim))
        unit = nn.ReLU if squash else nn.Tanh
        self.body = nn.Sequential(nn.Linear(obs_dim, hidden), unit(), nn.Linear(hidden, hidden), unit())
        self.mu = nn.Linear(hidden, len(bounds[0]))
        self.log_std = nn.Linear(hidden, len(bounds[0]))

    def forward(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation of the Gaussian, (B, A) each, of observations (B, obs_dim)."""
        seen = (observations - self.obs_mean) / self.obs_std
        x = self.body(seen if self.squash else seen.clamp(-MOST_SEEN, MOST_SEEN))  # (B, hidden)
        return self.mu(x), self.log_std(x).clamp(*LOG_STD)

    @torch.inference_mode()
    def act(
        self, observations: NDArray[Any], generator: torch.Generator | None = None
    ) -> NDArray[np.float32]:
        """Actions (B, A) for observations (B, obs_dim): drawn, or the mean's without a generator."""
        mean, log_std = self(torch.as_tensor(observations, dtype=torch.float32))
        if generator is not None:
            mean = mean + log_std.exp() * torch.randn(mean.shape, generator=generator)
        if self.squash:
            chosen = self.low + (self.high - self.low) * (mean.tanh() + 1) / 2
        else:
            chosen = mean.clamp(self.low, self.high)
        actions: NDArray[np.float32] = chosen.numpy()
        return actions


def save_policy(policy: GaussianPolicy, path: str | os.PathLike[str], about: dict[str, Any]) -> None:
    """Write a policy as one safetensors file; `about` (plain JSON values) goes into its header."""
    with atomic_path(path) as temporary:
        tensors = {name: tensor.contiguous() for name, tensor in policy.state_dict().items()}
        save_file(tensors, temporary, metadata={"about": json.dumps({**about, "squash": policy.squash})})


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
        for name, tensor in tensors.items():
            if tensor.dtype != torch.float32 or not (tensor.abs() <= LARGEST).all():
                raise ValueError(f"{name}: must be float32, and no more than {LARGEST:g}")
        hidden, obs_dim = tensors["body.0.weight"].shape
        squash = bool(about["squash"])
        policy = GaussianPolicy(obs_dim, tensors["low"], tensors["high"], hidden, squash=squash)
        policy.load_state_dict(tensors)
    except (safetensors.SafetensorError, OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise CheckpointError(f"{file}: no policy, or broken ({error!r}); learn or copy it again") from error
    return policy.eval(), dict(about)
