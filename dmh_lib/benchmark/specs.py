"""What one run of a benchmark is: data, method, settings and seed, by name and without a file."""

import json
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from typing import Any, Self

from dmh_lib.errors import SettingError
from dmh_lib.mazes import maze_set
from dmh_lib.methods import label_of, name_of
from dmh_lib.presets import Settings, preset_named

from .data import (
    AnyData,
    MazeSpec,
    Overrides,
    data_from,
    digest,
    dotted,
    flat,
    require_word,
)

QUARTERS = 4  # checkpoints that a run is judged at
FROM_DATA = ("obs_dim", "action_dim", "discrete")  # of a model's settings


@dataclass(frozen=True)
class Judging:
    """How a trained run is evaluated on its held-out tasks, from an empty context and without a gradient."""

    episodes: int = 20
    """Episodes of one lifetime."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Lifetimes on each task with the final checkpoint, with memory and without."""
    early_seeds: tuple[int, ...] = (0,)
    """Lifetimes on each task with the checkpoints before it."""
    temperature_tasks: int = 64
    """Most training tasks that the temperature is chosen on, and sub-goals are read on, with the final
    checkpoint."""

    def __post_init__(self) -> None:
        for name in ("seeds", "early_seeds"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
            if not getattr(self, name):
                raise SettingError(f"judging.{name}: at least one is needed")
        for name in ("episodes", "temperature_tasks"):
            if getattr(self, name) < 1:
                raise SettingError(f"judging.{name}: must be at least 1, got {getattr(self, name)}")


@dataclass(frozen=True)
class MazeJudging:
    """On which mazes a trained run is evaluated: final checkpoint, empty memory, greedy play.

    Each entry is a length and how many different mazes of about that length, see `dmh_lib.mazes.maze_set`.
    """

    played: tuple[tuple[int, int], ...] = ()
    """Mazes walked step by step."""
    along_path: tuple[tuple[int, int], ...] = ()
    """Mazes whose expert's path is read at once, which shows what the agent would do there."""

    def __post_init__(self) -> None:
        for name in ("played", "along_path"):
            entries = tuple((int(length), int(mazes)) for length, mazes in getattr(self, name))
            object.__setattr__(self, name, entries)
            if len({length for length, _ in entries}) < len(entries):
                raise SettingError(f"judging.{name}: each length once, got {entries}")
            for length, mazes in entries:
                maze_set(length, mazes)
        if not self.played + self.along_path:
            raise SettingError("judging.played: at least one length is needed, here or in along_path")


@dataclass(frozen=True)
class RunSpec:
    """One training run and its evaluation."""

    data: AnyData
    """What it learns from."""
    method: str
    """What the run is called, for example `dm-h`."""
    preset: str
    """Where its settings start, see `dmh_lib.presets`."""
    variant: str = ""
    """A word for settings that are not the method's usual ones, for example `no-goals`."""
    overrides: Overrides = field(default_factory=dict)
    """Settings that differ from the preset's, for example {"model.chunk_len": 10}."""
    seed: int = 0
    """Seed of the training."""
    judging: Judging | MazeJudging = field(default_factory=Judging)
    """How it is evaluated; of mazes, a `MazeJudging`."""
    minutes: float | None = None
    """What it may take on one core, until a like run has been measured; determines nothing."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "overrides", dict(self.overrides))
        if not self.method:
            raise SettingError("method: a word is needed")
        require_word("method", self.method)
        require_word("variant", self.variant)
        if isinstance(self.data, MazeSpec) != isinstance(self.judging, MazeJudging):
            wanted = "MazeJudging" if isinstance(self.data, MazeSpec) else "Judging"
            raise SettingError(f"judging: runs on {self.data.env} need {wanted}")
        self.config()  # an override that does not exist is noticed now

    @property
    def name(self) -> str:
        """`darkroom/searcher/dm-h/seed-0`, or with `dm-h.variant`; a run's files are called by it."""
        return f"{self.series}/seed-{self.seed}"

    @property
    def series(self) -> str:
        """The name without the training seed."""
        return f"{self.data.name}/{dotted(self.method, self.variant)}"

    @property
    def label(self) -> str:
        """What tables and figures call it, for example `DM-H` or `DM-H (no-goals)`."""
        label = label_of(self.config().model)
        return f"{label} ({self.variant})" if self.variant else label

    def config(self) -> Settings[Any, Any]:
        """Preset and overrides, with the seed, and a checkpoint after each quarter of the updates."""
        settings = preset_named(self.preset).settings.changed(self.overrides)
        quarter = -(-settings.training.updates // QUARTERS)
        return settings.changed({"training.seed": self.seed, "training.checkpoint_every": quarter})

    def resolved(self) -> dict[str, Any]:
        """All that determines the result, as flat JSON values under dotted names."""
        config = self.config()
        model = flat("model", config.model)
        for name in FROM_DATA:
            del model[f"model.{name}"]
        values = {
            **{f"data.{name}": value for name, value in self.data.resolved().items()},
            "method": name_of(config.model),
            **model,
            **flat("contexts", config.contexts),
            **flat("training", config.training),
            **flat("judging", self.judging),
        }
        stored: dict[str, Any] = json.loads(json.dumps(values))  # tuples as a file gives them back
        return stored

    @property
    def hash(self) -> str:
        """Of all that determines the result."""
        return digest(self.resolved())

    def differences(self, stored: Mapping[str, Any]) -> list[str]:
        """How the settings of a stored result differ from these, in words; none if it is this run's result.

        A setting that did not exist when the result was stored differs only if it is not at its default,
        since a new setting's default is what was done before.
        """
        wanted, defaults = self.resolved(), self._defaults()
        found = []
        for name in sorted(wanted.keys() | stored.keys()):
            new = name not in stored and name in defaults
            before = defaults[name] if new else stored.get(name, "not there")
            if before != wanted.get(name, "not there"):
                found.append(f"{name} was {before}, is {wanted.get(name, 'gone')}")
        return found

    def _defaults(self) -> dict[str, Any]:
        """Defaults of all settings that have one."""
        config = self.config()
        parts = {
            "data.settings": self.data.config(),
            "model": config.model,
            "contexts": config.contexts,
            "training": config.training,
            "judging": self.judging,
        }
        return {
            f"{part}.{entry.name}": entry.default
            for part, settings in parts.items()
            for entry in fields(settings)
            if entry.default is not MISSING
        }

    def to_dict(self) -> dict[str, Any]:
        """The specification as JSON; what is at its default is left out."""
        return _sparse(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`; raises SettingError for what is not known or missing."""
        try:
            values = dict(stored)
            data = values["data"] = data_from(values["data"])
            judging = MazeJudging if isinstance(data, MazeSpec) else Judging
            values["judging"] = judging(**values.get("judging", {}))
            return cls(**values)
        except (KeyError, TypeError, ValueError) as error:
            raise SettingError(f"run: {error}; a field is missing, unknown or of the wrong kind") from error


def _sparse(settings: Any) -> dict[str, Any]:
    """A dataclass as a dict of what is not at its default."""
    values = {}
    for entry in fields(settings):
        value = getattr(settings, entry.name)
        default = entry.default_factory() if entry.default_factory is not MISSING else entry.default
        if value != default:
            values[entry.name] = _sparse(value) if is_dataclass(value) else value
    return values
