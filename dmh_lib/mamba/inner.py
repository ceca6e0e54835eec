"""What lies between the two outer projections of a Mamba block, as one differentiable operation on CPUs.

Composed of its parts the backward pass copies the gradients of both halves of the input into one tensor, adds
up those of the convolution's output, and multiplies thin matrices the slow way round.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from . import conv, scan_numba


def mamba_inner(
    xz: Tensor,
    conv_weight: Tensor,
    conv_bias: Tensor | None,
    x_weight: Tensor,
    dt_weight: Tensor,
    A: Tensor,
    D: Tensor,
    dt_bias: Tensor,
) -> tuple[Tensor, Tensor]:
    """Convolution, projections to Δ, B and C, scan and gate; float32 on the CPU.

    Args:
        xz: (B, L, 2 D), the input and the gate side by side.
        conv_weight, conv_bias: (D, 1, K) and (D,).
        x_weight: (R + 2 N, D), the projection to Δ's R numbers, B and C; N even.
        dt_weight: (D, R), from those to Δ.
        A: (D, N). D, dt_bias: (D,).

    Returns:
        The gated output (B, L, D) and the last state (B, D, N).
    """
    bias = torch.zeros_like(D) if conv_bias is None else conv_bias
    out: tuple[Tensor, Tensor] = _Inner.apply(
        xz, conv_weight[:, 0], bias, x_weight, dt_weight, A, D, dt_bias, torch.is_grad_enabled()
    )
    return out


class _Inner(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        xz: Tensor,
        conv_weight: Tensor,
        conv_bias: Tensor,
        x_weight: Tensor,
        dt_weight: Tensor,
        A: Tensor,
        D: Tensor,
        dt_bias: Tensor,
        grad_enabled: bool,
    ) -> tuple[Tensor, Tensor]:
        keep = grad_enabled and any(ctx.needs_input_grad)  # the latter does not know of no_grad
        x, z = xz.chunk(2, dim=-1)  # (B, L, D) each
        rank, states = dt_weight.shape[1], A.shape[1]
        u = conv.run_forward(x, conv_weight, conv_bias)  # (B, L, D)
        projected = u @ x_weight.T  # (B, L, R + 2 N)
        dt, B, C = projected.split([rank, states, states], dim=-1)
        delta = dt @ dt_weight.T  # (B, L, D)
        B, C = B.contiguous()[:, None], C.contiguous()[:, None]  # (B, 1, L, N)
        out, last, checkpoints = scan_numba.run_forward(
            _scan_inputs(u, delta, A, B, C, D, z, dt_bias), False, True, keep
        )
        if keep:
            ctx.save_for_backward(
                xz, conv_weight, conv_bias, x_weight, dt_weight, A, D, dt_bias,
                u, projected, delta, B, C, checkpoints,
            )  # fmt: skip
        return out.mT, last

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor, dlast: Tensor) -> tuple[Tensor | None, ...]:
        (
            xz, conv_weight, conv_bias, x_weight, dt_weight, A, D, dt_bias,
            u, projected, delta, B, C, checkpoints,
        ) = ctx.saved_tensors  # fmt: skip
        rank, states = dt_weight.shape[1], A.shape[1]
        x, z = xz.chunk(2, dim=-1)
        dxz = torch.empty_like(xz)  # (B, L, 2 D)
        dx, dz = dxz.chunk(2, dim=-1)
        du, ddelta = torch.empty_like(u), torch.empty_like(delta)  # (B, L, D)
        dA, dB, dC, dD, dbias, _ = scan_numba.run_backward(
            _scan_inputs(u, delta, A, B, C, D, z, dt_bias), False, True,
            checkpoints, dy.mT, dlast, du.mT, ddelta.mT, dz.mT,
        )  # fmt: skip
        # of matrices with few columns, the product that puts them in rows is several times faster
        rows = ddelta.flatten(0, 1)  # (B·L, D)
        dprojected = torch.empty_like(projected)  # (B, L, R + 2 N)
        dprojected[..., :rank] = (dt_weight.T @ rows.T).T.view(*dprojected.shape[:2], rank)
        dprojected[..., rank : rank + states] = dB[:, 0]
        dprojected[..., rank + states :] = dC[:, 0]
        flat = dprojected.flatten(0, 1)  # (B·L, R + 2 N)
        ddt_weight = (projected[..., :rank].flatten(0, 1).T @ rows).T  # (D, R)
        dx_weight = flat.T @ u.flatten(0, 1)  # (R + 2 N, D)
        du.flatten(0, 1).addmm_(flat, x_weight)
        dconv_weight, dconv_bias = conv.run_backward(x, conv_weight, conv_bias, du, dx)
        return dxz, dconv_weight, dconv_bias, dx_weight, ddt_weight, dA, dD, dbias, None


def _scan_inputs(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, z: Tensor, bias: Tensor
) -> list[Tensor]:
    """u, delta, z (B, L, D) and the rest as `run_forward` takes it."""
    return [u.mT, delta.mT, A, B, C, D, z.mT, bias, torch.ones_like(A)]
