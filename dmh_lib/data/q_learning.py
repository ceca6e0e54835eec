"""Tabular Q-learning, one learner per room, all rooms in one batch: the quick learning history."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dmh_lib.data.exploration import EpsilonGreedy, ExplorationConfig
from dmh_lib.data.recording import cell_index
from dmh_lib.envs import MOVES, GridRules, GridVectorEnv


@dataclass(frozen=True)
class QLearningConfig(ExplorationConfig):
    """Settings of the tabular learners."""

    runs_per_task: int = 4
    """Learners of each training task."""
    learning_rate: float = 0.3
    """Step size of the update."""


class QLearner(EpsilonGreedy):
    """B tables Q[cell × targets reached, action], updated after every step (Watkins 1989)."""

    def __init__(self, rules: GridRules, num_runs: int, config: QLearningConfig, seed: int) -> None:
        super().__init__(config, seed)
        self._rules, self._config = rules, config
        # targets reached belong to the state: a learner that did not know about the key could not learn
        self._values = np.zeros((num_runs, (rules.num_targets + 1) * rules.num_cells, len(MOVES)))
        self._runs = np.arange(num_runs)

    def _states(self, cells: NDArray[np.int64], stages: NDArray[np.int64]) -> NDArray[np.int64]:
        return stages * self._rules.num_cells + cells

    def act(self, rooms: GridVectorEnv) -> NDArray[np.int64]:
        """Greedy actions (B,) with random ties, or random ones."""
        states = self._states(cell_index(rooms.positions, self._rules.size), rooms.stages)
        values = self._values[self._runs, states]  # (B, 5)
        greedy = (values + 1e-9 * self._rng.random(values.shape)).argmax(-1)
        return self._explore(greedy)

    def learn(
        self,
        cells: NDArray[np.int64],
        stages: NDArray[np.int64],
        actions: NDArray[np.int64],
        rewards: NDArray[np.float32],
        next_cells: NDArray[np.int64],
    ) -> None:
        """Q ← Q + α (r + γ max Q′ − Q); the horizon is a truncation, so the last step bootstraps as well."""
        config = self._config
        reached = np.minimum(stages + (rewards > 0), self._rules.num_targets)
        best = self._values[self._runs, self._states(next_cells, reached)].max(-1)
        at = (self._runs, self._states(cells, stages), actions)
        self._values[at] += config.learning_rate * (rewards + config.discount * best - self._values[at])
