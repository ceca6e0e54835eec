"""A format whose readers do all that none may do: whether the fuzzer notices."""

import os
import time
from pathlib import Path
from random import Random

import numpy as np
from fuzz_seed import Seed

from dmh_lib.errors import DataError


def make(folder: Path) -> Path:
    (folder / "flawed.txt").write_text("whole", encoding="utf-8")
    return folder / "flawed.txt"


def misbehave(path: Path, out: Path) -> None:
    """In the way that the file asks for; when it is whole, not at all."""
    what = path.read_text(encoding="utf-8")
    if what == "unclear":
        raise KeyError("x")
    if what == "nameless":
        raise DataError("field 'x': is missing; write it again")
    if what == "refused":
        raise DataError(f"{path}: field 'x': is missing; write it again")
    if what == "outside":
        Path("outside.txt").write_text("", encoding="utf-8")
    if what == "system":
        os.system("true")
    if what == "dies":
        os._exit(9)
    if what == "hangs":
        time.sleep(3600)
    if what == "memory":
        try:
            np.ones(2**30)
        except MemoryError as error:
            raise DataError(f"{path}: is too large; write less") from error


WAYS = ("unclear", "nameless", "refused", "outside", "system", "dies", "hangs", "memory")


def damage(rng: Random, path: Path) -> None:
    path.write_text(rng.choice(WAYS), encoding="utf-8")


SEEDS = (Seed(make, misbehave, damage),)
