"""A scripted searcher with memory: it looks where it has not looked, and returns to what it has found."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dmh_lib.data.recording import cell_index
from dmh_lib.envs import GridRules, GridVectorEnv

STAY = 4


@dataclass(frozen=True)
class SearcherConfig:
    """How the systematic searcher behaves."""

    runs_per_task: int = 100
    """Lifetimes recorded of each training task."""
    episodes: int = 20
    """Episodes of one lifetime."""
    noise: float = 0.03
    """Share of random actions."""
    forgetful_runs: float = 0.5
    """Share of runs that sometimes forget which cells they have visited; they search longer."""
    forget: float = 0.2
    """Chance that such a run forgets at the start of an episode."""


class Searcher:
    """Plays B runs at once.

    It heads for the nearest cell not yet visited, in a random preferred direction per episode; the map of
    visited cells lasts from episode to episode. A place that paid is remembered and walked to directly. So a
    failed episode never points at the goal: whoever imitates it learns to search, not to guess.
    """

    def __init__(self, rules: GridRules, num_runs: int, config: SearcherConfig, seed: int) -> None:
        self._rules, self._config = rules, config
        self._rng = np.random.default_rng(seed)
        grid = np.stack(np.divmod(np.arange(rules.num_cells), rules.size), axis=-1)  # (cells, 2)
        self._grid = grid
        self._distances = np.abs(grid[:, None] - grid[None]).sum(-1).astype(np.float32)  # (cells, cells)
        self._visited = np.zeros((num_runs, rules.num_targets, rules.num_cells), dtype=bool)
        self._known = np.full((num_runs, rules.num_targets), -1, dtype=np.int64)  # cell of each found target
        self._forgetful = self._rng.random(num_runs) < config.forgetful_runs
        self._runs = np.arange(num_runs)

    def begin_episode(self, episode: int) -> None:
        """Pick this episode's preferred directions; some forgetful runs lose their map."""
        lost = self._forgetful & (self._rng.random(len(self._runs)) < self._config.forget)
        self._visited[lost] = False
        angle = self._rng.uniform(0, 2 * np.pi, len(self._runs))
        direction = np.stack([np.cos(angle), np.sin(angle)])  # (2, B)
        # below 1 in all, so that it decides among equally near cells only
        self._preference = -(0.4 / self._rules.size) * (self._grid @ direction).T.astype(
            np.float32
        )  # (B, cells)

    def act(self, rooms: GridVectorEnv) -> NDArray[np.int64]:
        """Actions (B,): towards the known target or else the nearest unvisited cell."""
        here = cell_index(rooms.positions, self._rules.size)  # (B,)
        stage = np.minimum(rooms.stages, self._rules.num_targets - 1)
        known = self._known[self._runs, stage]
        cost = self._distances[here] + self._preference + 1e3 * self._visited[self._runs, stage]  # (B, cells)
        target = np.where(known >= 0, known, cost.argmin(-1))
        gap = self._grid[target] - rooms.positions  # (B, 2)
        span = np.abs(gap)
        along_y = self._rng.random(len(here)) * span.sum(-1) >= span[:, 0]  # any shortest path, alike
        moves = np.where(along_y, np.where(gap[:, 1] > 0, 2, 3), np.where(gap[:, 0] > 0, 0, 1))
        moves = np.where(span.sum(-1) == 0, STAY, moves)
        random = self._rng.random(len(here)) < self._config.noise
        return np.where(random, self._rng.integers(5, size=len(here)), moves)

    def learn(
        self,
        cells: NDArray[np.int64],
        stages: NDArray[np.int64],
        actions: NDArray[np.int64],
        rewards: NDArray[np.float32],
        next_cells: NDArray[np.int64],
    ) -> None:
        """Mark the cell as visited, and remember it if it paid."""
        stage = np.minimum(stages, self._rules.num_targets - 1)
        self._visited[self._runs, stage, next_cells] = True
        paid = rewards > 0
        self._known[self._runs[paid], stage[paid]] = next_cells[paid]
