"""What the CPU kernels share: tiles between memory and SIMD lanes, compilation on first use, threads."""

# mypy: allow-untyped-defs
# Numba infers the types inside kernels.

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numba
import torch
from numba import types
from numpy.typing import NDArray
from torch import Tensor

from .bfloat16 import BITS, as_element, as_float32
from .lanes import WIDTH, load, store, transpose

_settings: Any = numba.config  # its attributes are made at run time

SEGMENT = 48  # time steps whose tiles are worked on together, so that they stay in the first-level cache
_SERIAL_WORK = 2**16  # state updates that one thread does before a second has woken up


@numba.njit
def gather(tile, source, t0, t1, c0, c1):
    """source (L, D), times t0..t1, channels c0..c1 -> tile (t1 - t0, WIDTH); bfloat16 becomes float32.

    Whole vectors where channels or times lie side by side, number by number elsewhere."""
    if c1 - c0 < WIDTH:
        tile[:] = 0.0
    if source.strides[1] == source.itemsize and c1 - c0 == WIDTH:
        for t in range(t0, t1):
            store(tile, (t - t0) * WIDTH, load(source[t, c0:], 0))
    elif source.strides[0] == source.itemsize and c1 - c0 == WIDTH:
        stride = source.strides[1] // source.itemsize
        squares = (t1 - t0) // WIDTH * WIDTH
        for t in range(0, squares, WIDTH):
            transpose(tile, t * WIDTH, WIDTH, source[t0 + t, c0:], 0, stride)
        for t in range(squares, t1 - t0):
            for c in range(WIDTH):
                tile[t * WIDTH + c] = as_float32(source[t0 + t, c0 + c])
    else:
        for t in range(t0, t1):
            for c in range(c0, c1):
                tile[(t - t0) * WIDTH + c - c0] = as_float32(source[t, c])


@numba.njit
def scatter(target, tile, t0, t1, c0, c1):
    """tile (t1 - t0, WIDTH) -> target (L, D), times t0..t1, channels c0..c1; bfloat16 is rounded to."""
    if target.strides[1] == target.itemsize and c1 - c0 == WIDTH:
        for t in range(t0, t1):
            store(target[t, c0:], 0, load(tile, (t - t0) * WIDTH))
    elif target.strides[0] == target.itemsize and c1 - c0 == WIDTH:
        stride = target.strides[1] // target.itemsize
        squares = (t1 - t0) // WIDTH * WIDTH
        for t in range(0, squares, WIDTH):
            transpose(target[t0 + t, c0:], 0, stride, tile, t * WIDTH, WIDTH)
        for t in range(squares, t1 - t0):
            for c in range(WIDTH):
                target[t0 + t, c0 + c] = as_element(target, tile[t * WIDTH + c])
    else:
        for t in range(t0, t1):
            for c in range(c0, c1):
                target[t, c] = as_element(target, tile[(t - t0) * WIDTH + c - c0])


def arrays(*dimensions: int, bfloat16: bool = False) -> list[Any]:
    """Numba types of arrays of any strides, by number of dimensions: float32, or the bits of bfloat16."""
    return [types.Array(BITS if bfloat16 else types.float32, ndim, "A") for ndim in dimensions]


def as_array(tensor: Tensor) -> NDArray[Any]:
    """What a kernel sees of a tensor on the CPU, a view: float32, or the bits of bfloat16."""
    tensor = tensor.detach()
    return (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()


def compile_kernel(function: Any, *argument_types: Any) -> Any:
    """A parallel kernel with one signature, so that no memory layout makes a call compile another version.

    Numba keeps the result on disk beside the module (or in its user-wide cache) until that module changes.
    """
    return numba.njit(types.void(*argument_types), parallel=True, cache=True)(function)


@contextmanager
def threads(work: int) -> Iterator[None]:
    """As many threads as PyTorch uses, so that one setting rules both; one where the work, in state updates,
    is too small to share."""
    wanted = torch.get_num_threads()
    before = numba.get_num_threads()
    if torch.get_num_threads() != wanted:  # Numba starting its threads sets OpenMP's number for the process
        torch.set_num_threads(wanted)
    limit = min(wanted, _settings.NUMBA_NUM_THREADS)
    numba.set_num_threads(limit if work > _SERIAL_WORK else 1)
    try:
        yield
    finally:
        numba.set_num_threads(before)
