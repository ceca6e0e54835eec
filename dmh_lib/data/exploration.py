"""What the value learners share: greedy play with a share of random actions that fades as they learn."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dmh_lib.envs import MOVES


@dataclass(frozen=True)
class ExplorationConfig:
    """How long a learner lives and how it explores."""

    episodes: int = 800
    """Episodes of one learner: 16,000 steps in Darkroom, about what 1M steps give each of 60 tasks."""
    discount: float = 0.95
    """Discount factor."""
    explore: float = 0.6
    """Share of the episodes over which the random actions fade from all to `final_noise`."""
    final_noise: float = 0.05
    """Share of random actions afterwards."""

    def noise(self, episode: int) -> float:
        """Share of random actions in an episode: all at first, falling in a line to `final_noise`."""
        faded = (1.0 - self.final_noise) * episode / max(1.0, self.explore * self.episodes)
        return max(self.final_noise, 1.0 - faded)


class EpsilonGreedy:
    """The acting half of a value learner."""

    def __init__(self, config: ExplorationConfig, seed: int) -> None:
        self._exploration = config
        self._rng = np.random.default_rng(seed)
        self._noise = 1.0

    def begin_episode(self, episode: int) -> None:
        """Set this episode's share of random actions."""
        self._noise = self._exploration.noise(episode)

    def _explore(self, greedy: NDArray[np.int64]) -> NDArray[np.int64]:
        """The greedy actions (B,), some of them replaced by random ones."""
        random = self._rng.random(len(greedy)) < self._noise
        return np.where(random, self._rng.integers(len(MOVES), size=len(greedy)), greedy)
