"""Learning histories: what an agent lived through while it learned a task, for every training task."""

import os
from dataclasses import asdict
from typing import Any

import numpy as np

from dmh_lib.data.action_finder import ActionFinder
from dmh_lib.data.dqn import DQN, DQNConfig
from dmh_lib.data.exploration import filled_in
from dmh_lib.data.presets import HistoryConfig, suited
from dmh_lib.data.q_learning import QLearner, QLearningConfig
from dmh_lib.data.recording import Player, record
from dmh_lib.data.searcher import Searcher, SearcherConfig
from dmh_lib.data.storage import read_or_make
from dmh_lib.data.trajectories import Trajectories
from dmh_lib.envs import TaskSplit, room_of
from dmh_lib.errors import SettingError

MOST_STEPS = 200_000_000  # about 5 GB in memory

CONFIGS: dict[str, type[HistoryConfig]] = {
    "searcher": SearcherConfig,
    "q-learning": QLearningConfig,
    "dqn": DQNConfig,
}

# Settings that came later are on record where they are on, so that data made before stay what they were.
LATER = {"linger": 0, "in_lanes": False, "blur": 0, "initial_value": 0.0, "backwards": False}


def behaviour_of(config: HistoryConfig) -> str:
    """Name of the learner that a configuration belongs to."""
    return next(name for name, kind in CONFIGS.items() if isinstance(config, kind))


def make_histories(
    split: TaskSplit, config: HistoryConfig | None = None, *, seed: int = 0, progress: bool = False
) -> Trajectories:
    """Histories on the training tasks of a split; the split itself goes into the metadata.

    Args:
        split: which tasks may be seen.
        config: its type picks the learner; the systematic searcher by default, which in rooms with unknown
            actions is the `ActionFinder`. What it leaves out (None) is chosen for the room.
        seed: of everything random; the same seed gives the same histories.
        progress: show a bar.

    Returns:
        `runs_per_task` runs of `episodes` episodes for each training task.
    """
    config = suited(config or SearcherConfig(), split.env_id)
    rules, episodes = room_of(split.env_id), filled_in("episodes", config.episodes)
    tasks = np.repeat(split.tasks("train"), filled_in("runs_per_task", config.runs_per_task))  # (B,)
    steps = len(tasks) * episodes * rules.horizon
    if steps > MOST_STEPS:
        problem = f"{len(tasks)} runs of {episodes} episodes are {steps:,} steps, more than {MOST_STEPS:,}"
        raise SettingError(f"runs_per_task: {problem}; take fewer runs, episodes or training tasks")
    if seed < 0:
        raise SettingError(f"seed: must be 0 or more, got {seed}")
    player: Player
    match config:
        case SearcherConfig():
            searcher = ActionFinder if rules.permuted else Searcher
            player = searcher(rules, len(tasks), config, seed)
        case QLearningConfig():
            player = QLearner(rules, len(tasks), config, seed)
        case DQNConfig():
            player = DQN(rules, len(tasks), config, seed)
    about = _about(split, config, seed)
    return record(split.env_id, tasks, episodes, player, metadata=about, progress=progress)


def load_or_make(
    path: str | os.PathLike[str],
    split: TaskSplit,
    config: HistoryConfig | None = None,
    *,
    seed: int = 0,
    progress: bool = False,
) -> Trajectories:
    """Histories from a file, or made as by `make_histories` and written there.

    Raises DataError if the file was made for another split, learner or seed.
    """
    about = _about(split, suited(config or SearcherConfig(), split.env_id), seed)
    return read_or_make(path, about, lambda: make_histories(split, config, seed=seed, progress=progress))


def _about(split: TaskSplit, config: HistoryConfig, seed: int) -> dict[str, Any]:
    settings = asdict(config)
    for name, off in LATER.items():
        if settings.get(name) == off:
            del settings[name]
    return {
        "behaviour": behaviour_of(config),
        "settings": settings,
        "seed": seed,
        "split": split.to_dict(),
    }
