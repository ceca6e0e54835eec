"""Valuable sub-goals against plain loops over every pair of steps."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dmh_lib.data import Trajectories
from dmh_lib.errors import SettingError
from dmh_lib.subgoals import overtake_goals, select_goals


def data_of(episodes, tasks=None, runs=None):
    """Trajectories with these rewards, one run for each episode unless told."""
    rewards = np.concatenate([np.asarray(episode, dtype=np.float32) for episode in episodes])
    flags = np.zeros(len(rewards), dtype=bool)
    return Trajectories(
        observations=np.arange(len(rewards), dtype=np.float32)[:, None],
        actions=np.zeros(len(rewards), dtype=np.int64),
        rewards=rewards,
        terminations=flags,
        truncations=flags,
        offsets=np.cumsum([0, *map(len, episodes)]),
        task_ids=np.zeros(len(episodes), dtype=np.int64) if tasks is None else tasks,
        run_ids=np.arange(len(episodes)) if runs is None else runs,
    )


def plain_mean_reward(rewards):
    """For each i the j of the best mean reward on the way, the latest among equals; T becomes T − 1."""
    last = len(rewards)
    goals = []
    for i in range(last):
        values = {j: sum(rewards[i:j]) / (j - i) for j in range(i + 1, last + 1)}
        best = max(values.values())
        goals.append(min(max(j for j, value in values.items() if value == best), last - 1))
    return goals


def plain_overtake(rewards, worse):
    """For each i the first state of the worse episode with more on its account; None if there is none.

    An account is looked at after a step has been taken, so the very first state is never a goal.
    """
    goals = []
    for i in range(len(rewards)):
        mine = sum(rewards[:i])
        ahead = [t + 1 for t in range(len(worse)) if sum(worse[: t + 1]) > mine]
        goals.append(min(ahead[0], len(worse) - 1) if ahead else None)
    return goals


def plain_goals(episodes, tasks, rule):
    """Flat goal indices of all steps of all episodes."""
    starts = [sum(map(len, episodes[:index])) for index in range(len(episodes))]
    chosen = []
    for index, rewards in enumerate(episodes):
        goals = [starts[index] + goal for goal in plain_mean_reward(rewards)]
        ranking = sorted(
            (other for other in range(len(episodes)) if tasks[other] == tasks[index]),
            key=lambda other: (sum(episodes[other]), other),
        )
        rank = ranking.index(index)
        if rule == "overtake" and rank > 0:
            worse = ranking[rank - 1]
            for i, goal in enumerate(plain_overtake(rewards, episodes[worse])):
                goals[i] = goals[i] if goal is None else starts[worse] + goal
        chosen += goals
    return chosen


def lists_of_rewards(rewards):
    return st.lists(rewards, min_size=1, max_size=12)


# few small whole numbers: sums are exact and ties abound
WHOLE = st.integers(-2, 3)


@given(episodes=st.lists(lists_of_rewards(WHOLE), min_size=1, max_size=5))
def test_mean_reward_is_that_of_all_pairs(episodes):
    goals = select_goals(data_of(episodes))
    assert goals.dtype == np.int64
    assert goals.tolist() == plain_goals(episodes, [0] * len(episodes), "mean_reward")


@given(
    episodes=st.lists(st.tuples(st.integers(0, 2), lists_of_rewards(WHOLE)), min_size=1, max_size=6),
)
def test_overtake_is_that_of_plain_loops_over_tasks_and_episodes(episodes):
    tasks, rewards = [task for task, _ in episodes], [steps for _, steps in episodes]
    goals = select_goals(data_of(rewards, np.array(tasks)), "overtake")
    assert goals.tolist() == plain_goals(rewards, tasks, "overtake")


@given(rewards=lists_of_rewards(st.floats(-1e3, 1e3, width=32)))
def test_real_rewards_reach_the_best_mean(rewards):
    # rounding may lead to another state, but not to a worse one
    last, scale = len(rewards), max(map(abs, rewards))
    for i, goal in enumerate(select_goals(data_of([rewards])).tolist()):
        means = {j: sum(rewards[i:j]) / (j - i) for j in range(i + 1, last + 1)}
        assert goal in means or i == last - 1
        ends = {goal, last} if goal == last - 1 else {goal}  # the state at T goes by the index T − 1
        reached = max(means[j] for j in ends if j in means)
        assert reached == pytest.approx(max(means.values()), rel=0, abs=1e-9 * scale)


@pytest.mark.parametrize("level", [0, -1, 2, 0.1])
def test_flat_rewards_look_as_far_ahead_as_possible(level):
    # multiples of a float32 number are exact in double precision, so these are true ties
    assert select_goals(data_of([[level] * 6, [level] * 3])).tolist() == [5] * 6 + [8] * 3


def test_rewards_below_zero_look_to_the_least_bad():
    # from 0: −3, −2, −5/3, −2 on the way to 1, 2, 3, 4
    assert select_goals(data_of([[-3, -1, -1, -3]])).tolist() == [3, 3, 3, 3]
    assert select_goals(data_of([[-1, -3, -1]])).tolist() == [1, 2, 2]


def test_a_reward_is_collected_in_the_state_after_its_step():
    assert select_goals(data_of([[0, 0, 1, 0, 0]])).tolist() == [3, 3, 3, 4, 4]


def test_one_step_episodes_are_their_own_goal():
    data = data_of([[1], [0], [-1]])
    assert select_goals(data).tolist() == [0, 1, 2]
    # task by task from the worst up: 2, 1, 0; what overtakes lies in the worse episode's only state
    assert select_goals(data, "overtake").tolist() == [0, 1, 2]
    assert select_goals(data_of([[2, 0], [1]]), "overtake").tolist() == [2, 1, 2]


def test_overtake_looks_into_the_next_worse_episode_only():
    worst, middle, best = [0, 0, 1], [2, 0, 0], [1, 1, 1]
    goals = select_goals(data_of([best, worst, middle]), "overtake").tolist()
    # best against middle: 0 → overtaken after one step, 1 → the same, 2 → never, so its own mean reward
    assert goals[:3] == [7, 7, 2]
    # middle against worst: 0 → overtaken in the last state, 2 → never
    assert goals[6:] == [5, 8, 8]
    # nothing is worse than worst
    assert goals[3:6] == [5, 5, 5]


def test_episodes_of_other_tasks_are_no_rivals():
    assert select_goals(data_of([[0, 1], [1, 1]], np.array([0, 1])), "overtake").tolist() == [1, 1, 3, 3]


@given(
    episodes=st.lists(lists_of_rewards(WHOLE), min_size=1, max_size=5),
    data=st.data(),
)
def test_overtake_of_chosen_steps_against_chosen_episodes(episodes, data):
    trajectories = data_of(episodes)
    fallback = np.arange(trajectories.num_steps)[::-1].copy()
    count = data.draw(st.integers(0, 8))
    steps, rivals = (
        np.array(data.draw(st.lists(st.integers(low, high), min_size=count, max_size=count)), dtype=np.int64)
        for low, high in ((0, trajectories.num_steps - 1), (-1, len(episodes) - 1))
    )
    chosen = overtake_goals(trajectories, fallback, steps, rivals)
    assert chosen.shape == (count,)
    for goal, step, rival in zip(chosen.tolist(), steps.tolist(), rivals.tolist(), strict=True):
        own = int(np.searchsorted(trajectories.offsets, step, side="right")) - 1
        within = step - int(trajectories.offsets[own])
        found = plain_overtake(episodes[own], episodes[rival])[within] if rival >= 0 else None
        assert goal == (fallback[step] if found is None else trajectories.offsets[rival] + found)


@pytest.mark.parametrize("rule", ["mean_reward", "overtake"])
def test_a_million_transitions(rule):
    rng = np.random.default_rng(0)
    data = data_of((rng.random((1000, 1000)) < 0.01).astype(np.float32))
    goals = select_goals(data, rule)
    assert goals.shape == (1_000_000,)
    assert goals.min() >= 0
    assert goals.max() < 1_000_000
    if rule == "mean_reward":
        steps = np.arange(1_000_000)
        assert (goals // 1000 == steps // 1000).all()
        assert ((goals > steps) | (steps % 1000 == 999)).all()


def test_an_unknown_rule_is_refused():
    with pytest.raises(SettingError, match="'best' is not known; choose one of mean_reward, overtake"):
        select_goals(data_of([[0]]), "best")


def test_the_thread_count_of_torch_stays():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    one_episode = Trajectories(
        observations=np.zeros((3, 1)),
        actions=np.zeros(3, dtype=np.int64),
        rewards=np.ones(3),
        terminations=np.zeros(3, dtype=bool),
        truncations=np.array([False, False, True]),
        offsets=np.array([0, 3]),
        task_ids=np.zeros(1, dtype=np.int64),
        run_ids=np.zeros(1, dtype=np.int64),
    )
    for rule in ("mean_reward", "overtake"):
        select_goals(one_episode, rule)
    assert torch.get_num_threads() == 1
    torch.set_num_threads(before)
