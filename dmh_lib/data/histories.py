"""Learning histories: what an agent lived through while it learned a task, for every training task."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from dmh_lib.data.dqn import DQN, DQNConfig
from dmh_lib.data.q_learning import QLearner, QLearningConfig
from dmh_lib.data.recording import Player, record
from dmh_lib.data.searcher import Searcher, SearcherConfig
from dmh_lib.data.storage import read_hdf5, write_hdf5
from dmh_lib.data.trajectories import Trajectories
from dmh_lib.envs import TaskSplit, rules_of
from dmh_lib.errors import DataError, SettingError

HistoryConfig = SearcherConfig | QLearningConfig | DQNConfig

MOST_STEPS = 200_000_000  # about 5 GB in memory

CONFIGS: dict[str, type[HistoryConfig]] = {
    "searcher": SearcherConfig,
    "q-learning": QLearningConfig,
    "dqn": DQNConfig,
}


def behaviour_of(config: HistoryConfig) -> str:
    """Name of the learner that a configuration belongs to."""
    return next(name for name, kind in CONFIGS.items() if isinstance(config, kind))


def make_histories(
    split: TaskSplit, config: HistoryConfig | None = None, *, seed: int = 0, progress: bool = False
) -> Trajectories:
    """Histories on the training tasks of a split; the split itself goes into the metadata.

    Args:
        split: which tasks may be seen.
        config: its type picks the learner; the systematic searcher by default.
        seed: of everything random; the same seed gives the same histories.
        progress: show a bar.

    Returns:
        `runs_per_task` runs of `episodes` episodes for each training task.
    """
    config = config or SearcherConfig()
    rules = rules_of(split.env_id)
    tasks = np.repeat(split.tasks("train"), config.runs_per_task)  # (B,)
    steps = len(tasks) * config.episodes * rules.horizon
    if steps > MOST_STEPS:
        problem = (
            f"{len(tasks)} runs of {config.episodes} episodes are {steps:,} steps, more than {MOST_STEPS:,}"
        )
        raise SettingError(f"runs_per_task: {problem}; take fewer runs, episodes or training tasks")
    if seed < 0:
        raise SettingError(f"seed: must be 0 or more, got {seed}")
    player: Player
    match config:
        case SearcherConfig():
            player = Searcher(rules, len(tasks), config, seed)
        case QLearningConfig():
            player = QLearner(rules, len(tasks), config, seed)
        case DQNConfig():
            player = DQN(rules, len(tasks), config, seed)
    about = _about(split, config, seed)
    return record(split.env_id, tasks, config.episodes, player, metadata=about, progress=progress)


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
    if not Path(path).exists():
        write_hdf5(make_histories(split, config, seed=seed, progress=progress), path)
    found = read_hdf5(path)
    wanted = _about(split, config or SearcherConfig(), seed)
    for name, value in wanted.items():
        if found.metadata.get(name) != value:
            problem = f"field '{name}' is not what was asked for"
            raise DataError(f"{path}: {problem}; remove the file or give another path")
    return found


def _about(split: TaskSplit, config: HistoryConfig, seed: int) -> dict[str, Any]:
    return {
        "behaviour": behaviour_of(config),
        "settings": asdict(config),
        "seed": seed,
        "split": split.to_dict(),
    }
