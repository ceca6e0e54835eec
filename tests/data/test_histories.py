"""Learning histories: legal, reproducible, of training tasks only, and showing an agent that learns."""

import numpy as np
import pytest

from dmh_lib.data.dqn import DQNConfig
from dmh_lib.data.exploration import ExplorationConfig
from dmh_lib.data.histories import load_or_make, make_histories
from dmh_lib.data.q_learning import QLearner, QLearningConfig
from dmh_lib.data.searcher import SearcherConfig
from dmh_lib.envs import MOVES, GridVectorEnv, TaskSplit, make_split, rules_of
from dmh_lib.errors import DataError, SettingError

DARKROOM, KEY_TO_DOOR = "dmh/Darkroom-v0", "dmh/DarkKeyToDoor-v0"
SIDE = 9
TINY = {
    "searcher": SearcherConfig(runs_per_task=3, episodes=4),
    "q-learning": QLearningConfig(runs_per_task=3, episodes=4),
    # few enough kept transitions that the oldest are overwritten, and the target network is copied
    "dqn": DQNConfig(runs_per_task=3, episodes=4, hidden=8, batch_size=4, replay=30, target_every=10),
}
PERFECT = SearcherConfig(runs_per_task=1, episodes=20, noise=0.0, forgetful_runs=0.0)

each_room = pytest.mark.parametrize("env_id", [DARKROOM, KEY_TO_DOOR])
each_learner = pytest.mark.parametrize("learner", list(TINY))


def split_of(env_id, train):
    return TaskSplit(env_id, 0, tuple(train), ())


def by_run(histories, values):
    """Steps of equal runs of equal episodes: (runs, episodes, horizon)."""
    horizon = rules_of(histories.metadata["env_id"]).horizon
    return values.reshape(len(histories.run_offsets) - 1, -1, horizon)


# ------------------------------------------------------------------ every learner


@each_room
@each_learner
def test_seed_decides_everything(env_id, learner):
    split = make_split(env_id, num_train=4)
    first, again, other = (make_histories(split, TINY[learner], seed=seed) for seed in (5, 5, 6))
    assert first.data_hash() == again.data_hash()
    assert (first.actions != other.actions).any()  # the hashes would differ by the seed on record alone


@each_room
@each_learner
def test_recorded_steps_are_what_the_room_answers(env_id, learner):
    histories = make_histories(make_split(env_id, num_train=4), TINY[learner])
    runs, horizon = len(histories.run_offsets) - 1, rules_of(env_id).horizon
    rooms = GridVectorEnv(runs, rules=rules_of(env_id), tasks=histories.task_ids[histories.run_offsets[:-1]])
    actions, rewards = by_run(histories, histories.actions), by_run(histories, histories.rewards)
    observations = histories.observations.reshape(*actions.shape, 2)
    seen, _ = rooms.reset()
    for episode in range(actions.shape[1]):
        for step in range(horizon):
            assert (observations[:, episode, step] == seen).all()
            seen, gained, _, truncations, _ = rooms.step(actions[:, episode, step])
            assert (rewards[:, episode, step] == gained).all()
        assert truncations.all()
    assert (histories.lengths == horizon).all()
    assert not histories.terminations.any()
    assert histories.truncations.sum() == histories.num_episodes


@each_learner
def test_only_training_tasks_appear_and_the_split_is_on_record(learner):
    split = make_split(DARKROOM, seed=2, num_train=5)
    histories = make_histories(split, TINY[learner], seed=9)
    assert set(histories.task_ids) == set(split.train)
    assert len(histories.run_offsets) - 1 == 3 * 5
    assert (np.diff(histories.run_offsets) == 4).all()
    assert TaskSplit.from_dict(histories.metadata["split"]) == split
    about = {key: histories.metadata[key] for key in ("env_id", "behaviour", "seed", "num_actions")}
    assert about == {"env_id": DARKROOM, "behaviour": learner, "seed": 9, "num_actions": 5}
    assert histories.metadata["settings"]["runs_per_task"] == 3


def test_the_searcher_is_the_default():
    assert make_histories(split_of(DARKROOM, [3])).metadata["behaviour"] == "searcher"


def test_a_split_with_tasks_that_the_room_lacks_is_refused():
    with pytest.raises(SettingError, match="task: ids must lie in 0 … 80"):
        make_histories(split_of(DARKROOM, [81]), TINY["searcher"])


# ------------------------------------------------------------------ learners


def share_of_optimum(histories, episodes):
    """Mean return over the given episodes of every run, relative to what was possible."""
    returns = by_run(histories, histories.rewards).sum(-1)[:, episodes]
    tasks = histories.task_ids[histories.run_offsets[:-1]]
    optimum = rules_of(histories.metadata["env_id"]).optimal_returns(tasks)
    return (returns / optimum[:, None]).mean()


def test_q_learning_goes_from_random_to_nearly_optimal():
    config = QLearningConfig(runs_per_task=1, episodes=300)
    histories = make_histories(make_split(DARKROOM, num_train=6), config)
    assert share_of_optimum(histories, slice(0, 20)) < 0.4
    assert share_of_optimum(histories, slice(-20, None)) > 0.8


def test_q_learning_finds_key_and_door():
    # the door pays only after the key, so this fails if targets reached are not part of the state
    key_at_start, door_near = 40, 40 + 2
    config = QLearningConfig(runs_per_task=4, episodes=200)
    histories = make_histories(split_of(KEY_TO_DOOR, [key_at_start * 81 + door_near]), config)
    assert share_of_optimum(histories, slice(-20, None)) > 0.9


def test_q_learning_looks_ahead_from_the_stage_it_reached():
    learner = QLearner(rules_of(KEY_TO_DOOR), 1, QLearningConfig(learning_rate=0.5, discount=0.5), seed=0)
    ahead, behind = np.array([41]), np.array([40])
    action, before, after = np.array([0]), np.array([0]), np.array([1])
    reward = np.ones(1, dtype=np.float32)
    learner.learn(ahead, after, action, reward, ahead)  # worth ½ · 1 with the key in hand
    learner.learn(behind, before, action, reward, ahead)  # finds the key: ½ · (1 + ½ · ½)
    assert learner._values[0, [81 + 41, 40], 0].tolist() == [0.5, 0.625]


def test_dqn_improves_clearly():
    config = DQNConfig(episodes=100, hidden=32, learning_rate=3e-3, replay=2000, target_every=50)
    histories = make_histories(make_split(DARKROOM, num_train=4), config)
    early, late = share_of_optimum(histories, slice(0, 20)), share_of_optimum(histories, slice(-20, None))
    assert early < 0.3 < 0.6 < late


def test_random_actions_fade_in_a_line():
    config = ExplorationConfig(episodes=10, explore=0.5, final_noise=0.1)
    assert [config.noise(episode) for episode in (0, 2, 5, 9)] == pytest.approx(
        [1, 1 - 0.9 * 2 / 5, 0.1, 0.1]
    )
    assert ExplorationConfig(episodes=10, explore=0.0).noise(0) == 1  # nothing to divide by


# ------------------------------------------------------------------ the searcher


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


# ------------------------------------------------------------------ files


def test_histories_are_made_once_and_never_stand_in_for_others(tmp_path):
    path, split, config = tmp_path / "h.hdf5", make_split(DARKROOM, num_train=2), TINY["searcher"]
    made = load_or_make(path, split, config, seed=3)
    written = path.stat().st_mtime_ns
    again = load_or_make(path, split, config, seed=3)
    assert path.stat().st_mtime_ns == written
    assert made.data_hash() == again.data_hash() == make_histories(split, config, seed=3).data_hash()
    others = {
        "seed": (split, config, 4),
        "settings": (split, SearcherConfig(runs_per_task=1, episodes=4), 3),
        "behaviour": (split, TINY["q-learning"], 3),
        "split": (make_split(DARKROOM, 1, num_train=2), config, 3),
    }
    for field, (other_split, other_config, seed) in others.items():
        with pytest.raises(DataError, match=rf"h\.hdf5: field '{field}' is not what was asked for"):
            load_or_make(path, other_split, other_config, seed=seed)
    assert path.stat().st_mtime_ns == written
