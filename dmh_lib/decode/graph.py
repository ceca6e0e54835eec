"""Play on NVIDIA GPUs: a step's many small kernels recorded once in a CUDA graph and replayed as one."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dmh_lib.decode.eager import EagerActor
from dmh_lib.models import DMH

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Work = Callable[[], Tensor]
Replay = Callable[[], Tensor]

_WARM_UP = 3  # runs before recording, in which libraries choose their algorithms and allocate


def record_cuda(work: Work, reset: Callable[[], object]) -> Replay:
    """A function that repeats `work` and returns its result, a tensor at a fixed address.

    `work` must read and write tensors of the current device that stay where they are; `reset` undoes a run.
    """
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(_WARM_UP):
            reset()
            work()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):  # records and does not run
        result = work()
    reset()

    def replay() -> Tensor:
        graph.replay()
        return result

    return replay


class GraphActor(EagerActor):
    """`EagerActor` whose `act` and `end_step` are recorded, with their arguments at fixed addresses."""

    def __init__(
        self, model: DMH, num_envs: int, record: Callable[[Work, Callable[[], object]], Replay] = record_cuda
    ) -> None:
        super().__init__(model, num_envs)
        config = model.config
        kind = torch.long if config.discrete else torch.float32
        actions = (num_envs,) if config.discrete else (num_envs, config.action_dim)
        like: dict[str, Any] = {"device": self._device}
        self._subgoals = torch.zeros(num_envs, config.goal_dim, **like)
        self._states = torch.zeros(num_envs, config.seen_dim, **like)
        self._actions = torch.zeros(actions, dtype=kind, **like)
        self._rewards = torch.zeros(num_envs, **like)
        self._steps = torch.zeros(num_envs, dtype=torch.long, **like)
        forget = self._cache.positions.zero_  # else the runs that warm up would overflow the cache
        with torch.cuda.device_of(self._states):  # no effect elsewhere
            self._act = record(self._work_act, forget)
            # fused tokens wait for the next state: nothing to record
            self._end = record(self._work_end, forget) if config.tokens == "paper" else None

    def _work_act(self) -> Tensor:
        return self._actor.act(
            self._subgoals, self._states, self._actions, self._rewards, self._steps, self._cache
        )

    def _work_end(self) -> Tensor:
        self._actor.end_step(self._actions, self._rewards, self._steps, self._cache)
        return self._cache.positions

    def act(
        self, subgoals: Floats, states: Floats, last_actions: NDArray, last_rewards: Floats, steps: Ints
    ) -> Floats:
        """See `decode.Actor`."""
        self._subgoals.copy_(torch.from_numpy(subgoals))
        self._states.copy_(torch.from_numpy(states))
        self._put(last_actions, last_rewards, steps)
        return self._act().cpu().numpy()

    def end_step(self, actions: NDArray, rewards: Floats, steps: Ints, ended: NDArray[np.bool_]) -> None:
        """See `decode.Actor`."""
        if self._end is not None:
            self._put(actions, rewards, steps)
            self._end()

    def _put(self, actions: NDArray, rewards: Floats, steps: Ints) -> None:
        self._actions.copy_(torch.from_numpy(actions))
        self._rewards.copy_(torch.from_numpy(rewards))
        self._steps.copy_(torch.from_numpy(steps))
