"""Windows against plain loops over runs and episodes, and which of them are drawn."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import trajectories

from dmh_lib.data import Trajectories
from dmh_lib.data.windows import EpisodeWindowSampler, WindowConfig, WindowSampler
from dmh_lib.errors import SettingError

FIELDS = ("observations", "actions", "rewards", "ended", "mask")


def data_of(runs: list[list[int]]) -> Trajectories:
    """Trajectories of runs, each given by the lengths of its episodes; observations count the steps."""
    lengths = [length for run in runs for length in run]
    offsets = np.cumsum([0, *lengths])
    ends = np.zeros(offsets[-1], dtype=bool)
    ends[offsets[1:] - 1] = True
    return Trajectories(
        observations=np.arange(offsets[-1], dtype=np.float32)[:, None],
        actions=np.arange(offsets[-1]) % 5,
        rewards=np.arange(offsets[-1]) % 3,
        terminations=ends & (np.arange(offsets[-1]) % 2 == 0),
        truncations=ends & (np.arange(offsets[-1]) % 2 == 1),
        offsets=offsets,
        task_ids=np.zeros(len(lengths), dtype=int),
        run_ids=np.repeat(np.arange(len(runs)), [len(run) for run in runs]),
    )


def plain_windows(data: Trajectories, context_len: int, start: str) -> list[list[int]]:
    """The steps of every window that there is."""
    windows = []
    for first, stop in zip(data.run_offsets[:-1], data.run_offsets[1:], strict=True):
        run_stop = int(data.offsets[stop])
        for episode in range(first, stop):
            begin = int(data.offsets[episode])
            fits = begin + context_len <= run_stop
            if episode == first or (fits and start == "any"):
                windows.append(list(range(begin, min(begin + context_len, run_stop))))
    return windows


@given(
    data=trajectories(max_episodes=10),
    context_len=st.integers(1, 12),
    start=st.sampled_from(["any", "first"]),
    draws=st.data(),
)
def test_windows_are_those_of_plain_loops(data, context_len, start, draws):
    sampler = WindowSampler(data, WindowConfig(start), context_len)
    windows = plain_windows(data, context_len, start)
    assert sampler.starts.tolist() == [steps[0] for steps in windows]
    index = st.integers(0, len(windows) - 1)
    chosen = draws.draw(st.lists(index, min_size=1, max_size=5))
    batch = sampler.build(np.array(chosen))
    longest = max(len(windows[window]) for window in chosen)
    assert batch.mask.shape == (len(chosen), longest)
    for row, window in enumerate(chosen):
        steps = windows[window]
        length = len(steps)
        assert batch.mask[row].tolist() == [column < length for column in range(longest)]
        for field in ("observations", "actions", "rewards"):
            values = getattr(batch, field)[row]
            assert (values[:length].numpy() == getattr(data, field)[steps]).all()
            assert torch.isfinite(values).all()
        ended = [bool(data.terminations[step] or data.truncations[step]) for step in steps]
        assert batch.ended[row, :length].tolist() == ended
    dtypes = (data.actions.dtype.name, "bool", "bool")
    assert tuple(str(getattr(batch, name).numpy().dtype) for name in ("actions", "ended", "mask")) == dtypes


@given(
    data=trajectories(max_episodes=10),
    context_len=st.integers(1, 6),
    start=st.sampled_from(["any", "first"]),
)
def test_windows_within_episodes_are_those_of_plain_loops(data, context_len, start):
    windows, returns_to_go = [], []
    for index, episode in enumerate(data):
        whole = range(data.offsets[index], data.offsets[index + 1])
        places = max(len(episode) - context_len, 0) + 1 if start == "any" else 1
        for first in range(places):
            windows.append(list(whole[first : first + context_len]))
            to_go = [float(episode.rewards[step:].sum(dtype=np.float64)) for step in range(len(episode))]
            returns_to_go.append(to_go[first : first + context_len])
    sampler = EpisodeWindowSampler(data, WindowConfig(start), context_len)
    assert sampler.starts.tolist() == [steps[0] for steps in windows]
    batch = sampler.build(np.arange(len(windows)))
    assert batch.mask.sum(1).tolist() == [len(steps) for steps in windows]
    for row, (steps, to_go) in enumerate(zip(windows, returns_to_go, strict=True)):
        for field in ("observations", "actions", "rewards"):
            values = getattr(batch, field)[row, : len(steps)]
            assert (values.numpy() == getattr(data, field)[steps]).all()
        assert batch.ended[row, : len(steps)].tolist() == [
            bool(data.terminations[step] or data.truncations[step]) for step in steps
        ]
        scale = 1e-6 * np.abs(data.rewards).max()
        np.testing.assert_allclose(batch.returns_to_go[row, : len(steps)], to_go, rtol=1e-5, atol=scale)
    assert batch.returns_to_go.isfinite().all()


@given(data=trajectories(max_episodes=12), context_len=st.integers(1, 12), stride=st.integers(1, 5))
def test_windows_with_a_stride_are_those_of_plain_loops(data, context_len, stride):
    wanted = []
    for first, stop in zip(data.run_offsets[:-1], data.run_offsets[1:], strict=True):
        for turn in range(min(stride, stop - first)):
            part = list(range(first + turn, stop, stride))
            for number in range(len(part)):
                steps = [
                    step
                    for index in part[number:]
                    for step in range(data.offsets[index], data.offsets[index + 1])
                ]
                if number == 0 or len(steps) >= context_len:
                    wanted.append(steps[:context_len])
    sampler = WindowSampler(data, WindowConfig(stride=stride), context_len)
    batch = sampler.build(np.arange(len(sampler.starts)))
    assert batch.mask.sum(1).tolist() == [len(steps) for steps in wanted]
    for row, steps in enumerate(wanted):
        for field in ("observations", "actions", "rewards"):
            assert (getattr(batch, field)[row, : len(steps)].numpy() == getattr(data, field)[steps]).all()


def test_windows_by_hand():
    # steps 0 1 | 2 3 4 | 5    6 | 7    8 9 | 10 11 | 12 13
    data = data_of([[2, 3, 1], [1, 1], [2, 2, 2]])
    sampler = WindowSampler(data, WindowConfig(), context_len=4)
    assert sampler.starts.tolist() == [0, 2, 6, 8, 10]
    batch = sampler.build(np.arange(5))
    assert batch.observations[:, :, 0].tolist() == [
        [0, 1, 2, 3],
        [2, 3, 4, 5],
        [6, 7, 7, 7],
        [8, 9, 10, 11],
        [10, 11, 12, 13],
    ]
    assert batch.mask.sum(1).tolist() == [4, 4, 2, 4, 4]
    assert batch.ended[1].tolist() == [False, False, True, True]
    first = WindowSampler(data, WindowConfig("first"), context_len=4)
    assert first.starts.tolist() == [0, 6, 8]


def test_all_places_are_equally_likely():
    sampler = WindowSampler(data_of([[2] * 5, [3], [2, 2]]), WindowConfig(), context_len=4)
    assert sampler.starts.tolist() == [0, 2, 4, 6, 10, 13]
    drawn = sampler.sample(6000).observations[:, 0, 0].long()
    shares = torch.bincount(drawn, minlength=14)[sampler.starts] / 6000
    assert shares.tolist() == pytest.approx([1 / 6] * 6, abs=0.02)


def test_windows_within_episodes_are_equally_likely_and_seeded():
    # episodes of 2, 5 and 3 steps: one window, three and one
    data = data_of([[2, 5], [3]])
    sampler = EpisodeWindowSampler(data, WindowConfig(), context_len=3)
    assert sampler.starts.tolist() == [0, 2, 3, 4, 7]
    assert sampler.build(np.array([2])).returns_to_go.tolist() == [[3.0, 3.0, 2.0]]  # of rewards 0, 1, 2, 0
    drawn = sampler.sample(6000).observations[:, 0, 0].long()
    shares = torch.bincount(drawn, minlength=10)[sampler.starts] / 6000
    assert shares.tolist() == pytest.approx([1 / 5] * 5, abs=0.02)
    one, other = (EpisodeWindowSampler(data, WindowConfig(), 3, seed=4).sample(9) for _ in range(2))
    assert same(one, other)


def same(one, other):
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in FIELDS)


def test_seed_decides_and_a_stored_state_continues():
    data = data_of([[2] * 30, [3] * 20])
    one, other, third = (WindowSampler(data, WindowConfig(), 8, seed) for seed in (1, 1, 2))
    batches = [sampler.sample(8) for sampler in (one, other, third)]
    assert same(batches[0], batches[1])
    assert not same(batches[0], batches[2])
    assert not same(batches[0], other.sample(8))
    one.sample(8)
    third.load_state_dict(json.loads(json.dumps(one.state_dict())))
    for _ in range(3):
        assert same(one.sample(8), third.sample(8))
    assert same(batches[0], batches[0].to("cpu"))


def test_settings_that_cannot_work_are_refused():
    with pytest.raises(SettingError, match="start: 'last'"):
        WindowConfig("last")
    with pytest.raises(SettingError, match="stride: must be at least 1, got 0"):
        WindowConfig(stride=0)
    with pytest.raises(SettingError, match="stride: windows within an episode have none"):
        EpisodeWindowSampler(data_of([[1]]), WindowConfig(stride=2), 1)
    with pytest.raises(SettingError, match="context_len: must be at least 1, got 0"):
        WindowSampler(data_of([[1]]), WindowConfig(), 0)
