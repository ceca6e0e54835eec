"""A SIMD value for Numba kernels: 16 float32 numbers, one per channel, held in vector registers.

LLVM vectorises a loop only after proving that the arrays in it do not overlap, and gives up on a loop
with as many arrays as the scan's. Writing the kernels on a vector value makes them vector code by
construction, on every processor: LLVM splits the value into whatever registers there are.
"""

# mypy: allow-untyped-defs
# Numba infers the types inside kernels, and refuses overloads whose parameters are annotated.

import operator
from collections.abc import Callable
from typing import Any

import numba
from llvmlite import ir  # type: ignore[import-untyped, unused-ignore]
from numba.core import cgutils, types
from numba.extending import models, overload, register_model

from .bfloat16 import BITS, intrinsic, narrow, widen

WIDTH = 16

_FLOAT = ir.FloatType()
_VECTOR = ir.VectorType(_FLOAT, WIDTH)
_INT_VECTOR = ir.VectorType(ir.IntType(32), WIDTH)
_HALF_VECTOR = ir.VectorType(ir.IntType(16), WIDTH)


class LanesType(types.Type):
    """Numba's type of the value."""

    def __init__(self) -> None:
        super().__init__(name=f"Lanes{WIDTH}")


LANES = LanesType()


@register_model(LanesType)
class _LanesModel(models.PrimitiveModel):  # type: ignore[misc, unused-ignore]
    def __init__(self, manager, frontend_type):
        super().__init__(manager, frontend_type, _VECTOR)


def _as_vector(builder, kind, value):
    """The operand itself, or a scalar copied to every lane."""
    if kind == LANES:
        return value
    if kind == types.float64:
        value = builder.fptrunc(value, _FLOAT)
    vector = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    order = ir.Constant(_INT_VECTOR, [0] * WIDTH)
    return builder.shuffle_vector(vector, ir.Constant(_VECTOR, ir.Undefined), order)


def _binary(emit: Callable[[Any, Any, Any], Any]) -> Any:
    @intrinsic
    def operation(typing_context, x, y):
        def codegen(context, builder, signature, args):
            a, b = (_as_vector(builder, kind, arg) for kind, arg in zip(signature.args, args, strict=True))
            return emit(builder, a, b)

        return LANES(x, y), codegen

    return operation


# "contract" lets a product and a sum become one fused multiply-add; nothing is reordered, and NaN and
# infinity travel as usual, so that a diverging training is seen.
_add = _binary(lambda builder, a, b: builder.fadd(a, b, flags=("contract",)))
_sub = _binary(lambda builder, a, b: builder.fsub(a, b, flags=("contract",)))
_mul = _binary(lambda builder, a, b: builder.fmul(a, b, flags=("contract",)))
_div = _binary(lambda builder, a, b: builder.fdiv(a, b, flags=("contract",)))
# x where it lies on the right side of the bound or is NaN, else the bound.
at_least = _binary(lambda builder, x, bound: builder.select(builder.fcmp_ordered("<", x, bound), bound, x))
at_most = _binary(lambda builder, x, bound: builder.select(builder.fcmp_ordered(">", x, bound), bound, x))


def _register(symbol: Any, operation: Any) -> None:
    @overload(symbol)
    def implementation(x, y):
        if LANES in (x, y):
            return lambda x, y: operation(x, y)
        return None


_register(operator.add, _add)
_register(operator.sub, _sub)
_register(operator.mul, _mul)
_register(operator.truediv, _div)


def _pointer(context, builder, array_type, array, offset):
    data = context.make_array(array_type)(context, builder, array).data
    vector = _HALF_VECTOR if array_type.dtype == BITS else _VECTOR
    return builder.bitcast(cgutils.gep(builder, data, offset), vector.as_pointer())


def _load(context, builder, array_type, array, offset):
    pointer = _pointer(context, builder, array_type, array, offset)
    if array_type.dtype == BITS:
        return widen(builder, builder.load(pointer, align=2))
    return builder.load(pointer, align=4)


def _store(context, builder, array_type, array, offset, lanes):
    pointer = _pointer(context, builder, array_type, array, offset)
    if array_type.dtype == BITS:
        builder.store(narrow(builder, lanes), pointer, align=2)
    else:
        builder.store(lanes, pointer, align=4)


@intrinsic
def load(typing_context, array, offset):
    """Lanes from a 1-D array of float32 or bfloat16 bits, contiguous from an element offset on."""

    def codegen(context, builder, signature, args):
        return _load(context, builder, signature.args[0], args[0], args[1])

    return LANES(array, types.intp), codegen


@intrinsic
def spread(typing_context, array, offset):
    """One number of a 1-D float32 array in every lane, without Numba's check for negative offsets."""

    def codegen(context, builder, signature, args):
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        return _as_vector(builder, types.float32, builder.load(cgutils.gep(builder, data, args[1])))

    return LANES(array, types.intp), codegen


@intrinsic
def store(typing_context, array, offset, lanes):
    """Lanes into a 1-D array of float32 or bfloat16 bits, contiguous from an element offset on."""

    def codegen(context, builder, signature, args):
        _store(context, builder, signature.args[0], args[0], args[1], args[2])
        return context.get_dummy_value()

    return types.void(array, types.intp, LANES), codegen


@intrinsic
def transpose(typing_context, target, target_offset, target_stride, source, source_offset, source_stride):
    """A square of WIDTH rows of WIDTH numbers, flipped: rows contiguous, offsets and strides in elements."""

    def codegen(context, builder, signature, args):
        def at(first, row):
            offset = builder.add(
                args[first + 1], builder.mul(args[first + 2], ir.Constant(args[1].type, row))
            )
            return signature.args[first], args[first], offset

        # log2(WIDTH) perfect shuffles of the rows with their other half turn rows into columns.
        half = WIDTH // 2
        low = ir.Constant(_INT_VECTOR, [i // 2 + i % 2 * WIDTH for i in range(WIDTH)])
        high = ir.Constant(_INT_VECTOR, [half + i // 2 + i % 2 * WIDTH for i in range(WIDTH)])
        rows = [_load(context, builder, *at(3, row)) for row in range(WIDTH)]
        for _ in range(WIDTH.bit_length() - 1):
            pairs = list(zip(rows[:half], rows[half:], strict=True))
            rows = [builder.shuffle_vector(a, b, order) for a, b in pairs for order in (low, high)]
        for row, lanes in enumerate(rows):
            array_type, array, offset = at(0, row)
            _store(context, builder, array_type, array, offset, lanes)
        return context.get_dummy_value()

    return types.void(target, types.intp, types.intp, source, types.intp, types.intp), codegen


@intrinsic
def total(typing_context, lanes):
    """The sum over the lanes, pairwise: the same order on every call."""

    def codegen(context, builder, signature, args):
        kind = ir.FunctionType(_FLOAT, [_FLOAT, _VECTOR])
        name = f"llvm.vector.reduce.fadd.v{WIDTH}f32"
        reduce = cgutils.get_or_insert_function(builder.module, kind, name)
        return builder.call(reduce, [ir.Constant(_FLOAT, 0.0), args[0]], fastmath=("reassoc",))

    return types.float32(lanes), codegen


@intrinsic
def add_totals(typing_context, array, offset, x, y):
    """array[offset] += total(x) and array[offset + 1] += total(y), in the order of `total`, both at once."""

    def codegen(context, builder, signature, args):
        pairs = ir.VectorType(_FLOAT, 2)
        # Each round adds the halves of both, side by side in one vector half as long.
        half = WIDTH // 2
        low = ir.Constant(_INT_VECTOR, [*range(half), *range(WIDTH, WIDTH + half)])
        high = ir.Constant(_INT_VECTOR, [*range(half, WIDTH), *range(WIDTH + half, 2 * WIDTH)])
        a, b = (builder.shuffle_vector(args[2], args[3], order) for order in (low, high))
        sums = builder.fadd(a, b)
        while half > 1:
            quarter = half // 2
            order = [
                [s + i for s in (0, half) for i in range(first, first + quarter)] for first in (0, quarter)
            ]
            kind = ir.VectorType(ir.IntType(32), half)
            empty = ir.Constant(sums.type, ir.Undefined)
            a, b = (builder.shuffle_vector(sums, empty, ir.Constant(kind, places)) for places in order)
            sums, half = builder.fadd(a, b), quarter
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        pointer = builder.bitcast(cgutils.gep(builder, data, args[1]), pairs.as_pointer())
        builder.store(builder.fadd(builder.load(pointer, align=4), sums), pointer, align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, LANES, LANES), codegen


@intrinsic
def _low_bits_as_power_of_two(typing_context, lanes):
    """2^k, where the lowest mantissa bits of each lane hold k + 127: a shift moves them to the exponent."""

    def codegen(context, builder, signature, args):
        bits = builder.bitcast(args[0], _INT_VECTOR)
        return builder.bitcast(builder.shl(bits, ir.Constant(_INT_VECTOR, [23] * WIDTH)), _VECTOR)

    return LANES(lanes), codegen


# Adding 1.5 * 2^23 rounds a small float32 to an integer that then sits in the lowest mantissa bits; 127 is
# the exponent's bias.
_ROUNDER = 1.5 * 2**23 + 127


@numba.njit
def exp(x):
    """e^x with a relative error below 2e-7; arguments are clamped to where the result is a normal number."""
    x = at_most(at_least(x, -87.33), 88.37)
    shifted = x * 1.4426950408889634 + _ROUNDER
    k = shifted - _ROUNDER
    r = (x - k * 0.693359375) - k * -2.12194440e-4  # |r| <= ln(2) / 2; ln(2) in two parts keeps r exact
    p = r * 1.38145e-3 + 8.36878e-3  # least maximal relative error for (e^r - 1 - r) / r^2
    p = p * r + 4.166839e-2
    p = p * r + 1.666652e-1
    p = p * r + 0.4999999
    return (p * r * r + r + 1.0) * _low_bits_as_power_of_two(shifted)


LOG2_E = 1.4426950408889634


@numba.njit
def exp2(x):
    """2^x with a relative error below 3e-7, in fewer operations than `exp`; results stay normal numbers."""
    x = at_most(at_least(x, -126.0), 127.49)
    shifted = x + _ROUNDER
    r = x - (shifted - _ROUNDER)  # |r| <= 1/2, exact
    p = r * 1.32765e-3 + 9.67554e-3  # least maximal relative error
    p = p * r + 5.550713e-2
    p = p * r + 2.402212e-1
    p = p * r + 6.9314697e-1
    return (p * r + 1.0) * _low_bits_as_power_of_two(shifted)


@numba.njit
def sigmoid(x):
    """1 / (1 + e^-x)."""
    return 1.0 / (1.0 + exp(0.0 - x))


@numba.njit
def softplus(x):
    """ln(1 + e^x), as max(x, 0) + 2 artanh(s) with s = e / (2 + e) <= 1/3 and e = e^-|x|."""
    positive = at_least(x, 0.0)
    e = exp(at_most(x, 0.0) - positive)
    s = e / (e + 2.0)
    q = s * s
    p = q * (1 / 13) + 1 / 11
    p = p * q + 1 / 9
    p = p * q + 1 / 7
    p = p * q + 1 / 5
    p = p * q + 1 / 3
    p = p * q + 1.0
    return positive + 2.0 * s * p
