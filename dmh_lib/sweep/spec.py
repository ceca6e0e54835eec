"""What a sweep is: a notebook or a training, and the parameters of each of its runs."""

import itertools
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dmh_lib.errors import NotebookError, SettingError, require_choice
from dmh_lib.sweep.orders import NotebookTarget, Order, Target, TrainingTarget, order_of
from dmh_lib.sweep.yaml_files import read_yaml

MOST_RUNS = 100_000
MOST_TEXT = 10**8  # characters of the parameters of all runs together, which take seconds
FIELDS = ("notebook", "train", "preset", "episodes", "seeds", "parameters", "product", "zip")


@dataclass(frozen=True)
class Sweep:
    """A sweep, as its file tells it."""

    target: Target
    """What is run."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """The same in every run."""
    product: Mapping[str, list[Any]] = field(default_factory=dict)
    """Values of which every combination is run."""
    zip: Mapping[str, list[Any]] = field(default_factory=dict)
    """Values that stand side by side, the first of each together and so on; each row in every combination."""
    path: Path | None = None
    """Its file, if it is from one; errors name it."""

    def __post_init__(self) -> None:
        seen = set[str]()
        for name in (*self.parameters, *self.product, *self.zip):
            if name in seen:
                raise SettingError(f"{name}: stands in two of parameters, product and zip; leave one")
            seen.add(name)
        lengths = {name: len(values) for name, values in self.zip.items()}
        if len(set(lengths.values())) > 1:
            told = ", ".join(f"{name} {length}" for name, length in lengths.items())
            raise SettingError(f"zip: its lists must be equally long, got {told}")
        if len(self) > MOST_RUNS:
            raise SettingError(f"product: {len(self):,} runs are more than {MOST_RUNS:,}; ask for fewer")
        lists = (*self.product.values(), *self.zip.values())
        longest = sum(max((len(repr(one)) for one in values), default=0) for values in lists)
        told_in_each = len(repr(dict(self.parameters))) + longest
        if len(self) * told_in_each > MOST_TEXT:
            problem = f"{len(self):,} runs of {told_in_each:,} characters each are too many"
            raise SettingError(f"parameters: {problem}; ask for fewer, or read long lists from a file")

    def __len__(self) -> int:
        rows = max((len(values) for values in self.zip.values()), default=1)
        return rows * math.prod(len(values) for values in self.product.values())

    def orders(self) -> list[Order]:
        """Every run, checked: its parameters are the notebook's or the training's, of the right kind.

        Raises SettingError or NotebookError for the first that is not.
        """
        rows = list(self._rows())
        try:
            for row in rows:
                self.target.check({**self.parameters, **row})
            fingerprint = self.target.fingerprint()
            return [order_of(self.target, fingerprint, self.parameters, row) for row in rows]
        except (SettingError, NotebookError) as error:
            if self.path is None:
                raise
            raise type(error)(f"{self.path}: {error}") from error
        except (OSError, ValueError) as error:  # a name that no file can have
            raise SettingError(f"{self.path or 'sweep'}: {error}; name a file that is there") from error

    def _rows(self) -> Iterator[dict[str, Any]]:
        side_by_side = list(zip(*self.zip.values(), strict=True)) if self.zip else [()]
        for combined in itertools.product(*self.product.values()):
            for row in side_by_side:
                yield {
                    **dict(zip(self.product, combined, strict=True)),
                    **dict(zip(self.zip, row, strict=True)),
                }


def read_sweep(path: str | os.PathLike[str]) -> Sweep:
    """A sweep from a YAML file; paths in it count from the file's folder.

        notebook: ../notebooks/05_training.ipynb   # or train: FILE.hdf5, with preset, episodes, seeds
        parameters: {updates: 500}                 # in every run
        product:                                   # every combination
          seed: {range: 3}                         # or [start, stop, step] of Python's range
          batch_size: [32, 64]
        zip:                                       # side by side
          chunk_len: [5, 10]
          episodes: [20, 10]

    Raises SettingError, which names the file and the field.
    """
    file = Path(path)
    found = read_yaml(file)
    try:
        for name in found:
            require_choice("field", name, FIELDS)
        return Sweep(
            _target(found, file.parent),
            _mapping(found, "parameters"),
            {name: _values(f"product.{name}", one) for name, one in _mapping(found, "product").items()},
            {name: _values(f"zip.{name}", one) for name, one in _mapping(found, "zip").items()},
            file,
        )
    except SettingError as error:
        raise SettingError(f"{file}: {error}") from error


def _target(found: Mapping[str, Any], folder: Path) -> Target:
    if ("notebook" in found) == ("train" in found):
        raise SettingError("notebook: give that or train, one of the two")
    if "notebook" in found:
        for name in ("preset", "episodes", "seeds"):
            if name in found:
                raise SettingError(f"{name}: is for train; a notebook's parameters stand under parameters")
        return NotebookTarget(folder / _text("notebook", found["notebook"]))
    options: dict[str, Any] = {}
    if "preset" in found:
        options["preset"] = _text("preset", found["preset"])
    if "episodes" in found:
        options["episodes"] = found["episodes"]
    if "seeds" in found:
        options["seeds"] = tuple(_values("seeds", found["seeds"]))
    return TrainingTarget(folder / _text("train", found["train"]), **options)


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise SettingError(f"{name}: must be a text, got {value!r}")
    return value


def _mapping(found: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = found.get(name, {})
    if not isinstance(value, dict):
        raise SettingError(f"{name}: must hold names and values, got {value!r}")
    return value


def _values(name: str, value: Any) -> list[Any]:
    """A list of values, or what `{range: …}` stands for."""
    if isinstance(value, dict) and list(value) == ["range"]:
        bounds = value["range"] if isinstance(value["range"], list) else [value["range"]]
        if not 1 <= len(bounds) <= 3 or not all(type(bound) is int for bound in bounds):
            raise SettingError(f"{name}: range takes one to three whole numbers, got {value['range']!r}")
        if len(bounds) == 3 and bounds[2] == 0:
            raise SettingError(f"{name}: range needs a step other than 0")
        span = range(*bounds)
        if len(span) > MOST_RUNS:
            raise SettingError(f"{name}: {len(span):,} values are more than {MOST_RUNS:,}; ask for fewer")
        value = list(span)
    if not isinstance(value, list) or not value:
        raise SettingError(f"{name}: must be a list with at least one value, or {{range: …}}, got {value!r}")
    seen = set[str]()
    for one in value:
        if (told := repr(one)) in seen:
            raise SettingError(f"{name}: {told} stands twice; the runs would be the same")
        seen.add(told)
    return value
