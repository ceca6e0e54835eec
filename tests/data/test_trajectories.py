"""The record of experience: what it refuses, what it computes, and its parts against plain loops."""

import json
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import trajectories

from dmh_lib.data import Trajectories, concatenate
from dmh_lib.errors import DataError

ARRAYS = [entry.name for entry in fields(Trajectories) if entry.name != "metadata"]


def example(**changes):
    """Three episodes of 2, 1 and 3 steps; runs 7, 7, 4 of tasks 0, 0, 1."""
    values = {
        "observations": np.arange(12, dtype=np.float32).reshape(6, 2),
        "actions": np.array([0, 1, 2, 0, 1, 2]),
        "rewards": np.array([0, 1, 5, 0, 0, 2], dtype=np.float32),
        "terminations": np.array([0, 1, 0, 0, 0, 0], dtype=bool),
        "truncations": np.array([0, 0, 1, 0, 0, 0], dtype=bool),
        "offsets": np.array([0, 2, 3, 6]),
        "task_ids": np.array([0, 0, 1]),
        "run_ids": np.array([7, 7, 4]),
        "metadata": {"path": "example.hdf5"},
    }
    return Trajectories(**(values | changes))


def changed(name, index, value, dtype=None):
    """The example's array with one entry replaced."""
    array = np.array(getattr(example(), name), dtype=dtype)
    array[index] = value
    return {name: array}


def test_sizes_and_sums():
    data = example()
    assert (len(data), data.num_episodes, data.num_steps) == (3, 3, 6)
    assert (data.obs_dim, data.discrete, data.action_dim) == (2, True, 3)
    assert data.lengths.tolist() == [2, 1, 3]
    assert data.returns.tolist() == [1, 5, 2]
    assert data.returns.dtype == np.float64
    assert data.run_offsets.tolist() == [0, 2, 3]
    assert example(metadata={"num_actions": 5}).action_dim == 5
    assert example(actions=np.zeros((6, 4), dtype=np.float32)).action_dim == 4


def test_types_are_converted_and_right_ones_kept():
    observations = np.zeros((6, 2), dtype=np.float32)
    data = example(observations=observations, rewards=np.ones(6), actions=np.zeros(6, dtype=np.uint8))
    assert data.observations is observations
    assert data.rewards.dtype == np.float32
    assert data.actions.dtype == np.int64


def test_metadata_is_plain_json_and_a_copy():
    split = {"train": (1, 2), 3: None}
    data = example(metadata={"split": split})
    split["train"] = ()
    assert data.metadata == {"split": {"train": [1, 2], "3": None}}


BROKEN = [  # (changed fields, what the message says)
    ({"rewards": np.zeros(5)}, r"field 'rewards': has length 5, but there are 6 steps; give"),
    ({"truncations": np.zeros(7, bool)}, r"field 'truncations': has length 7"),
    ({"task_ids": np.zeros(2, int)}, r"field 'task_ids': has length 2, but there are 3 episodes"),
    ({"run_ids": np.zeros(4, int)}, r"field 'run_ids': has length 4"),
    ({"observations": np.full((6, 2), "a")}, r"field 'observations': has type <U1; it must hold numbers"),
    ({"actions": np.zeros(6, bool)}, r"field 'actions': has type bool; it must hold integers or"),
    ({"actions": np.full(6, None)}, r"field 'actions': has type object"),
    ({"rewards": np.zeros(6, complex)}, r"field 'rewards': has type complex128"),
    ({"terminations": np.zeros(6)}, r"field 'terminations': has type float64; it must hold booleans"),
    ({"offsets": np.array([0.0, 6.0])}, r"field 'offsets': has type float64; it must hold integers"),
    ({"observations": np.zeros(6)}, r"field 'observations': has shape \(6,\); .* \(steps, width\)"),
    ({"observations": np.zeros((6, 0))}, r"field 'observations': has shape \(6, 0\)"),
    ({"observations": np.zeros((6, 2, 2))}, r"field 'observations': has shape \(6, 2, 2\)"),
    ({"actions": np.zeros((6, 2), int)}, r"field 'actions': has shape \(6, 2\); .* \(length,\)"),
    ({"actions": np.zeros(6)}, r"field 'actions': has shape \(6,\); .* \(steps, width\)"),
    ({"rewards": np.zeros((6, 1))}, r"field 'rewards': has shape \(6, 1\)"),
    ({"offsets": np.array([1, 2, 3, 6])}, r"field 'offsets': goes from 1 to 6; it must go from 0 to .* 6"),
    ({"offsets": np.array([0, 2, 3, 5])}, r"field 'offsets': goes from 0 to 5"),
    ({"offsets": np.array([0, 2, 2, 6])}, r"field 'offsets', episode 1: empty episode; offsets must"),
    ({"offsets": np.array([0, 3, 2, 6])}, r"field 'offsets', episode 1: offsets decrease"),
    (
        changed("observations", (4, 1), np.nan),
        r"field 'observations', episode 2: not finite .* step 1; repair",
    ),
    (changed("rewards", 2, -np.inf), r"field 'rewards', episode 1: not finite .* at step 0"),
    (changed("rewards", 2, 1e300, float), r"field 'rewards', episode 1: .* too large for float32"),
    ({"actions": np.full((6, 2), np.nan)}, r"field 'actions', episode 0: not finite .* at step 0"),
    (changed("actions", 5, -1), r"field 'actions', episode 2: negative at step 2; number the actions from 0"),
    ({"metadata": {"num_actions": 2}}, r"field 'actions', episode 1: action 2 at step 0, .* at least 3"),
    ({"metadata": {"num_actions": "3"}}, r"is '3'; num_actions must be an integer"),
    (changed("terminations", 3, True), r"field 'terminations', episode 2: set at step 0, before the last"),
    (changed("truncations", 0, True), r"field 'truncations', episode 0: set at step 0, .*; cut the episode"),
    ({"run_ids": np.array([1, 2, 1])}, r"field 'run_ids', episode 2: run 1 comes back .*; keep the"),
    ({"run_ids": np.array([4, 4, 4])}, r"field 'task_ids', episode 2: the task changes within run 4; give"),
    ({"metadata": {"a": np.zeros(2)}}, r"field 'metadata': not JSON .*; keep to a dict"),
    ({"metadata": {"a": float("nan")}}, r"field 'metadata': not JSON"),
    ({"metadata": None}, r"trajectories: field 'metadata': not JSON"),
]


@pytest.mark.parametrize(("changes", "message"), BROKEN)
def test_broken_data_are_refused_by_name(changes, message):
    source = "trajectories" if "metadata" in changes else "example.hdf5"
    with pytest.raises(DataError, match=message) as caught:
        example(**changes)
    assert str(caught.value).startswith(f"{source}: field ")


def test_no_episodes_are_refused():
    empty = {name: getattr(example(), name)[:0] for name in ARRAYS}
    for offsets in ([], [0]):
        with pytest.raises(DataError, match=r"field 'offsets': no episodes; collect"):
            Trajectories(**(empty | {"offsets": np.array(offsets, dtype=int)}))


def test_a_fault_far_into_the_data_is_located():
    steps, length = 200_000, 100
    rewards = np.zeros(steps, dtype=np.float32)
    rewards[150_042] = np.nan
    episodes = np.zeros(steps // length, dtype=int)
    with pytest.raises(DataError, match=r"'rewards', episode 1500: not finite .* at step 42;"):
        Trajectories(
            observations=np.zeros((steps, 1), dtype=np.float32),
            actions=np.zeros(steps, dtype=int),
            rewards=rewards,
            terminations=np.zeros(steps, dtype=bool),
            truncations=np.zeros(steps, dtype=bool),
            offsets=np.arange(0, steps + 1, length),
            task_ids=episodes,
            run_ids=episodes,
        )


@given(data=trajectories())
def test_episodes_are_the_slices(data):
    assert len(list(data)) == len(data)
    for index, episode in enumerate(data):
        start, stop = data.offsets[index : index + 2]
        np.testing.assert_array_equal(episode.observations, data.observations[start:stop])
        np.testing.assert_array_equal(episode.actions, data.actions[start:stop])
        assert np.shares_memory(episode.rewards, data.rewards)
        assert episode.terminated == data.terminations[stop - 1]
        assert episode.truncated == data.truncations[stop - 1]
        assert (episode.task_id, episode.run_id) == (data.task_ids[index], data.run_ids[index])
        assert len(episode) == data.lengths[index]
        assert episode.total_reward == pytest.approx(data.returns[index])
    assert data.episode(-1).run_id == data.run_ids[-1]
    with pytest.raises(IndexError):
        data.episode(len(data))


def assert_same_episodes(data, episodes):
    """`data` holds exactly `episodes`, but for the numbers of runs."""
    assert len(data) == len(episodes)
    for got, expected in zip(data, episodes, strict=True):
        for name in ("observations", "actions", "rewards"):
            np.testing.assert_array_equal(getattr(got, name), getattr(expected, name))
        for name in ("terminated", "truncated", "task_id"):
            assert getattr(got, name) == getattr(expected, name)


@given(data=trajectories(), draw=st.data())
def test_select_is_the_plain_loop(data, draw):
    mask = draw.draw(st.lists(st.booleans(), min_size=len(data), max_size=len(data)).filter(any))
    chosen = [index for index, wanted in enumerate(mask) if wanted]
    selected = data.select(chosen)
    assert_same_episodes(selected, [data.episode(index) for index in chosen])
    assert selected.run_ids.tolist() == data.run_ids[chosen].tolist()
    assert selected.action_dim == data.action_dim
    assert selected.data_hash() == data.select(np.array(mask)).data_hash()
    assert_same_episodes(data.select(range(len(data))[::-1]), list(data)[::-1])


def test_select_refuses_what_makes_no_dataset():
    with pytest.raises(DataError, match=r"example\.hdf5: field 'offsets': no episode selected; choose"):
        example().select([])
    with pytest.raises(DataError, match=r"'run_ids', episode 2: run 7 comes back"):
        example().select([0, 2, 1])
    with pytest.raises(IndexError):
        example().select([3])


@given(parts=st.lists(trajectories(discrete=True), min_size=1, max_size=3))
def test_concatenate_is_the_plain_loop(parts):
    parts = [replace(part, observations=part.observations[:, :1]) for part in parts]
    joined = concatenate(parts)
    assert_same_episodes(joined, [episode for part in parts for episode in part])
    runs = [np.diff(part.run_offsets).tolist() for part in parts]
    assert np.diff(joined.run_offsets).tolist() == [length for part in runs for length in part]
    assert joined.action_dim == max(part.action_dim for part in parts)


def test_concatenate_keeps_agreed_metadata_only():
    parts = [example(metadata={"env_id": "a", "seed": seed, "path": f"{seed}.hdf5"}) for seed in (0, 1)]
    assert concatenate(parts).metadata == {"env_id": "a", "num_actions": 3}


def test_concatenate_refuses_what_does_not_fit():
    with pytest.raises(DataError, match="nothing to concatenate"):
        concatenate([])
    with pytest.raises(
        DataError, match=r"example\.hdf5: field 'observations': steps of shape \(3,\) in part 1"
    ):
        concatenate([example(), example(observations=np.zeros((6, 3)))])
    with pytest.raises(
        DataError, match=r"field 'actions': steps of shape \(2,\) in part 1, \(\) in the first"
    ):
        concatenate([example(), example(actions=np.zeros((6, 2)))])


def test_hash_is_stable_and_sees_every_change():
    data = example()
    assert (
        data.data_hash() == "d8ef89e6a4efc94d3d65b8fc9dd368015e3f74b07057673085920b05ec4b6bba"
    )  # pinned: stored hashes must keep their meaning
    assert data.data_hash() == replace(data, metadata={"path": "moved.hdf5"}).data_hash()
    changes = [
        {"observations": data.observations + 1},
        {"actions": 2 - data.actions},
        {"actions": data.actions[:, None].astype(np.float32)},
        {"rewards": data.rewards * 2},
        {"terminations": data.truncations},
        {"truncations": data.terminations},
        {"task_ids": data.task_ids + 1},
        {"run_ids": data.run_ids + 1},
        {"metadata": {"env_id": "a"}},
    ]
    hashes = {data.data_hash(), *(replace(data, **change).data_hash() for change in changes)}
    assert len(hashes) == len(changes) + 1


def test_summary_is_json():
    summary = example().summary()
    assert json.loads(json.dumps(summary)) == summary
    assert summary == {
        "episodes": 3,
        "steps": 6,
        "runs": 2,
        "tasks": 2,
        "obs_dim": 2,
        "action_kind": "discrete",
        "action_dim": 3,
        "return_min": 1.0,
        "return_mean": pytest.approx(8 / 3),
        "return_max": 5.0,
        "length_min": 1,
        "length_max": 3,
        "terminations": 1,
        "truncations": 1,
        "hash": example().data_hash(),
    }
