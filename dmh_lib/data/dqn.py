"""DQN, one network per room, all rooms in one batched matrix product: the paper's source of histories."""

import itertools
import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from dmh_lib.data.exploration import EpsilonGreedy, ExplorationConfig
from dmh_lib.data.recording import cell_index
from dmh_lib.envs import MOVES, GridRules, GridVectorEnv


@dataclass(frozen=True)
class DQNConfig(ExplorationConfig):
    """Settings of the deep Q-learners (Mnih et al. 2015)."""

    runs_per_task: int = 1
    """Learners of each training task."""
    hidden: int = 64
    """Width of the two hidden layers."""
    learning_rate: float = 1e-3
    """Of Adam."""
    batch_size: int = 32
    """Transitions per update and learner."""
    replay: int = 10_000
    """Latest transitions kept of each learner."""
    target_every: int = 200
    """Updates between copies of the network into the target network."""


class DQN(EpsilonGreedy):
    """B networks [cell × targets reached, one-hot] → values of the five actions, one update per step."""

    def __init__(self, rules: GridRules, num_runs: int, config: DQNConfig, seed: int) -> None:
        super().__init__(config, seed)
        self._rules, self._config = rules, config
        self._num_states = (rules.num_targets + 1) * rules.num_cells
        generator = torch.Generator().manual_seed(seed)
        sizes = (self._num_states, config.hidden, config.hidden, len(MOVES))
        self._weights: list[torch.Tensor] = []
        for fan_in, fan_out in itertools.pairwise(sizes):
            bound = 1 / math.sqrt(fan_in)
            weight = torch.empty(num_runs, fan_in, fan_out).uniform_(-bound, bound, generator=generator)
            self._weights += [weight.requires_grad_(), torch.zeros(num_runs, 1, fan_out, requires_grad=True)]
        self._target = [weight.detach().clone() for weight in self._weights]
        self._optimizer = torch.optim.Adam(self._weights, lr=config.learning_rate, fused=True)
        self._runs = np.arange(num_runs)
        self._memory = np.empty(
            (4, config.replay, num_runs), dtype=np.int64
        )  # state, action, reward, next state
        self._stored = 0

    @staticmethod
    def _values(weights: list[torch.Tensor], states: torch.Tensor) -> torch.Tensor:
        """Values (B, K, 5) of states (B, K): a one-hot times a matrix is a row of that matrix."""
        first, bias, *rest = weights
        rows = first.gather(1, states[..., None].expand(-1, -1, first.shape[-1]))  # (B, K, hidden)
        hidden = torch.relu(rows + bias)
        hidden = torch.relu(torch.baddbmm(rest[1], hidden, rest[0]))  # (B, K, hidden)
        return torch.baddbmm(rest[3], hidden, rest[2])  # (B, K, 5)

    def act(self, rooms: GridVectorEnv) -> NDArray[np.int64]:
        """Greedy actions (B,), or random ones."""
        states = rooms.stages * self._rules.num_cells + cell_index(rooms.positions, self._rules.size)
        with torch.inference_mode():
            greedy = self._values(self._weights, torch.from_numpy(states)[:, None])[:, 0].argmax(-1).numpy()
        return self._explore(greedy)

    def learn(
        self,
        cells: NDArray[np.int64],
        stages: NDArray[np.int64],
        actions: NDArray[np.int64],
        rewards: NDArray[np.float32],
        next_cells: NDArray[np.int64],
    ) -> None:
        """Store the step and make one update of every network on its own past."""
        config, cells_in_room = self._config, self._rules.num_cells
        reached = np.minimum(stages + (rewards > 0), self._rules.num_targets)
        slot = self._stored % config.replay
        # rewards of the dark rooms are 0 or 1, so one integer table holds a transition
        self._memory[:, slot] = (
            stages * cells_in_room + cells,
            actions,
            rewards.astype(np.int64),
            reached * cells_in_room + next_cells,
        )
        self._stored += 1
        if self._stored < config.batch_size:
            return
        rows = self._rng.integers(min(self._stored, config.replay), size=(len(self._runs), config.batch_size))
        drawn = torch.from_numpy(self._memory[:, rows, self._runs[:, None]])  # (4, B, K)
        with torch.no_grad():
            best = self._values(self._target, drawn[3]).amax(-1)  # (B, K)
        values = self._values(self._weights, drawn[0]).gather(-1, drawn[1][..., None])[..., 0]
        errors = torch.nn.functional.smooth_l1_loss(
            values, drawn[2] + config.discount * best, reduction="none"
        )
        self._optimizer.zero_grad()
        errors.mean(-1).sum().backward()  # a sum over learners: each gets the gradient of its own mean
        self._optimizer.step()
        if self._stored % config.target_every == 0:
            self._target = [weight.detach().clone() for weight in self._weights]
