"""Play in plain PyTorch, on any device: the reference of the compiled steps."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dmh_lib.models import DMH

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


def _tensors(device: torch.device, *arrays: NDArray[Any]) -> list[Any]:
    return [torch.from_numpy(array).to(device) for array in arrays]


class EagerPlanner:
    """The sub-goal Mamba at chunk boundaries; see `decode.Planner`."""

    def __init__(self, model: DMH, num_envs: int) -> None:
        self._planner, self._device = model.planner, model.obs_mean.device
        self._memory = model.planner.allocate_cache(num_envs)

    @property
    def state_bytes(self) -> int:
        """See `decode.Planner`."""
        return sum(state.nbytes for layer in self._memory for state in layer)

    def begin_chunk(
        self, states: Floats, returns_to_go: Floats, chunk_rewards: Floats, done: Ints, rows: Ints
    ) -> tuple[Floats, Floats]:
        """See `decode.Planner`."""
        *inputs, index = _tensors(self._device, states, returns_to_go, chunk_rewards, done, rows)
        part = self._take(index)
        mean, spread = self._planner.begin_chunk(*[*inputs, part])
        self._put(index, part)
        return mean.cpu().numpy(), spread.cpu().numpy()

    def end_chunk(self, chunk_rewards: Floats, done: Ints, rows: Ints) -> None:
        """See `decode.Planner`."""
        *inputs, index = _tensors(self._device, chunk_rewards, done, rows)
        part = self._take(index)
        self._planner.end_chunk(*[*inputs, part])
        self._put(index, part)

    def forget(self, rows: Ints) -> None:
        """See `decode.Planner`."""
        for state in (state for layer in self._memory for state in layer):
            state[_tensors(self._device, rows)[0]] = 0

    def _take(self, index: Tensor) -> list[tuple[Tensor, Tensor]]:
        return [(conv[index], scan[index]) for conv, scan in self._memory]

    def _put(self, index: Tensor, part: list[tuple[Tensor, Tensor]]) -> None:
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
        shapes = ((config.goal_dim,), (config.obs_dim,), actions, ())
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
