"""The selective scan on CPUs as one differentiable operation around the fused kernels."""

from math import lcm
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
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
    states = A.shape[1]
    if states % 2:  # the kernels take states in pairs: here one more, which nothing drives and nobody reads
        A = F.pad(A, (0, 1), value=-1.0)
        B, C = (F.pad(x, (0, 1) if x.dim() == 2 else (0, 0, 0, 1)) for x in (B, C))
    groups = lcm(*(matrix.shape[1] for matrix in (_grouped(B), _grouped(C)) if matrix is not None))
    # A constant B or C scales the state of its channel, so it may wait until the state is read: the kernel
    # then sees ones over time and one weight for each channel and state.
    weight = torch.ones_like(A)  # (D, N)
    for matrix in (B, C):
        if matrix.dim() == 2:
            weight = weight * matrix
    out, last = _FusedScan.apply(
        u,
        delta,
        A,
        _over_time(B, batch, groups, length),
        _over_time(C, batch, groups, length),
        weight.new_zeros(channels) if D is None else D.float(),
        z,
        weight.new_zeros(channels) if delta_bias is None else delta_bias.float(),
        weight,
        B.dim() == 2 or C.dim() == 2,
        delta_softplus,
        torch.is_grad_enabled(),
    )
    if B.dim() == 2:
        last = last * B
    return out.to(dtype), last[..., :states]


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

    u, delta, z (B, D); A (D, N), N even; B, C (B, N); D, delta_bias (D,). Not differentiable.
    Returns out (B, D), float32.
    """
    x, step, z_gate, decay, drive, read, skip, bias = (
        tensor.detach().float().numpy() for tensor in (u, delta, z, A, B, C, D, delta_bias)
    )
    out = np.empty_like(x)  # (B, D)
    drive = np.ascontiguousarray(drive)[:, None, None]  # (B, 1, 1, N)
    with threads(state.numel()):
        forward_kernel()(
            x[:, None],  # (B, 1, D)
            step[:, None],
            decay,
            drive,
            np.ascontiguousarray(read)[:, None, None],
            skip,
            z_gate[:, None],
            bias,
            np.ones_like(decay),
            False,  # no weights
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


def _over_time(matrix: Tensor, batch: int, groups: int, length: int) -> Tensor:
    """The part of B or C that changes with time, with the common number of groups: (B, G, L, N)."""
    grouped = _grouped(matrix)
    if grouped is None:
        return matrix.new_ones(batch, groups, length, matrix.shape[1])
    repeats = groups // grouped.shape[1]
    repeated = grouped if repeats == 1 else grouped.repeat_interleave(repeats, dim=1)
    return repeated.transpose(2, 3).contiguous()


class _FusedScan(torch.autograd.Function):
    """The tensors of `run_forward`, then its flags, and whether gradients are on."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, Tensor]:
        *tensors, weighted, use_softplus, grad_enabled = inputs
        keep = grad_enabled and any(ctx.needs_input_grad)  # the latter does not know of no_grad
        out, last, checkpoints = run_forward(tensors, weighted, use_softplus, keep)
        if keep:
            ctx.save_for_backward(*tensors, checkpoints)
            ctx.weighted, ctx.use_softplus = weighted, use_softplus
        return out, last

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dout: Tensor, dlast: Tensor) -> tuple[Tensor | None, ...]:
        *tensors, checkpoints = ctx.saved_tensors
        u, delta, *_, z, _, _ = tensors
        du, ddelta = torch.empty_like(u), torch.empty_like(delta)  # (B, D, L)
        dz = None if z is None else torch.empty_like(z)  # (B, D, L)
        dA, dB, dC, dD, dbias, dweight = run_backward(
            tensors, ctx.weighted, ctx.use_softplus, checkpoints, dout, dlast, du, ddelta, dz
        )
        return du, ddelta, dA, dB, dC, dD, dz, dbias, dweight, None, None, None


def run_forward(
    tensors: list[Any], weighted: bool, use_softplus: bool, keep: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Call the forward kernel.

    Args:
        tensors: u, delta (B, D, L), A (D, N), B, C (B, G, L, N), D (D,), z (B, D, L) or None, bias (D,) and
            weight (D, N); u, delta and z float32 or bfloat16 together, all others float32; N even.
        weighted: whether the weight is anything but ones.
        use_softplus: whether softplus is applied to delta.
        keep: whether a backward will follow.

    Returns:
        out (B, D, L), the last state (B, D, N) and states for the backward, one per segment.
    """
    u, A = tensors[0], tensors[2]
    batch, channels, length = u.shape
    out = torch.empty_like(u)  # (B, D, L), strides of u where u is dense
    last = A.new_zeros(batch, *A.shape)  # (B, D, N)
    segments = -(-length // SEGMENT) if keep else 1
    checkpoints = A.new_empty(batch, segments - 1, A.shape[1], channels)  # (B, S - 1, N, D)
    with threads(u.numel() * A.shape[1]):
        forward_kernel(u.dtype == torch.bfloat16)(
            *_kernel_inputs(tensors, weighted, use_softplus),
            keep,
            _time_major(out),
            last.numpy(),
            checkpoints.numpy(),
        )
    return out, last, checkpoints


def run_backward(
    tensors: list[Any],
    weighted: bool,
    use_softplus: bool,
    checkpoints: Tensor,
    dout: Tensor,
    dlast: Tensor,
    du: Tensor,
    ddelta: Tensor,
    dz: Tensor | None,
) -> tuple[Tensor, ...]:
    """Call the backward kernel, from what `run_forward` took and gave.

    Fills du, ddelta and dz (B, D, L), of any strides. Returns the gradients of A, B, C, D, bias and weight.
    """
    u, A, B = tensors[0], tensors[2], tensors[3]
    batch, channels, length = u.shape
    blocks = -(-(channels // B.shape[1]) // TASK_CHANNELS)
    dA, dweight = A.new_empty(2, batch, *A.shape)  # (B, D, N)
    dD, dbias = A.new_empty(2, batch, channels)  # (B, D)
    dB, dC = A.new_zeros(2, batch, B.shape[1], blocks, length, A.shape[1])  # (B, G, blocks, L, N)
    with threads(u.numel() * A.shape[1]):
        backward_kernel(u.dtype == torch.bfloat16)(
            *_kernel_inputs(tensors, weighted, use_softplus),
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
    return dA.sum(0), dB.sum(2), dC.sum(2), dD.sum(0), dbias.sum(0), dweight.sum(0)


def _kernel_inputs(tensors: list[Any], weighted: bool, use_softplus: bool) -> tuple[Any, ...]:
    u, delta, A, B, C, D, z, bias, weight = tensors
    return (
        _time_major(u),
        _time_major(delta),
        *(tensor.detach().numpy() for tensor in (A, B, C, D)),
        _time_major(u if z is None else z),  # without a gate, never read
        bias.detach().numpy(),
        weight.detach().numpy(),
        weighted,
        use_softplus,
        z is not None,
    )


def _time_major(tensor: Tensor) -> np.ndarray:
    """(B, D, L) -> (B, L, D), a view."""
    return as_array(tensor).transpose(0, 2, 1)
