"""One step of the action transformer for many environments at once, as one compiled function.

The eager modules it must agree with are `ActionTransformer.act` and `end_step`. A step's new tokens go
through the blocks together: with the paper's tokens the action and reward of the step before and the
sub-goal and state of this one; fused, the state, and before it the sub-goal where a chunk begins.
"""

# mypy: allow-untyped-defs
# Numba infers the types inside kernels.

from functools import cache
from typing import Any

import numba
import numpy as np
from numba import types

from dmh_lib.mamba.kernels import compile_kernel
from dmh_lib.mamba.lanes import WIDTH, load, store

from .transformer_kernels import SET, layer_norm, linear, transformer

BLOCK = 16  # environments whose tokens go through the blocks together
MOST_TOKENS = 4  # of one environment in one step


@numba.njit
def embed(x, r, width, vector, w, step):
    """x[r] ← Wᵀ-rows w (N, width) summed with the numbers of `vector` (N,), bias w[N], plus step (width,)."""
    inner = vector.shape[0]
    flat = w.reshape(-1)
    for c in range(0, width, WIDTH):
        value = load(flat, inner * width + c) + load(step, c)
        for k in range(inner):
            value = value + load(flat, k * width + c) * vector[k]
        store(x, r * width + c, value)


@numba.njit
def add_row(x, r, width, row, factor):
    """x[r] += factor · row (width,)."""
    for c in range(0, width, WIDTH):
        store(x, r * width + c, load(x, r * width + c) + load(row, c) * factor)


@numba.njit
def _act_block(
    first, end, subgoals, states, actions, rewards, steps, fused, discrete,
    subgoal_w, state_w, action_w, reward_w, step_w, weights, tail, heads, keys, values, scratch, places, out,
):  # fmt: skip
    """Environments first..end; see `_act`."""
    width = step_w.shape[1]
    count = end - first
    x = scratch[: MOST_TOKENS * BLOCK * width]
    env_of, place_of, queries = places[0], places[1], places[2]
    nothing = step_w[step_w.shape[0] - 1]  # a row of zeros
    rows = 0
    for env in range(first, end):
        step = steps[env]
        if fused:
            if step == 0:
                embed(x, rows, width, subgoals[env], subgoal_w, nothing)
                env_of[rows], place_of[rows] = env, 0
                rows += 1
            embed(x, rows, width, states[env], state_w, step_w[step])
            if step > 0:
                _add_outcome(x, rows, rows, width, actions[env], rewards[env : env + 1], action_w, reward_w,
                             discrete)  # fmt: skip
            env_of[rows], place_of[rows] = env, 1 + step
        else:
            if step > 0:
                for token in range(2):
                    for c in range(0, width, WIDTH):
                        store(x, (rows + token) * width + c, load(step_w[step - 1], c))
                    env_of[rows + token], place_of[rows + token] = env, 4 * step - 2 + token
                _add_outcome(x, rows, rows + 1, width, actions[env], rewards[env : env + 1], action_w,
                             reward_w, discrete)  # fmt: skip
                rows += 2
            embed(x, rows, width, subgoals[env], subgoal_w, step_w[step])
            env_of[rows], place_of[rows] = env, 4 * step
            rows += 1
            embed(x, rows, width, states[env], state_w, step_w[step])
            env_of[rows], place_of[rows] = env, 4 * step + 1
        queries[env - first] = rows
        rows += 1
    rest = scratch[MOST_TOKENS * BLOCK * width :]
    transformer(x, rows, env_of, place_of, queries, count, width, heads, weights, keys, values, rest)
    # tail: norm, then the head in panels
    num_out = out.shape[1]
    panels = -(-num_out // WIDTH)
    layer_norm(rest, x, count, width, tail, 0, width)
    head = tail[2 * width :]
    wide = rest[BLOCK * width :]
    linear(wide, panels * WIDTH, 0, rest, width, count, width, head, 0, panels, panels * WIDTH * width, SET)
    for q in range(count):
        for c in range(num_out):
            out[first + q, c] = wide[q * panels * WIDTH + c]


@numba.njit
def _add_outcome(x, r_action, r_reward, width, action, reward, action_w, reward_w, discrete):
    if discrete:
        add_row(x, r_action, width, action_w[int(action[0])], np.float32(1.0))
    else:
        for k in range(action.shape[0]):
            add_row(x, r_action, width, action_w[k], action[k])
    add_row(x, r_action, width, action_w[action_w.shape[0] - 1], np.float32(1.0))
    add_row(x, r_reward, width, reward_w[0], reward[0])
    add_row(x, r_reward, width, reward_w[1], np.float32(1.0))


def _act(
    subgoals, states, actions, rewards, steps, fused, discrete,
    subgoal_w, state_w, action_w, reward_w, step_w, weights, tail, heads, keys, values, scratch, places, out,
):  # fmt: skip
    """subgoals (B, G), states (B, O), actions (B, 1 or A), rewards (B,) scaled, steps (B,) int64;
    *_w (N + 1, d) embeddings, one row per input and then the bias; step_w (c + 1, d), zeros last;
    weights (layers, 12 d² + 13 d), tail (2 d + head); keys (layers, B, d, P), values (layers, B, M, d);
    scratch (tasks, …), places (tasks, 3, …) int64; out (B, A)."""
    tasks, batch = scratch.shape[0], states.shape[0]
    blocks = -(-batch // BLOCK)
    for task in numba.prange(tasks):
        # whole blocks, so that results do not depend on the number of tasks
        stop = min(batch, (task + 1) * blocks // tasks * BLOCK)
        for first in range(task * blocks // tasks * BLOCK, stop, BLOCK):
            _act_block(
                first, min(first + BLOCK, stop), subgoals, states, actions, rewards, steps, fused, discrete,
                subgoal_w, state_w, action_w, reward_w, step_w, weights, tail, heads, keys, values,
                scratch[task], places[task], out,
            )  # fmt: skip


def c_arrays(*dimensions: int, of: Any = types.float32) -> list[Any]:
    """Numba types of contiguous arrays, by number of dimensions."""
    return [types.Array(of, ndim, "C") for ndim in dimensions]


@cache
def act_kernel() -> Any:
    """The compiled `_act`; the first call in a process compiles it or reads it from Numba's cache."""
    return compile_kernel(
        _act,
        *c_arrays(2, 2, 2, 1),
        *c_arrays(1, of=types.int64),
        types.boolean,
        types.boolean,
        *c_arrays(2, 2, 2, 2, 2, 2, 1),
        types.int64,
        *c_arrays(4, 4, 2),
        *c_arrays(3, of=types.int64),
        *c_arrays(2),
    )
