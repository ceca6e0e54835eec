"""Dropout that costs little on CPUs.

PyTorch's draws its random numbers on one thread and one by one, which takes longer than the matrix products
around it. Here number i is kept or dropped by a hash of i and one random key of the call: any thread can
compute it, and the backward pass computes it again instead of storing it.
"""

# mypy: allow-untyped-defs
# Numba infers the types inside kernels.

from functools import cache
from typing import Any

import numba
import numpy as np
import torch
from numba import types
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from dmh_lib.mamba.kernels import compile_kernel, threads

_BLOCK = 2**14  # numbers that one task treats


def dropout(x: Tensor, share: float, *, training: bool) -> Tensor:
    """`torch.nn.functional.dropout`: zero a share of the numbers and scale up the others."""
    if not training or share == 0:
        return x
    if _kernel_serves(x):
        return _HashedDropout.apply(x, None, share)
    return F.dropout(x, share)


def add_dropped(residual: Tensor, x: Tensor, share: float, *, training: bool) -> Tensor:
    """residual + dropout(x), in one pass over memory where the kernel serves."""
    if not training or share == 0:
        return residual + x
    if _kernel_serves(x) and _kernel_serves(residual):
        return _HashedDropout.apply(x, residual, share)
    return residual + F.dropout(x, share)


def _kernel_serves(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype == torch.float32


class _HashedDropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, residual: Tensor | None, share: float) -> Tensor:
        ctx.has_residual, ctx.share = residual is not None, share
        ctx.key = int(torch.empty((), dtype=torch.int64).random_(2**32))
        return _dropped(x, residual, ctx.key, share)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor | None, ...]:
        return _dropped(dout, None, ctx.key, ctx.share), dout if ctx.has_residual else None, None


def _dropped(x: Tensor, residual: Tensor | None, key: int, share: float) -> Tensor:
    x = x.contiguous()
    out = torch.empty_like(x)
    flat = x.detach().view(-1).numpy()
    added = flat if residual is None else residual.detach().contiguous().view(-1).numpy()
    with threads(x.numel()):
        drop_kernel()(
            flat,
            added,
            residual is not None,
            out.view(-1).numpy(),
            np.uint32(key),
            np.uint32(share * 2**32),
            np.float32(1 / (1 - share)),
        )
    return out


@numba.njit(inline="always")
def _hash(index, key):
    """32 well-mixed bits (the finaliser of Wellons' lowbias32). The casts keep the arithmetic in 32 bits."""
    h = np.uint32(index ^ key)
    h = np.uint32(h ^ np.uint32(h >> np.uint32(16)))
    h = np.uint32(h * np.uint32(0x7FEB352D))
    h = np.uint32(h ^ np.uint32(h >> np.uint32(15)))
    h = np.uint32(h * np.uint32(0x846CA68B))
    return np.uint32(h ^ np.uint32(h >> np.uint32(16)))


def _drop(x, residual, add, out, key, threshold, scale):
    """x, residual, out (M,); a number is dropped where its hash lies below `threshold`."""
    zero = np.float32(0.0)
    for block in numba.prange(-(-x.size // _BLOCK)):
        first = block * _BLOCK
        end = min(x.size, first + _BLOCK)
        source, target, added = x[first:end], out[first:end], residual[first:end]
        start = np.uint32(first)
        if add:
            for i in range(end - first):
                kept = _hash(np.uint32(start + np.uint32(i)), key) >= threshold
                target[i] = added[i] + (source[i] * scale if kept else zero)
        else:
            for i in range(end - first):
                kept = _hash(np.uint32(start + np.uint32(i)), key) >= threshold
                target[i] = source[i] * scale if kept else zero


@cache
def drop_kernel() -> Any:
    """The compiled `_drop`; the first call in a process compiles it or reads it from Numba's cache."""
    flat = types.Array(types.float32, 1, "C")
    numbers = (types.uint32, types.uint32, types.float32)
    return compile_kernel(_drop, flat, flat, types.boolean, flat, *numbers)
