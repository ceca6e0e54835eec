"""What training keeps beside the weights: groups of parameters, optimizer moments and random state."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist

from dmh_lib.errors import CheckpointError
from dmh_lib.models import ActionModel

SUMS = "log:sums"  # losses since the last log entry


def parameter_groups(model: ActionModel, weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay for matrices; none for biases, norms and what Mamba exempts (A, D)."""
    learned = [parameter for _, parameter in _learned(model)]
    decayed = [p.ndim >= 2 and not getattr(p, "_no_weight_decay", False) for p in learned]
    return [
        {
            "params": [p for p, yes in zip(learned, decayed, strict=True) if yes],
            "weight_decay": weight_decay,
        },
        {"params": [p for p, yes in zip(learned, decayed, strict=True) if not yes], "weight_decay": 0.0},
    ]


def _learned(model: ActionModel) -> Iterator[tuple[str, torch.nn.Parameter]]:
    return ((name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad)


def snapshot(model: ActionModel, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Optimizer moments and random state as named tensors, for safetensors."""
    tensors = {
        f"{name}:{key}": value.detach().cpu().contiguous()
        for name, parameter in _learned(model)
        for key, value in optimizer.state[parameter].items()
    }
    random = {"random:cpu": torch.get_rng_state()}
    if model.obs_mean.is_cuda:
        random["random:cuda"] = torch.cuda.get_rng_state(model.obs_mean.device)
    if model.noise is not None:
        random["random:noise"] = model.noise.get_state()
    return tensors | {name: _of_all(state, model.obs_mean.device) for name, state in random.items()}


def _of_all(state: Tensor, device: torch.device) -> Tensor:
    """A random state (n,), or those of all processes (P, n) where there are several."""
    if not dist.is_initialized():
        return state
    states = [torch.empty_like(state, device=device) for _ in range(dist.get_world_size())]
    dist.all_gather(states, state.to(device))
    return torch.stack(states).cpu()


def restore(
    model: ActionModel, optimizer: torch.optim.Optimizer, sums: Tensor, tensors: dict[str, Tensor]
) -> None:
    """Put back what `snapshot` took, and the losses since the last log entry."""
    try:
        for name, parameter in _learned(model):
            for key in ("step", "exp_avg", "exp_avg_sq"):
                value = tensors[f"{name}:{key}"]
                shape = () if key == "step" else parameter.shape
                if value.shape != shape or not value.is_floating_point():
                    kind = f"{value.dtype} {tuple(value.shape)}"
                    raise TypeError(f"'{name}:{key}' is {kind}, not numbers {tuple(shape)}")
                if key != "exp_avg" and value.numel() and value.min() < 0:
                    raise TypeError(f"'{name}:{key}' is negative")
                device = "cpu" if key == "step" and parameter.device.type == "cpu" else parameter.device
                optimizer.state[parameter][key] = value.to(device)
        sums.copy_(tensors[SUMS])
        rank = dist.get_rank() if dist.is_initialized() else ...
        # cloned, because PyTorch takes a state to begin where its storage does
        random = {name: state[rank].clone() for name, state in tensors.items() if name.startswith("random:")}
        torch.set_rng_state(random["random:cpu"])
        if model.obs_mean.is_cuda and "random:cuda" in random:
            torch.cuda.set_rng_state(random["random:cuda"], model.obs_mean.device)
        if model.noise is not None:
            model.noise.set_state(random["random:noise"])
    except (KeyError, IndexError, RuntimeError, TypeError) as error:
        raise CheckpointError(f"training state: {error}; resume from another checkpoint") from error
