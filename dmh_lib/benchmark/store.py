"""Where a benchmark keeps what it makes, and what is there already."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from dmh_lib.envs.scores import normalised_scores
from dmh_lib.errors import DataError
from dmh_lib.files import read_object
from dmh_lib.results import read_about, read_results, require_columns
from dmh_lib.run_folders import ABOUT

from .data import AnyData, MujocoSpec
from .specs import RunSpec

State = Literal["done", "missing", "stale"]
MEMORY, NO_MEMORY, PAPER_TARGET = "memory", "no memory", "the paper's target"
TYPES = {  # in the file; text is short there by itself
    "task": "int32",
    "seed": "int16",
    "episode": "int16",
    "length": "int32",
    "training_seed": "int16",
    "updates": "int32",
    "return": "float32",
    "optimum": "float32",
    "percent_of_optimum": "float32",
    "train_seconds": "float32",
    "corridor": "int32",  # this and what follows of mazes alone
    "margin": "float32",
    "way_margin": "float32",
}


def typed(table: pd.DataFrame) -> pd.DataFrame:
    """A result table as it stands in its file."""
    return table.astype({name: kind for name, kind in TYPES.items() if name in table})


@dataclass(frozen=True)
class Places:
    """The folders of a benchmark."""

    out: Path = Path("docs")
    """Results (one Parquet file a run), figures and the page."""
    data: Path = Path("data")
    """Histories, shared by all runs that ask for the same."""
    scratch: Path = Path("runs/benchmark")
    """Checkpoints of runs under way, and what workers print."""

    @property
    def results(self) -> Path:
        """Folder of the Parquet files."""
        return self.out / "results"

    def result(self, spec: RunSpec) -> Path:
        """The Parquet file of a run."""
        return self.results / f"{spec.name}.parquet"

    def histories(self, data: AnyData) -> Path:
        """The file of a run's histories; other settings have another name."""
        return self.data / f"benchmark-{data.name.replace('/', '-')}-{data.hash[:8]}.hdf5"

    def run(self, spec: RunSpec) -> Path:
        """The training folder of a run; other settings have another name."""
        return self.scratch / f"{spec.name}-{spec.hash[:8]}"

    def kept(self, spec: RunSpec) -> Path:
        """Folder of a finished run's weights, if they were kept, see `has_weights`."""
        return self.scratch / "kept" / spec.name

    def log(self, spec: RunSpec) -> Path:
        """What the worker of a run printed."""
        return self.scratch / "logs" / f"{spec.name.replace('/', '-')}.txt"


@dataclass(frozen=True)
class Stored:
    """A finished run."""

    spec: RunSpec
    about: dict[str, Any]
    """Settings, versions, data hash, temperature and timings."""
    table: pd.DataFrame
    """One row per checkpoint, line, task, seed and episode; in mazes per line and maze. Of MuJoCo,
    `percent_of_optimum` is D4RL's score."""

    @property
    def on_cpu(self) -> bool:
        """Whether it was trained on a CPU, whose time can be compared."""
        return bool(self.about.get("device") == "cpu")


def state_of(spec: RunSpec, places: Places) -> tuple[State, list[str]]:
    """Whether a run's result is there, and if it is one of other settings, how they differ."""
    path = places.result(spec)
    if not path.is_file():
        return "missing", []
    about = read_about(path)
    if about.get("hash") == spec.hash:
        return "done", []
    if not isinstance(settings := about.get("settings", {}), dict):
        raise DataError(f"{path}: field 'settings': holds no names and values; run the benchmark again")
    different = spec.differences(settings)
    return ("stale", different) if different else ("done", [])


def has_weights(spec: RunSpec, places: Places) -> bool:
    """Whether the weights that were kept of a run are those of its stored result."""
    weights, result = places.kept(spec) / ABOUT, places.result(spec)
    if not weights.is_file() or not result.is_file():
        return False
    return bool(read_object(weights).get("hash") == read_about(result).get("hash"))


def load(spec: RunSpec, path: str | os.PathLike[str]) -> Stored:
    """A finished run from its file; raises DataError if it is broken."""
    table = read_results(path)
    seconds = "train_seconds"  # not known of what a GPU trained
    require_columns(path, table, ("run", "line"), ("training_seed", "updates", seconds), unknown=[seconds])
    short = table.select_dtypes("float32").columns
    table = table.astype(dict.fromkeys(short, "float64"))
    if isinstance(spec.data, MujocoSpec):  # no optimum is known; D4RL's expert stands for it
        table["percent_of_optimum"] = normalised_scores(spec.data.env, table["return"])
    return Stored(spec, read_about(path), table)


def load_done(specs: Sequence[RunSpec], places: Places) -> list[Stored]:
    """The finished runs among these, in order; results of other settings are left out."""
    return [load(spec, places.result(spec)) for spec in specs if state_of(spec, places)[0] == "done"]


def final_rows(table: pd.DataFrame, line: str = MEMORY) -> pd.DataFrame:
    """Rows of a run's final checkpoint, played with memory or without."""
    return table[(table["updates"] == table["updates"].max()) & (table["line"] == line)]


def expected_minutes(spec: RunSpec, places: Places) -> float | None:
    """What a run may take: as long as a finished one of its series, or as its table says; None if unknown."""
    folder = places.result(spec).parent
    for path in sorted(folder.glob("*.parquet")):
        about = read_about(path)
        same = about["settings"].get("training.updates") == spec.config().training.updates
        if same and about.get("device") == "cpu" and "total" in about.get("seconds", {}):
            return float(about["seconds"]["total"]) / 60
    return spec.minutes
