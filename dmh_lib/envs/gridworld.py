"""Dark rooms: grid worlds whose goal the agent cannot see.

The rules are one array function, `transition`; the single Gymnasium environment and the batched one both
call it, so that they cannot drift apart.
"""

from dataclasses import dataclass
from typing import Any, Literal

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from numpy.typing import ArrayLike, NDArray

from dmh_lib.errors import SettingError

ACTION_NAMES = ("+x", "-x", "+y", "-y", "stay")
MOVES = np.array([[1, 0], [-1, 0], [0, 1], [0, -1], [0, 0]], dtype=np.int64)  # (5, 2)

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class GridRules:
    """What one dark room is.

    A task is a cell (`num_targets` 1: the goal) or an ordered pair of cells (2: the key, then the door).
    """

    size: int
    """Cells along each side."""
    horizon: int
    """Steps in one episode."""
    start: tuple[int, int]
    """Where every episode begins, (x, y)."""
    reward: Literal["every", "once"]
    """+1 on every step that ends on the goal, or the first time only."""
    num_targets: Literal[1, 2] = 1
    """Cells to reach in order."""

    @property
    def num_cells(self) -> int:
        """Cells of the room."""
        return self.size**2

    @property
    def num_tasks(self) -> int:
        """Different hidden tasks of the room."""
        return int(self.num_cells**self.num_targets)

    def targets(self, tasks: ArrayLike) -> IntArray:
        """Cells to reach for task ids of shape (B,): an array (B, num_targets, 2) of (x, y).

        Raises SettingError for an id outside 0 … num_tasks − 1.
        """
        ids = np.asarray(tasks, dtype=np.int64).reshape(-1)  # (B,)
        if ids.size and (ids.min() < 0 or ids.max() >= self.num_tasks):
            raise SettingError(
                f"task: ids must lie in 0 … {self.num_tasks - 1}, got {ids.min()} … {ids.max()}"
            )
        digits = ids[:, None] // self.num_cells ** np.arange(self.num_targets)[::-1] % self.num_cells
        return np.stack([digits // self.size, digits % self.size], axis=-1)  # (B, num_targets, 2)

    def optimal_returns(self, tasks: ArrayLike) -> NDArray[np.float64]:
        """Largest return that an agent told the task can collect in one episode, exact, shape (B,)."""
        targets = self.targets(tasks)
        places = np.concatenate([np.broadcast_to(self.start, (len(targets), 1, 2)), targets], axis=1)
        legs = np.abs(np.diff(places, axis=1)).sum(-1)  # (B, num_targets) Manhattan distances
        arrivals = np.maximum(legs, 1).cumsum(-1)  # a target underfoot still takes one step (stay)
        if self.reward == "every":
            return np.maximum(self.horizon - arrivals[:, -1] + 1, 0).astype(np.float64)
        return (arrivals <= self.horizon).sum(-1).astype(np.float64)


RULES: dict[str, GridRules] = {
    "dmh/Darkroom-v0": GridRules(9, 20, (4, 4), "every"),
    "dmh/DarkroomHard-v0": GridRules(9, 20, (4, 4), "once"),
    "dmh/DarkKeyToDoor-v0": GridRules(9, 50, (4, 4), "once", num_targets=2),
}


def rules_of(env_id: str) -> GridRules:
    """Rules behind a Gymnasium id; the `dmh/` prefix, the `-v0` suffix and upper case may be left out.

    Raises SettingError for any other name, listing the known ones.
    """
    return RULES[full_env_id(env_id)]


def full_env_id(name: str) -> str:
    """The Gymnasium id for a name such as `darkroom`; raises SettingError if there is none."""
    short = {key.removeprefix("dmh/").removesuffix("-v0").lower(): key for key in RULES}
    plain = name.removeprefix("dmh/").removesuffix("-v0").lower()
    if plain not in short:
        raise SettingError(f"environment: '{name}' is not known; choose one of {', '.join(short)}")
    return short[plain]


def transition(
    rules: GridRules, positions: IntArray, stages: IntArray, targets: IntArray, actions: IntArray
) -> tuple[IntArray, IntArray, NDArray[np.float32]]:
    """One step of B rooms.

    Args:
        rules: the room.
        positions: (B, 2) cells before the step.
        stages: (B,) targets reached so far in this episode.
        targets: (B, num_targets, 2) cells to reach.
        actions: (B,) in 0 … 4.

    Returns:
        positions (B, 2), stages (B,) and rewards (B,) after the step.
    """
    positions = np.clip(positions + MOVES[actions], 0, rules.size - 1)  # (B, 2) walls hold
    sought = np.minimum(stages, rules.num_targets - 1)  # (B,)
    there = (positions == targets[np.arange(len(targets)), sought]).all(-1)  # (B,)
    first = there & (stages < rules.num_targets)
    rewarded = there if rules.reward == "every" else first
    return positions, stages + first, rewarded.astype(np.float32)


def _spaces(rules: GridRules) -> tuple[gym.spaces.Box, gym.spaces.Discrete]:
    cells = gym.spaces.Box(0.0, float(rules.size - 1), (2,), np.float32)
    return cells, gym.spaces.Discrete(len(MOVES))


class GridVectorEnv(gym.vector.VectorEnv):
    """B copies of one dark room, stepped together in numpy; an ended copy is reset in the same step.

    Args:
        num_envs: number of copies B.
        tasks: task id of each copy (B,), kept for all episodes; None draws them at the first reset.
        rules: the room; `gym.make_vec` fills it in.

    `reset(seed=…)` draws unset tasks anew; `reset(options={"tasks": ids})` sets them.
    """

    def __init__(self, num_envs: int = 1, *, rules: GridRules, tasks: ArrayLike | None = None) -> None:
        self.rules = rules
        self.num_envs = num_envs
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}
        self.single_observation_space, self.single_action_space = _spaces(rules)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._fixed_tasks = tasks is not None
        self.tasks: IntArray | None = None
        if tasks is not None:
            self._set_tasks(tasks)
        self.positions = np.tile(np.array(rules.start, dtype=np.int64), (num_envs, 1))  # (B, 2)
        self.stages = np.zeros(num_envs, dtype=np.int64)
        self.steps = np.zeros(num_envs, dtype=np.int64)

    def _set_tasks(self, tasks: ArrayLike) -> None:
        ids = np.asarray(tasks, dtype=np.int64).reshape(-1)
        if ids.shape != (self.num_envs,):
            raise SettingError(f"tasks: {self.num_envs} environments need as many task ids, got {ids.size}")
        self.tasks, self.targets = ids, self.rules.targets(ids)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin an episode in every copy: observations (B, 2) and an empty info."""
        super().reset(seed=seed if not isinstance(seed, list) else seed[0])
        if options and "tasks" in options:
            self._set_tasks(options["tasks"])
        elif self.tasks is None or (seed is not None and not self._fixed_tasks):
            self._set_tasks(self.np_random.integers(self.rules.num_tasks, size=self.num_envs))
        self._begin(np.ones(self.num_envs, dtype=bool))
        return self.observations(), {}

    def _begin(self, ended: NDArray[np.bool_]) -> None:
        self.positions[ended] = self.rules.start
        self.stages[ended] = 0
        self.steps[ended] = 0

    def observations(self) -> NDArray[np.float32]:
        """What the agents see now: their own cells, (B, 2)."""
        return self.positions.astype(np.float32)

    def step(
        self, actions: ArrayLike
    ) -> tuple[
        NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]
    ]:
        """Step all copies with actions (B,); where an episode ends, `final_obs` in the info has its end."""
        moves = np.asarray(actions, dtype=np.int64)  # (B,)
        if moves.shape != (self.num_envs,) or moves.min() < 0 or moves.max() >= len(MOVES):
            raise SettingError(
                f"actions: {self.num_envs} numbers in 0 … {len(MOVES) - 1} are needed, got {moves}"
            )
        self.positions, self.stages, rewards = transition(
            self.rules, self.positions, self.stages, self.targets, moves
        )
        self.steps += 1
        truncations = self.steps >= self.rules.horizon  # (B,)
        info: dict[str, Any] = {}
        if truncations.any():
            info = {"final_obs": self.observations(), "_final_obs": truncations}
            self._begin(truncations)
        return self.observations(), rewards, np.zeros(self.num_envs, dtype=bool), truncations, info


class GridEnv(gym.Env[NDArray[np.float32], np.int64]):
    """One dark room as a plain Gymnasium environment.

    Args:
        rules: the room; `gym.make` fills it in.
        task: task id, kept for all episodes; None draws one at the first reset and at each reset with a seed.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 (Gymnasium's own convention)

    def __init__(self, *, rules: GridRules, task: int | None = None) -> None:
        self.observation_space, self.action_space = _spaces(rules)  # type: ignore[assignment]
        self._rooms = GridVectorEnv(1, rules=rules, tasks=None if task is None else [task])

    @property
    def task(self) -> int | None:
        """Id of the hidden task; None before the first reset."""
        return None if self._rooms.tasks is None else int(self._rooms.tasks[0])

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin an episode; `options={"task": id}` sets the task."""
        super().reset(seed=seed)
        tasks = {"tasks": [options["task"]]} if options and "task" in options else None
        observations, _ = self._rooms.reset(seed=seed, options=tasks)
        return observations[0], {}

    def step(self, action: np.int64) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Take one of the five actions."""
        observations, rewards, _, truncations, info = self._rooms.step([action])
        truncated = bool(truncations[0])
        return (info["final_obs"] if truncated else observations)[0], float(rewards[0]), False, truncated, {}
