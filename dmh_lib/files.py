"""Files that are either whole or not there: atomic writing, and strict JSON."""

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from filelock import FileLock, Timeout

from dmh_lib.errors import DataError, DMHError


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path beside `path`; what is written there becomes `path` when the block succeeds.

    Readers see the old file or the whole new one. When the block fails, the old file stays as it was and
    the temporary one is removed. Missing parent folders are made. The temporary path has the suffix of
    `path`, since many writers choose the format by it. Raises DataError when the file cannot be written.
    """
    target = Path(path)
    if target.is_dir():
        raise DataError(f"{target}: cannot be written (it is a folder); give the path of a file")
    temporary = target.with_name(f".{secrets.token_hex(8)}{target.suffix}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            flush(temporary)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(f"{target}: cannot be written ({error}); choose another place") from error


@contextmanager
def only_one_at(
    folder: str | os.PathLike[str], lock: str, error: type[DMHError], patience: float = 0.0
) -> Iterator[None]:
    """Keep other processes from what is done in a folder, by the file `lock` in it; a missing folder is made.

    Raises `error` where another process is still at it after `patience` seconds, or the folder cannot be
    written.
    """
    place = Path(folder)
    held = FileLock(place / lock)
    try:
        place.mkdir(parents=True, exist_ok=True)
        held.acquire(timeout=patience)
    except Timeout as problem:
        raise error(f"{place}: another process is at it (it holds {lock}); wait for it") from problem
    except OSError as problem:
        raise error(f"{place}: cannot be written ({problem}); choose another place") from problem
    try:
        yield
    finally:
        held.release()


def flush(path: Path) -> None:
    """Bring a file's contents to the disk; done before a rename, or the name might get there first."""
    with path.open("r+b") as file:  # writable, because Windows flushes nothing else
        os.fsync(file.fileno())


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write `value` as JSON, atomically. Raises DataError for what JSON cannot hold, NaN and inf included."""
    try:
        text = json.dumps(value, indent=2, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be written as JSON ({error}); use plain finite values") from error
    with atomic_path(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read a JSON file. Raises DataError when it is missing, unreadable, or not strict JSON."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not a JSON file ({error}); write it again") from error


def read_object(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Like `read_json`, of a file with names and values; raises DataError for any other value as well."""
    found = read_json(path)
    if not isinstance(found, dict):
        raise DataError(f"{path}: holds no names and values; write it again")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
