"""The fused loops of the selective scan on CPUs, forward and backward.

One task is one sequence and up to `TASK_CHANNELS` channels. It walks its channels in groups of 16 SIMD
lanes and the time in segments of `SEGMENT` steps, so that a segment's tiles stay in the first-level cache.
The states never reach memory: the forward keeps one state per segment, and the backward recomputes the
states of one segment at a time from it.

Arrays over time come as (B, L, D) views of any strides; the tiles turn them into time-major lanes.
Nothing is compiled on import: the compiled kernels are made by `forward_kernel` and `backward_kernel`.
"""

# mypy: allow-untyped-defs
# Numba infers the types inside kernels.

from functools import cache
from typing import Any

import numba
import numpy as np
from numba import types

from .kernels import SEGMENT, arrays, compile_kernel, gather, scatter
from .lanes import LOG2_E, WIDTH, add_totals, exp2, load, sigmoid, softplus, spread, store

TASK_CHANNELS = 64


@numba.njit(inline="always")
def _channels(task, blocks, group_size):
    """The first channel of a task and the one after its last; a task never straddles two groups."""
    group, block = task // blocks, task % blocks
    first = group * group_size + block * TASK_CHANNELS
    return first, min(first + TASK_CHANNELS, (group + 1) * group_size)


@numba.njit
def _prepare(step, drive, u, bias, use_softplus, steps):
    """In place: step (raw delta) -> Δ; drive -> Δ u; both tiles."""
    b = load(bias, 0)
    for i in range(0, steps * WIDTH, WIDTH):
        delta = load(step, i) + b
        if use_softplus:
            delta = softplus(delta)
        store(step, i, delta)
        store(drive, i, delta * load(u, i))


def _forward(
    u, delta, A, B, C, D, z, bias, weight, weighted, use_softplus, gated, keep, out, last, checkpoints
):
    """u, delta, z, out (B, L, D); A, weight (D, N) with even N, the weight all ones unless `weighted`; B, C
    (B, G, L, N); D, bias (D,); last (B, D, N) holds the state before the first step, then the one after the
    last; checkpoints (B, segments - 1, N, D), written if `keep`."""
    batch, length, channels = u.shape
    groups, states = B.shape[1], B.shape[3]
    blocks = -(-(channels // groups) // TASK_CHANNELS)
    for index in numba.prange(batch * groups * blocks):
        b, task = index // (groups * blocks), index % (groups * blocks)
        first, end = _channels(task, blocks, channels // groups)
        g = task // blocks
        scratch = np.empty((5, SEGMENT * WIDTH), np.float32)
        u_tile, step, drive, y, z_tile = scratch[0], scratch[1], scratch[2], scratch[3], scratch[4]
        params = np.empty((2, WIDTH), np.float32)  # D, bias
        matrices = np.empty((3, states * WIDTH), np.float32)  # A, weight, state; (N, WIDTH) each
        h_lanes = matrices[2]
        for c0 in range(first, end, WIDTH):
            c1 = min(c0 + WIDTH, end)
            _gather_parameters(params, matrices, A, D, bias, weight, c0, c1)
            gather(h_lanes, last[b].T, 0, states, c0, c1)
            for t0 in range(0, length, SEGMENT):
                t1 = min(t0 + SEGMENT, length)
                if keep and t0 > 0:
                    scatter(checkpoints[b, t0 // SEGMENT - 1], h_lanes, 0, states, c0, c1)
                gather(u_tile, u[b], t0, t1, c0, c1)
                gather(step, delta[b], t0, t1, c0, c1)
                _prepare(step, drive, u_tile, params[1], use_softplus, t1 - t0)
                _forward_segment(
                    step, drive, u_tile, y, params[0], matrices, B[b, g], C[b, g], weighted, t0, t1
                )
                if gated:
                    gather(z_tile, z[b], t0, t1, c0, c1)
                    for i in range(0, (t1 - t0) * WIDTH, WIDTH):
                        gate = load(z_tile, i)
                        store(y, i, load(y, i) * gate * sigmoid(gate))
                scatter(out[b], y, t0, t1, c0, c1)
            scatter(last[b].T, h_lanes, 0, states, c0, c1)


@numba.njit
def _gather_parameters(params, matrices, A, D, bias, weight, c0, c1):
    """Channels c0..c1 of D, bias -> params (2, WIDTH) and of A, weight -> matrices[:2] (2, N * WIDTH)."""
    gather(matrices[0], A.T, 0, A.shape[1], c0, c1)
    gather(matrices[1], weight.T, 0, A.shape[1], c0, c1)
    params[:] = 0.0
    for c in range(c0, c1):
        params[0, c - c0] = D[c]
        params[1, c - c0] = bias[c]


@numba.njit
def _forward_segment(step, drive, u, y, skip, matrices, B, C, weighted, t0, t1):
    """y_t = Σ_n C_t w h_t + D u_t over one segment; matrices[2] is the state before and after."""
    d = load(skip, 0)
    for i in range(0, (t1 - t0) * WIDTH, WIDTH):
        store(y, i, d * load(u, i))
    states = B.shape[1]
    flat_B, flat_C = B.reshape(-1), C.reshape(-1)
    for n in range(0, states, 2):
        p, q = n * WIDTH, (n + 1) * WIDTH
        rate0, rate1 = load(matrices[0], p) * LOG2_E, load(matrices[0], q) * LOG2_E
        w0, w1 = load(matrices[1], p), load(matrices[1], q)
        h0, h1 = load(matrices[2], p), load(matrices[2], q)
        for t in range(t0, t1):
            i, at = (t - t0) * WIDTH, t * states + n
            delta, x = load(step, i), load(drive, i)
            h0 = exp2(delta * rate0) * h0 + x * spread(flat_B, at)
            h1 = exp2(delta * rate1) * h1 + x * spread(flat_B, at + 1)
            c0, c1 = spread(flat_C, at), spread(flat_C, at + 1)
            if weighted:
                c0, c1 = c0 * w0, c1 * w1
            store(y, i, load(y, i) + h0 * c0 + h1 * c1)
        store(matrices[2], p, h0)
        store(matrices[2], q, h1)


def _backward(
    u, delta, A, B, C, D, z, bias, weight, weighted, use_softplus, gated, checkpoints, dout, dlast,
    du, ddelta, dA, dB, dC, dD, dz, dbias, dweight,
):  # fmt: skip
    """Inputs as in `_forward`, from a zero state; dout like out, dlast like last. The caller sums, in a fixed
    order, dA, dweight (B, D, N), dD, dbias (B, D) of each sequence and dB, dC (B, G, blocks, L, N), zero on
    entry, of each task."""
    batch, length, channels = u.shape
    groups, states = B.shape[1], B.shape[3]
    blocks = -(-(channels // groups) // TASK_CHANNELS)
    for index in numba.prange(batch * groups * blocks):
        b, task = index // (groups * blocks), index % (groups * blocks)
        first, end = _channels(task, blocks, channels // groups)
        g, block = task // blocks, task % blocks
        tiles = np.empty((12, SEGMENT * WIDTH), np.float32)
        params = np.empty((2, WIDTH), np.float32)  # D, bias
        sums = np.empty((2, WIDTH), np.float32)  # dD, dbias
        matrices = np.empty((6, states * WIDTH), np.float32)  # A, weight, state, carry, dA, dweight
        for c0 in range(first, end, WIDTH):
            c1 = min(c0 + WIDTH, end)
            _gather_parameters(params, matrices, A, D, bias, weight, c0, c1)
            sums[:] = 0.0
            matrices[4:] = 0.0
            gather(matrices[3], dlast[b].T, 0, states, c0, c1)
            for segment in range((length - 1) // SEGMENT, -1, -1):
                t0 = segment * SEGMENT
                t1 = min(t0 + SEGMENT, length)
                if segment > 0:
                    gather(matrices[2], checkpoints[b, segment - 1], 0, states, c0, c1)
                else:
                    matrices[2] = 0.0
                gather(tiles[0], u[b], t0, t1, c0, c1)
                gather(tiles[1], delta[b], t0, t1, c0, c1)
                gather(tiles[3], dout[b], t0, t1, c0, c1)
                _prepare(tiles[1], tiles[2], tiles[0], params[1], use_softplus, t1 - t0)
                if gated:
                    gather(tiles[4], z[b], t0, t1, c0, c1)
                    for i in range(0, (t1 - t0) * WIDTH, WIDTH):
                        gate, dy = load(tiles[4], i), load(tiles[3], i)
                        s = sigmoid(gate)
                        store(tiles[3], i, dy * gate * s)  # gradient of the scan's own output
                        store(tiles[4], i, dy * (s + gate * s * (1.0 - s)))  # of z, still without y
                _backward_segment(tiles, matrices, B[b, g], C[b, g], dB[b, g, block], dC[b, g, block],
                                  weighted, t0, t1)  # fmt: skip
                gather(tiles[8], delta[b], t0, t1, c0, c1)
                _finish(tiles, params, sums, use_softplus, gated, t1 - t0)
                scatter(du[b], tiles[6], t0, t1, c0, c1)
                scatter(ddelta[b], tiles[5], t0, t1, c0, c1)
                if gated:
                    scatter(dz[b], tiles[4], t0, t1, c0, c1)
            scatter(dA[b].T, matrices[4], 0, states, c0, c1)
            scatter(dweight[b].T, matrices[5], 0, states, c0, c1)
            for c in range(c0, c1):
                dD[b, c] = sums[0, c - c0]
                dbias[b, c] = sums[1, c - c0]


@numba.njit
def _backward_segment(tiles, matrices, B, C, dB, dC, weighted, t0, t1):
    """tiles 1 Δ, 2 Δu, 3 dy -> 5 dΔ, 6 d(Δu), 7 y (without skip); 8 to 11 exp(Δ A) and h of two n."""
    step, drive, dy = tiles[1], tiles[2], tiles[3]
    dstep, ddrive, y = tiles[5], tiles[6], tiles[7]
    decay0, decay1, h0_tile, h1_tile = tiles[8], tiles[9], tiles[10], tiles[11]
    tiles[5:8] = 0.0
    states = B.shape[1]
    flat_B, flat_C, flat_dB, flat_dC = B.reshape(-1), C.reshape(-1), dB.reshape(-1), dC.reshape(-1)
    for n in range(0, states, 2):
        p, q = n * WIDTH, (n + 1) * WIDTH
        a0, a1 = load(matrices[0], p), load(matrices[0], q)
        w0, w1 = load(matrices[1], p), load(matrices[1], q)
        rate0, rate1 = a0 * LOG2_E, a1 * LOG2_E
        start0, start1 = load(matrices[2], p), load(matrices[2], q)
        h0, h1 = start0, start1
        for t in range(t0, t1):
            i, at = (t - t0) * WIDTH, t * states + n
            delta, x = load(step, i), load(drive, i)
            e0, e1 = exp2(delta * rate0), exp2(delta * rate1)
            h0 = e0 * h0 + x * spread(flat_B, at)
            h1 = e1 * h1 + x * spread(flat_B, at + 1)
            store(decay0, i, e0)
            store(decay1, i, e1)
            store(h0_tile, i, h0)
            store(h1_tile, i, h1)
            c0, c1 = spread(flat_C, at), spread(flat_C, at + 1)
            if weighted:
                c0, c1 = c0 * w0, c1 * w1
            store(y, i, load(y, i) + h0 * c0 + h1 * c1)
        # carry: exp(Δ_{t+1} A) dL/dh_{t+1}
        carry0, carry1 = load(matrices[3], p), load(matrices[3], q)
        da0, da1 = load(matrices[4], p), load(matrices[4], q)
        dw0, dw1 = load(matrices[5], p), load(matrices[5], q)
        for t in range(t1 - 1, t0 - 1, -1):
            i, at = (t - t0) * WIDTH, t * states + n
            delta, x, gradient = load(step, i), load(drive, i), load(dy, i)
            c0, c1 = spread(flat_C, at), spread(flat_C, at + 1)
            hy0, hy1 = gradient * h0, gradient * h1
            if weighted:
                dw0, dw1 = dw0 + hy0 * c0, dw1 + hy1 * c1
                hy0, hy1, c0, c1 = hy0 * w0, hy1 * w1, c0 * w0, c1 * w1
            add_totals(flat_dC, at, hy0, hy1)
            dh0 = carry0 + gradient * c0
            dh1 = carry1 + gradient * c1
            add_totals(flat_dB, at, dh0 * x, dh1 * x)
            dx = load(ddrive, i) + dh0 * spread(flat_B, at)
            store(ddrive, i, dx + dh1 * spread(flat_B, at + 1))
            carry0 = dh0 * load(decay0, i)
            carry1 = dh1 * load(decay1, i)
            h0, h1 = start0, start1  # before this step
            if t > t0:
                h0, h1 = load(h0_tile, i - WIDTH), load(h1_tile, i - WIDTH)
            r0, r1 = carry0 * h0, carry1 * h1  # dL/d(Δ A)
            store(dstep, i, load(dstep, i) + r0 * a0 + r1 * a1)
            da0 = da0 + r0 * delta
            da1 = da1 + r1 * delta
        store(matrices[3], p, carry0)
        store(matrices[3], q, carry1)
        store(matrices[4], p, da0)
        store(matrices[4], q, da1)
        store(matrices[5], p, dw0)
        store(matrices[5], q, dw1)


@numba.njit
def _finish(tiles, params, sums, use_softplus, gated, steps):
    """From dΔ, d(Δu) and, in tile 8, raw delta: tiles 4 dz, 5 d(raw delta), 6 du; sums += dD, dbias."""
    skip, bias = load(params[0], 0), load(params[1], 0)
    dskip, dbias = load(sums[0], 0), load(sums[1], 0)
    for i in range(0, steps * WIDTH, WIDTH):
        u, delta, dy, ddrive = load(tiles[0], i), load(tiles[1], i), load(tiles[3], i), load(tiles[6], i)
        ddelta = load(tiles[5], i) + ddrive * u
        if use_softplus:
            ddelta = ddelta * sigmoid(load(tiles[8], i) + bias)
        if gated:
            store(tiles[4], i, load(tiles[4], i) * (load(tiles[7], i) + skip * u))
        dskip = dskip + dy * u
        dbias = dbias + ddelta
        store(tiles[5], i, ddelta)
        store(tiles[6], i, ddrive * delta + dy * skip)
    store(sums[0], 0, dskip)
    store(sums[1], 0, dbias)


def _inputs(wide: Any) -> list[Any]:
    """Types of the arguments that both kernels begin with; `wide` is that of the (B, L, D) arrays."""
    over_time = types.Array(types.float32, 4, "C")  # B and C: few numbers, read again for every channel
    inputs = [wide, wide, *arrays(2), over_time, over_time, *arrays(1), wide, *arrays(1, 2)]
    return [*inputs, types.boolean, types.boolean, types.boolean]


# One signature for any strides: a call never compiles another version for another memory layout. Another one
# reads and writes (B, L, D) arrays of bfloat16; those who never use them never wait for it to compile.


@cache
def forward_kernel(bfloat16: bool = False) -> Any:
    """The compiled `_forward`; the first call in a process compiles it or reads it from Numba's cache."""
    (wide,) = arrays(3, bfloat16=bfloat16)
    return compile_kernel(_forward, *_inputs(wide), types.boolean, wide, *arrays(3, 4))


@cache
def backward_kernel(bfloat16: bool = False) -> Any:
    """The compiled `_backward`; the first call in a process compiles it or reads it from Numba's cache."""
    (wide,) = arrays(3, bfloat16=bfloat16)
    over_time = types.Array(types.float32, 5, "C")
    gradients = [wide, wide, *arrays(3), over_time, over_time, *arrays(2), wide, *arrays(2, 3)]
    return compile_kernel(_backward, *_inputs(wide), *arrays(4), wide, *arrays(3), *gradients)
