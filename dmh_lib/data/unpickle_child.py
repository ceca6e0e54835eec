"""Run as a program of its own: read a pickle of NumPy arrays, and nothing else, and write them as NPZ.

    python -I unpickle_child.py PICKLE NPZ

See `dmh_lib.data.pickles` for why.
"""

import pickle
import sys
from typing import Any

import numpy as np

ALLOWED = {  # what pickled arrays are made of, under the names of NumPy 1 and 2
    *((f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")),
    *((f"numpy.{core}.multiarray", "scalar") for core in ("core", "_core")),
    *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}
FIELDS = ("observations", "actions", "rewards", "terminals")
MEMORY = 16 * 2**30  # bytes of address space


class ArraysOnly(pickle.Unpickler):
    """Refuses every name that is not needed for an array."""

    def find_class(self, module: str, name: str) -> Any:
        """What a name stands for, if arrays need it."""
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no array needs")
        return super().find_class(module, name)


def limit() -> None:
    """Take from this process what reading arrays does not need, where the system can."""
    try:
        import resource
    except ImportError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def read(path: str) -> dict[str, Any]:
    """Arrays of all episodes in a row, and `lengths`; ValueError where they are not such."""
    with open(path, "rb") as file:
        episodes = ArraysOnly(file).load()
    if not isinstance(episodes, list) or not episodes:
        raise ValueError("it holds no list of episodes")
    parts: dict[str, list[Any]] = {field: [] for field in FIELDS}
    for number, episode in enumerate(episodes):
        if not isinstance(episode, dict):
            raise ValueError(f"episode {number} is no dictionary")
        for field in FIELDS:
            values = episode.get(field)
            if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiub" or not values.size:
                raise ValueError(f"episode {number}: field '{field}' holds no numbers")
            if len(values) != len(episode["observations"]):
                raise ValueError(f"episode {number}: field '{field}' has another length than 'observations'")
            parts[field].append(values)
    joined = {field: np.concatenate(values) for field, values in parts.items()}
    joined["terminals"] = joined["terminals"].reshape(-1).astype(np.bool_)
    joined["rewards"] = joined["rewards"].reshape(-1)
    return {**joined, "lengths": np.array([len(values) for values in parts["observations"]])}


def main() -> None:
    """Read one file, write the other, and say in a line what is wrong with the first."""
    limit()
    try:
        arrays = read(sys.argv[1])
    except Exception as error:  # whatever a stranger's file brings about
        sys.exit(f"{error}")
    np.savez(sys.argv[2], **arrays)


if __name__ == "__main__":
    main()
