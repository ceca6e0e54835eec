"""One run of a sweep: what is run, with which parameters, under which name."""

import ast
import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from dmh_lib.errors import DataError, SettingError
from dmh_lib.files import read_json

if TYPE_CHECKING:
    from dmh_lib.presets import Settings

EXECUTED, PAGE, FILES, FIGURES, RESULTS = (
    "executed.ipynb", "executed.html", "files", "figures", "results.parquet",
)  # fmt: skip
LONGEST_NAME = 80  # characters of a folder
# parameters that name places: each run gets its own, unless the sweep says otherwise
PLACES = {"run_dir": FILES, "figures_dir": FIGURES, "results_file": RESULTS}


class Target(Protocol):
    """What a sweep runs."""

    kind: ClassVar[str]

    def check(self, parameters: Mapping[str, Any]) -> None:
        """Raise SettingError or NotebookError unless it takes the parameters of a run."""

    def run(self, parameters: Mapping[str, Any], folder: Path) -> None:
        """Run it, all files into `folder`."""

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values, of which `from_json` makes it again."""

    def fingerprint(self) -> str:
        """Changes with what is run, so that results of another notebook do not pass for its own."""


@dataclass(frozen=True)
class NotebookTarget:
    """A notebook, run through papermill."""

    path: Path
    kind: ClassVar[str] = "notebook"

    @cached_property
    def known(self) -> dict[str, str]:
        """Names in its parameters cell, and what stands there."""
        from dmh_lib.batch import notebook_parameters

        return notebook_parameters(self.path)

    def check(self, parameters: Mapping[str, Any]) -> None:
        """Names must stand in the parameters cell, and values be of the kind that stands there."""
        known = self.known  # looked for also where there are no parameters
        for name, value in parameters.items():
            if name not in known:
                names = ", ".join(known) or "none"
                raise SettingError(f"{name}: is no parameter of {self.path}; it has {names}")
            try:
                default = ast.literal_eval(known[name])
            except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
                continue  # an expression, whose value nobody knows yet
            _require_kind(name, value, default)

    def run(self, parameters: Mapping[str, Any], folder: Path) -> None:
        """Run it; the executed copy and its page are there also where a cell failed."""
        from dmh_lib.batch import run_notebook
        from dmh_lib.pages import write_page

        places = {name: str(folder / place) for name, place in PLACES.items() if name in self.known}
        try:
            # the sweep limits the time of a run, not that of a cell
            run_notebook(self.path, folder / EXECUTED, {**places, **parameters}, timeout=None)
        finally:
            if (folder / EXECUTED).is_file():
                write_page(folder / EXECUTED, folder / PAGE)  # for those who look without JupyterLab

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "NotebookTarget":
        """From plain JSON values."""
        return cls(Path(stored["path"]).resolve())  # raises for what cannot be a path

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {"path": str(self.path.resolve())}

    def fingerprint(self) -> str:
        """Of the notebook's file."""
        return _hash(self.path.read_bytes())


@dataclass(frozen=True)
class TrainingTarget:
    """A training and its evaluation: parameters are settings like `training.updates` or `model.chunk_len`."""

    data: Path
    preset: str = "small"
    episodes: int = 20
    seeds: tuple[int, ...] = (0, 1, 2)
    kind: ClassVar[str] = "train"

    def __post_init__(self) -> None:
        if type(self.episodes) is not int or self.episodes < 1:
            raise SettingError(f"episodes: must be a whole number from 1, got {self.episodes!r}")
        if not all(type(seed) is int and seed >= 0 for seed in self.seeds):
            raise SettingError(f"seeds: must be whole numbers from 0, got {list(self.seeds)}")

    def check(self, parameters: Mapping[str, Any]) -> None:
        """Each must be a setting of the preset, with a value that it takes."""
        if not self.data.is_file():
            raise SettingError(f"train: {self.data} does not exist; make it with `dmh data make`")
        self.settings(parameters)

    def settings(self, parameters: Mapping[str, Any]) -> "Settings[Any, Any]":
        """The preset's, with a run's parameters in them; raises SettingError for one that does not fit."""
        from dmh_lib.presets import preset_named

        settings = preset_named(self.preset).settings
        for name, value in parameters.items():
            _require_kind(name, value, settings.at(name))
        given = {
            name: tuple(value) if isinstance(value, list) else value for name, value in parameters.items()
        }
        return settings.changed(given)

    def run(self, parameters: Mapping[str, Any], folder: Path) -> None:
        """Train, choose how to play on training tasks, play the held-out ones."""
        from dmh_lib.sweep.training import train_and_play

        train_and_play(self, parameters, folder)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "TrainingTarget":
        """From plain JSON values."""
        return cls(
            Path(stored["data"]).resolve(), stored["preset"], stored["episodes"], tuple(stored["seeds"])
        )

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        about = {"preset": self.preset, "episodes": self.episodes, "seeds": list(self.seeds)}
        return {"data": str(self.data.resolve()), **about}

    def fingerprint(self) -> str:
        """Of what it learns from and how it is judged; the data by size and time, as they may be large."""
        stat = self.data.stat()
        return _hash(f"{self.preset} {self.episodes} {self.seeds} {stat.st_size} {stat.st_mtime_ns}".encode())


TARGETS: dict[str, type[NotebookTarget] | type[TrainingTarget]] = {
    target.kind: target for target in (NotebookTarget, TrainingTarget)
}


@dataclass(frozen=True)
class Order:
    """One run."""

    name: str
    """Of its folder: what is swept, and a part of the digest."""
    target: Target
    parameters: dict[str, Any]
    """All of them."""
    swept: dict[str, Any]
    """Those that differ between runs."""
    digest: str
    """Of target and parameters: equal digest, the same run."""

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        plain = {name: getattr(self, name) for name in ("name", "parameters", "swept", "digest")}
        return {"kind": self.target.kind, "target": self.target.to_json(), **plain}


def order_of(
    target: Target, fingerprint: str, parameters: Mapping[str, Any], swept: Mapping[str, Any]
) -> Order:
    """The run of one row of a sweep; `fingerprint` is the target's."""
    every = {**parameters, **swept}
    try:
        told = json.dumps([target.kind, fingerprint, every], sort_keys=True, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise SettingError(f"parameters: must be plain finite values ({error})") from error
    digest = _hash(told.encode())
    words = re.sub(
        r"[^\w.-]+", "_", "_".join(f"{name.split('.')[-1]}-{value}" for name, value in swept.items())
    )
    # letters may take four bytes; no dot in front: such a folder is hidden, and `..` another one
    words = words[:LONGEST_NAME].encode()[: 2 * LONGEST_NAME].decode(errors="ignore")
    name = f"{words.strip('._')}_{digest[:8]}".lstrip("_")
    return Order(name, target, every, dict(swept), digest)


def read_order(path: str | os.PathLike[str]) -> Order:
    """An order that a sweep wrote for a worker; raises DataError for anything else."""
    found = read_json(path)
    try:
        target = TARGETS[found["kind"]].from_json(found["target"])
        name, digest = found["name"], found["digest"]
        if not isinstance(digest, str) or not re.fullmatch(r"[\w-][\w.-]*", name):
            raise ValueError(f"{name!r} is no name of a folder, or {digest!r} no digest")
        return Order(name, target, dict(found["parameters"]), dict(found["swept"]), digest)
    except (KeyError, TypeError, ValueError, SettingError) as error:
        raise DataError(f"{path}: is no order of a sweep ({error!r}); run the sweep again") from error


def _require_kind(name: str, value: Any, default: Any) -> None:
    """Raise SettingError unless a value is of the default's kind."""
    if default is not None and _kind(value) != _kind(default):
        raise SettingError(f"{name}: {value!r} is {_kind(value)}, and what stands there is {_kind(default)}")


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "true or false"
    kinds = {
        int: "a number",
        float: "a number",
        str: "a text",
        list: "a list",
        tuple: "a list",
        dict: "a mapping",
    }
    return next((word for kind, word in kinds.items() if isinstance(value, kind)), "nothing")


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
