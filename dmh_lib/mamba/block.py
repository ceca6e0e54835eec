"""The Mamba-1 block, with the constructor, parameters and states of `mamba_ssm.Mamba`."""

import math
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dmh_lib.errors import SettingError

from .conv import causal_conv
from .inner import mamba_inner
from .scan import selective_scan, state_update


class Mamba(nn.Module):
    """Projection, short causal convolution, selective scan, gate, projection (Gu and Dao 2023, figure 3).

    Args:
        d_model: width of input and output.
        d_state: N, numbers of state for each inner channel.
        d_conv: K, steps the convolution sees.
        expand: inner channels for each channel of the model; d_inner = int(expand * d_model).
        dt_rank: rank of the projection to Δ; "auto" is ceil(d_model / 16).
        dt_min, dt_max: Δ starts log-uniform between them, and no smaller than dt_init_floor.
        dt_init, dt_scale: weights of the projection to Δ start "random" or "constant", times dt_scale.
        conv_bias, bias: whether the convolution, and the two outer projections, have biases.
        use_fast_path: whether the backend may choose fused kernels, which call none of the block's modules,
            so that hooks on them do not fire; False takes plain PyTorch everywhere.
        layer_idx: the key of this block's states in `inference_params`.

    Raises:
        SettingError: dt_init is neither "random" nor "constant".
    """

    def __init__(
        self,
        d_model: int,
        d_state: int = 16,
        d_conv: int = 4,
        expand: float = 2,
        dt_rank: int | Literal["auto"] = "auto",
        dt_min: float = 0.001,
        dt_max: float = 0.1,
        dt_init: str = "random",
        dt_scale: float = 1.0,
        dt_init_floor: float = 1e-4,
        conv_bias: bool = True,
        bias: bool = False,
        use_fast_path: bool = True,
        layer_idx: int | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if dt_init not in ("random", "constant"):
            raise SettingError(f"dt_init: {dt_init!r} is unknown; choose 'random' or 'constant'")
        self.d_model, self.d_state, self.d_conv, self.expand = d_model, d_state, d_conv, expand
        self.d_inner = int(expand * d_model)
        self.dt_rank = math.ceil(d_model / 16) if dt_rank == "auto" else dt_rank
        self.use_fast_path, self.layer_idx = use_fast_path, layer_idx
        like: dict[str, Any] = {"device": device, "dtype": dtype}
        self.in_proj = nn.Linear(d_model, 2 * self.d_inner, bias=bias, **like)
        self.conv1d = nn.Conv1d(
            self.d_inner,
            self.d_inner,
            kernel_size=d_conv,
            padding=d_conv - 1,
            groups=self.d_inner,
            bias=conv_bias,
            **like,
        )
        self.x_proj = nn.Linear(self.d_inner, self.dt_rank + 2 * d_state, bias=False, **like)
        self.dt_proj = nn.Linear(self.dt_rank, self.d_inner, bias=True, **like)
        self._init_dt(dt_min, dt_max, dt_init, dt_scale, dt_init_floor)
        # A = -1 … -N in every channel; A_log and D stay float32 in half-precision models.
        rates = torch.arange(1, d_state + 1, dtype=torch.float32, device=device)  # (N,)
        self.A_log = nn.Parameter(rates.log().repeat(self.d_inner, 1))  # (D, N)
        self.D = nn.Parameter(torch.ones(self.d_inner, device=device))  # (D,)
        # Read by optimizer set-ups that know mamba-ssm's marks.
        self.A_log._no_weight_decay = True  # type: ignore[attr-defined]
        self.D._no_weight_decay = True  # type: ignore[attr-defined]
        self.out_proj = nn.Linear(self.d_inner, d_model, bias=bias, **like)

    def _init_dt(self, low: float, high: float, init: str, scale: float, floor: float) -> None:
        std = scale * self.dt_rank**-0.5
        with torch.no_grad():
            if init == "constant":
                self.dt_proj.weight.fill_(std)
            else:
                self.dt_proj.weight.uniform_(-std, std)
            uniform = torch.rand_like(self.dt_proj.bias, dtype=torch.float32)  # (D,)
            step = torch.exp(uniform * math.log(high / low) + math.log(low)).clamp(min=floor)
            self.dt_proj.bias.copy_(step + torch.log(-torch.expm1(-step)))  # softplus(bias) = step
        # Read by weight initialisers that reset biases: this one must keep its values.
        self.dt_proj.bias._no_reinit = True  # type: ignore[attr-defined]

    def forward(self, hidden_states: Tensor, inference_params: Any = None) -> Tensor:
        """A whole sequence (B, L, d_model) -> (B, L, d_model).

        With `inference_params` (mamba-ssm's: `key_value_memory_dict`, `seqlen_offset`) the block's states are
        kept there under `layer_idx`: offset 0 reads the sequence and fills them, later offsets take one step.

        Raises:
            SettingError: inference_params without layer_idx, or a step of more than one token.
        """
        states = None
        if inference_params is not None:
            states = self._cached_states(inference_params, hidden_states)
            if inference_params.seqlen_offset > 0:
                return self.step(hidden_states, *states)[0]
        xz = self.in_proj(hidden_states)  # (B, L, 2 D)
        if states is not None:
            x = xz[..., : self.d_inner]  # (B, L, D)
            # The last K inputs of the convolution, or zeros and then what there is.
            missing = self.d_conv - x.shape[1]
            states[0].copy_(F.pad(x.transpose(1, 2), (missing, 0)))  # (B, D, K); a negative pad crops
        y, last_state = self._inner(xz)  # (B, L, D), (B, D, N)
        if states is not None:
            states[1].copy_(last_state)
        return self.out_proj(y)  # (B, L, d_model)

    def _inner(self, xz: Tensor) -> tuple[Tensor, Tensor]:
        """Between the outer projections: (B, L, 2 D) -> (B, L, D), and the last state (B, D, N)."""
        fused = self.use_fast_path
        tensors = (xz, *self.parameters())
        if (
            fused
            and self.d_state % 2 == 0
            and xz.shape[1] > 0
            and all(_is_plain(tensor) for tensor in tensors)
        ):
            weights = (self.conv1d.weight, self.conv1d.bias, self.x_proj.weight, self.dt_proj.weight)
            return mamba_inner(xz, *weights, self._rates(), self.D, self.dt_proj.bias)
        x, z = xz.chunk(2, dim=-1)  # (B, L, D) each
        x = causal_conv(x, self.conv1d.weight, self.conv1d.bias, fused=fused)  # (B, L, D)
        delta, B, C = self._project(x)
        y, last_state = cast(
            "tuple[Tensor, Tensor]",
            selective_scan(
                x.transpose(1, 2),
                delta.transpose(1, 2),
                self._rates(),
                B.transpose(1, 2),
                C.transpose(1, 2),
                _at_least_float32(self.D),
                z.transpose(1, 2),
                _at_least_float32(self.dt_proj.bias),
                delta_softplus=True,
                return_last_state=True,
                backend=None if fused else "torch",
            ),
        )  # (B, D, L), (B, D, N)
        return y.transpose(1, 2), last_state

    def step(
        self, hidden_states: Tensor, conv_state: Tensor, ssm_state: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One token (B, 1, d_model) -> out (B, 1, d_model) and the two states, which change in place.

        conv_state (B, d_inner, d_conv) and ssm_state (B, d_inner, d_state) start as zeros; see
        `allocate_inference_cache`.

        Raises:
            SettingError: hidden_states hold more or less than one token.
        """
        if hidden_states.dim() != 3 or hidden_states.shape[1] != 1:
            raise SettingError(
                f"hidden_states: expected shape (B, 1, d_model), got {tuple(hidden_states.shape)}"
            )
        x, z = self.in_proj(hidden_states[:, 0]).chunk(2, dim=-1)  # (B, D) each
        conv_state.copy_(conv_state.roll(-1, dims=-1))  # (B, D, K)
        conv_state[:, :, -1] = x
        x = self._convolved(conv_state).to(z.dtype)  # (B, D)
        delta, B, C = self._project(x)
        y = state_update(
            ssm_state,
            x,
            delta,
            self._rates(),
            B,
            C,
            _at_least_float32(self.D),
            z,
            _at_least_float32(self.dt_proj.bias),
            fused=self.use_fast_path,
        )  # (B, D)
        return self.out_proj(y).unsqueeze(1), conv_state, ssm_state

    def time_constants(self, conv_state: Tensor) -> Tensor:
        """How many tokens like the last one let each number of the scan's state fall to 1/e: 1 / (Δ |A|).

        conv_state (B, d_inner, d_conv) is as `step` left it; returns (B, d_inner, d_state).
        """
        return -1 / (self.step_sizes(conv_state)[..., None] * self._rates())

    def step_sizes(self, conv_state: Tensor) -> Tensor:
        """Δ of the last token in every inner channel, (B, d_inner); conv_state as for `time_constants`.

        Large where the block takes the token in and lets go of the past, near 0 where it passes it over.
        """
        delta, _, _ = self._project(self._convolved(conv_state))
        return F.softplus(delta + self.dt_proj.bias.to(delta.dtype))

    def allocate_inference_cache(
        self, batch_size: int, max_seqlen: int, dtype: torch.dtype | None = None
    ) -> tuple[Tensor, Tensor]:
        """Zero states for `step`: conv_state (B, d_inner, d_conv) and ssm_state (B, d_inner, d_state).

        Their size does not depend on `max_seqlen`, which is there for mamba-ssm's signature. Without `dtype`
        they take that of the convolution's weight and of the projection to Δ.
        """
        conv_state = self.conv1d.weight.new_zeros(batch_size, self.d_inner, self.d_conv, dtype=dtype)
        ssm_state = self.dt_proj.weight.new_zeros(batch_size, self.d_inner, self.d_state, dtype=dtype)
        return conv_state, ssm_state

    def _convolved(self, conv_state: Tensor) -> Tensor:
        """What the convolution makes of its window (B, D, K): (B, D)."""
        x = (conv_state * self.conv1d.weight[:, 0]).sum(-1)  # (B, D)
        return F.silu(x if self.conv1d.bias is None else x + self.conv1d.bias)

    def _project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x (…, D) -> delta (…, D) without its bias, B (…, N), C (…, N)."""
        dt, B, C = self.x_proj(x).split([self.dt_rank, self.d_state, self.d_state], dim=-1)
        return F.linear(dt, self.dt_proj.weight), B, C

    def _rates(self) -> Tensor:
        """A (D, N), negative."""
        return -torch.exp(_at_least_float32(self.A_log))

    def _cached_states(self, inference_params: Any, hidden_states: Tensor) -> tuple[Tensor, Tensor]:
        if self.layer_idx is None:
            raise SettingError("layer_idx: inference_params need it; pass layer_idx=... to Mamba")
        cache = inference_params.key_value_memory_dict
        if self.layer_idx not in cache:
            cache[self.layer_idx] = self.allocate_inference_cache(hidden_states.shape[0], 0)
        conv_state, ssm_state = cache[self.layer_idx]
        if conv_state.shape[0] != hidden_states.shape[0]:
            raise SettingError(
                f"hidden_states: expected a batch of {conv_state.shape[0]} as in the cached states, "
                f"got {hidden_states.shape[0]}"
            )
        return conv_state, ssm_state


def _is_plain(tensor: Tensor) -> bool:
    return tensor.device.type == "cpu" and tensor.dtype == torch.float32


def _at_least_float32(tensor: Tensor) -> Tensor:
    """Half precision is too coarse for the constants of the recurrence."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()
