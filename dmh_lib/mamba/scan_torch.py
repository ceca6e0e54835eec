"""The selective scan in plain PyTorch: the definition that every kernel is compared with."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def selective_scan_torch(
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
    """The recurrence of Mamba (Gu and Dao 2023, algorithm 2), one time step after the other.

        Δ = softplus(delta + delta_bias)                  (softplus if asked for)
        h_t = exp(Δ_t A) h_{t-1} + Δ_t B_t u_t            from h_0 = 0
        out_t = (C_t h_t + D u_t) · silu(z_t)             (D and the gate if given)

    Shapes are those of `dmh_lib.mamba.selective_scan`, which also checks them. float64 inputs are computed in
    float64, all others in float32. Differentiable on any device; autograd keeps every state, which costs
    O(B L D N) memory. Returns out (B, D, L) in u's dtype and the last state (B, D, N).
    """
    dtype = torch.float64 if u.dtype == torch.float64 else torch.float32
    step = delta.to(dtype)  # (B, D, L)
    if delta_bias is not None:
        step = step + delta_bias.to(dtype)[:, None]
    if delta_softplus:
        step = F.softplus(step)
    x = u.to(dtype)  # (B, D, L)
    drive = step * x  # (B, D, L)
    A, B, C = A.to(dtype), B.to(dtype), C.to(dtype)
    h = x.new_zeros(x.shape[0], *A.shape)  # (B, D, N)
    outputs = []
    # unbind, not an index for each step: the gradient of an index is as large as the whole sequence.
    times = (step.unbind(2), drive.unbind(2), _steps(B, x), _steps(C, x))
    for step_t, drive_t, B_t, C_t in zip(*times, strict=True):
        decay = torch.exp(step_t[..., None] * A)  # (B, D, N)
        h = decay * h + drive_t[..., None] * B_t  # (B, D, N)
        outputs.append((h * C_t).sum(-1))  # (B, D)
    y = torch.stack(outputs, dim=2)  # (B, D, L)
    if D is not None:
        y = y + D.to(dtype)[:, None] * x
    if z is not None:
        y = y * F.silu(z.to(dtype))
    return y.to(u.dtype), h


def _steps(matrix: Tensor, x: Tensor) -> Sequence[Tensor]:
    """B or C at every time, for every channel of x (B, D, L): L tensors (1 or B, 1 or D, N)."""
    channels, length = x.shape[1:]
    if matrix.dim() == 2:  # (D, N), the same at all times
        return [matrix[None]] * length
    if matrix.dim() == 3:  # (B, N, L), the same for all channels
        return matrix[:, None].unbind(3)
    return matrix.repeat_interleave(channels // matrix.shape[1], dim=1).unbind(3)  # (B, G, N, L)
