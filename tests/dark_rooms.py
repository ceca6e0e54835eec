"""What the tests of the scripted players and of the learners share."""

from dmh_lib.data.searcher import SearcherConfig
from dmh_lib.envs import TaskSplit, rules_of

DARKROOM, KEY_TO_DOOR = "dmh/Darkroom-v0", "dmh/DarkKeyToDoor-v0"
DYNAMIC, LARGE_DYNAMIC = "dmh/DarkroomDynamic-v0", "dmh/LargeDarkroomDynamic-v0"
LARGE_HARD = "dmh/LargeDarkroomHard-v0"
EPS, KEY_TO_DOOR_EPS, IDT = "dmh/DarkroomEps-v0", "dmh/DarkKeyToDoorEps-v0", "dmh/DarkroomIDT-v0"
PERFECT = SearcherConfig(runs_per_task=1, episodes=20, noise=0.0, forgetful_runs=0.0)


def split_of(env_id, train):
    return TaskSplit(env_id, 0, tuple(map(int, train)), ())


def by_run(histories, values):
    """Steps of equal runs of equal episodes: (runs, episodes, horizon)."""
    horizon = rules_of(histories.metadata["env_id"]).horizon
    return values.reshape(len(histories.run_offsets) - 1, -1, horizon)
