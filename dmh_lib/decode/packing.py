"""Weights as flat float32 arrays, in the order in which the compiled steps read them."""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from dmh_lib.mamba import Mamba
from dmh_lib.mamba.lanes import WIDTH

Floats = NDArray[np.float32]


def numbers(tensor: Tensor) -> Floats:
    """A float32 tensor on the CPU as an array of its own."""
    return np.array(tensor.detach().numpy(), dtype=np.float32)


def pack_linear(layer: nn.Linear, with_bias: bool = True) -> Floats:
    """Weight and bias of a linear layer, flat: panels (outputs / 16, inputs, 16), then the bias; zeros fill
    the outputs up to a multiple of 16, and the bias where there is none or it is not wanted."""
    panels = -(-layer.out_features // WIDTH)
    weight = np.zeros((panels * WIDTH, layer.in_features), dtype=np.float32)
    bias = np.zeros(panels * WIDTH, dtype=np.float32)
    weight[: layer.out_features] = numbers(layer.weight)
    if with_bias and layer.bias is not None:
        bias[: layer.out_features] = numbers(layer.bias)
    return np.concatenate([weight.reshape(panels, WIDTH, -1).transpose(0, 2, 1).ravel(), bias])


def pack_norm(norm: nn.LayerNorm) -> Floats:
    """Scale and shift of a layer norm, flat."""
    return np.concatenate([numbers(norm.weight), numbers(norm.bias)])


def pack_block(block: nn.Module) -> Floats:
    """All 12 d² + 13 d weights of a transformer block, as `transformer_kernels.transformer` reads them."""
    parts = []
    for name in ("attention_norm", "query_key_value", "project", "mlp_norm", "expand", "contract"):
        layer = getattr(block, name)
        parts.append(pack_linear(layer) if isinstance(layer, nn.Linear) else pack_norm(layer))
    return np.concatenate(parts)


def pack_mamba(norm: nn.RMSNorm, block: Mamba) -> tuple[Floats, ...]:
    """A Mamba block and the norm before it, as `planner_kernel` reads them: norm (d,); in, x, dt and out
    projections in panels; convolution (K + 1, D), the bias last; A (N, D); D and the bias of Δ (2, D)."""
    taps = numbers(block.conv1d.weight)[:, 0].T  # (K, D)
    bias = np.zeros(block.d_inner, np.float32) if block.conv1d.bias is None else numbers(block.conv1d.bias)
    return (
        numbers(norm.weight),
        pack_linear(block.in_proj),
        pack_linear(block.x_proj),
        pack_linear(block.dt_proj, with_bias=False),
        pack_linear(block.out_proj),
        np.concatenate([taps, bias[None]]),
        np.ascontiguousarray(-np.exp(numbers(block.A_log)).T),
        np.stack([numbers(block.D), numbers(block.dt_proj.bias)]),
    )


def embedding_rows(layer: nn.Linear) -> Floats:
    """A linear layer (inputs + 1, d) to be summed by hand: a row for each input, then the bias."""
    return np.ascontiguousarray(np.concatenate([numbers(layer.weight).T, numbers(layer.bias)[None]]))


def table_rows(table: nn.Embedding) -> Floats:
    """An embedding table (N + 1, d) with a last row of zeros."""
    rows = numbers(table.weight)
    return np.concatenate([rows, np.zeros_like(rows[:1])])
