"""Play in plain PyTorch, on any device: the reference of the compiled steps."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dmh_lib.models import DMH, KeyValueCache
from dmh_lib.models.planner import Planner

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


def _tensors(device: torch.device, *arrays: NDArray[Any]) -> list[Any]:
    return [torch.from_numpy(array).to(device) for array in arrays]


class ChunkNotes:
    """Summaries of the chunks of B environments, kept step by step; nothing for models without them."""

    def __init__(self, planner: Planner, num_envs: int) -> None:
        self._summary = planner.summary if planner.config.chunk_summary else None
        width = planner.config.d_model if self._summary else 0
        self._sums = planner.head.weight.new_zeros(num_envs, width)  # (B, d) of the chunk's steps so far
        self._last = torch.zeros_like(self._sums)  # (B, d) summary of the chunk before

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self._sums.nbytes + self._last.nbytes

    def end_step(self, states: Floats, actions: NDArray, rewards: Floats, steps: Ints) -> None:
        """Take in a step of every environment."""
        if self._summary is not None:
            self._sums += self._summary.step(*_tensors(self._sums.device, states, actions, rewards, steps))

    def end_chunk(self, rows: Ints) -> None:
        """The chunks of `rows` are over."""
        if self._summary is not None:
            index = torch.from_numpy(rows)
            self._last[index] = self._summary.project(self._sums[index])
            self._sums[index] = 0

    def last(self, rows: Ints) -> Tensor | None:
        """Summaries (b, d) of the last chunks that were over."""
        return self._last[torch.from_numpy(rows)] if self._summary is not None else None


class EagerPlanner:
    """The sub-goal memory at chunk boundaries; see `decode.Planner`."""

    def __init__(self, model: DMH, num_envs: int) -> None:
        self._planner, self._device = model.planner, model.obs_mean.device
        self._memory = model.planner.allocate_cache(num_envs)
        self._notes = ChunkNotes(model.planner, num_envs)

    @property
    def state_bytes(self) -> int:
        """See `decode.Planner`."""
        memory = self._memory
        if isinstance(memory, KeyValueCache):
            return memory.tensor.nbytes + self._notes.nbytes
        return sum(state.nbytes for layer in memory for state in layer) + self._notes.nbytes

    def begin_chunk(
        self, states: Floats, returns_to_go: Floats, chunk_rewards: Floats, done: Ints, rows: Ints
    ) -> tuple[Floats, Floats]:
        """See `decode.Planner`."""
        *inputs, index = _tensors(self._device, states, returns_to_go, chunk_rewards, done, rows)
        part = self._take(index)
        mean, spread = self._planner.begin_chunk(*[*inputs, self._notes.last(rows), part])
        self._put(index, part)
        return mean.cpu().numpy(), spread.cpu().numpy()

    def end_step(self, states: Floats, actions: NDArray, rewards: Floats, steps: Ints) -> None:
        """See `decode.Planner`."""
        self._notes.end_step(states, actions, rewards, steps)

    def end_chunk(self, chunk_rewards: Floats, done: Ints, rows: Ints) -> None:
        """See `decode.Planner`."""
        *inputs, index = _tensors(self._device, chunk_rewards, done, rows)
        self._notes.end_chunk(rows)
        part = self._take(index)
        self._planner.end_chunk(*[*inputs, self._notes.last(rows), part])
        self._put(index, part)

    def forget(self, rows: Ints) -> None:
        """See `decode.Planner`."""
        index = torch.from_numpy(rows).to(self._device)
        if isinstance(self._memory, KeyValueCache):
            self._memory.positions[index] = 0
            return
        for state in (state for layer in self._memory for state in layer):
            state[index] = 0

    def _take(self, index: Tensor) -> Any:
        if isinstance(self._memory, KeyValueCache):
            return self._memory.rows(index)
        return [(conv[index], scan[index]) for conv, scan in self._memory]

    def _put(self, index: Tensor, part: Any) -> None:
        if isinstance(self._memory, KeyValueCache):
            self._memory.put(index, part)
            return
        for mine, new in zip(self._memory, part, strict=True):
            mine[0][index], mine[1][index] = new


class EagerActor:
    """The action transformer at each step; see `decode.Actor`."""

    def __init__(self, model: DMH, num_envs: int) -> None:
        self._actor, self._device = model.actor, model.obs_mean.device
        self._cache = model.actor.allocate_cache(num_envs)

    @property
    def state_bytes(self) -> int:
        """See `decode.Actor`."""
        return self._cache.tensor.nbytes

    def begin_chunk(self, subgoals: Floats, rows: Ints) -> None:
        """See `decode.Actor`."""
        chosen, index = _tensors(self._device, subgoals, rows)
        part = self._cache.rows(index)
        self._actor.begin_chunk(chosen, part)
        self._cache.put(index, part)

    def act(
        self, subgoals: Floats, states: Floats, last_actions: NDArray, last_rewards: Floats, steps: Ints
    ) -> Floats:
        """See `decode.Actor`."""
        inputs = _tensors(self._device, subgoals, states, last_actions, last_rewards, steps)
        return self._actor.act(*[*inputs, self._cache]).cpu().numpy()

    def end_step(self, actions: NDArray, rewards: Floats, steps: Ints, ended: NDArray[np.bool_]) -> None:
        """See `decode.Actor`."""
        inputs = _tensors(self._device, actions, rewards, steps)
        self._actor.end_step(*[*inputs, self._cache])


class WindowActor:
    """The released code's view in play: the last c steps of the episode, whatever chunk they belong to."""

    def __init__(self, model: DMH, num_envs: int) -> None:
        config, self._actor, self._device = model.config, model.actor, model.obs_mean.device
        self._chunk_len = config.chunk_len
        self._filled = np.zeros(num_envs, dtype=np.int64)  # (B,) earlier steps held
        self._rows = np.arange(num_envs)
        actions = () if config.discrete else (config.action_dim,)
        shapes = ((config.goal_dim,), (config.seen_dim,), actions, ())
        kinds = (np.float32, np.float32, np.int64 if config.discrete else np.float32, np.float32)
        self._parts = [  # sub-goals, states, actions, rewards: (B, c, …) each
            np.zeros((num_envs, config.chunk_len, *shape), dtype=kind)
            for shape, kind in zip(shapes, kinds, strict=True)
        ]

    @property
    def state_bytes(self) -> int:
        """See `decode.Actor`."""
        return sum(part.nbytes for part in self._parts)

    def begin_chunk(self, subgoals: Floats, rows: Ints) -> None:
        """Nothing to do: chunks are not what this window follows."""

    def act(
        self, subgoals: Floats, states: Floats, last_actions: NDArray, last_rewards: Floats, steps: Ints
    ) -> Floats:
        """See `decode.Actor`."""
        full = self._filled == self._chunk_len
        for part in self._parts:
            part[full] = np.roll(part[full], -1, axis=1)
        self._filled -= full
        self._parts[0][self._rows, self._filled] = subgoals
        self._parts[1][self._rows, self._filled] = states
        outputs: Tensor = self._actor(*_tensors(self._device, *self._parts))
        return outputs.cpu().numpy()[self._rows, self._filled]

    def end_step(self, actions: NDArray, rewards: Floats, steps: Ints, ended: NDArray[np.bool_]) -> None:
        """See `decode.Actor`."""
        self._parts[2][self._rows, self._filled] = actions
        self._parts[3][self._rows, self._filled] = rewards
        self._filled += 1
        self._filled[ended] = 0
