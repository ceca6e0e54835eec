"""Tabular Q-learning, one learner per room, all rooms in one batch: the quick learning history."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dmh_lib.data.recording import cell_index
from dmh_lib.envs import MOVES, GridRules, GridVectorEnv


@dataclass(frozen=True)
class QLearningConfig:
    """Settings of the tabular learners."""

    runs_per_task: int = 4
    """Learners of each training task."""
    episodes: int = 800
    """Episodes of one learner: 16,000 steps in Darkroom, about what 1M steps give each of 60 tasks."""
    learning_rate: float = 0.3
    """Step size of the update."""
    discount: float = 0.95
    """Discount factor."""
    explore: float = 0.6
    """Share of the episodes over which the random actions fade from all to `final_noise`."""
    final_noise: float = 0.05
    """Share of random actions afterwards."""


def fading(episode: int, episodes: int, explore: float, final_noise: float) -> float:
    """Share of random actions in an episode: 1 at first, falling in a line to `final_noise`."""
    return max(final_noise, 1.0 - (1.0 - final_noise) * episode / max(1.0, explore * episodes))


class QLearner:
    """B tables Q[cell × targets reached, action], updated after every step (Watkins 1989)."""

    def __init__(self, rules: GridRules, num_runs: int, config: QLearningConfig, seed: int) -> None:
        self._rules, self._config = rules, config
        self._rng = np.random.default_rng(seed)
        # targets reached belong to the state: a learner that did not know about the key could not learn
        self._values = np.zeros((num_runs, (rules.num_targets + 1) * rules.num_cells, len(MOVES)))
        self._runs = np.arange(num_runs)
        self._noise = 1.0

    def begin_episode(self, episode: int) -> None:
        """Set this episode's share of random actions."""
        config = self._config
        self._noise = fading(episode, config.episodes, config.explore, config.final_noise)

    def _states(self, cells: NDArray[np.int64], stages: NDArray[np.int64]) -> NDArray[np.int64]:
        return stages * self._rules.num_cells + cells

    def act(self, rooms: GridVectorEnv) -> NDArray[np.int64]:
        """Greedy actions (B,) with random ties, or random ones."""
        states = self._states(cell_index(rooms.positions, self._rules.size), rooms.stages)
        values = self._values[self._runs, states]  # (B, 5)
        greedy = (values + 1e-9 * self._rng.random(values.shape)).argmax(-1)
        random = self._rng.random(len(states)) < self._noise
        return np.where(random, self._rng.integers(len(MOVES), size=len(states)), greedy)

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
