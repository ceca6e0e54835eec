"""The systematic searcher: looks everywhere once, leaks nothing, goes straight to what it has found."""

from dataclasses import replace

import numpy as np
import pytest
from dark_rooms import DARKROOM, EPS, IDT, KEY_TO_DOOR, LARGE_HARD, PERFECT, by_run, split_of

from dmh_lib.data.histories import make_histories
from dmh_lib.data.nearest import (
    first_unvisited,
    first_unvisited_reference,
    lanes,
    nearest_unvisited,
    nearest_unvisited_reference,
)
from dmh_lib.data.searcher import SearcherConfig
from dmh_lib.envs import MOVES, rules_of
from dmh_lib.errors import SettingError

SIDE = 9


def distance(place, other):
    return abs(place[0] - other[0]) + abs(place[1] - other[1])


def test_search_never_comes_back_to_a_cell_while_new_ones_are_as_near():
    goals = range(81)
    histories = make_histories(split_of(DARKROOM, goals), PERFECT)
    observations = histories.observations.astype(int)
    # after an episode's last step the next state on record is a new start, so take the moves themselves
    arrivals = np.clip(observations + MOVES[histories.actions], 0, SIDE - 1)
    lives = (values.reshape(len(goals), -1, 2).tolist() for values in (observations, arrivals))
    for left, reached, gained in zip(*lives, histories.rewards.reshape(len(goals), -1), strict=True):
        unseen = {(x, y) for x in range(SIDE) for y in range(SIDE)}
        for here, there in list(zip(left, reached, strict=True))[: gained.argmax()]:
            nearest = min(distance(here, cell) for cell in unseen)
            # a new cell if one is next to this one, else a step closer to the nearest
            assert min(distance(there, cell) for cell in unseen) == max(nearest - 1, 0)
            assert distance(here, there) == (nearest > 0)
            unseen.discard(tuple(there))


def test_search_finds_every_goal_and_then_walks_straight():
    histories = make_histories(split_of(DARKROOM, range(81)), PERFECT)
    optimum = rules_of(DARKROOM).optimal_returns(np.arange(81))
    returns = by_run(histories, histories.rewards).sum(-1)  # (81, 20)
    assert (returns[:, -1] == optimum).all()
    found = (returns > 0).argmax(1)
    for goal, first in enumerate(found):
        assert (returns[goal, :first] == 0).all()
        assert (returns[goal, first + 1 :] == optimum[goal]).all()


def test_search_finds_keys_and_doors_and_then_walks_straight():
    pairs = [key * 81 + door for key in (0, 40, 44, 80) for door in (0, 8, 40, 80)]
    histories = make_histories(split_of(KEY_TO_DOOR, pairs), PERFECT)
    rewards = by_run(histories, histories.rewards)
    rules = rules_of(KEY_TO_DOOR)
    assert (rewards[:, -1].sum(-1) == 2).all()
    for pair, steps in zip(pairs, rewards[:, -1], strict=True):
        key, door = rules.targets([pair])[0].tolist()
        arrival = max(distance((4, 4), key), 1)
        assert np.flatnonzero(steps).tolist() == [arrival - 1, arrival - 1 + max(distance(key, door), 1)]


@pytest.mark.parametrize("forget", [0.0, 1.0])
def test_failures_do_not_leak_the_goal(forget):
    # noise and forgetting on: whatever happens before a goal is found must be the same for every goal
    config = SearcherConfig(runs_per_task=4, noise=0.1, forgetful_runs=0.5, forget=forget)
    lives = []
    for goal in (0, 20, 41, 80):
        histories = make_histories(split_of(DARKROOM, [goal]), config, seed=3)
        lives.append((histories.actions.reshape(4, -1), histories.rewards.reshape(4, -1)))
    for run in range(4):
        for actions, rewards in lives:
            for others, gains in lives:
                first = min(
                    int(found.argmax()) if found.any() else len(found)
                    for found in (rewards[run] > 0, gains[run] > 0)
                )
                # the step that first paid was chosen before anything was known
                assert (actions[run, : first + 1] == others[run, : first + 1]).all()


def test_search_for_the_door_does_not_leak_it_either():
    config = SearcherConfig(runs_per_task=3, noise=0.1)
    key, doors = 42, (0, 38, 80)
    actions, found = [], []
    for door in doors:
        histories = make_histories(split_of(KEY_TO_DOOR, [key * 81 + door]), config, seed=1)
        actions.append(histories.actions.reshape(3, -1))
        rewards = by_run(histories, histories.rewards)
        opened = (rewards.cumsum(-1) == 2).reshape(3, -1)
        found.append(np.where(opened.any(1), opened.argmax(1), opened.shape[1]))
    for one in range(len(doors)):
        for other in range(one):
            for run in range(3):
                same = min(found[one][run], found[other][run]) + 1
                assert (actions[one][run, :same] == actions[other][run, :same]).all()


def test_forgetting_starts_the_search_again_and_makes_it_longer():
    goals = split_of(DARKROOM, range(81))
    never = make_histories(goals, SearcherConfig(runs_per_task=4, noise=0.0, forgetful_runs=0.0))
    always = make_histories(goals, SearcherConfig(runs_per_task=4, noise=0.0, forgetful_runs=1.0, forget=1.0))
    assert always.returns.mean() < never.returns.mean()
    assert (by_run(always, always.rewards)[:, -1].sum(-1) > 0).mean() > 0.7  # but most are found
    for histories, forgets in ((never, False), (always, True)):
        first_actions = by_run(histories, histories.actions)[:, 1:, 0]
        knows = by_run(histories, histories.rewards).sum(-1).cumsum(-1)[:, :-1] > 0
        # an empty map has the start among the cells to look at, so a search from scratch begins by staying
        assert ((first_actions[~knows] == 4) == forgets).all()


@pytest.mark.parametrize("size", [1, 2, 5, 12])
def test_nearest_unvisited_is_what_the_reference_says(size):
    rng = np.random.default_rng(size)
    for share in (0.0, 0.5, 0.9, 1.0):
        visited = rng.random((6, 2, size**2)) < share
        preference = rng.uniform(-0.3, 0.3, (6, size**2)).astype(np.float32).round(1)  # ties
        runs, stages = rng.integers(6, size=40), rng.integers(2, size=40)
        cells = rng.integers(size**2, size=40)
        arguments = (visited, preference, size, runs, stages, cells)
        assert (nearest_unvisited(*arguments) == nearest_unvisited_reference(*arguments)).all()


@pytest.mark.parametrize("size", [1, 2, 5, 12])
def test_first_unvisited_is_what_the_reference_says(size):
    rng = np.random.default_rng(size)
    orders = np.stack([rng.permutation(size**2) for _ in range(3)])
    for share in (0.0, 0.5, 0.9, 1.0):
        visited = rng.random((6, 2, size**2)) < share
        runs, stages = rng.integers(6, size=40), rng.integers(2, size=40)
        chosen, cells = rng.integers(3, size=40), rng.integers(size**2, size=40)
        arguments = (visited, orders, chosen, runs, stages, cells)
        assert (first_unvisited(*arguments) == first_unvisited_reference(*arguments)).all()


@pytest.mark.parametrize("size", [1, 2, 5, 12])
def test_lanes_pass_every_cell_in_single_steps(size):
    places = np.stack(np.divmod(lanes(size), size), axis=-1)  # (cells, 2)
    assert len(np.unique(places, axis=0)) == size**2
    assert (np.abs(np.diff(places, axis=0)).sum(-1) == 1).all()
    assert (np.diff(places[:, 0]) >= 0).all()


@pytest.mark.parametrize("env_id", [EPS, IDT])
def test_search_goes_straight_once_an_episode_ended_on_the_goal(env_id):
    rules = rules_of(env_id)
    tasks = np.arange(rules.num_tasks)
    histories = make_histories(split_of(env_id, tasks), PERFECT)
    reached = histories.terminations[histories.offsets[1:] - 1].reshape(len(tasks), -1)  # (tasks, 20)
    away = [max(distance(rules.start, goal), 1) for goal in rules.targets(tasks)[:, 0].tolist()]
    for lengths, ends, way in zip(histories.lengths.reshape(len(tasks), -1), reached, away, strict=True):
        assert ends.any()
        first = int(ends.argmax())
        assert (lengths[:first] == rules.horizon).all()
        assert (lengths[first + 1 :] == way).all()
        assert ends[first:].all()


@pytest.mark.parametrize("linger", [0, 1, 5, 7])
def test_lingering_stays_on_the_key_until_the_chunk_ends(linger):
    pairs = [key * 81 + door for key in (0, 38, 40, 44, 80) for door in (0, 8, 42, 80) if key != door]
    histories = make_histories(split_of(KEY_TO_DOOR, pairs), replace(PERFECT, linger=linger))
    rewards, observations = by_run(histories, histories.rewards), histories.observations.astype(int)
    places = observations.reshape(*rewards.shape, 2).tolist()
    found_keys = 0
    for pair, run_rewards, run_places in zip(pairs, rewards, places, strict=True):
        key, door = rules_of(KEY_TO_DOOR).targets([pair])[0].tolist()
        for gains, path in zip(run_rewards, run_places, strict=True):
            paid = np.flatnonzero(gains)
            if not paid.size:
                continue
            found_keys += 1
            leaves = (paid[0] // linger + 1) * linger if linger else paid[0] + 1
            assert path[paid[0] + 1 : leaves + 1] == [key] * len(path[paid[0] + 1 : leaves + 1])
            if linger:
                assert len(path) == leaves or path[leaves] == key  # the next chunk begins there
        last = np.flatnonzero(run_rewards[-1]).tolist()
        arrival = max(distance((4, 4), key), 1)
        leaves = -(-arrival // linger) * linger if linger else arrival
        assert last == [arrival - 1, leaves - 1 + distance(key, door)]
    assert found_keys > 15 * len(pairs)


def test_search_in_lanes_heads_for_the_first_cell_left():
    histories = make_histories(split_of(DARKROOM, range(81)), replace(PERFECT, in_lanes=True))
    observations = histories.observations.astype(int)
    arrivals = np.clip(observations + MOVES[histories.actions], 0, SIDE - 1)
    lives = (values.reshape(81, -1, 2).tolist() for values in (observations, arrivals))
    for left, reached, gained in zip(*lives, histories.rewards.reshape(81, -1), strict=True):
        order = np.roll(lanes(SIDE), -4 * SIDE)  # from the start's lane on
        unseen = [divmod(cell, SIDE) for cell in order.tolist()]
        for here, there in list(zip(left, reached, strict=True))[: gained.argmax()]:
            assert distance(there, unseen[0]) == max(distance(here, unseen[0]) - 1, 0)
            if tuple(there) in unseen:
                unseen.remove(tuple(there))


@pytest.mark.parametrize("in_lanes", [False, True])
@pytest.mark.parametrize("blur", [1, 2])
def test_a_blurred_memory_comes_near_and_looks_around_there(blur, in_lanes):
    goals = np.random.default_rng(0).choice(1600, 40, replace=False)
    histories = make_histories(
        split_of(LARGE_HARD, goals), replace(PERFECT, blur=blur, in_lanes=in_lanes, episodes=14)
    )
    places = histories.observations.reshape(len(goals), 14, 200, 2)
    hits = by_run(histories, histories.rewards) > 0  # (40, 14, 200)
    found = hits.any(-1).argmax(1)
    optimum = np.abs(np.stack(np.divmod(goals, 40), axis=-1) - 20).sum(-1).clip(1)
    reach = 2 * blur + 1  # of squares that may miss the place by one
    missed, looked = 0, []
    for goal, first, way, hit, least in zip(goals, found, places, hits, optimum, strict=True):
        for episode in range(first + 1, 14):
            in_time = hit[episode].any()
            arrival = hit[episode].argmax() + 1 if in_time else 200
            gaps = np.abs(way[episode, :arrival] - np.divmod(goal, 40)).max(-1)
            near = (gaps <= reach).argmax()
            assert near <= least + reach  # there without a search
            assert (gaps[near:] <= reach).all()  # and around it until it is found
            assert (way[episode, arrival:] == np.divmod(goal, 40)).all()
            looked.append(arrival - near)
            missed += not in_time
    assert missed <= 0.02 * len(looked)
    assert np.mean(looked) > 2 * blur
    assert max(looked) > (2 * blur + 1) ** 2 + 4 * reach  # more than one square


@pytest.mark.parametrize("name", ["linger", "blur"])
def test_cells_and_steps_must_not_be_negative(name):
    with pytest.raises(SettingError, match=f"{name}: must be 0 or more, got -1"):
        SearcherConfig(**{name: -1})
