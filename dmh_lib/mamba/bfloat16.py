"""bfloat16 numbers in kernels: 16 bits in memory, the upper half of a float32, and float32 in registers.

NumPy and Numba do not know the type, so kernels see its bits as uint16. The functions here emit the
conversions, for one number or a vector of them alike.
"""

# mypy: allow-untyped-defs
# Numba infers the types inside kernels.

from typing import Any

import numba
from llvmlite import ir  # type: ignore[import-untyped, unused-ignore]
from numba.core import types

BITS = types.uint16

# Kernels call an intrinsic without its typing context, which its declared type does not know.
intrinsic: Any = numba.extending.intrinsic


def _like(kind, element):
    """The type of a value of the same shape, one number or a vector, with another element."""
    return ir.VectorType(element, kind.count) if isinstance(kind, ir.VectorType) else element


def _constant(kind, value):
    return ir.Constant(kind, [value] * kind.count if isinstance(kind, ir.VectorType) else value)


def widen(builder, bits):
    """i16 -> float, exactly."""
    whole = _like(bits.type, ir.IntType(32))
    upper = builder.shl(builder.zext(bits, whole), _constant(whole, 16))
    return builder.bitcast(upper, _like(bits.type, ir.FloatType()))


def narrow(builder, value):
    """float -> i16, rounded to the nearest, ties to even, as PyTorch does; NaN stays NaN."""
    whole = _like(value.type, ir.IntType(32))
    bits = builder.bitcast(value, whole)
    odd = builder.and_(builder.lshr(bits, _constant(whole, 16)), _constant(whole, 1))
    rounded = builder.add(bits, builder.add(odd, _constant(whole, 0x7FFF)))
    quiet = builder.or_(bits, _constant(whole, 0x400000))  # rounding could carry a NaN to infinity
    bits = builder.select(builder.fcmp_unordered("uno", value, value), quiet, rounded)
    return builder.trunc(builder.lshr(bits, _constant(whole, 16)), _like(value.type, ir.IntType(16)))


@intrinsic
def as_float32(typing_context, element):
    """An element of a float32 array as it is, or one of a uint16 array read as bfloat16."""

    def codegen(context, builder, signature, args):
        return widen(builder, args[0]) if signature.args[0] == BITS else args[0]

    return types.float32(element), codegen


@intrinsic
def as_element(typing_context, array, number):
    """A float32 as an element of the array: as it is, or the bits of its bfloat16."""

    def codegen(context, builder, signature, args):
        return narrow(builder, args[1]) if signature.return_type == BITS else args[1]

    return array.dtype(array, types.float32), codegen
