"""Experience as data: the record, and the files it lives in."""

from dmh_lib.data.minari import read_minari, write_minari
from dmh_lib.data.storage import read_d4rl, read_hdf5, write_hdf5
from dmh_lib.data.trajectories import Episode, Trajectories, concatenate

__all__ = [
    "Episode",
    "Trajectories",
    "concatenate",
    "read_d4rl",
    "read_hdf5",
    "read_minari",
    "write_hdf5",
    "write_minari",
]
