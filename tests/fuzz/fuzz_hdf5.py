"""HDF5: data of ours, of D4RL and of Minari, and what may be wrong with such a file."""

import os
from collections.abc import Callable
from pathlib import Path
from random import Random

import h5py
import numpy as np
from fuzz_seed import Seed
from fuzz_values import EXECUTES, odd_value

from dmh_lib.data import Trajectories, read_d4rl, read_hdf5, write_hdf5
from dmh_lib.data.episodes import EpisodeConfig, EpisodeDraws
from dmh_lib.data.minari import read_minari, write_minari
from dmh_lib.envs import make_split
from dmh_lib.explore.files import read_life

SECRET = 12345.0  # all that the file outside holds
MINARI_ID = "mine/fuzz-v0"
MOST_ACTIONS = 2**20


def made_up(discrete: bool, env_id: str = "dmh/Darkroom-v0") -> Trajectories:
    """Three runs of two episodes of five steps."""
    rng, steps, episodes = np.random.default_rng(0), 30, 6
    last = np.arange(1, steps + 1) % 5 == 0
    return Trajectories(
        rng.integers(0, 9, (steps, 2)).astype(np.float32),
        rng.integers(0, 5, steps) if discrete else rng.normal(size=(steps, 3)).astype(np.float32),
        rng.random(steps).astype(np.float32),
        last & (np.arange(steps) < 12),
        last & (np.arange(steps) >= 12),
        np.arange(0, steps + 1, 5),
        np.arange(episodes) // 2,
        np.arange(episodes) // 2,
        {
            "env_id": env_id,
            "num_actions": 5,
            "split": make_split("darkroom", num_train=3, num_test=2).to_dict(),
        },
    )


def used(data: Trajectories) -> None:
    """What training does with data: every value is read, episodes are drawn, sizes become a model's."""
    for episode in data:
        if not np.isfinite(episode.total_reward) or (np.asarray(episode.observations) == SECRET).any():
            raise AssertionError("holds what no file may bring in")
    data.data_hash()
    assert data.num_steps == data.lengths.sum()
    assert data.action_dim <= MOST_ACTIONS
    draws = EpisodeDraws(data, EpisodeConfig(4))
    draws.sort(*draws.draw_episodes(3))


# ---------------------------------------------------------------------- valid files


def ours(folder: Path) -> Path:
    write_hdf5(made_up(discrete=True), folder / "data.hdf5")
    return folder / "data.hdf5"


def ours_continuous(folder: Path) -> Path:
    write_hdf5(made_up(discrete=False), folder / "data.hdf5")
    return folder / "data.hdf5"


def _d4rl(folder: Path, **options: object) -> Path:
    data = made_up(discrete=False)
    with h5py.File(folder / "d4rl.hdf5", "w") as file:
        for name, values in {
            "observations": data.observations,
            "actions": data.actions,
            "rewards": data.rewards,
            "terminals": data.terminations,
            "timeouts": data.truncations,
            "infos/qpos": data.observations,
        }.items():
            file.create_dataset(name, data=values, **options)
        file["metadata/algorithm"] = b"SAC"
    return folder / "d4rl.hdf5"


def d4rl(folder: Path) -> Path:
    return _d4rl(folder)


def d4rl_packed(folder: Path) -> Path:
    return _d4rl(folder, chunks=True, compression="gzip", shuffle=True, fletcher32=True)


def minari(folder: Path) -> Path:
    os.environ["MINARI_DATASETS_PATH"] = str(folder)
    write_minari(made_up(discrete=True), MINARI_ID)
    return folder / MINARI_ID / "data" / "main_data.hdf5"


# ---------------------------------------------------------------------- readers


def read_both(path: Path, _: Path) -> None:
    used(read_hdf5(path))
    used(read_d4rl(path))


def read_lifetime(path: Path, _: Path) -> None:
    for run in (0, 2):
        task, episodes = read_life(path, "darkroom", run, most=2)
        assert task >= 0
        assert all(np.isfinite(episode.observations).all() for episode in episodes)


def read_of_minari(path: Path, _: Path) -> None:
    os.environ["MINARI_DATASETS_PATH"] = str(path.parents[3])
    used(read_minari(MINARI_ID))


# ---------------------------------------------------------------------- damage

SHAPES = ((), (0,), (1,), (7,), (30, 0), (30, 1), (3, 10), (30, 2, 2), (10**12,), (10**12, 10**6), (2**62, 4))
TYPES = (
    *("f2", "f4", "f8", ">f4", "i1", "i8", "u8", "u1", "?", "c8", "S4", "V8"),
    *(np.dtype([("a", "f4"), ("b", "i8")]), np.dtype(("f4", (2,)))),
    *(h5py.string_dtype(), h5py.vlen_dtype(np.float32), h5py.ref_dtype, h5py.enum_dtype({"a": 0, "b": 1})),
)


def damage_hdf5(rng: Random, path: Path) -> None:
    """Change one to three things in the file with HDF5's own library."""
    outside = path.parent / "outside.hdf5"
    with h5py.File(outside, "w") as file:
        for name in ("observations", "rewards", "actions", "terminals", "timeouts"):
            file[name] = np.full((30, 2), SECRET)
    with h5py.File(path, "a") as file:
        for _ in range(rng.choice((1, 1, 2, 3))):
            names: list[str] = []
            file.visit(names.append)
            name = rng.choice(names)
            if name in file:
                rng.choice(_DAMAGES)(rng, file, name)


def _dropped(_: Random, file: h5py.File, name: str) -> None:
    del file[name]


def _renamed(rng: Random, file: h5py.File, name: str) -> None:
    file.move(name, rng.choice(("x", "dmh/x", "../x", "äö", name + "_")))


def _other_type(rng: Random, file: h5py.File, name: str) -> None:
    _replace(file, name, shape=_shape(file, name), dtype=rng.choice(TYPES))


def _other_shape(rng: Random, file: h5py.File, name: str) -> None:
    options = rng.choice(({}, {"chunks": True}, {"chunks": True, "compression": "gzip"}))
    shape = rng.choice(SHAPES)
    if not shape or 0 in shape:
        options = {}
    _replace(file, name, shape=shape, dtype=rng.choice(("f4", "i8", "?")), **options)


def _other_values(rng: Random, file: h5py.File, name: str) -> None:
    shape = _shape(file, name)
    value = rng.choice((np.nan, np.inf, -np.inf, 1e300, -1, 2, 2**62, -(2**63), 0))
    with np.errstate(all="ignore"):
        kind = rng.choice(("f4", "f8", "i8", "u8", "?"))
        _replace(file, name, data=np.full(shape, value).astype(kind))


def _some_values(rng: Random, file: h5py.File, name: str) -> None:
    found = file[name]
    if isinstance(found, h5py.Dataset) and found.dtype.kind in "fiu" and found.size:
        place = tuple(rng.randrange(size) for size in found.shape)
        odd = (np.nan, np.inf, 1e38) if found.dtype.kind == "f" else (-1, 0, 10**9, 2**62, -(2**62))
        found[place] = rng.choice(odd)


def _longer(rng: Random, file: h5py.File, name: str) -> None:
    found = file[name]
    if isinstance(found, h5py.Dataset) and found.shape:
        _replace(file, name, data=np.resize(found[()], (rng.choice((1, 29, 31, 60)), *found.shape[1:])))


def _link(rng: Random, file: h5py.File, name: str) -> None:
    target = rng.choice(
        (
            h5py.ExternalLink("outside.hdf5", "/" + name.rpartition("/")[2]),
            h5py.ExternalLink(str(Path(file.filename).parent / "outside.hdf5"), "/observations"),
            h5py.ExternalLink("/dev/zero", "/"),
            h5py.SoftLink("/" + name),
            h5py.SoftLink("/nowhere"),
            h5py.SoftLink("/rewards"),
        )
    )
    del file[name]
    file[name] = target


def _outside_storage(rng: Random, file: h5py.File, name: str) -> None:
    target = rng.choice(("outside.hdf5", "/dev/zero", str(Path(file.filename).parent / "outside.hdf5")))
    _replace(file, name, shape=(30,), dtype="f4", external=[(target, 0, 120)])


def _virtual(_: Random, file: h5py.File, name: str) -> None:
    layout = h5py.VirtualLayout(shape=(30, 2), dtype="f4")
    layout[:] = h5py.VirtualSource("outside.hdf5", "observations", shape=(30, 2))
    del file[name]
    file.create_virtual_dataset(name, layout)


def _filtered(rng: Random, file: h5py.File, name: str) -> None:
    found = file[name]
    if isinstance(found, h5py.Dataset) and found.shape and found.size:
        options = rng.choice(
            (
                {"compression": "lzf"},
                {"compression": "gzip", "compression_opts": 9},
                {"fletcher32": True},
                {"scaleoffset": 3} if found.dtype.kind in "fi" else {},
                {"maxshape": (None, *found.shape[1:])},
                {"fillvalue": 1},
            )
        )
        _replace(file, name, data=found[()], chunks=True, **options)


def _group(_: Random, file: h5py.File, name: str) -> None:
    del file[name]
    file.create_group(name)


def _committed_type(_: Random, file: h5py.File, name: str) -> None:
    del file[name]
    file[name] = np.dtype("f4")


def _cycle(_: Random, file: h5py.File, name: str) -> None:
    del file[name]
    file[name] = file["/"]


def _swapped(rng: Random, file: h5py.File, name: str) -> None:
    names: list[str] = []
    file.visit(names.append)
    other = rng.choice(names)
    if not other.startswith(name) and not name.startswith(other):
        file.move(name, "between")
        file.move(other, name)
        file.move("between", other)


def _attribute(rng: Random, file: h5py.File, name: str) -> None:
    place = file[rng.choice((name, name.partition("/")[0], "/"))]
    known = list(place.attrs) or ["format_version"]
    value = odd_value(rng)
    try:
        place.attrs[rng.choice(known)] = rng.choice(
            (value, str(value), h5py.Empty("f"), np.zeros(3), [EXECUTES], b"\xff\xfe", np.zeros((0, 4)))
        )
    except (TypeError, ValueError, OSError, OverflowError):  # what HDF5 cannot hold; then none at all
        place.attrs.clear()


def _shape(file: h5py.File, name: str) -> tuple[int, ...]:
    shape: tuple[int, ...] | None = getattr(file[name], "shape", None)
    return (30,) if shape is None else shape


def _replace(file: h5py.File, name: str, **how: object) -> None:
    del file[name]
    file.create_dataset(name, **how)


_DAMAGES: tuple[Callable[[Random, h5py.File, str], None], ...] = (
    *(_dropped, _renamed, _other_type, _other_type, _other_shape, _other_shape, _other_values),
    *(_some_values, _some_values, _longer, _link, _link, _outside_storage, _virtual, _filtered, _group),
    *(_committed_type, _cycle, _swapped, _attribute, _attribute),
)

SEEDS = (
    Seed(ours, read_both, damage_hdf5),
    Seed(ours, read_lifetime, damage_hdf5),
    Seed(ours_continuous, read_both, damage_hdf5),
    Seed(d4rl, read_both, damage_hdf5),
    Seed(d4rl_packed, read_both, damage_hdf5),
    Seed(minari, read_of_minari, damage_hdf5, (MINARI_ID,)),
)
