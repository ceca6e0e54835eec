"""Benchmark of the selective scan on CPUs: time and memory, forward and backward."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm.auto import tqdm

from dmh_lib.mamba.scan_numba import selective_scan_numba
from dmh_lib.mamba.scan_torch import selective_scan_torch
from dmh_lib.warm_up import warm_up

from .common import (
    MIB,
    Check,
    Report,
    agreement,
    installed,
    not_installed,
    num_bytes,
    peak_memory,
    timed,
)

COLUMNS = {
    "scan": "",
    "forward": "ms",
    "forward_backward": "ms",
    "ratio": "× fused",
    "runs": "",
    "added_memory": "MiB",
    "note": "",
}


@dataclass(frozen=True)
class Settings:
    """How fast is the fused selective scan on this CPU, and how much memory does it take?"""

    name: ClassVar[str] = "scan"
    batch: int = 8
    """Sequences."""
    length: int = 800
    """Time steps L."""
    channels: int = 256
    """Channels D."""
    states: int = 16
    """Numbers of state N of each channel."""

    @classmethod
    def quick(cls) -> Self:
        return cls(batch=1, length=40, channels=16, states=4)


def fused(*inputs: Tensor) -> Tensor:
    """The kernels of this library."""
    return selective_scan_numba(*inputs, delta_softplus=True)[0]  # type: ignore[misc, arg-type]


def reference(*inputs: Tensor) -> Tensor:
    """Its plain PyTorch definition."""
    return selective_scan_torch(*inputs, delta_softplus=True)[0]  # type: ignore[misc, arg-type]


def mambapy(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, z: Tensor, bias: Tensor
) -> Tensor:
    """mamba.py's parallel scan, with what its block does around it."""
    from mambapy.pscan import pscan

    step = F.softplus(delta + bias[:, None]).mT  # (B, L, D)
    decay = torch.exp(step.unsqueeze(-1) * A)  # (B, L, D, N)
    drive = (step * u.mT).unsqueeze(-1) * B.mT.unsqueeze(2)  # (B, L, D, N)
    y = (pscan(decay, drive) @ C.mT.unsqueeze(-1)).squeeze(-1).mT  # (B, D, L)
    return (y + D[:, None] * u) * F.silu(z)


SCANS: dict[str, Callable[..., Tensor]] = {"fused": fused, "reference": reference, "mambapy": mambapy}


def make_inputs(settings: Settings) -> list[Tensor]:
    """u, delta (B, D, L); A (D, N); B, C (B, N, L); D (D,); z (B, D, L); bias (D,)."""
    torch.manual_seed(0)
    batch, length, channels, states = settings.batch, settings.length, settings.channels, settings.states
    wide = [torch.randn(batch, channels, length) for _ in range(3)]  # u, delta, z
    narrow = [torch.randn(batch, states, length) for _ in range(2)]  # B, C
    rates = -torch.arange(1.0, states + 1).repeat(channels, 1)  # A (D, N)
    inputs = [wide[0], wide[1], rates, *narrow, torch.ones(channels), wide[2], torch.full((channels,), -2.0)]
    return [x.requires_grad_() for x in inputs]


def forward_backward(name: str, inputs: list[Tensor], cotangent: Tensor) -> list[Tensor]:
    """out and the gradient of every input."""
    out = SCANS[name](*inputs)
    return [out.detach(), *torch.autograd.grad(out, inputs, cotangent)]


def run(settings: Settings | None = None, *, progress: bool = False) -> Report:
    """Check that all scans agree, then time them and measure their memory.

    Raises BenchmarkError where one does not agree.
    """
    settings = settings or Settings()
    warm_up()
    names = [name for name in SCANS if name != "mambapy" or installed(name)]
    small = make_inputs(Settings(batch=2, length=50, channels=24, states=settings.states))
    expected = forward_backward("reference", small, torch.ones_like(small[0]))
    checks = [
        agreement(name, forward_backward(name, small, torch.ones_like(small[0])), expected, at_most=1e-4)
        for name in names
        if name != "reference"
    ]
    inputs = make_inputs(settings)
    cotangent = torch.randn_like(inputs[0])
    rows: list[dict[str, object]] = []
    base = 0.0
    for name in tqdm(names, desc="scan", disable=not progress):
        forward = timed(partial(SCANS[name], *inputs))
        both = timed(partial(forward_backward, name, inputs, cotangent))
        base = base or both.seconds
        added = peak_memory(partial(_memory_case, name, settings))
        rows.append(
            {
                "scan": name,
                "forward": 1e3 * forward.seconds,
                "forward_backward": 1e3 * both.seconds,
                "ratio": both.seconds / base,
                "runs": both.runs,
                "added_memory": None if added is None else added / MIB,
            }
        )
        if name == "mambapy" and settings == Settings():
            checks.append(Check("times faster than mambapy", both.seconds / base, at_least=50))
        if name == "fused" and added is not None and settings == Settings():
            needed = num_bytes([*inputs, inputs[0]])  # out is as large as u
            what = "memory of fused with its inputs, over inputs and output"
            checks.append(Check(what, (added + num_bytes([*inputs, cotangent])) / needed, at_most=3))
    if "mambapy" not in names:
        rows.append({"scan": "mambapy", "note": not_installed("mambapy")})
    return Report("scan", str(Settings.__doc__), asdict(settings), checks, COLUMNS, rows)


def _memory_case(name: str, settings: Settings) -> Callable[[], list[Tensor]]:
    """For a fresh process: everything once on few steps, then the call on all of them."""
    small = make_inputs(Settings(1, 2, settings.channels, settings.states))
    forward_backward(name, small, torch.ones_like(small[0]))
    inputs = make_inputs(settings)
    return partial(forward_backward, name, inputs, torch.randn_like(inputs[0]))
