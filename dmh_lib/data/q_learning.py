"""Tabular Q-learning, one learner per room, all rooms in one batch: the quick learning history."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmh_lib.data.exploration import EpsilonGreedy, ExplorationConfig, filled_in
from dmh_lib.data.recording import Step, cell_index
from dmh_lib.envs import MOVES, GridRules, GridVectorEnv


@dataclass(frozen=True)
class QLearningConfig(ExplorationConfig):
    """Settings of the tabular learners."""

    learning_rate: float | None = None
    """Step size of the update, at most 1, which is exact since no room has chance in it; None: as suits the
    room."""
    initial_value: float | None = None
    """What every action is thought to be worth at first; None: as suits the room. A little more than nothing
    sends the learner to what it has not tried (Sutton and Barto 2018, section 2.6), where random steps alone
    hardly ever find a goal."""
    backwards: bool | None = None
    """Learn each episode once more at its end, last step first (Lin 1992), so that what was found is known
    along the whole way to it and not only one step before; None: as suits the room."""


class QLearner(EpsilonGreedy):
    """B tables Q[cell × stage, action], updated after every step (Watkins 1989)."""

    def __init__(self, rules: GridRules, num_runs: int, config: QLearningConfig, seed: int) -> None:
        super().__init__(config, seed)
        self._rules, self._config = rules, config
        # the stage belongs to the state: a learner that did not know about the key could not learn
        shape = (num_runs, rules.num_stages * rules.num_cells, len(MOVES))
        self._values = np.full(shape, config.initial_value or 0.0)
        self._runs = np.arange(num_runs)
        self._lived = np.zeros(num_runs, dtype=np.int64)  # steps of the episode so far
        # state, action, reward, next state, termination of each of them
        self._episode = np.zeros((5, rules.horizon if config.backwards else 0, num_runs), dtype=np.int64)

    def _states(self, cells: NDArray[np.int64], stages: NDArray[np.int64]) -> NDArray[np.int64]:
        return stages * self._rules.num_cells + cells

    def begin_episodes(self, started: NDArray[np.bool_], episodes: NDArray[np.int64]) -> None:
        """Set the share of random actions; learn the episodes that have just ended backwards."""
        super().begin_episodes(started, episodes)
        for time in reversed(range(self._episode.shape[1])):
            runs = np.flatnonzero(started & (time < self._lived))
            if runs.size:
                self._update(runs, *self._episode[:, time, runs])
        self._lived[started] = 0

    def act(self, rooms: GridVectorEnv) -> NDArray[np.int64]:
        """Greedy actions (B,) with random ties, or random ones."""
        states = self._states(cell_index(rooms.positions, self._rules.size), rooms.stages)
        values = self._values[self._runs, states]  # (B, 5)
        greedy = (values + 1e-9 * self._rng.random(values.shape)).argmax(-1)
        return self._explore(greedy)

    def learn(self, step: Step) -> None:
        """Update every table with its step, and keep the step until its episode ends."""
        reached = np.minimum(step.stages + (step.rewards > 0), self._rules.num_stages - 1)
        lived: tuple[NDArray[Any], ...] = (
            self._states(step.cells, step.stages),
            step.actions,
            step.rewards,
            self._states(step.next_cells, reached),
            step.terminations,
        )
        if self._config.backwards:
            for kept, values in zip(self._episode, lived, strict=True):
                kept[self._lived, self._runs] = values  # rewards are 0 or 1
            self._lived += 1
        self._update(self._runs, *lived)

    def _update(
        self,
        runs: NDArray[np.int64],
        states: NDArray[np.int64],
        actions: NDArray[np.int64],
        rewards: NDArray[np.number],
        next_states: NDArray[np.int64],
        terminations: NDArray[np.generic],
    ) -> None:
        """Q ← Q + α (r + γ max Q′ − Q); the horizon is a truncation, so its last step bootstraps as well."""
        best = self._values[runs, next_states].max(-1)
        goal = rewards + self._config.discount * best * (terminations == 0)
        at = (runs, states, actions)
        self._values[at] += filled_in("learning_rate", self._config.learning_rate) * (goal - self._values[at])
