"""The tables that there are: each a list of runs, a line a row."""

import itertools
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from dmh_lib.behaviour.config import ENVIRONMENTS, MIXED
from dmh_lib.envs import room_of
from dmh_lib.errors import SettingError
from dmh_lib.files import read_json, write_json
from dmh_lib.models import ADConfig
from dmh_lib.presets import PRESETS
from dmh_lib.train_config import TrainConfig

from .data import DataSpec, MazeSpec, MujocoSpec
from .specs import Judging, MazeJudging, RunSpec

# ---------------------------------------------------------------------------- histories

DARKROOM = DataSpec("darkroom")
DARKROOM_HARD = DataSpec("darkroomhard")
# who finds the key stays on it until a chunk begins, for Mamba sees no other moment
KEY_TO_DOOR = DataSpec("darkkeytodoor", settings={"linger": 5})
HASTY = DataSpec("darkkeytodoor", variant="hasty")  # who does not
# searches that one can learn to go on with among 1600 cells, and to look around where a place must be
EASY: dict[str, Any] = {"in_lanes": True, "forgetful_runs": 0.25, "blur": 2}
LARGE_HARD = DataSpec("largedarkroomhard", settings=EASY)
LARGE_KEY_TO_DOOR = DataSpec("largedarkkeytodoor", settings=EASY | {"linger": 20})
SMALL_ROOMS = (DARKROOM, DARKROOM_HARD, KEY_TO_DOOR)

# learners' histories, the paper's protocol, beside the scripted ones
LEARNED = (DataSpec("darkroom", "q-learning"), DataSpec("darkkeytodoor", "q-learning"))

# the paper's: 60 tasks and 1M steps, lived by DQN
PAPER_ROOMS = (
    DataSpec("darkroom", "dqn", "paper", {"episodes": 833}, num_train=60, num_test=21),
    DataSpec("darkroomhard", "dqn", "paper", {"episodes": 833}, num_train=60, num_test=21),
    DataSpec("darkkeytodoor", "dqn", "paper", {"episodes": 333}, num_train=60, num_test=100),
)

# ---------------------------------------------------------------------------- methods

Row = dict[str, Any]


def row(method: str, preset: str, variant: str = "", minutes: float | None = None, **overrides: Any) -> Row:
    """A method in a table; in the names of overrides two underscores stand for the dot."""
    dotted = {name.replace("__", "."): value for name, value in overrides.items()}
    return {
        "method": method,
        "preset": preset,
        "variant": variant,
        "overrides": dotted,
        "minutes": minutes,
    }


def sized(rows: Iterable[Row], data: DataSpec) -> list[Row]:
    """What an environment's horizon asks of methods.

    Models that read step by step see a lifetime, at most `MOST_STEPS` of it, or an episode. Of long episodes
    fewer chunks are learned, so that an update takes little longer.
    """
    horizon = room_of(data.env_id).horizon
    lifetime = {"model.context_len": min(MOST_STEPS, Judging().episodes * horizon)}
    episode = {"model.context_len": horizon}
    share = {"contexts.learned_share": 0.5} if horizon > SHORT else {}
    asked = {
        **dict.fromkeys(("ad", "ad-mamba", "at", "dpt"), lifetime),
        **dict.fromkeys(("dt", "dm"), episode),
        **dict.fromkeys(("small", "summary", "idt"), share),
    }
    return [{**entry, "overrides": asked.get(entry["preset"], {}) | entry["overrides"]} for entry in rows]


MOST_STEPS = 2000  # of a window in the large rooms, as in the paper
SHORT = 20  # steps of an episode whose chunks are all learned
HYBRID = row("dm-h", "small", minutes=6)
SUMMARY = row("dm-h", "summary", "summary", minutes=8)
DISTILLED = (row("ad", "ad", minutes=5), row("ad-mamba", "ad-mamba", minutes=3))
QUICK = (HYBRID, *DISTILLED)
METHODS = (
    *QUICK,
    SUMMARY,
    row("idt", "idt", minutes=8),
    row("at", "at", minutes=5),
    row("dpt", "dpt", minutes=5),
    row("dt", "dt", minutes=1),
    row("dm", "dm", minutes=3),
    row("bc", "bc", minutes=0.3),
    row("bc-10", "bc-10", minutes=0.3),
)
# contexts that begin with failures, where a quick learner's histories hardly have any, and windows of 20
# episodes that reach from the first of a learner's 800 to the last
LEARNING = (
    row("dm-h", "small", minutes=6, contexts__failures=0.5),
    *(row(name, name, minutes=3, contexts__stride=40) for name in ("ad", "ad-mamba")),
)
# to all about the same time, and waves to tell 1600 cells apart
LARGE_METHODS = (
    row("dm-h", "large", minutes=11),
    row("ad", "ad", minutes=13, model__state_waves=5, model__context_len=1000, training__updates=700),
    row("ad-mamba", "ad-mamba", minutes=12, model__state_waves=5, training__updates=900),
)
LARGE_NO_WAVES = row("dm-h", "large", "no-waves", minutes=11, model__state_waves=0)
LARGE_NO_GOALS = row("dm-h", "large", "no-goals", minutes=10, contexts__goal_share=0.0)
ABLATIONS = (
    row("dm-h", "small", "no-goals", minutes=7, contexts__goal_share=0.0),
    row("dm-h", "small", "attention", minutes=7, model__memory="attention"),
)
CHUNKS = tuple(row("dm-h", "small", f"c-{c}", minutes=6, model__chunk_len=c) for c in (1, 10, 20))


def _paper_sizes(preset: str) -> dict[str, Any]:
    """Overrides that give a small preset of AD the sizes and the training of the paper."""
    small, training = PRESETS[preset].settings, TrainConfig.paper()
    sizes = vars(ADConfig.paper(1, 1, backbone=small.model.backbone))
    skip = ("seed", "checkpoint_every")  # the run's own
    pairs = (("model", sizes, vars(small.model)), ("training", vars(training), vars(small.training)))
    return {
        f"{part}__{name}": value
        for part, wanted, given in pairs
        for name, value in wanted.items()
        if name not in skip and value != given[name]
    }


PAPER_METHODS = (
    row("dm-h", "paper", "paper"),
    row("ad", "ad", "paper", **_paper_sizes("ad")),
    row("ad-mamba", "ad-mamba", "paper", **_paper_sizes("ad-mamba")),
)

# ---------------------------------------------------------------------------- mazes

MAZE = MazeSpec("tmaze")
PAPER_LENGTHS = (1000, 2000, 5000, 10_000, 20_000)
PLAYED = tuple((length, 200) for length in PAPER_LENGTHS)
# on the path of the expert lengths cost little, and no model but DM-H's reaches beyond its window
PATHS = tuple((length, 200) for length in (1000, 3000, 10_000, 30_000, 100_000, 300_000, 1_000_000))
FAR = (*PATHS, (3_000_000, 40), (10_000_000, 40))
UP_TO_A_MILLION = MazeJudging((*PLAYED, (100_000, 100), (1_000_000, 20)), FAR)
READ_FAR = MazeJudging(along_path=FAR)
# a transformer keeps all steps of all mazes, and so plays few short ones
FEW_PLAYED = MazeJudging(played=((1000, 20), (2000, 20), (5000, 20)), along_path=PLAYED)


def maze_runs(seeds: Iterable[int]) -> list[RunSpec]:
    """DM-H, DM and DT in the T-maze, and DM-H that has seen none but shorter mazes."""
    rows = (
        (row("dm-h", "tmaze", minutes=10), UP_TO_A_MILLION),
        (row("dm", "tmaze-dm", minutes=6), MazeJudging(PLAYED)),
        (row("dt", "tmaze-dt", minutes=10), FEW_PLAYED),
        (row("dm-h", "tmaze", "up-to-1k", minutes=3, contexts__longest=1000), READ_FAR),
        (row("dm-h", "tmaze", "up-to-100k", minutes=4, contexts__longest=100_000), READ_FAR),
    )
    return [RunSpec(MAZE, seed=seed, judging=judging, **entry) for seed in seeds for entry, judging in rows]


# ---------------------------------------------------------------------------- MuJoCo

LOCOMOTION = [MujocoSpec(env, kind) for env, kind in itertools.product(ENVIRONMENTS, MIXED)]
# every method sees as much as is usual: AD several episodes, DT and DM 20 steps, D4RL's steps one by one
WINDOWS: dict[str, Any] = {"model__context_len": 2000, "training__updates": 300, "training__batch_size": 4}
MUJOCO_METHODS = (
    row("dm-h", "mujoco", minutes=5),
    row("ad", "ad", minutes=9, **WINDOWS),
    row("ad-mamba", "ad-mamba", minutes=9, **WINDOWS),
    row("dt", "dt", minutes=5, model__context_len=20, training__updates=3000),
    row("dm", "dm", minutes=5, model__context_len=20, training__updates=3000),
    row("bc", "bc", minutes=2, training__updates=10_000),
    row("bc-10", "bc-10", minutes=2, training__updates=10_000),
)
TEN_LIVES = Judging(episodes=10, seeds=tuple(range(10)), early_seeds=(0, 1, 2))


def mujoco_runs(seeds: Iterable[int]) -> list[RunSpec]:
    """Every method on every dataset, all of one seed before the next seed."""
    return [
        RunSpec(data, seed=seed, judging=TEN_LIVES, **entry)
        for seed, data, entry in itertools.product(seeds, LOCOMOTION, MUJOCO_METHODS)
    ]


# ---------------------------------------------------------------------------- tables


def runs(data: Iterable[DataSpec], methods: Iterable[Row], seeds: Iterable[int]) -> list[RunSpec]:
    """A run for each dataset, seed and method; all methods of one seed before the next seed."""
    return [
        RunSpec(histories, seed=seed, **method)
        for seed, histories in itertools.product(seeds, data)
        for method in sized(methods, histories)
    ]


ROOMS = runs(SMALL_ROOMS, METHODS, range(3)) + runs([HASTY], (HYBRID, SUMMARY), range(3))
LEARNERS = runs(LEARNED, LEARNING, range(3))
# one training seed where a run takes most of an hour of one core, of AD mostly in play
LARGE_RUNS = [
    *runs([LARGE_HARD], LARGE_METHODS[:1], range(3)),
    *runs([LARGE_HARD], (*LARGE_METHODS[1:], LARGE_NO_WAVES), [0]),
    *runs([LARGE_KEY_TO_DOOR], LARGE_METHODS, [0]),
]
# lengths of chunks on data that suit none of them
SWEPT = runs([HASTY], CHUNKS, range(3))
ABLATED = [
    *runs(SMALL_ROOMS[1:], ABLATIONS, range(3)),
    *runs([LARGE_HARD], [LARGE_NO_GOALS], [0]),
    *SWEPT,
]
TMAZE = maze_runs(range(3))


TABLES: dict[str, list[RunSpec]] = {
    "quick": runs([DARKROOM], QUICK, [0]),
    "rooms": ROOMS,
    "learners": LEARNERS,
    "large": LARGE_RUNS,
    "ablations": ABLATED,
    "tmaze": TMAZE,
    "mujoco": mujoco_runs(range(3)),
    "standard": [*ROOMS, *LEARNERS, *LARGE_RUNS, *ABLATED, *TMAZE],
    "paper": runs(PAPER_ROOMS, PAPER_METHODS, range(10)),
}


def load_table(name: str) -> list[RunSpec]:
    """The runs of a table, by its name or from a JSON file that holds a list of `RunSpec.to_dict`.

    Raises SettingError for a table that is not known, and for two runs of one name.
    """
    if name in TABLES:
        return _distinct(name, TABLES[name])
    if not name.endswith(".json"):
        known = ", ".join(TABLES)
        raise SettingError(f"table: '{name}' is not known; choose one of {known}, or give a JSON file")
    entries = read_json(name)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise SettingError(f"{name}: not a list of runs; write it with dmh_lib.benchmark.write_table")
    try:
        specs = [RunSpec.from_dict(entry) for entry in entries]
    except SettingError as error:
        raise SettingError(f"{name}: {error}") from error
    return _distinct(name, specs)


def write_table(specs: Sequence[RunSpec], path: str | os.PathLike[str]) -> None:
    """Write runs as a table that `load_table` and `dmh benchmark` read."""
    write_json(Path(path), [spec.to_dict() for spec in specs])


def _distinct(table: str, specs: list[RunSpec]) -> list[RunSpec]:
    hashes = {spec.data.name: spec.data.hash for spec in specs}
    mixed = next((spec.data.name for spec in specs if spec.data.hash != hashes[spec.data.name]), None)
    if mixed:
        raise SettingError(f"table {table}: two datasets are called {mixed}; give one a variant")
    names = Counter(spec.name for spec in specs)
    twice = next((name for name, count in names.items() if count > 1), None)
    if not names or twice:
        problem = f"two runs are called {twice}; give one a variant" if twice else "it has no runs"
        raise SettingError(f"table {table}: {problem}")
    return specs
