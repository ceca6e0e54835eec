"""bfloat16 in kernels: every pattern of bits, and PyTorch's rounding."""

import numpy as np
import pytest
import torch

from dmh_lib.mamba.kernels import as_array, gather, scatter
from dmh_lib.mamba.lanes import WIDTH


def layouts(length: int, channels: int, dtype: torch.dtype) -> list[torch.Tensor]:
    """(L, D) with channels side by side, times side by side, and neither."""
    wide = torch.zeros(length, 2 * channels, dtype=dtype)
    return [wide[:, :channels].clone(), wide[:, :channels].T.contiguous().T, wide[:, ::2]]


@pytest.mark.parametrize("layout", range(3))
def test_every_pattern_is_read(layout: int) -> None:
    bits = torch.arange(2**16).to(torch.uint16).view(-1, WIDTH).view(torch.bfloat16)
    source = layouts(*bits.shape, torch.bfloat16)[layout].copy_(bits)
    tile = np.empty(bits.numel(), np.float32)
    gather(tile, as_array(source), 0, len(bits), 0, WIDTH)
    assert np.array_equal(tile, bits.float().numpy().ravel(), equal_nan=True)


@pytest.mark.parametrize("layout", range(3))
def test_rounding_is_that_of_pytorch(layout: int) -> None:
    rng = np.random.default_rng(0)
    bits = rng.integers(2**32, size=(2**12 + 5) * WIDTH, dtype=np.uint32)
    bits[::3] = bits[::3] & 0xFFFF0000 | 0x8000  # ties
    bits[1::7] |= 0x7F800000  # infinities and NaN
    tile = bits.view(np.float32)
    expected = torch.from_numpy(tile).view(-1, WIDTH).bfloat16()
    target = layouts(*expected.shape, torch.bfloat16)[layout]
    scatter(as_array(target), tile, 0, len(expected), 0, WIDTH)
    assert expected.isnan().any()
    torch.testing.assert_close(target, expected, rtol=0, atol=0, equal_nan=True)
