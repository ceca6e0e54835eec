"""Play a batch of dark rooms with something that acts and learns, and keep every step."""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from dmh_lib.data.trajectories import Trajectories
from dmh_lib.envs import MOVES, GridVectorEnv, full_env_id, rules_of


class Player(Protocol):
    """What can be recorded: it plays B rooms at once, each room a run (a lifetime) of its own."""

    def begin_episode(self, episode: int) -> None:
        """Called before each episode with its number, counted from 0."""

    def act(self, rooms: GridVectorEnv) -> NDArray[np.int64]:
        """Actions (B,). A player may look at `rooms` to see what a scripted one has to know."""

    def learn(
        self,
        cells: NDArray[np.int64],
        stages: NDArray[np.int64],
        actions: NDArray[np.int64],
        rewards: NDArray[np.float32],
        next_cells: NDArray[np.int64],
    ) -> None:
        """Take in one step, all of shape (B,): cell indices and targets reached before it, and what came."""


def cell_index(positions: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Cells (…, 2) as (x, y) → index x·size + y."""
    return positions[..., 0] * size + positions[..., 1]


def record(
    env_id: str,
    tasks: NDArray[np.int64],
    episodes: int,
    player: Player,
    *,
    metadata: dict[str, Any],
    progress: bool = False,
) -> Trajectories:
    """Record `episodes` episodes in a room per entry of `tasks`, one run each.

    Args:
        env_id: a dark room.
        tasks: (B,) task ids, repeated where a task gets several runs.
        episodes: episodes E of each run.
        player: acts and learns.
        metadata: kept with the data, beside the environment and its number of actions.
        progress: show a bar.

    Returns:
        B·E episodes, the runs one after the other, each in the order lived.
    """
    env_id = full_env_id(env_id)
    rules = rules_of(env_id)
    rooms = GridVectorEnv(len(tasks), rules=rules, tasks=tasks)
    shape = (len(tasks), episodes, rules.horizon)  # (B, E, T): runs stay together when flattened
    observations = np.empty((*shape, 2), dtype=np.float32)
    actions = np.empty(shape, dtype=np.int64)
    rewards = np.empty(shape, dtype=np.float32)

    seen, _ = rooms.reset()
    for episode in tqdm(range(episodes), desc=f"playing {env_id}", disable=not progress):
        player.begin_episode(episode)
        for step in range(rules.horizon):
            cells, stages = cell_index(rooms.positions, rules.size), rooms.stages.copy()
            chosen = player.act(rooms)
            observations[:, episode, step], actions[:, episode, step] = seen, chosen
            seen, gained, _, _, info = rooms.step(chosen)
            rewards[:, episode, step] = gained
            reached = info.get("final_obs", seen).astype(np.int64)
            player.learn(cells, stages, chosen, gained, cell_index(reached, rules.size))

    truncations = np.zeros(shape, dtype=bool)
    truncations[..., -1] = True
    runs = np.arange(len(tasks))
    return Trajectories(
        observations=observations.reshape(-1, 2),
        actions=actions.reshape(-1),
        rewards=rewards.reshape(-1),
        terminations=np.zeros(actions.size, dtype=bool),
        truncations=truncations.reshape(-1),
        offsets=np.arange(0, actions.size + 1, rules.horizon),
        task_ids=np.repeat(tasks, episodes),
        run_ids=np.repeat(runs, episodes),
        metadata={"env_id": env_id, "num_actions": len(MOVES), **metadata},
    )
