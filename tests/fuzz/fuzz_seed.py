"""What a format is to the fuzzer: valid files, how the library reads each, and how to damage it."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from fuzz_bytes import damaged


@dataclass(frozen=True)
class Seed:
    """A valid file."""

    make: Callable[[Path], Path]
    """Writes it, and what has to lie beside it, into a folder; gives the file that is to be damaged."""
    read: Callable[[Path, Path], None]
    """Reads it as the library's users do, and uses what was read; a second folder may be written to."""
    damage: Callable[[Random, Path], None]
    """Damages the file in a way that its format allows."""
    named: Sequence[str] = ()
    """What an error may name in place of the file: those that belong to it."""


@dataclass(frozen=True)
class Input:
    """A damaged file."""

    seed: Seed
    path: Path


class Corpus:
    """The valid files of a format, made once, of which any number of damaged ones are made."""

    def __init__(self, name: str, seeds: Sequence[Seed], folder: Path) -> None:
        self.name, self.seeds, self.folder = name, seeds, folder
        self.files = []
        for number, seed in enumerate(seeds):
            place = folder / str(number)
            place.mkdir(parents=True)
            self.files.append(seed.make(place))
        self.contents = [file.read_bytes() for file in self.files]

    def valid(self, seed: int, folder: Path) -> Input:
        """A copy of a valid file, and of what lies beside it, in an empty folder."""
        shutil.copytree(self.folder / str(seed), folder, dirs_exist_ok=True)
        path = folder / self.files[seed].relative_to(self.folder / str(seed))
        return Input(self.seeds[seed], path)

    def damaged(self, number: int, folder: Path) -> Input:
        """Damaged file `number`, which is always the same, in an empty folder."""
        rng = Random(f"{self.name} {number}")
        found = self.valid(rng.randrange(len(self.seeds)), folder)
        how = rng.random()
        if how < 0.65:
            found.seed.damage(rng, found.path)
        if how > 0.6:
            found.path.write_bytes(damaged(rng, found.path.read_bytes(), self.contents))
        return found
