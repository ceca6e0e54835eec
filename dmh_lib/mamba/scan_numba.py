"""The selective scan on CPUs as one differentiable operation around the fused kernels."""

from math import lcm
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .kernels import SEGMENT, as_array, threads
from .scan_kernels import TASK_CHANNELS, backward_kernel, forward_kernel


def selective_scan_numba(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
) -> tuple[Tensor, Tensor]:
    """Like `selective_scan_torch`, for tensors on the CPU, computed in float32 whatever their dtype.

    Any strides are read as they are, and out has those of u: channel-last data needs no copy. Nor do u, delta
    and z in bfloat16; other mixtures of dtypes are converted first. The backward recomputes the states, so
    that memory stays a small multiple of the inputs'. Gradients are not themselves differentiable. Results do
    not depend on the number of threads.
    """
    batch, channels, length = u.shape
    dtype = u.dtype
    if any(x is not None and x.dtype != torch.bfloat16 for x in (u, delta, z)):
        u, delta, z = u.float(), delta.float(), None if z is None else z.float()
    A, B, C = A.float(), B.float(), C.float()
    groups = lcm(*(matrix.shape[1] for matrix in (_grouped(B), _grouped(C)) if matrix is not None))
    # A constant B or C scales the state of its channel, so it may wait until the state is read: the kernel
    # then sees ones over time (no memory: expanded) and one weight for each channel and state.
    weight = torch.ones_like(A)  # (D, N)
    for matrix in (B, C):
        if matrix.dim() == 2:
            weight = weight * matrix
    ones = weight.new_ones(()).expand(batch, groups, A.shape[1], length)
    out, last = _FusedScan.apply(
        u,
        delta,
        A,
        _over_time(B, groups, ones),
        _over_time(C, groups, ones),
        weight.new_zeros(channels) if D is None else D.float(),
        z,
        weight.new_zeros(channels) if delta_bias is None else delta_bias.float(),
        weight,
        delta_softplus,
    )
    if B.dim() == 2:
        last = last * B
    return out.to(dtype), last


def state_update_numba(
    state: Tensor,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    z: Tensor,
    delta_bias: Tensor,
) -> Tensor:
    """One time step of the scan with softplus, skip and gate; state (B, D, N) float32 changes in place.

    u, delta, z (B, D); A (D, N); B, C (B, N); D, delta_bias (D,). Not differentiable.
    Returns out (B, D), float32.
    """
    x, step, z_gate, decay, drive, read, skip, bias = (
        tensor.detach().float().numpy() for tensor in (u, delta, z, A, B, C, D, delta_bias)
    )
    out = np.empty_like(x)  # (B, D)
    drive = drive[:, None, :, None]  # (B, 1, N, 1)
    with threads(state.numel()):
        forward_kernel()(
            x[:, None],  # (B, 1, D)
            step[:, None],
            decay,
            drive,
            read[:, None, :, None],
            skip,
            z_gate[:, None],
            bias,
            np.ones_like(decay),
            True,  # softplus
            True,  # gate
            False,  # no checkpoints: the last argument is never written
            out[:, None],
            state.numpy(),
            drive,
        )
    return torch.from_numpy(out)


def _grouped(matrix: Tensor) -> Tensor | None:
    """(B, G, N, L), or None for a matrix that is constant in time."""
    if matrix.dim() == 2:
        return None
    return matrix if matrix.dim() == 4 else matrix.unsqueeze(1)


def _over_time(matrix: Tensor, groups: int, ones: Tensor) -> Tensor:
    """The part of B or C that changes with time, with the common number of groups: (B, G, N, L)."""
    grouped = _grouped(matrix)
    if grouped is None:
        return ones
    repeats = groups // grouped.shape[1]
    return grouped if repeats == 1 else grouped.repeat_interleave(repeats, dim=1)


class _FusedScan(torch.autograd.Function):
    """u, delta, z (B, D, L), float32 or bfloat16 together; A, weight (D, N); B, C (B, G, N, L); D, bias (D,),
    float32."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, Tensor]:
        *tensors, use_softplus = inputs
        u, A, B = tensors[0], tensors[2], tensors[3]
        batch, channels, length = u.shape
        keep = any(ctx.needs_input_grad)
        out = torch.empty_like(u)  # (B, D, L), strides of u where u is dense
        last = A.new_zeros(batch, *A.shape)  # (B, D, N)
        segments = -(-length // SEGMENT) if keep else 1
        checkpoints = A.new_empty(batch, segments - 1, B.shape[2], channels)  # (B, S - 1, N, D)
        with threads(u.numel() * A.shape[1]):
            forward_kernel(u.dtype == torch.bfloat16)(
                *_kernel_inputs(tensors, use_softplus),
                keep,
                _time_major(out),
                last.numpy(),
                checkpoints.numpy(),
            )
        if keep:
            ctx.save_for_backward(*tensors, checkpoints)
            ctx.use_softplus = use_softplus
        return out, last

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dout: Tensor, dlast: Tensor) -> tuple[Tensor | None, ...]:
        *tensors, checkpoints = ctx.saved_tensors
        u, delta, A, B, *_, z, _, _ = tensors
        batch, channels, length = u.shape
        blocks = -(-(channels // B.shape[1]) // TASK_CHANNELS)
        du, ddelta = torch.empty_like(u), torch.empty_like(delta)  # (B, D, L)
        dz = None if z is None else torch.empty_like(z)  # (B, D, L)
        dA, dweight = A.new_empty(2, batch, *A.shape)  # (B, D, N)
        dD, dbias = A.new_empty(2, batch, channels)  # (B, D)
        dB, dC = A.new_zeros(2, batch, B.shape[1], blocks, B.shape[2], length)  # (B, G, blocks, N, L)
        with threads(u.numel() * A.shape[1]):
            backward_kernel(u.dtype == torch.bfloat16)(
                *_kernel_inputs(tensors, ctx.use_softplus),
                checkpoints.numpy(),
                _time_major(dout),
                dlast.numpy(),
                _time_major(du),
                _time_major(ddelta),
                dA.numpy(),
                dB.numpy(),
                dC.numpy(),
                dD.numpy(),
                _time_major(du if dz is None else dz),
                dbias.numpy(),
                dweight.numpy(),
            )
        return (
            du,
            ddelta,
            dA.sum(0),
            dB.sum(2),
            dC.sum(2),
            dD.sum(0),
            dz,
            dbias.sum(0),
            dweight.sum(0),
            None,
        )


def _kernel_inputs(tensors: list[Any], use_softplus: bool) -> tuple[Any, ...]:
    u, delta, A, B, C, D, z, bias, weight = tensors
    return (
        _time_major(u),
        _time_major(delta),
        *(tensor.detach().numpy() for tensor in (A, B, C, D)),
        _time_major(u if z is None else z),  # without a gate, never read
        bias.detach().numpy(),
        weight.detach().numpy(),
        use_softplus,
        z is not None,
    )


def _time_major(tensor: Tensor) -> np.ndarray:
    """(B, D, L) -> (B, L, D), a view."""
    return as_array(tensor).transpose(0, 2, 1)
