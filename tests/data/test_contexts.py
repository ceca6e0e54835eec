"""Contexts against plain loops over episodes and chunks, and what each way of drawing them promises."""

import json
import math
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import trajectories

from dmh_lib.data import Trajectories
from dmh_lib.data.contexts import ContextBatch, ContextConfig, ContextSampler
from dmh_lib.data.histories import make_histories
from dmh_lib.data.searcher import SearcherConfig
from dmh_lib.envs import make_split
from dmh_lib.errors import SettingError
from dmh_lib.subgoals import select_goals

FIELDS = tuple(field.name for field in fields(ContextBatch))


def data_of(runs):
    """Trajectories from [(task, returns of the run's episodes)]; an episode of return R takes R + 1 steps."""
    returns = [value for _, run in runs for value in run]
    rewards = np.concatenate([[0, *[1] * value] for value in returns])
    offsets = np.cumsum([0, *(value + 1 for value in returns)])
    ends = np.zeros(len(rewards), dtype=bool)
    ends[offsets[1:] - 1] = True
    return Trajectories(
        observations=np.arange(len(rewards), dtype=np.float32)[:, None],
        actions=np.arange(len(rewards)) % 5,
        rewards=rewards,
        terminations=~ends & ends,
        truncations=ends,
        offsets=offsets,
        task_ids=np.concatenate([[task] * len(run) for task, run in runs]),
        run_ids=np.concatenate([[index] * len(run) for index, (_, run) in enumerate(runs)]),
    )


# ------------------------------------------------------------------ the slow contexts


def plain_overtake(data, episode, step, worse, fallback):
    """First state of the worse episode with more on its account than the episode had before the step."""
    mine, account = 0.0, 0.0
    for reward in data.episode(episode).rewards[:step].tolist():
        mine += reward
    for taken, reward in enumerate(data.episode(worse).rewards.tolist(), start=1):
        account += reward
        if account > mine:
            return data.episode(worse).observations[min(taken, len(data.episode(worse)) - 1)]
    return fallback


def plain_context(data, episodes, chunk_len, config):
    """The chunks of one context, each a dictionary."""
    best = max(data.episode(episode).total_reward for episode in episodes)
    step_goals = select_goals(data)
    chunks = []
    for rank, index in enumerate(episodes):
        episode = data.episode(index)
        for start in range(0, len(episode), chunk_len):
            steps = slice(start, min(start + chunk_len, len(episode)))
            ended = episode.terminated or (episode.truncated and config.done_at_time_limit)
            goal = data.observations[step_goals[data.offsets[index] + start]]
            if config.goal_rule == "overtake" and rank > 0:
                goal = plain_overtake(data, index, start, episodes[rank - 1], goal)
            chunks.append(
                {
                    "state": episode.observations[start],
                    "reward": math.fsum(episode.rewards[steps]),
                    "done": 1 if ended and steps.stop == len(episode) else 0,
                    "return_to_go": best - math.fsum(episode.rewards[:start]),
                    "learned": config.supervise == "all" or rank == len(episodes) - 1,
                    "observations": episode.observations[steps],
                    "actions": episode.actions[steps],
                    "rewards": episode.rewards[steps],
                    "goal": goal,
                }
            )
    return chunks


@given(data=trajectories(), chunk_len=st.integers(1, 7), draws=st.data())
def test_build_is_that_of_plain_loops(data, chunk_len, draws):
    config = ContextConfig(
        order=draws.draw(st.sampled_from(["return", "lived"])),
        supervise=draws.draw(st.sampled_from(["all", "last"])),
        goal_share=draws.draw(st.sampled_from([0.0, 0.3, 1.0])),
        goal_rule=draws.draw(st.sampled_from(["mean_reward", "overtake"])),
        done_at_time_limit=draws.draw(st.booleans()),
    )
    ids = st.integers(0, data.num_episodes - 1)
    chosen = draws.draw(st.lists(st.lists(ids, min_size=1, max_size=4), min_size=1, max_size=4))
    counts = np.array([len(row) for row in chosen])
    episodes = np.array([(row + [draws.draw(ids)] * 4)[: counts.max()] for row in chosen])
    sampler = ContextSampler(data, config, chunk_len)
    ordered = sampler.sort(episodes, counts)
    batch = sampler.build(ordered, counts)
    contexts = [
        plain_context(data, row[:count].tolist(), chunk_len, config)
        for row, count in zip(ordered, counts, strict=True)
    ]

    num_chunks = max(map(len, contexts))
    near = {"rel": 1e-6, "abs": 1e-6 * float(np.abs(data.rewards).max())}  # sums in another order
    assert batch.states.shape == (len(contexts), num_chunks, data.obs_dim)
    assert (
        batch.done.shape == batch.chunk_rewards.shape == batch.returns_to_go.shape == batch.states.shape[:2]
    )
    for row, context in enumerate(contexts):
        length = len(context)
        assert batch.states[row, :length].tolist() == [chunk["state"].tolist() for chunk in context]
        assert batch.done[row, :length].tolist() == [chunk["done"] for chunk in context]
        for field, key in (("chunk_rewards", "reward"), ("returns_to_go", "return_to_go")):
            values = getattr(batch, field)[row]
            assert values[:length].tolist() == pytest.approx([chunk[key] for chunk in context], **near)
            assert not values[length:].any()
        assert not batch.states[row, length:].any()
        assert (batch.done[row, length:] == 2).all()

    learned = {
        row * num_chunks + place: chunk
        for row, context in enumerate(contexts)
        for place, chunk in enumerate(context)
        if chunk["learned"]
    }
    assert sorted(batch.rows.tolist()) == list(learned)
    assert batch.mask.shape == batch.rewards.shape == (len(learned), chunk_len)
    for index, place in enumerate(batch.rows.tolist()):
        chunk = learned[place]
        length = len(chunk["rewards"])
        assert batch.mask[index].tolist() == [column < length for column in range(chunk_len)]
        for field in ("observations", "actions", "rewards"):
            assert (getattr(batch, field)[index, :length].numpy() == chunk[field]).all()
            assert torch.isfinite(getattr(batch, field)[index]).all()
    goals = [learned[place]["goal"].tolist() for place in batch.rows.tolist()]
    assert batch.goal_states.tolist() == goals[: math.ceil(config.goal_share * len(goals))]
    dtypes = (data.actions.dtype.name, "int64", "bool")
    assert tuple(str(getattr(batch, name).numpy().dtype) for name in ("actions", "rows", "mask")) == dtypes


def test_a_context_by_hand():
    data = data_of([(0, [0, 3, 1])])  # steps 0 | 1 2 3 4 | 5 6
    config = ContextConfig(supervise="last", goal_share=1.0)
    sampler = ContextSampler(data, config, chunk_len=3)
    ordered = sampler.sort(np.array([[0, 1, 2]]), np.array([3]))
    assert ordered.tolist() == [[0, 2, 1]]
    batch = sampler.build(ordered, np.array([3]))
    assert batch.states[0, :, 0].tolist() == [0, 5, 1, 4]
    assert batch.chunk_rewards.tolist() == [[0, 1, 2, 1]]
    assert batch.done.tolist() == [[1, 1, 0, 1]]
    assert batch.returns_to_go.tolist() == [[3, 3, 3, 1]]  # the best return less what the episode has
    order = batch.rows.tolist()
    assert sorted(order) == [2, 3]
    whole, short = order.index(2), order.index(3)
    assert batch.observations[whole, :, 0].tolist() == [1, 2, 3]
    assert batch.observations[short, 0].tolist() == [4]
    assert batch.mask[short].tolist() == [True, False, False]
    assert batch.goal_states[:, 0].tolist() == [4, 4]


@given(data=trajectories(), draws=st.data())
def test_sort_is_ascending_and_stable(data, draws):
    ids = st.integers(0, data.num_episodes - 1)
    chosen = draws.draw(st.lists(st.lists(ids, min_size=4, max_size=4), min_size=1, max_size=3))
    size = len(chosen)
    counts = np.array(draws.draw(st.lists(st.integers(1, 4), min_size=size, max_size=size)))
    ordered = ContextSampler(data, ContextConfig(), 1).sort(np.array(chosen), counts)
    lived = ContextSampler(data, ContextConfig(order="lived"), 1).sort(np.array(chosen), counts)
    assert lived.tolist() == chosen
    for row, given_row, count in zip(ordered.tolist(), chosen, counts, strict=True):
        assert row[:count] == sorted(given_row[:count], key=lambda index: data.returns[index])


def test_equal_returns_stay_in_the_order_lived():
    sampler = ContextSampler(data_of([(0, [1, 0, 1, 0, 1, 0])]), ContextConfig(), 2)
    assert sampler.sort(np.arange(6)[None], np.array([6])).tolist() == [[1, 3, 5, 0, 2, 4]]


def test_last_and_random_learns_two_episodes():
    sampler = ContextSampler(data_of([(0, [1] * 5)]), ContextConfig(order="lived"), 2)
    counts = np.array([1, 2, 5, 5, 5, 5, 5, 5])
    others = set()
    for _ in range(10):
        batch = sampler.build(np.tile(np.arange(5), (8, 1)), counts)  # one chunk to an episode
        for row, count in enumerate(counts):
            learned = sorted(place % 5 for place in batch.rows.tolist() if place // 5 == row)
            assert len(learned) == min(count, 2)
            assert learned[-1] == count - 1
            others |= set(learned[:-1]) if count == 5 else set()
    assert others == {0, 1, 2, 3}


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_jumbled_contexts_keep_the_best_last_and_learn_nothing_worse_than_before(share):
    # one chunk to an episode, whose reward is its return
    data = data_of([(0, [0, 0, 3, 1, 2])])
    config = ContextConfig(5, vary_length=False, jumbled=share)
    batch = ContextSampler(data, config, 10).sample(2000)
    returns = batch.chunk_rewards.tolist()
    assert {tuple(sorted(row)) for row in returns} == {(0, 0, 1, 2, 3)}
    assert all(row[-1] == 3 for row in returns)
    unsorted = sum(row != sorted(row) for row in returns) / 2000
    assert unsorted == pytest.approx(share * 11 / 12, abs=0.05)  # one of twelve orders is sorted
    for place in batch.rows.tolist():
        row, rank = divmod(place, 5)
        assert returns[row][rank] == max(returns[row][: rank + 1])
    assert sum(place % 5 == 4 for place in batch.rows.tolist()) == 2000
    if share:
        assert len({tuple(row) for row in returns}) == 12


def test_learned_chunks_come_in_random_order():
    # or else the sub-goal, tried on the first of them, would be learned from the first contexts only
    sampler = ContextSampler(data_of([(0, [5] * 4)]), ContextConfig(supervise="all"), 2)
    rows = sampler.build(np.tile(np.arange(4), (8, 1)), np.full(8, 4)).rows.tolist()
    assert len(rows) == 8 * 4 * 3
    assert len({place // 12 for place in rows[: len(rows) // 4]}) > 4


# ------------------------------------------------------------------ which episodes

LIVES = data_of([(4, [0, 2, 1, 3]), (7, [0, 0]), (4, [5, 4, 0, 6, 7]), (9, [1])])


def drawn(config, batch_size=400, data=LIVES, seed=0):
    """The episodes of many contexts, as lists."""
    episodes, counts = ContextSampler(data, config, 2, seed).draw_episodes(batch_size)
    assert episodes.shape[0] == batch_size
    assert episodes.shape[1] >= counts.max()
    return [row[:count].tolist() for row, count in zip(episodes, counts, strict=True)]


def test_history_gives_the_first_episodes_of_one_run():
    contexts = drawn(ContextConfig(n_episodes=4))
    runs = [[0, 1, 2, 3], [4, 5], [6, 7, 8, 9, 10], [11]]
    possible = [run[:count] for run in runs for count in range(1, min(4, len(run)) + 1)]
    assert sorted({tuple(row) for row in contexts}) == sorted(map(tuple, possible))
    whole = drawn(ContextConfig(n_episodes=4, vary_length=False))
    assert {tuple(row) for row in whole} == {tuple(run[:4]) for run in runs}


def test_task_gives_any_episodes_of_one_task():
    contexts = drawn(ContextConfig(n_episodes=5, draw="task"))
    tasks = [{LIVES.task_ids[episode] for episode in row} for row in contexts]
    assert all(len(seen) == 1 for seen in tasks)
    assert set.union(*tasks) == {4, 7, 9}
    assert {episode for row in contexts for episode in row} == set(range(12))
    assert {len(row) for row in contexts} == {1, 2, 3, 4, 5}
    assert {len(row) for row in drawn(ContextConfig(5, draw="task", vary_length=False))} == {5}


def test_neighbours_are_next_to_each_other_in_return():
    # 64 draws of a task with few episodes miss none of them, so ranks may stay or rise by one
    data = data_of([(0, [4, 0, 2]), (1, [7, 1, 9, 3]), (0, [6, 8])])
    ranks = {0: [0, 2, 4, 6, 8], 1: [1, 3, 7, 9]}
    spreads = set()
    for row in drawn(ContextConfig(n_episodes=6, draw="neighbours", vary_length=False), data=data):
        (task,) = {data.task_ids[episode] for episode in row}
        places = np.array([ranks[task].index(data.returns[episode]) for episode in row])
        assert set(np.diff(places)) <= {0, 1}
        assert len(row) == 6
        spreads.add(places[-1] - places[0])
    assert max(spreads) <= 2  # no spread of returns: what the released code's contexts lack
    assert len(drawn(ContextConfig(70, draw="neighbours", vary_length=False), 2, data)[0]) == 70


def test_failures_begin_the_context():
    # one failure in fifty: without the setting, hardly any context would begin with one
    data = data_of([(0, [1] * 30 + [0] + [2] * 19)])
    for share, expected in ((1.0, [0.2] * 5), (0.5, [0.6, 0.1, 0.1, 0.1, 0.1]), (0.0, [1, 0, 0, 0, 0])):
        config = ContextConfig(4, draw="task", vary_length=False, failures=share)
        contexts = drawn(config, 4000, data)
        begins = [next((i for i, episode in enumerate(row) if episode != 30), 4) for row in contexts]
        assert np.bincount(begins, minlength=5) / 4000 == pytest.approx(expected, abs=0.04)


def test_by_steps_an_episode_comes_as_often_as_it_has_steps():
    data = data_of([(0, [0, 2, 6]), (1, [4, 0])])
    config = ContextConfig(1, draw="task", by_steps=True)
    counts = np.bincount([row[0] for row in drawn(config, 8000, data)], minlength=5) / 8000
    assert counts == pytest.approx([1 / 22, 3 / 22, 7 / 22, 5 / 12, 1 / 12], abs=0.02)
    # failures are drawn among failures, likewise
    data = replace(LIVES, rewards=np.zeros_like(LIVES.rewards))
    config = ContextConfig(1, draw="task", failures=1.0, by_steps=True)
    counts = np.bincount([row[0] for row in drawn(config, 8000, data)], minlength=12) / 8000
    of_task = np.array([data.lengths[data.task_ids == task].sum() for task in data.task_ids])
    assert counts == pytest.approx(data.lengths / of_task / 3, abs=0.02)


def test_a_task_without_failures_begins_with_anything():
    data = data_of([(0, [1, 2, 3]), (1, [0, 0, 5])])
    config = ContextConfig(6, draw="task", vary_length=False, failures=1.0)
    rows = [row for row in drawn(config, data=data) if row[0] < 3]
    assert {row[0] for row in rows} == {0, 1, 2}
    assert all(max(row) < 3 for row in rows)


@given(data=trajectories(), draw=st.sampled_from(["history", "task", "neighbours"]), seed=st.integers(0, 99))
def test_every_way_of_drawing_keeps_to_one_task(data, draw, seed):
    for row in drawn(ContextConfig(3, draw=draw, failures=0.5, by_steps=bool(seed % 2)), 5, data, seed):
        assert 1 <= len(row) <= 3
        assert len({data.task_ids[episode] for episode in row}) == 1
        assert draw != "history" or len({data.run_ids[episode] for episode in row}) == 1


# ------------------------------------------------------------------ reproducibility


def same(one, other):
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in FIELDS)


@pytest.mark.parametrize("config", [ContextConfig(), ContextConfig.paper(), ContextConfig.official()])
def test_seed_decides_and_a_stored_state_continues(config):
    one, other, third = (ContextSampler(LIVES, config, 2, seed) for seed in (1, 1, 2))
    batches = [sampler.sample(8) for sampler in (one, other, third)]
    assert same(batches[0], batches[1])
    assert not same(batches[0], batches[2])
    assert not same(batches[0], other.sample(8))
    one.sample(8)
    third.load_state_dict(json.loads(json.dumps(one.state_dict())))
    for _ in range(3):
        assert same(one.sample(8), third.sample(8))


def test_a_stored_state_does_not_move_with_the_sampler():
    sampler = ContextSampler(LIVES, ContextConfig(), 2)
    stored = sampler.state_dict()
    first = sampler.sample(8)
    sampler.load_state_dict(stored)
    assert same(first, sampler.sample(8))


def test_sample_sorts_what_it_draws():
    batch = ContextSampler(LIVES, ContextConfig(), 20, seed=0).sample(50)  # one chunk to an episode
    for rewards, done in zip(batch.chunk_rewards, batch.done, strict=True):
        assert (rewards[done < 2].diff() >= 0).all()
    assert same(batch, batch.to("cpu"))


# ------------------------------------------------------------------ settings


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n_episodes", 0),
        ("failures", -0.1),
        ("failures", 1.1),
        ("jumbled", -0.1),
        ("jumbled", 1.1),
        ("goal_share", -0.1),
        ("goal_share", 1.5),
    ],
)
def test_settings_that_cannot_work_are_refused(field, value):
    with pytest.raises(SettingError, match=rf"{field}: .*got {value}"):
        replace(ContextConfig(), **{field: value})


def test_chunks_need_a_step():
    with pytest.raises(SettingError, match="chunk_len: must be at least 1, got 0"):
        ContextSampler(LIVES, ContextConfig(), 0)


def test_auto_draws_by_what_reaches_the_data() -> None:
    """Short lives are read from their beginning; of a long one, or a D4RL file, that would be a sliver."""
    split = make_split("darkroom", num_train=2)
    short = make_histories(split, SearcherConfig(runs_per_task=2, episodes=6))
    assert ContextSampler(short, ContextConfig(4), 5).draw == "history"
    assert ContextSampler(short, ContextConfig(2), 5).draw == "task"
    assert ContextSampler(short, ContextConfig(2, draw="history"), 5).draw == "history"
