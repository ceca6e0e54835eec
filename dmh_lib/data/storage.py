"""Trajectories as HDF5 files in D4RL's schema.

A file holds the flat datasets `observations`, `actions`, `rewards`, `terminals` and `timeouts`. Files written
here add a group `dmh` with `offsets`, `task_ids`, `run_ids` and the metadata as JSON text; without it, the
file is D4RL's and an episode ends where terminals or timeouts is true.
"""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import h5py
import numpy as np
from numpy.typing import DTypeLike, NDArray

from dmh_lib.data.hdf5_checks import COPY, is_link, problem_of
from dmh_lib.data.trajectories import Trajectories
from dmh_lib.errors import DataError
from dmh_lib.files import atomic_path

FORMAT_VERSION = 1

_D4RL_NAMES = {  # name in the file: field of Trajectories
    "observations": "observations",
    "actions": "actions",
    "rewards": "rewards",
    "terminals": "terminations",
    "timeouts": "truncations",
}
_GROUP = "dmh"
_EPISODE_FIELDS = ("offsets", "task_ids", "run_ids")
# h5py's ways to say that a file is damaged; the last one for an attribute that claims an absurd size
_BROKEN = (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError)


def write_hdf5(trajectories: Trajectories, path: str | os.PathLike[str]) -> None:
    """Write one file, whole or not at all; uncompressed, so that it can be memory-mapped.

    The metadata key "path" is left out: it says where a file was read from. Raises DataError when the file
    cannot be written; an older file of that name then stays as it was.
    """
    metadata = {key: value for key, value in trajectories.metadata.items() if key != "path"}
    # aligned, because numba and SIMD code want arrays that start at a multiple of their item size
    layout = {"alignment_threshold": 1, "alignment_interval": 64}
    with atomic_path(path) as temporary, h5py.File(temporary, "w", **layout) as file:
        for name, field in _D4RL_NAMES.items():
            file.create_dataset(name, data=getattr(trajectories, field))
        group = file.create_group(_GROUP)
        for field in _EPISODE_FIELDS:
            group.create_dataset(field, data=getattr(trajectories, field))
        group.attrs["format_version"] = FORMAT_VERSION
        group.attrs["metadata"] = json.dumps(metadata)


def read_hdf5(path: str | os.PathLike[str], *, memory_map: bool = True) -> Trajectories:
    """Read a file written by `write_hdf5` or one in D4RL's schema; metadata["path"] names it.

    With `memory_map`, arrays that lie in the file as they are needed in memory are mapped read-only and
    others (compressed, or of another type) are read. In a D4RL file all episodes are task 0 and run 0, steps
    after the last flag are an episode that was cut off, and fields beyond the five are ignored.

    Raises DataError, naming file, field and remedy, for a file that is missing, is not HDF5, breaks the
    schema or the rules of `Trajectories`, or points to data outside itself.
    """
    source = Path(path)
    if not source.is_file():
        problem = "is a folder" if source.is_dir() else "does not exist"
        raise DataError(f"{source}: {problem}; give the path of an HDF5 file")
    try:
        with h5py.File(source, "r") as file:
            return _Reader(source, file, memory_map).trajectories()
    except _BROKEN as error:
        message = f"{source}: not a readable HDF5 file ({error}); download or write it again"
        raise DataError(message) from error


def read_d4rl(path: str | os.PathLike[str]) -> Trajectories:
    """Read a D4RL file into memory: `read_hdf5` without memory maps, so the file may move or change later."""
    return read_hdf5(path, memory_map=False)


def episodes_by_flags(ends: NDArray[np.bool_]) -> dict[str, NDArray[np.int64]]:
    """offsets, task_ids and run_ids of D4RL's data (N,), where a flag ends an episode: one task, one run."""
    stops = np.flatnonzero(ends) + 1
    if not stops.size or stops[-1] != len(ends):
        stops = np.append(stops, len(ends))  # the data were cut off within an episode
    zeros = np.zeros(len(stops), dtype=np.int64)
    return {"offsets": np.concatenate([[0], stops]), "task_ids": zeros, "run_ids": zeros}


class _Reader:
    """One open file, with the checks that keep a broken or hostile one from doing more than raise."""

    def __init__(self, path: Path, file: h5py.File, memory_map: bool) -> None:
        self.path = path
        self.file = file
        self.memory_map = memory_map
        self.file_bytes = path.stat().st_size

    def trajectories(self) -> Trajectories:
        columns = {
            "observations": self.required("observations", "fiu"),
            "actions": self.required("actions", "fiu"),
            "rewards": self.column(self.required("rewards", "fiu")),
        }
        if columns["actions"].dtype.kind in "iu":
            columns["actions"] = self.column(columns["actions"])
        steps = len(columns["observations"])
        present = [name for name in ("terminals", "timeouts") if self.has(self.file, name)]
        if not present:
            self.fail("terminals", "missing, and so is 'timeouts'", "without them episodes have no end")
        for name in ("terminals", "timeouts"):
            columns[name] = self.flags(name) if name in present else np.zeros(steps, dtype=np.bool_)
        for name, values in columns.items():
            if len(values) != steps:
                problem = f"has length {len(values)}, but 'observations' has {steps}"
                self.fail(name, problem, "write the file again")
        own = self.has(self.file, _GROUP)
        if own:
            episodes, metadata = self.own_episodes()
        else:
            episodes, metadata = episodes_by_flags(columns["terminals"] | columns["timeouts"]), {}
        return Trajectories(
            **{field: columns[name] for name, field in _D4RL_NAMES.items()},
            **episodes,
            metadata={**metadata, "path": str(self.path)},
        )

    def own_episodes(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """(offsets, task_ids and run_ids, metadata) as `write_hdf5` left them."""
        group = self.file[_GROUP]
        if not isinstance(group, h5py.Group):
            self.fail(_GROUP, "is a dataset, not a group", "write the file again")
        version = group.attrs.get("format_version")
        if version != FORMAT_VERSION:
            remedy = f"this release reads {FORMAT_VERSION}; write the file again or update dmh-lib"
            self.fail(f"{_GROUP}/format_version", f"is {version}", remedy)
        try:
            metadata = json.loads(group.attrs["metadata"])
        except (KeyError, TypeError, ValueError) as error:
            self.fail(f"{_GROUP}/metadata", f"missing or not JSON ({error})", "write the file again")
        if not isinstance(metadata, dict):
            self.fail(f"{_GROUP}/metadata", "not a JSON object", "write the file again")
        return {field: self.required(f"{_GROUP}/{field}", "iu") for field in _EPISODE_FIELDS}, metadata

    # ------------------------------------------------------------------ fields

    def required(self, name: str, kinds: str) -> NDArray[Any]:
        """The dataset as an array, mapped if possible; `kinds` are the NumPy dtype kinds accepted."""
        *folders, last = name.split("/")
        group = self.file[folders[0]] if folders else self.file
        if not self.has(group, last):
            self.fail(name, "missing", "the file must follow D4RL's schema")
        dataset = group[last]
        if not isinstance(dataset, h5py.Dataset):
            self.fail(name, "is a group, not a dataset", "the file must follow D4RL's schema")
        if problem := problem_of(dataset, self.file_bytes):
            self.fail(name, *problem)
        if dataset.dtype.kind not in kinds:
            self.fail(name, f"has type {dataset.dtype}", "it must hold numbers")
        if not dataset.shape or 0 in dataset.shape:
            self.fail(name, f"has shape {dataset.shape}", "it must hold at least one step")
        return self.mapped_or_read(name, dataset)

    def has(self, group: h5py.Group, name: str) -> bool:
        """Whether the name is there; looks at the link without following it, so no other file is opened."""
        if not group.id.links.exists(name.encode()):
            return False
        if is_link(group, name):
            self.fail(name, "is a link that may leave the file", COPY)
        return True

    def mapped_or_read(self, name: str, dataset: h5py.Dataset) -> NDArray[Any]:
        offset = dataset.id.get_offset()  # None unless the data lie in one piece
        native: DTypeLike = {"f": np.float32, "i": np.int64, "u": np.int64, "b": np.bool_}[dataset.dtype.kind]
        in_place = offset is not None and dataset.dtype == native and offset % dataset.dtype.itemsize == 0
        if self.memory_map and in_place:
            return np.memmap(self.path, dtype=native, mode="r", offset=offset, shape=dataset.shape)
        values: NDArray[Any] = dataset[()]
        return values

    def column(self, values: NDArray[Any]) -> NDArray[Any]:
        """(N, 1) as (N,): some writers keep scalars that way."""
        return values[:, 0] if values.shape[1:] == (1,) else values

    def flags(self, name: str) -> NDArray[np.bool_]:
        """Booleans (N,); some D4RL files store them as numbers 0 and 1."""
        values = self.column(self.required(name, "biuf"))
        if values.ndim != 1:
            self.fail(name, f"has shape {values.shape}", "it must be (N,)")
        numbers = values.view(np.uint8) if values.dtype == np.bool_ else values  # a bool's byte may be 2
        if not ((numbers == 0) | (numbers == 1)).all():
            self.fail(name, "holds values other than 0 and 1", "it must hold booleans")
        return values.astype(np.bool_, copy=False)

    def fail(self, name: str, problem: str, remedy: str) -> NoReturn:
        raise DataError(f"{self.path}: field {name!r}: {problem}; {remedy}")


def read_or_make(
    path: str | os.PathLike[str], about: Mapping[str, Any], make: Callable[[], Trajectories]
) -> Trajectories:
    """Trajectories from a file, or made and written there if it does not exist.

    Raises DataError if the metadata of the file are not those in `about`.
    """
    if not Path(path).exists():
        write_hdf5(make(), path)
    found = read_hdf5(path)
    for name, value in about.items():
        if found.metadata.get(name) != value:
            problem = f"field '{name}' is not what was asked for"
            raise DataError(f"{path}: {problem}; remove the file or give another path")
    return found
