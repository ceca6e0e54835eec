"""Which episodes stand together: those of one life or of one task, worst first."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from dmh_lib.data.sampling import SeededDraws
from dmh_lib.data.trajectories import Trajectories
from dmh_lib.errors import SettingError, require_choice

Ints = NDArray[np.int64]

Draw = Literal["auto", "history", "task", "neighbours"]
Order = Literal["return", "lived"]

NEIGHBOURHOOD = 64  # sorted episodes among which the released code takes neighbours


@dataclass(frozen=True)
class EpisodeConfig:
    """Which episodes are drawn together, and in which order they stand."""

    n_episodes: int = 20
    """Most episodes in a context (n of the paper)."""
    draw: Draw = "auto"
    """`history`: the first episodes of one run. `task`: any episodes of one task, with replacement.
    `neighbours`: as the released code does, n neighbours in return among 64 episodes, with hardly a spread.
    `auto`: `history` if that reaches half of the data or more, else `task`."""
    vary_length: bool = True
    """Draw the number of episodes uniformly from 1 … n_episodes; else always n_episodes."""
    order: Order = "return"
    """Sort by return, worst first (ties in the order lived), or keep the order lived."""
    failures: float = 0.0
    """Only when drawn by task: share of contexts that begin with a random number of unrewarded episodes."""
    by_steps: bool = False
    """Only when drawn by task: draw an episode as often as it has steps, as is usual with D4RL's data, where
    bad episodes are short. Else all episodes are equally likely."""

    def __post_init__(self) -> None:
        require_choice("draw", self.draw, get_args(Draw))
        require_choice("order", self.order, get_args(Order))
        if self.n_episodes < 1:
            raise SettingError(f"n_episodes: must be at least 1, got {self.n_episodes}")
        if not 0 <= self.failures <= 1:
            raise SettingError(f"failures: a share lies in 0 … 1, got {self.failures}")


class EpisodeDraws(SeededDraws):
    """Draws rows of episodes from trajectories, reproducibly.

    Args:
        trajectories: the data.
        config: which episodes.
        seed: of all draws.
    """

    def __init__(self, trajectories: Trajectories, config: EpisodeConfig, seed: int = 0) -> None:
        super().__init__(seed)
        self.trajectories, self.config = trajectories, config
        self.draw = self._resolved_draw()
        tasks = trajectories.task_ids
        # task by task, and within a task the episodes without reward first
        failed = trajectories.returns <= 0
        self._by_task = np.lexsort((~failed, tasks))  # (E,)
        _, self._task_first, self._task_size = np.unique(
            tasks[self._by_task], return_index=True, return_counts=True
        )
        # tickets of each episode; one of a task's, or of its failures', is drawn
        tickets = trajectories.lengths if config.by_steps else np.ones_like(trajectories.lengths)
        tickets = tickets[self._by_task]  # (E,)
        self._stops = tickets.cumsum()  # (E,)
        self._task_before = self._stops[self._task_first] - tickets[self._task_first]
        self._task_tickets = np.add.reduceat(tickets, self._task_first)
        self._failed_tickets = np.add.reduceat(tickets * failed[self._by_task], self._task_first)

    def _resolved_draw(self) -> Draw:
        if self.config.draw != "auto":
            return self.config.draw
        runs = np.diff(self.trajectories.run_offsets)
        reached = np.minimum(runs, self.config.n_episodes).sum()
        return "history" if 2 * reached >= self.trajectories.num_episodes else "task"

    def draw_episodes(self, batch_size: int) -> tuple[Ints, Ints]:
        """Episode ids (B, n), the first counts (B,) of each row valid, in the order lived or drawn."""
        if self.draw == "history":
            return self._draw_histories(batch_size)
        return self._draw_tasks(batch_size)

    def _counts(self, batch_size: int, most: Ints | int) -> Ints:
        limit = np.broadcast_to(np.minimum(self.config.n_episodes, most), (batch_size,)).astype(np.int64)
        return self._rng.integers(1, limit + 1) if self.config.vary_length else limit

    def _draw_histories(self, batch_size: int) -> tuple[Ints, Ints]:
        offsets = self.trajectories.run_offsets
        run = self._rng.integers(len(offsets) - 1, size=batch_size)  # (B,)
        counts = self._counts(batch_size, np.diff(offsets)[run])
        columns = np.minimum(np.arange(counts.max()), counts[:, None] - 1)  # (B, n)
        return offsets[run][:, None] + columns, counts

    def _draw_tasks(self, batch_size: int) -> tuple[Ints, Ints]:
        config, rng = self.config, self._rng
        task = rng.integers(len(self._task_first), size=(batch_size, 1))  # (B, 1)
        if self.draw == "neighbours":
            pool = rng.integers(
                self._task_size[task], size=(batch_size, max(NEIGHBOURHOOD, config.n_episodes))
            )
            pool = self._by_task[self._task_first[task] + pool]  # (B, 64)
            pool = np.take_along_axis(
                pool, self.trajectories.returns[pool].argsort(axis=1, kind="stable"), axis=1
            )
            shift = rng.integers(pool.shape[1] - config.n_episodes + 1, size=(batch_size, 1))
            chosen = np.take_along_axis(pool, shift + np.arange(config.n_episodes), axis=1)
            return chosen, self._counts(batch_size, config.n_episodes)
        counts = self._counts(batch_size, config.n_episodes)
        pick = rng.random((batch_size, int(counts.max())))  # (B, n)
        failures = np.where(rng.random(batch_size) < config.failures, rng.integers(counts + 1), 0)  # (B,)
        is_failure = (np.arange(pick.shape[1]) < failures[:, None]) & (self._failed_tickets[task] > 0)
        span = np.where(is_failure, self._failed_tickets[task], self._task_tickets[task])  # (B, n)
        drawn = self._task_before[task] + (pick * span).astype(np.int64)  # (B, n)
        return self._by_task[self._stops.searchsorted(drawn, "right")], counts

    def sort(self, episodes: Ints, counts: Ints) -> Ints:
        """Each row's valid episodes by return, worst first, if contexts are sorted; else (B, n) as given."""
        if self.config.order == "lived":
            return episodes
        valid = np.arange(episodes.shape[1]) < counts[:, None]
        keys = np.where(valid, self.trajectories.returns[episodes], np.inf)
        return np.take_along_axis(episodes, keys.argsort(axis=1, kind="stable"), axis=1)
