"""Minari's datasets, both ways, with the real library and its files."""

import json
import warnings
from pathlib import Path

import gymnasium
import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of what it imports
    import minari
    from minari.data_collector import EpisodeBuffer

from dmh_lib.data import Trajectories
from dmh_lib.data.minari import read_minari, write_minari
from dmh_lib.errors import DataError

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # of Minari's, that nobody is named as author


@pytest.fixture(autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of Minari's that only this test sees."""
    path = tmp_path_factory.mktemp("minari")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(path))
    return path


def made_up(lengths: list[int], discrete: bool, seed: int, metadata: dict | None = None) -> Trajectories:
    rng = np.random.default_rng(seed)
    steps, offsets = sum(lengths), np.cumsum([0, *lengths])
    ends = np.zeros((2, steps), dtype=np.bool_)
    for last in offsets[1:] - 1:
        ends[rng.integers(0, 2), last] = rng.random() < 0.8
    actions = rng.integers(0, 4, steps) if discrete else rng.normal(size=(steps, 2)).astype(np.float32)
    return Trajectories(
        rng.normal(size=(steps, 3)).astype(np.float32),
        actions,
        rng.normal(size=steps).astype(np.float32),
        *ends,
        offsets,
        np.arange(len(lengths)) // 2 % 3,
        np.arange(len(lengths)) // 2,
        metadata or {},
    )


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(1, 6), min_size=1, max_size=4), st.booleans(), st.integers(0, 99))
def test_a_round_trip_is_exact(folder: Path, lengths: list[int], discrete: bool, seed: int) -> None:
    metadata = {"made": {"by": "hand"}, "path": "elsewhere"} if seed % 2 else None
    written = made_up(lengths, discrete, seed, metadata)
    name = f"test/round{len(list(folder.rglob('main_data.hdf5')))}-v0"
    write_minari(written, name)
    read = read_minari(name)
    assert read.data_hash() == written.data_hash()
    assert read.metadata["path"] == name
    for field in ("observations", "actions", "rewards", "terminations", "truncations", "offsets"):
        np.testing.assert_array_equal(getattr(read, field), getattr(written, field))


def collected(name: str, env_id: str, episodes: int = 3) -> gymnasium.Env:
    """A dataset of random play, as Minari's users make them."""
    env = gymnasium.make(env_id)
    env.action_space.seed(0)
    buffers = []
    for seed in range(episodes):
        observation, _ = env.reset(seed=seed)
        seen, acted, gained, ended = [observation], [], [], []
        while not ended or not any(ended[-1]):
            action = env.action_space.sample()
            observation, reward, terminated, truncated, _ = env.step(action)
            seen.append(observation)
            acted.append(action)
            gained.append(float(reward))
            ended.append((terminated, truncated))
        done = np.array(ended)
        buffers.append(
            EpisodeBuffer(
                observations=np.stack(seen), actions=np.stack(acted), rewards=gained,
                terminations=done[:, 0], truncations=done[:, 1],
            )
        )  # fmt: skip
    minari.create_dataset_from_buffers(name, buffers, env, description="random play")
    return env


def test_datasets_of_others() -> None:
    """Float64 observations and rewards, as Minari's own; T + 1 observations of which T are kept."""
    collected("test/hopper-v0", "Hopper-v5")
    read, dataset = read_minari("test/hopper-v0"), minari.load_dataset("test/hopper-v0")
    assert read.num_episodes == dataset.total_episodes == 3
    assert read.num_steps == dataset.total_steps
    assert (read.obs_dim, read.action_dim, read.discrete) == (11, 3, False)
    for ours, theirs in zip(read, dataset.iterate_episodes(), strict=True):
        np.testing.assert_array_equal(ours.observations, theirs.observations[:-1].astype(np.float32))
        np.testing.assert_array_equal(ours.actions, theirs.actions)
        np.testing.assert_allclose(ours.rewards, theirs.rewards, rtol=1e-6)
        assert ours.terminated == theirs.terminations[-1]


def test_discrete_actions_and_the_size_of_their_space() -> None:
    collected("test/cartpole-v0", "CartPole-v1")
    read = read_minari("test/cartpole-v0")
    assert read.discrete
    assert read.action_dim == 2
    write_minari(read, "test/copy-v0", gymnasium.make("CartPole-v1"))
    assert read_minari("test/copy-v0").data_hash() == read.data_hash()


def test_observations_of_several_parts_lie_in_a_row() -> None:
    space = gymnasium.spaces.Dict(
        {
            "observation": gymnasium.spaces.Box(-1, 1, (3,)),
            "desired_goal": gymnasium.spaces.Box(-1, 1, (2,)),
        }
    )
    parts = {
        "observation": np.arange(9, dtype=np.float32).reshape(3, 3),
        "desired_goal": np.arange(6, dtype=np.float32).reshape(3, 2),
    }
    buffer = EpisodeBuffer(
        observations=parts, actions=np.zeros((2, 1), np.float32), rewards=[0.0, 1.0],
        terminations=[False, True], truncations=[False, False],
    )  # fmt: skip
    minari.create_dataset_from_buffers(
        "test/parts-v0", [buffer], observation_space=space, action_space=gymnasium.spaces.Box(-1, 1, (1,)),
        description="parts",
    )  # fmt: skip
    expected = [gymnasium.spaces.flatten(space, {k: v[t] for k, v in parts.items()}) for t in range(2)]
    np.testing.assert_array_equal(read_minari("test/parts-v0").observations, expected)


def test_what_is_missing_or_there_already() -> None:
    with pytest.raises(DataError, match=r"test/nothing-v0: no such dataset .*minari download"):
        read_minari("test/nothing-v0")
    with pytest.raises(DataError, match="no dataset-name"):
        read_minari("no dataset-name")
    write_minari(made_up([2], True, 0), "test/twice-v0")
    with pytest.raises(DataError, match="exists already"):
        write_minari(made_up([2], True, 0), "test/twice-v0")


@pytest.mark.parametrize("damage", ["cut", "no rewards", "text", "no metadata"])
def test_damaged_datasets(folder: Path, damage: str) -> None:
    write_minari(made_up([3, 2], False, 0), "test/bad-v0")
    file = next(folder.rglob("main_data.hdf5"))
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:600])
    elif damage == "no metadata":
        next(folder.rglob("metadata.json")).write_text("{")
    else:
        with h5py.File(file, "a") as opened:
            del opened["episode_1/rewards"]
            if damage == "text":
                opened["episode_1/rewards"] = ["a", "b"]
    with pytest.raises(DataError, match="test/bad-v0"):
        read_minari("test/bad-v0")


def test_pictures_are_refused() -> None:
    buffer = EpisodeBuffer(
        observations=np.zeros((2, 4, 4, 3), np.uint8), actions=np.zeros(1, np.int64), rewards=[0.0],
        terminations=[True], truncations=[False],
    )  # fmt: skip
    minari.create_dataset_from_buffers(
        "test/pictures-v0", [buffer], action_space=gymnasium.spaces.Discrete(2), description="pictures",
        observation_space=gymnasium.spaces.Box(0, 255, (4, 4, 3), np.uint8),
    )  # fmt: skip
    with pytest.raises(DataError, match="field 'observations'"):
        read_minari("test/pictures-v0")


def changed(folder: Path, name: str, **metadata: object) -> Path:
    """A dataset with other metadata; gives its file."""
    write_minari(made_up([3, 2], True, 0), name)
    about = next(folder.rglob("metadata.json"))
    known = {**json.loads(about.read_text()), **metadata}
    about.write_text(json.dumps({key: value for key, value in known.items() if value is not None}))
    return about.with_name("main_data.hdf5")


@pytest.mark.parametrize("name", ["observation_space", "action_space"])
def test_no_dataset_starts_a_program(folder: Path, name: str) -> None:
    """Minari makes the environment of a dataset that does not tell its spaces, of whatever class it names."""
    spec = {"id": "x-v0", "entry_point": "os:mkdir", "kwargs": {"path": str(folder / "made")}}
    other = {
        "reward_threshold": None, "nondeterministic": False, "max_episode_steps": None,
        "order_enforce": False, "disable_env_checker": True, "additional_wrappers": [],
        "vector_entry_point": None,
    }  # fmt: skip
    changed(folder, "test/program-v0", **{name: None, "env_spec": json.dumps({**spec, **other})})
    with pytest.raises(DataError, match=rf"test/program-v0: field '{name}': missing .* is a program"):
        read_minari("test/program-v0")
    assert not (folder / "made").exists()


@pytest.mark.parametrize(
    "link", [h5py.ExternalLink("outside.hdf5", "/rewards"), h5py.SoftLink("/episode_1/rewards")]
)
def test_no_dataset_leads_to_other_files(folder: Path, link: object) -> None:
    file = changed(folder, "test/link-v0")
    with h5py.File(file.with_name("outside.hdf5"), "w") as outside:
        outside["rewards"] = np.full(3, 12345.0)
    with h5py.File(file, "a") as opened:
        del opened["episode_0/rewards"]
        opened["episode_0/rewards"] = link
    with pytest.raises(DataError, match=r"test/link-v0: field '/episode_0/rewards': is a link .*; copy"):
        read_minari("test/link-v0")


def test_shapes_that_no_file_holds(folder: Path) -> None:
    with h5py.File(changed(folder, "test/shape-v0"), "a") as opened:
        del opened["episode_0/rewards"]
        opened.create_dataset("episode_0/rewards", shape=(10**12,), chunks=(1000,), dtype="f4")
    with pytest.raises(
        DataError, match=r"test/shape-v0: field '/episode_0/rewards': claims shape \(10{12},\)"
    ):
        read_minari("test/shape-v0")


def test_groups_within_themselves(folder: Path) -> None:
    """Read as a tree, a few of them would be endless."""
    with h5py.File(changed(folder, "test/cycle-v0"), "a") as opened:
        infos = opened["episode_0"].require_group("infos")
        infos["within"] = infos
    with pytest.raises(DataError, match=r"test/cycle-v0: field .*: has another name as well"):
        read_minari("test/cycle-v0")


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"total_episodes": 10**12}, "field 'total_episodes': is 1000000000000, but the file holds 2"),
        ({"total_episodes": "2"}, "field 'total_episodes': is '2'"),
        ({"data_format": "arrow"}, "field 'data_format': is 'arrow', not 'hdf5'"),
        ({"action_space": "["}, "not readable"),
    ],
)
def test_metadata_that_cannot_be(folder: Path, metadata: dict[str, object], message: str) -> None:
    changed(folder, "test/metadata-v0", **metadata)
    with pytest.raises(DataError, match=f"test/metadata-v0: {message}"):
        read_minari("test/metadata-v0")
