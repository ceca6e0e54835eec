"""Files in D4RL's schema: round trips, real-life variants, and one clear error for each broken file."""

import os
import struct

import h5py
import numpy as np
import pytest
from hypothesis import given
from strategies import trajectories

from dmh_lib.data import Trajectories, read_d4rl, read_hdf5, write_hdf5
from dmh_lib.errors import DataError

ARRAYS = [
    "observations",
    "actions",
    "rewards",
    "terminations",
    "truncations",
    "offsets",
    "task_ids",
    "run_ids",
]


def example(**metadata):
    """Two one-task runs: episodes of 3 and 2 steps, the last one cut off."""
    return Trajectories(
        observations=np.arange(10, dtype=np.float32).reshape(5, 2),
        actions=np.array([0, 1, 2, 1, 0]),
        rewards=np.array([0, 0, 1, 0, 2], dtype=np.float32),
        terminations=np.array([0, 0, 1, 0, 0], dtype=bool),
        truncations=np.zeros(5, dtype=bool),
        offsets=np.array([0, 3, 5]),
        task_ids=np.array([4, 2]),
        run_ids=np.array([0, 1]),
        metadata=metadata,
    )


def d4rl_fields(**changes):
    """Fields of a D4RL file of 6 steps: a terminal at 1, a time-out at 4, then one step. None: left out."""
    fields = {
        "observations": np.arange(12, dtype=np.float32).reshape(6, 2),
        "actions": np.linspace(-1, 1, 18, dtype=np.float32).reshape(6, 3),
        "rewards": np.arange(6, dtype=np.float32),
        "terminals": np.array([0, 1, 0, 0, 0, 0], dtype=bool),
        "timeouts": np.array([0, 0, 0, 0, 1, 0], dtype=bool),
    }
    return {name: values for name, values in (fields | changes).items() if values is not None}


def write_d4rl(path, options=None, **changes):
    with h5py.File(path, "w") as file:
        for name, values in d4rl_fields(**changes).items():
            file.create_dataset(name, data=values, **(options or {}))
    return path


def assert_equal(got, expected):
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(got, name), getattr(expected, name), err_msg=name)
        assert getattr(got, name).dtype == getattr(expected, name).dtype


# ---------------------------------------------------------------------- our own files


@given(data=trajectories())
def test_round_trip(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "round_trip.hdf5"
    write_hdf5(data, path)
    for memory_map in (True, False):
        again = read_hdf5(path, memory_map=memory_map)
        assert_equal(again, data)
        assert again.metadata == {**data.metadata, "path": str(path)}
        assert again.data_hash() == data.data_hash()


def test_arrays_are_mapped_from_the_file(tmp_path):
    path = tmp_path / "data.hdf5"
    write_hdf5(example(), path)
    mapped, copied = read_hdf5(path), read_hdf5(path, memory_map=False)
    for name in ARRAYS:
        array = getattr(mapped, name)
        assert isinstance(array, np.memmap), name
        assert array.flags.aligned
        assert not array.flags.writeable
        assert not isinstance(getattr(copied, name), np.memmap), name
    assert_equal(mapped, example())
    assert_equal(copied, example())


def test_a_mapped_dataset_can_be_written_over_its_own_file(tmp_path):
    path = tmp_path / "data.hdf5"
    write_hdf5(example(), path)
    write_hdf5(read_hdf5(path).select([1]), path)
    assert_equal(read_hdf5(path), example().select([1]))


def test_large_metadata_survive_and_the_path_does_not_travel(tmp_path):
    split = {"train": list(range(50_000)), "note": "é\x00π"}
    write_hdf5(example(split=split, path="elsewhere.hdf5"), tmp_path / "data.hdf5")
    assert read_hdf5(tmp_path / "data.hdf5").metadata == {"split": split, "path": str(tmp_path / "data.hdf5")}
    with h5py.File(tmp_path / "data.hdf5") as file:
        assert "elsewhere" not in file["dmh"].attrs["metadata"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "data.hdf5"
    write_hdf5(example(), path)
    before = path.read_bytes()

    def full_disk(*_args, **_kwargs):
        raise OSError("no space left on device")

    monkeypatch.setattr(h5py.File, "create_group", full_disk)  # after the flat datasets are written
    with pytest.raises(DataError, match=r"data\.hdf5: cannot be written \(no space left"):
        write_hdf5(example(), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


# ---------------------------------------------------------------------- D4RL's files


def test_episodes_end_at_terminals_and_timeouts(tmp_path):
    path = write_d4rl(tmp_path / "d4rl.hdf5")
    data = read_d4rl(path)
    assert data.offsets.tolist() == [0, 2, 5, 6]
    assert [(episode.terminated, episode.truncated) for episode in data] == [
        (True, False),
        (False, True),
        (False, False),
    ]
    assert data.task_ids.tolist() == data.run_ids.tolist() == [0, 0, 0]
    assert not data.discrete
    assert data.metadata == {"path": str(path)}
    np.testing.assert_array_equal(data.observations, d4rl_fields()["observations"])


BOTH = np.array([0, 1, 0, 0, 0, 1], dtype=bool)
VARIANTS = {  # name: (changed fields, expected offsets)
    "no timeouts": ({"timeouts": None}, [0, 2, 6]),
    "timeouts only": ({"terminals": None}, [0, 5, 6]),
    "both at one step": ({"terminals": BOTH, "timeouts": BOTH}, [0, 2, 6]),
    "no flag set": ({"terminals": np.zeros(6, bool), "timeouts": None}, [0, 6]),
    "flags as numbers": ({"terminals": np.eye(6, dtype=np.float32)[1]}, [0, 2, 5, 6]),
    "columns": ({"rewards": np.arange(6.0)[:, None], "terminals": np.eye(6)[1][:, None]}, [0, 2, 5, 6]),
    "double precision": ({"observations": np.arange(12.0).reshape(6, 2)}, [0, 2, 5, 6]),
    "big endian": ({"rewards": np.arange(6, dtype=">f4")}, [0, 2, 5, 6]),
    "next observations": ({"next_observations": np.full((6, 2), np.nan)}, [0, 2, 5, 6]),
    "extra keys": ({"infos/qpos": np.zeros(3), "metadata/algorithm": [b"SAC"], "x": [b"y"]}, [0, 2, 5, 6]),
}


@pytest.mark.parametrize("options", [{}, {"compression": "gzip", "chunks": True}], ids=["plain", "gzip"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_variants_of_the_schema(tmp_path, variant, options):
    changes, offsets = VARIANTS[variant]
    data = read_hdf5(write_d4rl(tmp_path / "d4rl.hdf5", options, **changes))
    assert data.offsets.tolist() == offsets
    assert data.observations.dtype == data.actions.dtype == data.rewards.dtype == np.float32
    assert data.rewards.tolist() == list(range(6))
    expected = d4rl_fields(**changes)
    for name, field in (("terminals", "terminations"), ("timeouts", "truncations")):
        flags = expected.get(name, np.zeros(6))
        assert getattr(data, field).tolist() == (np.reshape(flags, 6) != 0).tolist()


@pytest.mark.parametrize("shape", [(6,), (6, 1)])
def test_integer_actions_are_discrete(tmp_path, shape):
    actions = np.arange(6, dtype=np.int32).reshape(shape)
    data = read_d4rl(write_d4rl(tmp_path / "d4rl.hdf5", actions=actions))
    assert data.discrete
    assert data.actions.tolist() == list(range(6))
    assert data.action_dim == 6


def test_compressed_files_are_read_and_contiguous_ones_mapped(tmp_path):
    plain = read_hdf5(write_d4rl(tmp_path / "plain.hdf5"))
    packed = read_hdf5(write_d4rl(tmp_path / "packed.hdf5", {"compression": "gzip"}))
    assert isinstance(plain.observations, np.memmap)
    assert not isinstance(packed.observations, np.memmap)
    assert_equal(plain, packed)
    assert not isinstance(read_d4rl(tmp_path / "plain.hdf5").observations, np.memmap)


def test_very_compressible_data_are_not_taken_for_a_broken_header(tmp_path):
    steps = 1_000_000
    path = write_d4rl(
        tmp_path / "zeros.hdf5",
        {"compression": "gzip", "compression_opts": 9, "chunks": True},
        observations=np.zeros((steps, 2)),
        actions=np.zeros((steps, 1)),
        rewards=np.zeros(steps),
        terminals=np.zeros(steps, dtype=bool),
        timeouts=np.zeros(steps, dtype=bool),
    )
    assert path.stat().st_size * 100 < steps * 34
    assert read_hdf5(path).num_steps == steps


# ---------------------------------------------------------------------- broken files


def not_a_number(name):
    values = d4rl_fields()[name].copy()
    values[3] = np.nan
    return values


BAD_FIELDS = [  # (changed fields, field named, what else the message says)
    ({"observations": None}, "observations", "missing; the file must follow D4RL's schema"),
    ({"actions": None}, "actions", "missing"),
    ({"rewards": None}, "rewards", "missing"),
    ({"terminals": None, "timeouts": None}, "terminals", "missing, and so is 'timeouts'"),
    ({"rewards": np.zeros(5)}, "rewards", r"has length 5, but 'observations' has 6; write"),
    ({"actions": np.zeros((9, 3))}, "actions", "has length 9"),
    ({"terminals": np.zeros(7, bool)}, "terminals", "has length 7"),
    ({"timeouts": np.zeros(1, bool)}, "timeouts", "has length 1"),
    ({"rewards": np.zeros((6, 2))}, "rewards", r"has shape \(6, 2\); float64 values must have"),
    ({"terminals": np.zeros((6, 2), bool)}, "terminals", r"has shape \(6, 2\); it must be \(N,\)"),
    ({"observations": np.zeros((6, 2, 2))}, "observations", r"has shape \(6, 2, 2\)"),
    ({"observations": np.zeros(6)}, "observations", r"has shape \(6,\)"),
    ({"actions": np.zeros((6, 2), int)}, "actions", r"has shape \(6, 2\); int64 values"),
    ({"observations": np.float32(1)}, "observations", r"has shape \(\)"),
    ({"observations": np.zeros((0, 2))}, "observations", r"has shape \(0, 2\)"),
    ({"rewards": h5py.Empty("f")}, "rewards", "has shape None; it must hold at least one step"),
    ({"rewards": not_a_number("rewards")}, "rewards", r"episode 1: not finite .* at step 1; repair"),
    ({"observations": not_a_number("observations")}, "observations", "episode 1: not finite"),
    ({"actions": not_a_number("actions")}, "actions", "episode 1: not finite"),
    ({"actions": np.array([0, 1, -2, 0, 0, 0])}, "actions", "episode 1: negative at step 0"),
    ({"actions": np.array([0, 1, 2**40, 0, 0, 0])}, "actions", "1,099,511,627,777 to choose from, more than"),
    ({"rewards": np.full(6, b"text")}, "rewards", r"has type \|S4; it must hold numbers"),
    ({"rewards": ["text"] * 6}, "rewards", "has type object"),
    ({"rewards": np.zeros(6, complex)}, "rewards", "has type complex128"),
    ({"rewards": np.zeros(6, [("a", "f4")])}, "rewards", "has type .*'a'"),
    ({"terminals": np.full(6, 2)}, "terminals", "holds values other than 0 and 1"),
    ({"timeouts": np.full(6, np.nan)}, "timeouts", "holds values other than 0 and 1"),
    ({"rewards/inner": np.zeros(6), "rewards": None}, "rewards", "is a group, not a dataset"),
]


@pytest.mark.parametrize(("changes", "name", "message"), BAD_FIELDS)
def test_a_bad_field_is_named_with_its_file(tmp_path, changes, name, message):
    path = write_d4rl(tmp_path / "bad.hdf5", **changes)
    for read in (read_hdf5, read_d4rl):
        with pytest.raises(DataError, match=f"field '{name}'.*{message}") as caught:
            read(path)
        assert str(caught.value).startswith(f"{path}: ")


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(DataError, match=r"none\.hdf5: does not exist; give the path of an HDF5 file"):
        read_hdf5(tmp_path / "none.hdf5")
    with pytest.raises(DataError, match="is a folder; give the path"):
        read_d4rl(tmp_path)


def test_every_truncation_is_refused(tmp_path):
    whole = write_d4rl(tmp_path / "whole.hdf5").read_bytes()
    part = tmp_path / "part.hdf5"
    for size in [*range(16), *range(16, len(whole), len(whole) // 40), len(whole) - 1]:
        part.write_bytes(whole[:size])
        with pytest.raises(DataError, match=r"part\.hdf5: not a readable HDF5 file .*; download or write"):
            read_hdf5(part)


def test_other_kinds_of_files_are_refused(tmp_path):
    path = tmp_path / "data.hdf5"
    path.write_bytes(b"not HDF5 at all " * 100)
    with pytest.raises(DataError, match="not a readable HDF5 file"):
        read_hdf5(path)


def test_damage_anywhere_raises_nothing_but_data_errors(tmp_path):
    path = tmp_path / "data.hdf5"
    write_hdf5(example(), path)
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        damaged = bytearray(whole)
        start = int(random.integers(len(whole)))
        damaged[start : start + 4] = random.bytes(4)
        path.write_bytes(damaged[: len(whole)])
        try:
            read_hdf5(path, memory_map=False)
        except DataError:
            refused += 1
    assert refused > 10  # many bytes are padding or plain values


@pytest.mark.parametrize(
    "options", [{}, {"chunks": (1000, 1000)}, {"chunks": (1000, 1000), "compression": "gzip"}]
)
def test_a_header_that_claims_more_than_the_file_is_not_believed(tmp_path, options):
    path = write_d4rl(tmp_path / "huge.hdf5", observations=None)
    with h5py.File(path, "a") as file:
        file.create_dataset("observations", shape=(10**9, 10**4), dtype="f4", **options)
    with pytest.raises(
        DataError, match=r"'observations': claims shape \(1000000000, 10000\), but the file holds 0"
    ):
        read_hdf5(path)


def test_a_shape_edited_in_the_file_is_not_believed(tmp_path):
    path = write_d4rl(tmp_path / "edited.hdf5", rewards=np.zeros(6_007, dtype=np.float32))
    contents = path.read_bytes()
    for claimed in (6_008, 10**15):
        edited = contents.replace(struct.pack("<Q", 6_007), struct.pack("<Q", claimed))
        assert edited != contents
        path.write_bytes(edited)
        with pytest.raises(DataError, match=r"edited\.hdf5: "):
            read_hdf5(path)


def outside_storage(file, folder):
    (folder / "outside.bin").write_bytes(bytes(24))
    outside = [(str(folder / "outside.bin"), 0, 24)]
    file.create_dataset("rewards", shape=(6,), dtype="f4", external=outside)


def virtual_dataset(file, folder):
    layout = h5py.VirtualLayout(shape=(6,), dtype="f4")
    layout[:] = h5py.VirtualSource(folder / "outside.hdf5", "rewards", shape=(6,))
    file.create_virtual_dataset("rewards", layout)


def external_link(file, folder):
    file["rewards"] = h5py.ExternalLink(str(folder / "outside.hdf5"), "/rewards")


def soft_link(file, folder):
    file["door"] = h5py.ExternalLink(str(folder / "outside.hdf5"), "/")
    file["rewards"] = h5py.SoftLink("/door/rewards")


def test_references_are_refused(tmp_path):
    path = write_d4rl(tmp_path / "data.hdf5", rewards=None)
    with h5py.File(path, "a") as file:
        file.create_dataset("rewards", data=[file["actions"].ref] * 6, dtype=h5py.ref_dtype)
    with pytest.raises(DataError, match="field 'rewards': has type object; it must hold numbers"):
        read_hdf5(path)


@pytest.mark.parametrize("leave", [outside_storage, virtual_dataset, external_link, soft_link])
def test_data_outside_the_file_are_refused(tmp_path, leave):
    write_d4rl(tmp_path / "outside.hdf5")
    path = write_d4rl(tmp_path / "data.hdf5", rewards=None)
    with h5py.File(path, "a") as file:
        leave(file, tmp_path)
    with pytest.raises(DataError, match=r"data\.hdf5: field 'rewards': .*; copy the data into this file"):
        read_hdf5(path)


def test_an_external_group_of_ours_is_refused(tmp_path):
    write_hdf5(example(), tmp_path / "outside.hdf5")
    path = write_d4rl(tmp_path / "data.hdf5")
    with h5py.File(path, "a") as file:
        file["dmh"] = h5py.ExternalLink(str(tmp_path / "outside.hdf5"), "/dmh")
    with pytest.raises(DataError, match=r"field 'dmh': is a link that may leave the file"):
        read_hdf5(path)


def no_offsets(file):
    del file["dmh/offsets"]


def replaced(name, values):
    def change(file):
        del file[name]
        file[name] = values

    return change


def attribute(name, value):
    def change(file):
        file["dmh"].attrs[name] = value

    return change


BAD_OWN = [
    (no_offsets, "'dmh/offsets': missing"),
    (replaced("dmh/offsets", [0, 3, 4]), "'offsets': goes from 0 to 4"),
    (replaced("dmh/offsets", [0.0, 3.0, 5.0]), "'dmh/offsets': has type float64"),
    (replaced("dmh/run_ids", [0]), "'run_ids': has length 1, but there are 2 episodes"),
    (replaced("dmh", 1), "'dmh': is a dataset, not a group"),
    (attribute("format_version", 2), "'dmh/format_version': is 2; this release reads 1; .* update dmh-lib"),
    (attribute("metadata", "{"), "'dmh/metadata': missing or not JSON"),
    (attribute("metadata", "[]"), "'dmh/metadata': not a JSON object"),
    (attribute("metadata", 3), "'dmh/metadata': missing or not JSON"),
    (attribute("metadata", '{"a": NaN}'), "'metadata': not JSON"),
    (attribute("metadata", '{"num_actions": 1000000000000}'), "'actions': 1,000,000,000,000 to choose from"),
    (attribute("metadata", '{"num_actions": 2}'), r"'actions', episode 0: action 2 at step 2"),
]


@pytest.mark.parametrize(("change", "message"), BAD_OWN)
def test_a_broken_group_of_ours_is_named(tmp_path, change, message):
    path = tmp_path / "data.hdf5"
    write_hdf5(example(), path)
    with h5py.File(path, "a") as file:
        change(file)
    with pytest.raises(DataError, match=message) as caught:
        read_hdf5(path)
    assert str(caught.value).startswith(os.fspath(path))
