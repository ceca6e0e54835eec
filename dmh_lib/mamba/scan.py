"""The selective scan of Mamba: one function, several backends."""

from functools import cache
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from dmh_lib.errors import SettingError

from .scan_numba import selective_scan_numba, state_update_numba
from .scan_torch import selective_scan_torch

Backend = Literal["torch", "numba", "cuda"]

_FUSED_STATE = 2**16  # numbers of state below which calling the kernel costs more than it saves


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    return_last_state: bool = False,
    *,
    backend: Backend | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """The selective state-space recurrence, with the signature, layouts and results of mamba-ssm's
    `selective_scan_fn`; the formula stands in `selective_scan_torch`.

    Args:
        u, delta: (B, D, L).
        A: (D, N), real.
        B, C: each (D, N), constant; (B, N, L), shared by all channels; or (B, G, N, L), where each of the
            G groups serves D / G neighbouring channels.
        D: (D,), the skip connection.
        z: (B, D, L), the gate: out is multiplied by silu(z).
        delta_bias: (D,), added to delta.
        delta_softplus: whether softplus is applied to delta (after the bias).
        return_last_state: whether to return the state after the last step too.
        backend: "torch" (plain reference, any device), "numba" (fused, CPU) or "cuda" (mamba-ssm). None takes
            "numba" on the CPU, "cuda" on an NVIDIA GPU where mamba-ssm is installed, and "torch" elsewhere.

    Returns:
        out (B, D, L) in u's dtype; with `return_last_state` the pair of out and the last state (B, D, N).
        Both are computed, and the state returned, in float32; a float64 u is computed in float64, by the
        reference.

    Raises:
        SettingError: a shape does not fit, A is complex, or the backend is unknown or cannot run here.
    """
    _check(u, delta, A, B, C, D, z, delta_bias)
    chosen = _choose(backend, u)
    if chosen == "cuda":
        from mamba_ssm.ops.selective_scan_interface import selective_scan_fn

        return cast(
            "Tensor | tuple[Tensor, Tensor]",
            selective_scan_fn(u, delta, A, B, C, D, z, delta_bias, delta_softplus, return_last_state),
        )
    scan = selective_scan_numba if chosen == "numba" else selective_scan_torch
    out, last_state = scan(u, delta, A, B, C, D, z, delta_bias, delta_softplus)
    return (out, last_state) if return_last_state else out


def state_update(
    state: Tensor,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    z: Tensor,
    delta_bias: Tensor,
    *,
    fused: bool = True,
) -> Tensor:
    """One time step of the scan with softplus, skip and gate, continuing `state` (B, D, N) in place.

    u, delta, z (B, D); A (D, N); B, C (B, N); D, delta_bias (D,). Returns out (B, D) in u's dtype. The fused
    kernel serves large float32 states on the CPU where no gradient is asked for; PyTorch serves all else.
    """
    fused = fused and state.numel() >= _FUSED_STATE and state.shape[2] % 2 == 0
    if fused and state.dtype == torch.float32 and state.device.type == "cpu" and u.dtype != torch.float64:
        tensors = (state, u, delta, A, B, C, D, z, delta_bias)
        if not (torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)):
            return state_update_numba(*tensors).to(u.dtype)
    step = F.softplus(delta + delta_bias.to(delta.dtype))  # (B, D)
    decay = torch.exp(step[..., None] * A)  # (B, D, N)
    state.copy_(state * decay + (step * u)[..., None] * B[:, None])  # (B, D, N)
    y = (state.to(u.dtype) * C[:, None]).sum(-1) + D.to(u.dtype) * u  # (B, D)
    return y * F.silu(z)


def _choose(backend: str | None, u: Tensor) -> str:
    """The backend to use: the wanted one if it can run, or the best one for u's device and dtype."""
    if backend not in (None, "torch", "numba", "cuda"):
        raise SettingError(f"backend: {backend!r} is unknown; choose 'torch', 'numba', 'cuda' or None")
    if backend == "numba" and u.device.type != "cpu":
        raise SettingError(f"backend: 'numba' needs tensors on the CPU, but u is on {u.device}")
    if backend == "cuda" and u.device.type != "cuda":
        raise SettingError(f"backend: 'cuda' needs tensors on an NVIDIA GPU, but u is on {u.device}")
    if backend == "cuda" and not cuda_kernels_installed():
        raise SettingError("backend: 'cuda' needs mamba-ssm; install it with: pip install 'dmh-lib[cuda]'")
    if u.dtype == torch.float64:  # the fused kernels know float32 at most
        return "torch"
    if backend is not None:
        return backend
    if u.device.type == "cpu":
        return "numba"
    return "cuda" if u.device.type == "cuda" and cuda_kernels_installed() else "torch"


@cache
def cuda_kernels_installed() -> bool:
    """Whether mamba-ssm can be imported; a broken build counts as absent."""
    try:
        import mamba_ssm.ops.selective_scan_interface  # noqa: F401
    except (ImportError, OSError):
        return False
    return True


def _check(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
) -> None:
    if u.dim() != 3 or u.shape[2] == 0:
        raise SettingError(f"u: expected shape (B, D, L) with L >= 1, got {tuple(u.shape)}")
    batch, channels, length = u.shape
    if A.is_complex():
        raise SettingError("A: complex values are not supported; pass a real A of shape (D, N)")
    if A.dim() != 2 or A.shape[0] != channels or A.shape[1] == 0:
        raise SettingError(f"A: expected shape (D, N) = ({channels}, N) with N >= 1, got {tuple(A.shape)}")
    states = A.shape[1]
    _expect("delta", delta, "(B, D, L)", (batch, channels, length))
    _expect("z", z, "(B, D, L)", (batch, channels, length))
    _expect("D", D, "(D,)", (channels,))
    _expect("delta_bias", delta_bias, "(D,)", (channels,))
    for name, matrix in (("B", B), ("C", C)):
        if matrix.dim() == 2:
            _expect(name, matrix, "(D, N)", (channels, states))
        elif matrix.dim() == 4 and matrix.shape[1] > 0 and channels % matrix.shape[1] == 0:
            _expect(name, matrix, "(B, G, N, L)", (batch, matrix.shape[1], states, length))
        elif matrix.dim() == 3:
            _expect(name, matrix, "(B, N, L)", (batch, states, length))
        else:
            raise SettingError(
                f"{name}: expected shape (D, N) = ({channels}, {states}), (B, N, L) = ({batch}, {states}, "
                f"{length}) or (B, G, N, L) with G dividing {channels}, got {tuple(matrix.shape)}"
            )


def _expect(name: str, tensor: Tensor | None, letters: str, shape: tuple[int, ...]) -> None:
    if tensor is not None and tuple(tensor.shape) != shape:
        raise SettingError(f"{name}: expected shape {letters} = {shape}, got {tuple(tensor.shape)}")
