"""Windows of learning histories with the optimal actions of every moment in them."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from dmh_lib.data.trajectories import Trajectories
from dmh_lib.data.windows import Start, WindowBatch, WindowConfig, WindowSampler
from dmh_lib.envs import ROOMS, GridRules, optimal_actions, room_of
from dmh_lib.errors import DataError

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class QueryConfig(WindowConfig):
    """Where windows begin."""

    start: Start = "first"
    """`first`: at the run's first episode, as in play. `any`: at any episode of a run whose window still
    fits; the learner may know the task by then, and its walk gives away what no reward has shown."""


@dataclass  # not frozen: Fabric copies batches field by field in mixed precision
class QueryBatch(WindowBatch):
    """B windows of up to L steps, padded on the right; each step is a query as well."""

    collected: torch.Tensor  # (B, L) sum of the episode's rewards before the step
    optimal: torch.Tensor  # (B, L, A) bool, the actions that are best in the step's state
    asked: torch.Tensor  # (B, L) bool, false on padding and where nothing is left to gain


class QuerySampler(WindowSampler):
    """Draws windows as `WindowSampler` does and says, from the room's rules, what would have been best.

    The true stage of an episode, the targets reached so far, comes from its states, not from its rewards.

    Args:
        trajectories: histories in a dark room, whose observations are cells.
        config: where windows begin.
        context_len: most steps in a window.
        seed: of all draws.

    Raises:
        DataError: the data name no dark room.
        SettingError: a task is not one of the room's.
    """

    def __init__(
        self, trajectories: Trajectories, config: QueryConfig, context_len: int, seed: int = 0
    ) -> None:
        super().__init__(trajectories, config, context_len, seed)
        env_id = trajectories.metadata.get("env_id")
        if env_id not in ROOMS:
            source = trajectories.metadata.get("path", "trajectories")
            problem = f"field 'env_id': optimal actions are known in dark rooms only, not in {env_id}"
            raise DataError(f"{source}: {problem}; take data of `dmh data make`")
        self.rules = room_of(str(env_id))
        self.stages = stages_of(self.rules, self.trajectories)  # (N,)

    def sample(self, batch_size: int) -> QueryBatch:
        """Draw a batch of windows."""
        return self.build(self._rng.integers(len(self.starts), size=batch_size))

    def build(self, windows: Ints) -> QueryBatch:
        """The batch of given windows (B,), counted among `starts`."""
        window, data = super().build(windows), self.trajectories
        steps, _ = self._steps(windows)  # (B, L)
        episodes = data.offsets.searchsorted(steps.reshape(-1), "right") - 1  # (B·L,)
        positions = data.observations[steps.reshape(-1)].astype(np.int64)  # (B·L, 2)
        stages = self.stages[steps.reshape(-1)].astype(np.int64)  # (B·L,)
        best = optimal_actions(self.rules, positions, stages, data.task_ids[episodes])  # (B·L, A)
        optimal = torch.from_numpy(best.reshape(*steps.shape, -1))
        return QueryBatch(
            **vars(window),
            collected=collected_in_window(window.rewards, window.ended),
            optimal=optimal,
            asked=window.mask & ~optimal.all(-1),
        )


def stages_of(rules: GridRules, trajectories: Trajectories) -> NDArray[np.int8]:
    """Targets reached in the episode before each step, (N,)."""
    offsets, lengths = trajectories.offsets, trajectories.lengths
    x, y = trajectories.observations.astype(np.int64).T  # (N,) each
    targets = rules.targets(trajectories.task_ids)  # (E, num_targets, 2)
    steps = np.arange(trajectories.num_steps)
    stages = np.zeros(len(steps), dtype=np.int8)
    since = offsets[:-1]  # (E,) the step at which the target before was reached, or the episode began
    for target in targets.swapaxes(0, 1):  # (E, 2)
        there = (x == np.repeat(target[:, 0], lengths)) & (y == np.repeat(target[:, 1], lengths))
        there &= steps > np.repeat(since, lengths)  # a state is where the step before ended
        since = np.minimum.reduceat(np.where(there, steps, len(steps)), offsets[:-1])
        stages += steps >= np.repeat(since, lengths)
    return stages


def collected_in_window(rewards: torch.Tensor, ended: torch.Tensor) -> torch.Tensor:
    """Sum of the episode's rewards before each step, (B, L), in windows that begin with an episode."""
    before = rewards.double().cumsum(1) - rewards  # (B, L)
    steps = torch.arange(rewards.shape[1], device=rewards.device)
    begins = (steps * ended.roll(1, dims=1)).cummax(1).values  # (B, L) where each step's episode begins
    return (before - before.gather(1, begins)).float()
