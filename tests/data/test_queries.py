"""Queries against rooms that are lived through again step by step."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import trajectories

from dmh_lib.data import Trajectories
from dmh_lib.data.queries import QueryConfig, QuerySampler, collected_in_window
from dmh_lib.data.windows import WindowConfig, WindowSampler, thinned
from dmh_lib.envs import GridVectorEnv, optimal_actions, rules_of
from dmh_lib.errors import DataError, SettingError

ENVS = ["dmh/Darkroom-v0", "dmh/DarkroomHard-v0", "dmh/DarkKeyToDoor-v0"]


def lives(env_id: str, tasks: list[int], episodes: int, seed: int) -> tuple[Trajectories, np.ndarray]:
    """One run in each task, of random and of optimal actions, and the true stage before each step, (N,)."""
    rules, rng = rules_of(env_id), np.random.default_rng(seed)
    rooms = GridVectorEnv(len(tasks), rules=rules, tasks=tasks)
    shape = (len(tasks), episodes * rules.horizon)
    seen, actions = np.zeros((*shape, 2)), np.zeros(shape, dtype=int)
    rewards, stages = np.zeros(shape), np.zeros(shape, dtype=int)
    observations, _ = rooms.reset()
    for step in range(shape[1]):
        best = optimal_actions(rules, rooms.positions, rooms.stages, tasks)
        guided = rng.random(len(tasks)) < 0.6
        chosen = np.where(guided, (best * rng.random(best.shape)).argmax(1), rng.integers(5, size=len(tasks)))
        seen[:, step], actions[:, step], stages[:, step] = observations, chosen, rooms.stages
        observations, rewards[:, step], *_ = rooms.step(chosen)
    ends = np.arange(1, seen[..., 0].size + 1) % rules.horizon == 0
    data = Trajectories(
        observations=seen.reshape(-1, 2),
        actions=actions.reshape(-1),
        rewards=rewards.reshape(-1),
        terminations=np.zeros(len(ends), dtype=bool),
        truncations=ends,
        offsets=np.arange(0, len(ends) + 1, rules.horizon),
        task_ids=np.repeat(tasks, episodes),
        run_ids=np.repeat(np.arange(len(tasks)), episodes),
        metadata={"env_id": env_id, "num_actions": 5},
    )
    return data, stages.reshape(-1)


@given(
    env_id=st.sampled_from(ENVS),
    draws=st.data(),
    episodes=st.integers(1, 4),
    context_len=st.integers(1, 130),
    start=st.sampled_from(["any", "first"]),
)
def test_a_query_knows_the_true_stage_and_its_best_actions(env_id, draws, episodes, context_len, start):
    rules = rules_of(env_id)
    centre = 40  # where episodes start, so that a target lies underfoot; key and door may be one cell
    ids = st.sampled_from([0, centre, centre * 82 % rules.num_tasks]) | st.integers(0, rules.num_tasks - 1)
    tasks = draws.draw(st.lists(ids, min_size=1, max_size=3))
    data, stages = lives(env_id, tasks, episodes, seed=draws.draw(st.integers(0, 99)))
    sampler = QuerySampler(data, QueryConfig(start), context_len)
    np.testing.assert_array_equal(sampler.stages, stages)
    every = np.arange(len(sampler.starts))
    batch, plain = sampler.build(every), WindowSampler(data, WindowConfig(start), context_len).build(every)
    for name, values in vars(plain).items():
        assert torch.equal(getattr(batch, name), values)
    for row, first in enumerate(sampler.starts):
        steps = slice(first, first + sampler.lengths[row])
        task = data.task_ids[first // rules.horizon]
        cells = data.observations[steps].astype(int)
        best = optimal_actions(rules, cells, stages[steps], np.full(len(cells), task))
        length = len(cells)
        assert batch.optimal[row, :length].tolist() == best.tolist()
        assert batch.asked[row].tolist() == (~best.all(1)).tolist() + [False] * (batch.mask.shape[1] - length)
        if rules.reward == "once":  # then what is collected is the number of targets reached
            assert batch.collected[row, :length].tolist() == stages[steps].tolist()


@given(data=trajectories(max_episodes=10), context_len=st.integers(1, 20))
def test_what_was_collected_is_the_sum_since_the_episode_began(data, context_len):
    data = dataclasses.replace(data, truncations=np.isin(np.arange(data.num_steps) + 1, data.offsets))
    sampler = WindowSampler(data, WindowConfig(), context_len)
    batch = sampler.build(np.arange(len(sampler.starts)))
    found = collected_in_window(batch.rewards, batch.ended)
    for row, first in enumerate(sampler.starts):
        for column in range(sampler.lengths[row]):
            step = first + column
            begin = data.offsets[data.offsets <= step].max()
            expected = data.rewards[begin:step].sum(dtype=np.float64)
            assert found[row, column].item() == pytest.approx(expected, rel=1e-6, abs=1e-3)


def test_a_stride_is_that_of_thinned_histories() -> None:
    data, _ = lives(ENVS[0], [3, 40], 6, seed=0)
    strided = QuerySampler(data, QueryConfig(stride=2), 60).build(np.arange(4))
    parted = QuerySampler(thinned(data, 2), QueryConfig(), 60).build(np.arange(4))
    for name, values in vars(parted).items():
        assert torch.equal(getattr(strided, name), values)


def test_the_seed_decides() -> None:
    data, _ = lives(ENVS[0], list(range(20)), 2, seed=0)
    one, same, other = (QuerySampler(data, QueryConfig(), 20, seed).sample(6) for seed in (1, 1, 2))
    assert torch.equal(one.observations, same.observations)
    assert not torch.equal(one.observations, other.observations)
    assert one.to("cpu").optimal.shape == (6, 20, 5)


def test_data_without_known_optimal_actions() -> None:
    data, _ = lives(ENVS[0], [3], 1, seed=0)
    for env_id in (None, "Hopper-v5"):
        elsewhere = dataclasses.replace(data, metadata={"env_id": env_id, "path": "there.hdf5"})
        with pytest.raises(DataError, match=r"there.hdf5: field 'env_id'.*dark rooms"):
            QuerySampler(elsewhere, QueryConfig(), 20)
    with pytest.raises(SettingError, match="task: ids"):
        QuerySampler(dataclasses.replace(data, task_ids=np.array([81])), QueryConfig(), 20)
