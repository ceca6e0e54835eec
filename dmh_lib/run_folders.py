"""A run's folder: the checkpoints in it, which of them are the newest and the best, one process at a time."""

import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import safetensors

from dmh_lib.errors import CheckpointError, DMHError
from dmh_lib.files import only_one_at, read_json

T = TypeVar("T")
FORMAT_VERSION = 1
PREFIX, ABOUT, LOCK = "checkpoint-", "checkpoint.json", "run.lock"
TEMPORARY = re.compile(r"\.[0-9a-f]{16}")  # names of folders that are being written, or taken away


def latest_checkpoint(run_dir: str | os.PathLike[str]) -> Path | None:
    """The checkpoint of a run with the most updates, or None."""
    return max(all_checkpoints(run_dir), key=updates_of, default=None)


def all_checkpoints(run_dir: str | os.PathLike[str]) -> list[Path]:
    """The checkpoints of a run that were kept, oldest first."""
    found = [path for path in Path(run_dir).glob(f"{PREFIX}*") if path.name.removeprefix(PREFIX).isdecimal()]
    return sorted(found, key=updates_of)


def best_checkpoint(run_dir: str | os.PathLike[str]) -> Path | None:
    """The checkpoint of a run with the lowest loss over the updates before it, the newest of equals, or None.

    It is the training loss, the only one that is known while training: what plays best need not be this one.
    """
    known = {path: loss for path in all_checkpoints(run_dir) if (loss := _loss(path)) is not None}
    return min(reversed(known), key=lambda path: known[path], default=None)


def _loss(path: Path) -> float | None:
    loss = about_of(path).get("loss")
    return None if loss is None else reading(path / ABOUT, lambda: float(loss))


def updates_of(checkpoint: Path) -> int:
    """Updates made by a run's checkpoint, as its name says."""
    return int(checkpoint.name.removeprefix(PREFIX))


def remove(path: Path) -> None:
    """Take a folder away at once, as whole as it came: a process that is killed must not leave half of it."""
    if path.exists():
        temporary = path.with_name(f".{secrets.token_hex(8)}")
        path.rename(temporary)
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def training_in(run_dir: str | os.PathLike[str]) -> Iterator[None]:
    """Keep a run's folder to this process, and clear away what a killed one left half-written.

    Raises CheckpointError where another process is at it.
    """
    with only_one_at(run_dir, LOCK, CheckpointError):
        for path in Path(run_dir).glob(".*"):
            if TEMPORARY.fullmatch(path.name):
                shutil.rmtree(path, ignore_errors=True)
        yield


def checkpoint_at(path: str | os.PathLike[str]) -> Path:
    """A checkpoint itself, or the newest of a run; raises CheckpointError where there is none."""
    folder = Path(path)
    if not (folder / ABOUT).is_file():
        newest = latest_checkpoint(folder)
        if newest is None or not (newest / ABOUT).is_file():
            where = "" if folder.is_absolute() else f" in {folder.absolute()}"
            raise CheckpointError(
                f"{folder}: no checkpoint here ({ABOUT} is missing{where}); train one with `dmh train`"
            )
        folder = newest
    return folder


def about_of(folder: Path) -> dict[str, Any]:
    """What a checkpoint says of itself; raises CheckpointError where it is broken or of another format."""
    file = folder / ABOUT
    about = reading(file, lambda: dict(read_json(file)))
    if about.get("format_version") != FORMAT_VERSION:
        problem = (
            f"field 'format_version': {about.get('format_version')}, this version reads {FORMAT_VERSION}"
        )
        raise CheckpointError(f"{file}: {problem}; load it with the version of dmh_lib that wrote it")
    return about


def reading(file: Path, read: Callable[[], T]) -> T:
    """What `read` gives; the many ways in which a broken file makes it fail become one CheckpointError."""
    try:
        return read()
    except DMHError as error:
        message = str(error) if str(file) in str(error) else f"{file}: {error}"
        raise CheckpointError(message) from error
    except (
        OSError,
        safetensors.SafetensorError,
        RuntimeError,
        KeyError,
        TypeError,
        ValueError,
        OverflowError,
        AttributeError,
    ) as error:
        raise CheckpointError(
            f"{file}: missing or broken ({error!r}); copy or train the checkpoint again"
        ) from error
