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
from .lanes import WIDTH, exp, load, sigmoid, softplus, store, total

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


def _forward(u, delta, A, B, C, D, z, bias, weight, use_softplus, gated, keep, out, last, checkpoints):
    """u, delta, z, out (B, L, D); A, weight (D, N); B, C (B, G, N, L); D, bias (D,); last (B, D, N)
    holds the state before the first step and then the one after the last; checkpoints
    (B, segments - 1, N, D), written if `keep`."""
    batch, length, channels = u.shape
    groups, states = B.shape[1], B.shape[2]
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
                _forward_segment(step, drive, u_tile, y, params[0], matrices, B[b, g], C[b, g], t0, t1)
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
def _forward_segment(step, drive, u, y, skip, matrices, B, C, t0, t1):
    """y_t = Σ_n C_t w h_t + D u_t over one segment; matrices[2] is the state before and after."""
    d = load(skip, 0)
    for i in range(0, (t1 - t0) * WIDTH, WIDTH):
        store(y, i, d * load(u, i))
    for n in range(B.shape[0]):
        a = load(matrices[0], n * WIDTH)
        w = load(matrices[1], n * WIDTH)
        h = load(matrices[2], n * WIDTH)
        for t in range(t0, t1):
            i = (t - t0) * WIDTH
            h = exp(load(step, i) * a) * h + load(drive, i) * B[n, t]
            store(y, i, load(y, i) + h * w * C[n, t])
        store(matrices[2], n * WIDTH, h)


def _backward(
    u, delta, A, B, C, D, z, bias, weight, use_softplus, gated, checkpoints, dout, dlast,
    du, ddelta, dA, dB, dC, dD, dz, dbias, dweight,
):  # fmt: skip
    """Inputs as in `_forward`, from a zero state; dout like out, dlast like last. The caller sums, in a fixed
    order, dA, dweight (B, D, N), dD, dbias (B, D) of each sequence and dB, dC (B, G, blocks, N, L), zero on
    entry, of each task."""
    batch, length, channels = u.shape
    groups, states = B.shape[1], B.shape[2]
    blocks = -(-(channels // groups) // TASK_CHANNELS)
    for index in numba.prange(batch * groups * blocks):
        b, task = index // (groups * blocks), index % (groups * blocks)
        first, end = _channels(task, blocks, channels // groups)
        g, block = task // blocks, task % blocks
        tiles = np.empty((10, SEGMENT * WIDTH), np.float32)
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
                _backward_segment(tiles, matrices, B[b, g], C[b, g], dB[b, g, block], dC[b, g, block], t0, t1)
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
def _backward_segment(tiles, matrices, B, C, dB, dC, t0, t1):
    """tiles 1 Δ, 2 Δu, 3 dy -> 5 dΔ, 6 d(Δu), 7 y (without skip); 8 and 9 hold exp(Δ A) and h of one n."""
    step, drive, dy = tiles[1], tiles[2], tiles[3]
    dstep, ddrive, y, decay, h_tile = tiles[5], tiles[6], tiles[7], tiles[8], tiles[9]
    tiles[5:8] = 0.0
    for n in range(B.shape[0]):
        a = load(matrices[0], n * WIDTH)
        w = load(matrices[1], n * WIDTH)
        start = load(matrices[2], n * WIDTH)
        h = start
        for t in range(t0, t1):
            i = (t - t0) * WIDTH
            e = exp(load(step, i) * a)
            h = e * h + load(drive, i) * B[n, t]
            store(decay, i, e)
            store(h_tile, i, h)
            store(y, i, load(y, i) + h * w * C[n, t])
        carry = load(matrices[3], n * WIDTH)  # exp(Δ_{t+1} A) dL/dh_{t+1}
        da = load(matrices[4], n * WIDTH)
        dw = load(matrices[5], n * WIDTH)
        for t in range(t1 - 1, t0 - 1, -1):
            i = (t - t0) * WIDTH
            hy = load(dy, i) * load(h_tile, i)
            dw = dw + hy * C[n, t]
            dC[n, t] += total(hy * w)
            dh = carry + load(dy, i) * w * C[n, t]
            dB[n, t] += total(dh * load(drive, i))
            store(ddrive, i, load(ddrive, i) + dh * B[n, t])
            carry = dh * load(decay, i)
            before = start
            if t > t0:
                before = load(h_tile, i - WIDTH)
            q = carry * before  # dL/d(Δ A)
            store(dstep, i, load(dstep, i) + q * a)
            da = da + q * load(step, i)
        store(matrices[3], n * WIDTH, carry)
        store(matrices[4], n * WIDTH, da)
        store(matrices[5], n * WIDTH, dw)


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
    return [wide, wide, *arrays(2, 4, 4, 1), wide, *arrays(1, 2), types.boolean, types.boolean]


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
    gradients = [wide, wide, *arrays(3, 5, 5, 2), wide, *arrays(2, 3)]
    return compile_kernel(_backward, *_inputs(wide), *arrays(4), wide, *arrays(3), *gradients)
