"""The loops of one step of a causal transformer at play: a few new tokens in each of many sequences.

Everything is float32. Weights lie packed in flat arrays (`packing.pack_linear`), a weight read from memory
serves all rows of a block, and what a block computes stays in the processor's cache. Keys are stored
channel by channel and values position by position, so that neither attention product sums across lanes.
"""

# mypy: allow-untyped-defs
# Numba infers the types inside kernels.

import math

import numba
import numpy as np

from dmh_lib.mamba.lanes import WIDTH, at_least, exp, load, spread, store, total

SET, RELU, ADD = 0, 1, 2  # what `linear` does with its result


@numba.njit(inline="always")
def _put(out, at, value, mode):
    if mode == RELU:
        value = at_least(value, 0.0)
    elif mode == ADD:
        value = value + load(out, at)
    store(out, at, value)


@numba.njit
def linear(out, out_width, out_at, x, x_width, rows, inner, w, first, last, bias, mode):
    """out[r, out_at:] ← W x[r] + b for the outputs first..last, in lanes of 16, of `rows` rows.

    w holds W from offset 0 as panels (outputs / 16, inner, 16), `bias` is the offset of b in it.
    """
    for panel in range(first, last):
        at = panel * inner * WIDTH
        column = out_at + (panel - first) * WIDTH
        b = load(w, bias + panel * WIDTH)
        r = 0
        while r + 4 <= rows:
            s0, s1, s2, s3 = b, b, b, b
            x0 = r * x_width
            x1, x2, x3 = x0 + x_width, x0 + 2 * x_width, x0 + 3 * x_width
            for k in range(inner):
                wk = load(w, at + k * WIDTH)
                s0 = s0 + wk * spread(x, x0 + k)
                s1 = s1 + wk * spread(x, x1 + k)
                s2 = s2 + wk * spread(x, x2 + k)
                s3 = s3 + wk * spread(x, x3 + k)
            to = r * out_width + column
            _put(out, to, s0, mode)
            _put(out, to + out_width, s1, mode)
            _put(out, to + 2 * out_width, s2, mode)
            _put(out, to + 3 * out_width, s3, mode)
            r += 4
        while r < rows:
            # four partial sums, so that one multiply-add need not wait for the one before
            s0, s1, s2, s3 = b, b * 0.0, b * 0.0, b * 0.0
            x0 = r * x_width
            for k in range(0, inner - 3, 4):
                s0 = s0 + load(w, at + k * WIDTH) * spread(x, x0 + k)
                s1 = s1 + load(w, at + (k + 1) * WIDTH) * spread(x, x0 + k + 1)
                s2 = s2 + load(w, at + (k + 2) * WIDTH) * spread(x, x0 + k + 2)
                s3 = s3 + load(w, at + (k + 3) * WIDTH) * spread(x, x0 + k + 3)
            for k in range(inner // 4 * 4, inner):
                s0 = s0 + load(w, at + k * WIDTH) * spread(x, x0 + k)
            _put(out, r * out_width + column, (s0 + s1) + (s2 + s3), mode)
            r += 1


@numba.njit
def layer_norm(out, x, rows, width, w, scale, shift):
    """out[r] ← (x[r] - mean) / √(variance + 1e-5) · w[scale:] + w[shift:]."""
    for r in range(rows):
        at = r * width
        sums = load(x, at)
        for c in range(WIDTH, width, WIDTH):
            sums = sums + load(x, at + c)
        mean = total(sums) / np.float32(width)
        centred = load(x, at) - mean
        squares = centred * centred
        for c in range(WIDTH, width, WIDTH):
            centred = load(x, at + c) - mean
            squares = squares + centred * centred
        factor = np.float32(1.0 / math.sqrt(total(squares) / np.float32(width) + np.float32(1e-5)))
        for c in range(0, width, WIDTH):
            value = (load(x, at + c) - mean) * factor
            store(out, at + c, value * load(w, scale + c) + load(w, shift + c))


@numba.njit
def attend(out, out_at, query, query_at, keys, values, seen, width, heads, weights):
    """out ← softmax(q kᵀ / √d_head) v over the first `seen` positions; keys (width, P), values (M, width)."""
    size = width // heads
    room = keys.shape[1]
    flat_keys, flat_values = keys.reshape(-1), values.reshape(-1)
    scale = np.float32(1.0 / math.sqrt(size))
    end = -(-seen // WIDTH) * WIDTH
    for head in range(heads):
        first = head * size
        for j in range(0, end, WIDTH):
            score = load(flat_keys, first * room + j) * spread(query, query_at + first)
            for c in range(first + 1, first + size):
                score = score + load(flat_keys, c * room + j) * spread(query, query_at + c)
            store(weights, j, score * scale)
        highest = weights[0]
        for j in range(1, seen):
            highest = max(highest, weights[j])
        for j in range(0, end, WIDTH):
            store(weights, j, exp(load(weights, j) - highest))
        weights[seen:end] = 0.0
        sums = load(weights, 0)
        for j in range(WIDTH, end, WIDTH):
            sums = sums + load(weights, j)
        share = np.float32(1.0) / total(sums)
        for c in range(first, first + size, WIDTH):
            mixed = load(flat_values, c) * spread(weights, 0)
            for j in range(1, seen):
                mixed = mixed + load(flat_values, j * width + c) * spread(weights, j)
            store(out, out_at + c, mixed * share)


@numba.njit
def _remember(qkv, rows, width, env_of, place_of, keys, values):
    """Keys and values of the rows qkv (rows, 3 width) → keys (B, width, P), values (B, M, width)."""
    for r in range(rows):
        env, place, at = env_of[r], place_of[r], r * 3 * width
        for c in range(width):
            keys[env, c, place] = qkv[at + width + c]
        row = values[env, place]
        for c in range(0, width, WIDTH):
            store(row, c, load(qkv, at + 2 * width + c))


@numba.njit
def transformer(x, rows, env_of, place_of, queries, count, width, heads, weights, keys, values, scratch):
    """All blocks, for the new tokens x (rows, width) of environments env_of at places place_of.

    The outputs of the rows `queries` (count,), before the last norm, lie in the first `count` rows of x
    afterwards. weights (layers, 12 d² + 13 d); keys (layers, B, d, P), values (layers, B, M, d) take the
    new tokens in; scratch has 10 d numbers per row and P more.
    """
    d = width
    lanes = d // WIDTH
    normed = scratch[: rows * d]
    qkv = scratch[rows * d : rows * 4 * d]
    wide = scratch[rows * 4 * d : rows * 8 * d]
    mixed = scratch[rows * 8 * d : rows * 9 * d]
    chosen = scratch[rows * 9 * d : rows * 10 * d]
    scores = scratch[rows * 10 * d :]
    layers = weights.shape[0]
    for layer in range(layers):
        norm = weights[layer, : 2 * d]
        in_w = weights[layer, 2 * d : 2 * d + 3 * d * d + 3 * d]
        rest = weights[layer, 5 * d + 3 * d * d :]
        out_w = rest[: d * d + d]
        mlp_norm = rest[d * d + d : d * d + 3 * d]
        up_w = rest[d * d + 3 * d : 5 * d * d + 7 * d]
        down_w = rest[5 * d * d + 7 * d :]
        layer_norm(normed, x, rows, d, norm, 0, d)
        if layer < layers - 1:
            linear(qkv, 3 * d, 0, normed, d, rows, d, in_w, 0, 3 * lanes, 3 * d * d, SET)
            _remember(qkv, rows, d, env_of, place_of, keys[layer], values[layer])
            asked = rows
            for r in range(rows):
                attend(
                    mixed, r * d, qkv, r * 3 * d, keys[layer, env_of[r]], values[layer, env_of[r]],
                    place_of[r] + 1, d, heads, scores,
                )  # fmt: skip
        else:
            # nothing follows that would look at the other rows: they only leave keys and values
            linear(qkv, 3 * d, d, normed, d, rows, d, in_w, lanes, 3 * lanes, 3 * d * d, SET)
            _remember(qkv, rows, d, env_of, place_of, keys[layer], values[layer])
            asked = count
            for q in range(count):
                for c in range(0, d, WIDTH):
                    store(chosen, q * d + c, load(normed, queries[q] * d + c))
                    store(x, q * d + c, load(x, queries[q] * d + c))
            linear(wide, d, 0, chosen, d, count, d, in_w, 0, lanes, 3 * d * d, SET)
            for q in range(count):
                env = env_of[queries[q]]
                attend(
                    mixed, q * d, wide, q * d, keys[layer, env], values[layer, env],
                    place_of[queries[q]] + 1, d, heads, scores,
                )  # fmt: skip
        linear(x, d, 0, mixed, d, asked, d, out_w, 0, lanes, d * d, ADD)
        layer_norm(normed, x, asked, d, mlp_norm, 0, d)
        linear(wide, 4 * d, 0, normed, d, asked, d, up_w, 0, 4 * lanes, 4 * d * d, RELU)
        linear(x, d, 0, wide, 4 * d, asked, 4 * d, down_w, 0, lanes, 4 * d * d, ADD)
