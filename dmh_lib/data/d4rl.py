"""D4RL's datasets by name: fetched once, resumed where a connection broke, checked against a hash.

D4RL's server does not always answer, so its address is a setting, and a file that was put there by hand is as
good.
"""

import hashlib
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from filelock import FileLock
from numpy.typing import ArrayLike
from tqdm.auto import tqdm

from dmh_lib.data.storage import episodes_by_flags
from dmh_lib.data.trajectories import Trajectories
from dmh_lib.errors import DataError
from dmh_lib.files import read_object, write_json

SERVER = "http://rail.eecs.berkeley.edu/datasets/offline_rl"
SERVER_VARIABLE = "DMH_D4RL_URL"
"""Environment variable with the address of another server that has the same folders."""
_NAME = re.compile(
    r"(hopper|halfcheetah|walker2d|ant)-(random|medium|expert|medium-replay|full-replay|medium-expert)-v2"
)
_BLOCK = 2**20
_TRIES = 4
_PATIENCE = 30.0  # seconds without a byte


def address_of(name: str, server: str | None = None) -> str:
    """Where D4RL keeps a dataset such as "hopper-medium-replay-v2"; that of an .hdf5 file stays itself.

    Raises DataError for other names.
    """
    if name.startswith(("http://", "https://")) and name.endswith(".hdf5"):
        return name
    if (found := _NAME.fullmatch(name)) is None:
        example = "hopper-medium-v2, walker2d-medium-replay-v2, halfcheetah-expert-v2"
        raise DataError(
            f"{name}: no dataset of D4RL's MuJoCo tasks; give a name such as {example}, or an address"
        )
    base = (server or os.environ.get(SERVER_VARIABLE) or SERVER).rstrip("/")
    return f"{base}/gym_mujoco_v2/{found[1]}_{found[2].replace('-', '_')}-v2.hdf5"


def fetch_d4rl(
    name: str,
    folder: str | os.PathLike[str] = "data/d4rl",
    *,
    server: str | None = None,
    sha256: str | None = None,
    progress: bool = False,
) -> Path:
    """The file of a dataset, downloaded into a folder unless it is there.

    What was half downloaded is gone on with. The first download's hash is written beside the file, as
    NAME.json, and the file is checked against it, or against `sha256`, whenever it is asked for again.

    Args:
        name: see `address_of`.
        folder: made if need be.
        server: instead of D4RL's own, or of the one in DMH_D4RL_URL.
        sha256: in hex; what the file must have.
        progress: show a bar.

    Raises:
        DataError: the name is unknown, the server does not give the file, or it is not what it should be.
    """
    address = address_of(name, server)
    target = Path(folder) / address.rsplit("/", 1)[-1]
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_name(f".{target.name}.lock")):  # of many jobs one fetches, the others wait
        if not target.exists():
            part = target.with_name(f".{target.name}.part")
            _download(address, target, part, progress)
            _check(part, sha256, target, address)
            part.rename(target)
        else:
            _check(target, sha256, target, address)
    return target


def _check(file: Path, sha256: str | None, target: Path, address: str) -> None:
    """Compare a file with its hash, the one on record if none is given; the first is put on record."""
    record = target.with_name(f"{target.name}.json")
    known = read_object(record) if record.exists() else {}
    expected = sha256 or known.get("sha256")
    if not isinstance(expected, str | None):
        raise DataError(f"{record}: field 'sha256': {expected!r} is no text; remove the file")
    with file.open("rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    if expected is not None and found != expected.lower():
        if file != target:
            file.unlink()
        raise DataError(f"{target}: its SHA-256 is {found}, not {expected}; remove it and fetch it again")
    if not h5py.is_hdf5(file):
        if file != target:
            file.unlink()
        raise DataError(f"{target}: what {address} gives is no HDF5 file; put the dataset there by hand")
    if not known:
        write_json(record, {"address": address, "sha256": found, "bytes": file.stat().st_size})


# ---------------------------------------------------------------------- over the network


def _download(address: str, target: Path, part: Path, progress: bool) -> None:
    """Fetch the rest of a file into `part`, in several tries."""
    remedy = f"put the file at {target} by hand, or set {SERVER_VARIABLE} to another server"
    problem = ""
    for number in range(_TRIES):
        if number:
            time.sleep(number)
        try:
            if _fetch_rest(address, part, progress):
                return
            problem = f"only {part.stat().st_size} bytes came"
        except urllib.error.HTTPError as error:
            if error.code == 416:  # no such range: what is there is not the beginning of the file
                part.unlink(missing_ok=True)
            elif error.code < 500:
                raise DataError(
                    f"{address}: the server answers {error.code} ({error.reason}); {remedy}"
                ) from error
            problem = f"the server answers {error.code} ({error.reason})"
        except (OSError, HTTPException) as error:
            problem = f"no connection ({error})"
    raise DataError(f"{address}: {problem}; run it again, which goes on from there, or {remedy}")


def _fetch_rest(address: str, part: Path, progress: bool) -> bool:
    """Append to `part` what it lacks; whether it is whole now."""
    mark = part.with_name(f"{part.name}.mark")  # of the version that was begun
    have = part.stat().st_size if part.exists() and mark.exists() else 0
    request = urllib.request.Request(address)
    if have:
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", mark.read_text(encoding="utf-8"))
    answer: HTTPResponse
    with urllib.request.urlopen(request, timeout=_PATIENCE) as answer:
        if answer.status != 206:  # the whole file, perhaps another version of it
            have = 0
        version = answer.headers.get("ETag") or answer.headers.get("Last-Modified")
        if version is not None:
            mark.write_text(version, encoding="utf-8")
        length = answer.headers.get("Content-Length")
        whole = None if length is None else have + int(length)
        bar = tqdm(total=whole, initial=have, unit="B", unit_scale=True, desc=part.name, disable=not progress)
        with bar, part.open("ab" if have else "wb") as file:
            while block := answer.read(_BLOCK):
                file.write(block)
                bar.update(len(block))
    done = whole is None or part.stat().st_size == whole
    if done:
        mark.unlink(missing_ok=True)
    return done


# ---------------------------------------------------------------------- objects of the old package


def from_d4rl(env: Any, name: str = "env.get_dataset()") -> Trajectories:
    """Trajectories of an environment of the old `d4rl` package, or of anything with its `get_dataset()`.

    Args:
        env: an object with `get_dataset()`, or what that returns.
        name: what errors call it.

    Raises DataError when a field is missing or breaks the rules of `Trajectories`.
    """
    dataset: Mapping[str, ArrayLike] = env if isinstance(env, Mapping) else env.get_dataset()
    missing = [field for field in ("observations", "actions", "rewards") if field not in dataset]
    if missing or not {"terminals", "timeouts"} & set(dataset):
        field = missing[0] if missing else "terminals"
        raise DataError(f"{name}: field '{field}': missing; it must follow D4RL's schema")
    rewards = np.asarray(dataset["rewards"]).reshape(-1)
    flags = {
        field: np.asarray(dataset.get(field, np.zeros(len(rewards)))).reshape(-1).astype(np.bool_)
        for field in ("terminals", "timeouts")
    }
    return Trajectories(
        np.asarray(dataset["observations"]),
        np.asarray(dataset["actions"]),
        rewards,
        flags["terminals"],
        flags["timeouts"],
        **episodes_by_flags(flags["terminals"] | flags["timeouts"]),
        metadata={"path": name},
    )
