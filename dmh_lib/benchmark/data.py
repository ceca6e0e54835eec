"""What a run of a benchmark learns from: histories of a dark room, experts of a maze, or D4RL-like data."""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from dmh_lib.behaviour.collect import make_dataset, read_run
from dmh_lib.behaviour.config import ENVIRONMENTS, Kind, Mixture
from dmh_lib.data.histories import CONFIGS, load_or_make
from dmh_lib.data.mazes import MazeDataConfig, load_or_make_mazes
from dmh_lib.data.presets import HistoryConfig, num_train_for, suited
from dmh_lib.data.storage import read_or_make
from dmh_lib.data.trajectories import Trajectories
from dmh_lib.envs import MAZES, TaskSplit, full_env_id, full_maze_id, make_split
from dmh_lib.envs.names import short_name
from dmh_lib.errors import SettingError, require_choice

T = TypeVar("T")

Overrides = dict[str, Any]


@dataclass(frozen=True)
class DataSpec:
    """Learning histories of a behaviour on the training tasks of a seeded split."""

    env: str
    """Environment, for example `darkroom`."""
    behaviour: str = "searcher"
    """Who lived them: searcher, q-learning or dqn."""
    variant: str = ""
    """A word for histories that are not the environment's usual ones of this behaviour."""
    settings: Overrides = field(default_factory=dict)
    """Settings of the behaviour that are not its defaults."""
    num_train: int | None = None
    """Training tasks; None: as many as suit the behaviour."""
    num_test: int | None = None
    """Tasks held out; see `make_split`."""
    split_seed: int = 0
    """Seed of the split."""
    seed: int = 0
    """Seed of the histories."""

    def __post_init__(self) -> None:
        full_env_id(self.env)
        require_choice("behaviour", self.behaviour, CONFIGS)
        require_word("data.variant", self.variant)
        object.__setattr__(self, "settings", dict(self.settings))

    @property
    def env_id(self) -> str:
        """The Gymnasium id."""
        return full_env_id(self.env)

    @property
    def name(self) -> str:
        """`darkroom/searcher`, or `darkroom/searcher.variant`."""
        return f"{short_name(self.env_id)}/{dotted(self.behaviour, self.variant)}"

    def config(self) -> HistoryConfig:
        """Settings of the behaviour; what is left out is as suits the environment."""
        return suited(overridden(CONFIGS[self.behaviour](), self.settings, "data.settings"), self.env_id)

    def split(self) -> TaskSplit:
        """The manifest of training and held-out tasks."""
        num_train = num_train_for(self.config(), self.env_id) if self.num_train is None else self.num_train
        return _split(self.env, self.split_seed, self.num_test, num_train)

    def resolved(self) -> dict[str, Any]:
        """All that determines the histories, as flat JSON values."""
        split = self.split()
        return {
            "env_id": self.env_id,
            "behaviour": self.behaviour,
            "seed": self.seed,
            "split_seed": self.split_seed,
            "num_train": len(split.train),
            "num_test": len(split.test),
            **flat("settings", self.config()),
        }

    @property
    def hash(self) -> str:
        """Of all that determines the histories."""
        return digest(self.resolved())

    def load(self, path: str | os.PathLike[str]) -> Trajectories:
        """The histories from a file, made and written there if it does not exist."""
        return load_or_make(path, self.split(), self.config(), seed=self.seed)


@dataclass(frozen=True)
class MazeSpec:
    """A few episodes of a short maze, which say what mazes look like; training draws its own as needed."""

    env: str
    """`tmaze` or `tmazeactive`."""
    variant: str = ""
    """A word for episodes that are not the usual ones."""
    settings: Overrides = field(default_factory=dict)
    """Settings of the episodes that are not those of ten experts in a corridor of 60 steps."""
    seed: int = 0
    """Seed of the episodes."""

    def __post_init__(self) -> None:
        full_maze_id(self.env)
        require_word("data.variant", self.variant)
        object.__setattr__(self, "settings", dict(self.settings))

    @property
    def env_id(self) -> str:
        """The Gymnasium id."""
        return full_maze_id(self.env)

    @property
    def active(self) -> bool:
        """Whether the oracle has to be visited."""
        return MAZES[self.env_id].active

    @property
    def name(self) -> str:
        """`tmaze/expert`, or `tmaze/expert.variant`."""
        return f"{short_name(self.env_id)}/{dotted(self.config().behaviour, self.variant)}"

    def config(self) -> MazeDataConfig:
        """Settings of the episodes."""
        return overridden(MazeDataConfig(length=60, episodes=10), self.settings, "data.settings")

    def resolved(self) -> dict[str, Any]:
        """All that determines the episodes, as flat JSON values."""
        return {"env_id": self.env_id, "seed": self.seed, **flat("settings", self.config())}

    @property
    def hash(self) -> str:
        """Of all that determines the episodes."""
        return digest(self.resolved())

    def load(self, path: str | os.PathLike[str]) -> Trajectories:
        """The episodes from a file, made and written there if it does not exist."""
        return load_or_make_mazes(path, self.env_id, self.config(), seed=self.seed)


@dataclass(frozen=True)
class MujocoSpec:
    """A dataset in D4RL's manner, of the policies that lie in `policies` beside it."""

    env: str
    """hopper, halfcheetah or walker2d."""
    kind: Kind = "medium"
    """See `behaviour.config.Mixture`, also for `steps` and `seed`."""
    variant: str = ""
    """A word for a dataset that is not the usual one of this kind."""
    steps: int = 200_000
    seed: int = 0

    def __post_init__(self) -> None:
        require_choice("data.env", self.env, ENVIRONMENTS)
        require_word("data.variant", self.variant)
        self.config()

    @property
    def env_id(self) -> str:
        """The Gymnasium id."""
        return ENVIRONMENTS[self.env]

    @property
    def name(self) -> str:
        """`hopper/medium`, or `hopper/medium.variant`."""
        return f"{self.env}/{dotted(self.kind, self.variant)}"

    def config(self) -> Mixture:
        """Settings of the mixture."""
        return Mixture(self.kind, self.steps, self.seed)

    def resolved(self) -> dict[str, Any]:
        """All that determines the data beside the policies, as flat JSON values."""
        return {"env_id": self.env_id, **flat("settings", self.config())}

    @property
    def hash(self) -> str:
        """Of all that determines the data beside the policies."""
        return digest(self.resolved())

    def load(self, path: str | os.PathLike[str]) -> Trajectories:
        """The data from a file, made and written there if it does not exist.

        Raises DataError if the file is of other policies than those that are there now.
        """
        mixture, policies = self.config(), Path(path).parent / "policies" / self.env
        about = {
            "env_id": self.env_id,
            **asdict(mixture),
            "policies": read_run(policies).sources(mixture.kind),
        }
        return read_or_make(path, about, lambda: make_dataset(policies, mixture))


AnyData = DataSpec | MazeSpec | MujocoSpec
_split = cache(make_split)  # the largest rooms have millions of tasks to draw from


def data_from(stored: Mapping[str, Any]) -> AnyData:
    """The data of a stored run, whose environment tells their kind."""
    if stored["env"] in ENVIRONMENTS:
        return MujocoSpec(**stored)
    maze = short_name(str(stored["env"])) in map(short_name, MAZES)
    return MazeSpec(**stored) if maze else DataSpec(**stored)


def require_word(name: str, word: str) -> None:
    """Raise SettingError for a word that cannot be part of a file's name: tables come from strangers."""
    if not re.fullmatch(r"[\w-]*", word):
        raise SettingError(f"{name}: letters, digits, - and _ are allowed, got '{word}'")


def dotted(name: str, variant: str) -> str:
    """A name with its variant, if it has one."""
    return f"{name}.{variant}" if variant else name


def overridden(settings: T, changes: Overrides, where: str) -> T:
    """A settings dataclass with changes; raises SettingError for a name that it does not have."""
    known = [entry.name for entry in fields(settings)]  # type: ignore[arg-type]
    for name in changes:
        require_choice(where, name, known)
    return replace(settings, **changes)  # type: ignore[type-var]


def flat(prefix: str, settings: Any) -> dict[str, Any]:
    """A settings dataclass as values under dotted names."""
    return {f"{prefix}.{name}": value for name, value in asdict(settings).items()}


def digest(values: Mapping[str, Any]) -> str:
    """A short hash of JSON values."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
