"""Learning histories: what an agent lived through while it learned a task, for every training task."""

from dataclasses import asdict

import numpy as np

from dmh_lib.data.dqn import DQN, DQNConfig
from dmh_lib.data.q_learning import QLearner, QLearningConfig
from dmh_lib.data.recording import Player, record
from dmh_lib.data.searcher import Searcher, SearcherConfig
from dmh_lib.data.trajectories import Trajectories
from dmh_lib.envs import TaskSplit, rules_of

HistoryConfig = SearcherConfig | QLearningConfig | DQNConfig

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
    player: Player
    match config:
        case SearcherConfig():
            player = Searcher(rules, len(tasks), config, seed)
        case QLearningConfig():
            player = QLearner(rules, len(tasks), config, seed)
        case DQNConfig():
            player = DQN(rules, len(tasks), config, seed)
    name = behaviour_of(config)
    about = {"behaviour": name, "settings": asdict(config), "seed": seed, "split": split.to_dict()}
    return record(split.env_id, tasks, config.episodes, player, metadata=about, progress=progress)
