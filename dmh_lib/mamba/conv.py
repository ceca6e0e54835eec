"""Mamba's short convolution: depthwise, causal, followed by SiLU; channel-last and fused on CPUs.

PyTorch's depthwise convolution on CPUs takes several times longer than the scan itself, and wants the other
memory layout than the linear layers around it. The kernels here read channel-last data where it lies.
"""

# mypy: allow-untyped-defs
# Numba infers the types inside kernels.

from functools import cache
from typing import Any

import numba
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from .kernels import SEGMENT, arrays, as_array, compile_kernel, gather, scatter, threads
from .lanes import WIDTH, load, sigmoid, store


def causal_conv(x: Tensor, weight: Tensor, bias: Tensor | None, *, fused: bool = True) -> Tensor:
    """`causal_conv_torch` by the fastest kernel that can run where x is, or by itself without `fused`."""
    if fused and x.dtype != torch.float64:
        if x.device.type == "cpu":
            return causal_conv_numba(x, weight, bias)
        if x.device.type == "cuda" and 2 <= weight.shape[2] <= 4 and _cuda_kernel_installed():
            from causal_conv1d import causal_conv1d_fn

            y = causal_conv1d_fn(
                x.transpose(1, 2).contiguous(), weight[:, 0], bias, activation="silu"
            )  # (B, D, L)
            return y.transpose(1, 2)
    return causal_conv_torch(x, weight, bias)


@cache
def _cuda_kernel_installed() -> bool:
    """Whether causal-conv1d can be imported; a broken build counts as absent."""
    try:
        import causal_conv1d  # noqa: F401
    except (ImportError, OSError):
        return False
    return True


def causal_conv_torch(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """silu(bias + Σ_k weight[:, 0, k] x_{t - (K - 1) + k}), with zeros before the first step.

    x (B, L, D), weight (D, 1, K), bias (D,) -> (B, L, D). Any device, any dtype.
    """
    length, channels = x.shape[1:]
    padding = weight.shape[2] - 1
    y = F.conv1d(x.transpose(1, 2), weight, bias, padding=padding, groups=channels)  # (B, D, L + K - 1)
    return F.silu(y[..., :length]).transpose(1, 2)  # (B, L, D)


def causal_conv_numba(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Like `causal_conv_torch` for tensors on the CPU, computed in float32 whatever their dtype.

    x is read, and the result written, in float32 or bfloat16 as it is; other dtypes are converted."""
    w = weight[:, 0].float()  # (D, K)
    b = w.new_zeros(w.shape[0]) if bias is None else bias.float()
    wide = x if x.dtype == torch.bfloat16 else x.float()
    return _FusedConv.apply(wide, w, b).to(x.dtype)


class _FusedConv(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight, bias)
        return run_forward(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        dx = dout.new_empty(dout.shape)  # (B, L, D)
        x, weight, bias = ctx.saved_tensors
        return dx, *run_backward(x, weight, bias, dout, dx)


def run_forward(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Call the forward kernel: x (B, L, D) float32 or bfloat16, weight (D, K), bias (D,)."""
    out = x.new_empty(x.shape)  # (B, L, D), channel-last whatever x is
    with threads(x.numel()):
        forward_kernel(x.dtype == torch.bfloat16)(*map(as_array, (x, weight, bias, out)))
    return out


def run_backward(x: Tensor, weight: Tensor, bias: Tensor, dout: Tensor, dx: Tensor) -> tuple[Tensor, Tensor]:
    """Call the backward kernel: fills dx (B, L, D), of any strides; the gradients of weight and bias."""
    dweight = weight.new_empty(x.shape[0], *weight.shape)  # (B, D, K)
    dbias = weight.new_empty(x.shape[0], *bias.shape)  # (B, D)
    with threads(x.numel()):
        backward_kernel(x.dtype == torch.bfloat16)(
            *map(as_array, (x, weight, bias, dout, dx, dweight, dbias))
        )
    return dweight.sum(0), dbias.sum(0)


@numba.njit
def _gather_weights(taps, weight, bias, c0, c1):
    """weight (D, K), bias (D,), channels c0..c1 -> taps ((K + 1) * WIDTH), the bias last."""
    taps[:] = 0.0
    for c in range(c0, c1):
        for k in range(weight.shape[1]):
            taps[k * WIDTH + c - c0] = weight[c, k]
        taps[weight.shape[1] * WIDTH + c - c0] = bias[c]


@numba.njit
def _convolve(taps, x, i, width):
    """Lanes of the convolution at the step whose oldest input is row i of the tile x."""
    y = load(taps, width * WIDTH)
    for k in range(width):
        y = y + load(taps, k * WIDTH) * load(x, (i + k) * WIDTH)
    return y


@numba.njit
def _gather_padded(tile, source, t0, t1, c0, c1):
    """Like `gather`, where times outside the sequence read as zero."""
    first, end = max(t0, 0), min(t1, source.shape[0])
    tile[: (t1 - t0) * WIDTH] = 0.0
    gather(tile[(first - t0) * WIDTH :], source, first, end, c0, c1)


def _forward(x, weight, bias, out):
    """x, out (B, L, D); weight (D, K); bias (D,)."""
    batch, length, channels = x.shape
    width = weight.shape[1]
    blocks = -(-channels // WIDTH)
    for index in numba.prange(batch * blocks):
        b, c0 = index // blocks, index % blocks * WIDTH
        c1 = min(c0 + WIDTH, channels)
        taps = np.empty((width + 1) * WIDTH, np.float32)
        x_tile = np.empty((SEGMENT + width - 1) * WIDTH, np.float32)
        y = np.empty(SEGMENT * WIDTH, np.float32)
        _gather_weights(taps, weight, bias, c0, c1)
        for t0 in range(0, length, SEGMENT):
            t1 = min(t0 + SEGMENT, length)
            _gather_padded(x_tile, x[b], t0 - (width - 1), t1, c0, c1)
            for t in range(t1 - t0):
                total = _convolve(taps, x_tile, t, width)
                store(y, t * WIDTH, total * sigmoid(total))
            scatter(out[b], y, t0, t1, c0, c1)


def _backward(x, weight, bias, dout, dx, dweight, dbias):
    """As in `_forward`; dout, dx (B, L, D); dweight (B, D, K) and dbias (B, D) of each sequence."""
    batch, length, channels = x.shape
    width = weight.shape[1]
    blocks = -(-channels // WIDTH)
    for index in numba.prange(batch * blocks):
        b, c0 = index // blocks, index % blocks * WIDTH
        c1 = min(c0 + WIDTH, channels)
        taps = np.empty((width + 1) * WIDTH, np.float32)
        dtaps = np.zeros((width + 1) * WIDTH, np.float32)
        # An input at t reaches the outputs up to t + K - 1: the tiles look that far ahead.
        x_tile = np.empty((SEGMENT + 2 * width - 2) * WIDTH, np.float32)
        dy = np.empty((SEGMENT + width - 1) * WIDTH, np.float32)
        dx_tile = np.zeros(SEGMENT * WIDTH, np.float32)
        _gather_weights(taps, weight, bias, c0, c1)
        for t0 in range(0, length, SEGMENT):
            t1 = min(t0 + SEGMENT, length)
            _gather_padded(x_tile, x[b], t0 - (width - 1), t1 + width - 1, c0, c1)
            _gather_padded(dy, dout[b], t0, t1 + width - 1, c0, c1)
            for t in range(t1 - t0 + width - 1):
                y = _convolve(taps, x_tile, t, width)
                s = sigmoid(y)
                store(dy, t * WIDTH, load(dy, t * WIDTH) * (s + y * s * (1.0 - s)))
            for k in range(width):
                tap, dtap = load(taps, k * WIDTH), load(dtaps, k * WIDTH)
                for t in range(t1 - t0):
                    i = t * WIDTH
                    dtap = dtap + load(dy, i) * load(x_tile, i + k * WIDTH)
                    ahead = tap * load(dy, i + (width - 1 - k) * WIDTH)
                    store(dx_tile, i, ahead if k == 0 else load(dx_tile, i) + ahead)
                store(dtaps, k * WIDTH, dtap)
            dbias_lanes = load(dtaps, width * WIDTH)
            for t in range(t1 - t0):
                dbias_lanes = dbias_lanes + load(dy, t * WIDTH)
            store(dtaps, width * WIDTH, dbias_lanes)
            scatter(dx[b], dx_tile, t0, t1, c0, c1)
        for c in range(c0, c1):
            for k in range(width):
                dweight[b, c, k] = dtaps[k * WIDTH + c - c0]
            dbias[b, c] = dtaps[width * WIDTH + c - c0]


@cache
def forward_kernel(bfloat16: bool = False) -> Any:
    """The compiled `_forward`; the first call in a process compiles it or reads it from Numba's cache."""
    (wide,) = arrays(3, bfloat16=bfloat16)
    return compile_kernel(_forward, wide, *arrays(2, 1), wide)


@cache
def backward_kernel(bfloat16: bool = False) -> Any:
    """The compiled `_backward`; the first call in a process compiles it or reads it from Numba's cache."""
    (wide,) = arrays(3, bfloat16=bfloat16)
    return compile_kernel(_backward, wide, *arrays(2, 1), wide, wide, *arrays(3, 2))
