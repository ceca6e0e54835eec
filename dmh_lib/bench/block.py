"""Benchmark of whole Mamba layers on CPUs, beside two other implementations with the same weights."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import ClassVar, Self

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from dmh_lib.mamba import Mamba
from dmh_lib.warm_up import warm_up

from .common import Check, Report, agreement, installed, not_installed, timed

COLUMNS = {"mamba": "", "forward_backward": "s", "ratio": "× ours", "runs": "", "note": ""}
REQUIRED = {"mambapy": 20.0, "transformers": 500.0}  # times faster, at the default settings


@dataclass(frozen=True)
class Settings:
    """How long do Mamba layers take to train on this CPU, forward and backward?"""

    name: ClassVar[str] = "block"
    batch: int = 8
    """Sequences."""
    length: int = 800
    """Time steps; transformers' time grows with their square, and takes minutes at 800."""
    d_model: int = 128
    """Width of the model."""
    layers: int = 2
    """Mamba layers, each with its norm and its residual."""

    @classmethod
    def quick(cls) -> Self:
        return cls(batch=1, length=20, d_model=16)


class Stack(nn.Module):
    """The same residual layers around anybody's mixer."""

    def __init__(self, settings: Settings, mixer: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.RMSNorm(settings.d_model, eps=1e-5) for _ in range(settings.layers))
        self.mixers = nn.ModuleList(mixer(settings.d_model) for _ in range(settings.layers))

    def forward(self, hidden: Tensor) -> Tensor:
        for norm, mixer in zip(self.norms, self.mixers, strict=True):
            hidden = hidden + mixer(norm(hidden))  # (B, L, d_model)
        return hidden


def ours(d_model: int) -> nn.Module:
    """This library's block."""
    return Mamba(d_model)


def mambapy(d_model: int) -> nn.Module:
    """mamba.py's block, with its parallel scan."""
    from mambapy.mamba import MambaBlock, MambaConfig

    return MambaBlock(MambaConfig(d_model=d_model, n_layers=1))


def transformers(d_model: int) -> nn.Module:
    """Hugging Face's mixer, as it runs without CUDA kernels: a loop over time."""
    from transformers import MambaConfig
    from transformers.models.mamba.modeling_mamba import MambaMixer
    from transformers.utils.logging import set_verbosity_error

    set_verbosity_error()  # that there are faster kernels for CUDA is known

    return MambaMixer(MambaConfig(hidden_size=d_model, num_hidden_layers=1), layer_idx=0)


MIXERS: dict[str, Callable[[int], nn.Module]] = {
    "ours": ours,
    "mambapy": mambapy,
    "transformers": transformers,
}


def make_stacks(settings: Settings, names: list[str]) -> dict[str, Stack]:
    """One stack for each name, all with the weights of ours, which comes first."""
    torch.manual_seed(0)
    stacks = {name: Stack(settings, MIXERS[name]) for name in names}
    for stack in stacks.values():
        stack.load_state_dict(stacks["ours"].state_dict())
    return stacks


def forward_backward(stack: Stack, hidden: Tensor, cotangent: Tensor) -> list[Tensor]:
    """The output (B, L, d_model) and the gradient of the input and of every parameter, by name."""
    out = stack(hidden)
    parameters = [parameter for _, parameter in sorted(stack.named_parameters())]
    return [out.detach(), *torch.autograd.grad(out, [hidden, *parameters], cotangent)]


def run(settings: Settings | None = None, *, progress: bool = False) -> Report:
    """Check on a small shape that all layers agree, then time them.

    Raises BenchmarkError where one does not agree.
    """
    settings = settings or Settings()
    warm_up()
    names = [name for name in MIXERS if name == "ours" or installed(name)]
    small = torch.randn(2, 30, 32, requires_grad=True)
    stacks = make_stacks(Settings(d_model=32), names)
    results = {name: forward_backward(stacks[name], small, torch.ones_like(small)) for name in names}
    checks = [agreement(name, results[name], results["ours"], at_most=1e-3) for name in names[1:]]
    stacks = make_stacks(settings, names)
    hidden = torch.randn(settings.batch, settings.length, settings.d_model, requires_grad=True)
    rows: list[dict[str, object]] = []
    base = 0.0
    for name in tqdm(names, desc="block", disable=not progress):
        timing = timed(partial(forward_backward, stacks[name], hidden, torch.ones_like(hidden)))
        base = base or timing.seconds
        ratio = timing.seconds / base
        rows.append({"mamba": name, "forward_backward": timing.seconds, "ratio": ratio, "runs": timing.runs})
        if name in REQUIRED and settings == Settings():
            checks.append(Check(f"times faster than {name}", ratio, at_least=REQUIRED[name]))
    rows += [{"mamba": name, "note": not_installed(name)} for name in MIXERS if name not in names]
    return Report("block", str(Settings.__doc__), asdict(settings), checks, COLUMNS, rows)
