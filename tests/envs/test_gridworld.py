"""The dark rooms against a slow room written from their table, one cell and one step at a time."""

from functools import cache

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from dmh_lib.envs import RULES, GridRules, GridVectorEnv, full_env_id, rules_of
from dmh_lib.errors import SettingError

DARKROOM, HARD, KEY_TO_DOOR = "dmh/Darkroom-v0", "dmh/DarkroomHard-v0", "dmh/DarkKeyToDoor-v0"
HORIZONS = {DARKROOM: 20, HARD: 20, KEY_TO_DOOR: 50}
START, SIDE, CELLS = (4, 4), 9, 81
CENTRE = 40  # id of the cell (4, 4)
CORNERS = [0, 8, 72, 80]
ORACLE = 5  # stands for whichever action leads straight to the target

each_room = pytest.mark.parametrize("env_id", list(HORIZONS))


# ------------------------------------------------------------------ the slow room


def plain_targets(env_id, task):
    cells = divmod(task, CELLS) if env_id == KEY_TO_DOOR else (task,)
    return tuple(divmod(cell, SIDE) for cell in cells)


def plain_step(env_id, targets, place, found, action):
    """Place, targets found so far and reward after one action."""
    x, y = place
    if action == 0 and x < SIDE - 1:
        x += 1
    elif action == 1 and x > 0:
        x -= 1
    elif action == 2 and y < SIDE - 1:
        y += 1
    elif action == 3 and y > 0:
        y -= 1
    if env_id == DARKROOM:
        return (x, y), found, 1.0 if (x, y) == targets[0] else 0.0
    if found < len(targets) and (x, y) == targets[found]:
        return (x, y), found + 1, 1.0
    return (x, y), found, 0.0


class PlainRoom:
    def __init__(self, env_id, task):
        self.env_id, self.targets = env_id, plain_targets(env_id, task)
        self.reset()

    def reset(self):
        self.place, self.found, self.time = START, 0, 0

    def step(self, action):
        """Place, reward, and whether the time is up; the room stays as it is then."""
        self.place, self.found, reward = plain_step(self.env_id, self.targets, self.place, self.found, action)
        self.time += 1
        return self.place, reward, self.time == HORIZONS[self.env_id]

    def way(self):
        """The action of an agent that knows the task: first along x, then along y."""
        target = self.targets[min(self.found, len(self.targets) - 1)]
        for axis in (0, 1):
            if self.place[axis] != target[axis]:
                return 2 * axis + (self.place[axis] > target[axis])
        return 4


def best_return(env_id, task):
    """The most that any plan collects, by trying every action everywhere."""
    targets = plain_targets(env_id, task)

    @cache
    def best(place, found, left):
        if left == 0:
            return 0.0
        outcomes = (plain_step(env_id, targets, place, found, action) for action in range(5))
        return max(reward + best(new, now, left - 1) for new, now, reward in outcomes)

    return best(START, 0, HORIZONS[env_id])


def special_tasks(env_id):
    cells = [CENTRE, CENTRE + 1, *CORNERS]
    if env_id != KEY_TO_DOOR:
        return cells
    return [key * CELLS + door for key in cells for door in cells]  # key = door and key = start among them


def task_lists(env_id):
    ids = st.sampled_from(special_tasks(env_id)) | st.integers(0, RULES[env_id].num_tasks - 1)
    return st.lists(ids, min_size=1, max_size=4)


# ------------------------------------------------------------------ transitions


@each_room
@given(data=st.data())
def test_batched_single_and_slow_room_agree_step_by_step(env_id, data):
    tasks = data.draw(task_lists(env_id))
    steps = data.draw(st.integers(1, 2 * HORIZONS[env_id] + 3))
    choices = data.draw(npst.arrays(np.int64, (steps, len(tasks)), elements=st.integers(0, ORACLE)))
    slow = [PlainRoom(env_id, task) for task in tasks]
    single = [gym.make(env_id, task=task) for task in tasks]
    batched = gym.make_vec(env_id, num_envs=len(tasks), vectorization_mode="vector_entry_point", tasks=tasks)
    observations, info = batched.reset()
    assert info == {}
    for index, env in enumerate(single):
        assert (env.reset()[0] == observations[index]).all()
        assert tuple(observations[index]) == START
    for row in choices:
        actions = [room.way() if move == ORACLE else move for room, move in zip(slow, row, strict=True)]
        observations, rewards, terminations, truncations, info = batched.step(np.array(actions))
        assert not terminations.any()
        for index, (room, env, action) in enumerate(zip(slow, single, actions, strict=True)):
            place, reward, ended = room.step(action)
            last, *outcome, about = env.step(action)
            assert outcome == [reward, False, ended]
            assert about == {}
            assert tuple(last) == place
            assert (rewards[index], truncations[index]) == (reward, ended)
            seen = info["final_obs"][index] if ended else observations[index]
            assert tuple(seen) == place
            if ended:
                room.reset()
                assert (env.reset()[0] == observations[index]).all()
        assert observations.dtype == rewards.dtype == np.float32
        assert batched.observation_space.contains(observations)
        assert [env.unwrapped.task for env in single] == tasks == batched.tasks.tolist()


@each_room
def test_random_play_over_all_kinds_of_tasks(env_id):
    rng = np.random.default_rng(0)
    tasks = np.concatenate([special_tasks(env_id), rng.integers(RULES[env_id].num_tasks, size=40)])
    rooms = GridVectorEnv(len(tasks), rules=RULES[env_id], tasks=tasks)
    slow = [PlainRoom(env_id, int(task)) for task in tasks]
    rooms.reset()
    for _ in range(HORIZONS[env_id] - 1):
        guided = rng.random(len(tasks)) < 0.5  # else hardly any room would pay
        moves = np.where(guided, [room.way() for room in slow], rng.integers(5, size=len(tasks)))
        observations, rewards, *_ = rooms.step(moves)
        expected = [room.step(move)[:2] for room, move in zip(slow, moves.tolist(), strict=True)]
        assert observations.tolist() == [list(place) for place, _ in expected]
        assert rewards.tolist() == [reward for _, reward in expected]


def test_key_that_is_the_door_needs_a_second_step():
    room = gym.make(KEY_TO_DOOR, task=CENTRE * CELLS + CENTRE)
    room.reset()
    assert [room.step(4)[1] for _ in range(4)] == [1, 1, 0, 0]


# ------------------------------------------------------------------ Gymnasium's contract


@each_room
def test_gymnasium_checker_is_content(env_id):
    check_env(gym.make(env_id).unwrapped, skip_render_check=True)


@each_room
def test_make_vec_gives_the_batched_room(env_id):
    rooms = gym.make_vec(env_id, num_envs=3, vectorization_mode="vector_entry_point")
    assert isinstance(rooms, GridVectorEnv)
    observations, _ = rooms.reset(seed=0)
    assert rooms.observation_space.contains(observations)
    assert rooms.action_space.contains(rooms.action_space.sample())
    assert rooms.single_action_space.n == 5
    rooms.close()


def test_an_ended_copy_is_reset_in_the_same_step():
    rooms = GridVectorEnv(2, rules=RULES[DARKROOM], tasks=[0, 80])
    assert rooms.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    rooms.reset()
    for _ in range(19):
        *_, truncations, info = rooms.step([0, 3])
        assert not truncations.any()
        assert info == {}
    observations, _, terminations, truncations, info = rooms.step([0, 3])
    assert truncations.all()
    assert not terminations.any()
    assert info["_final_obs"].all()
    assert info["final_obs"].tolist() == [[8, 4], [4, 0]]
    assert observations.tolist() == [[4, 4], [4, 4]]
    assert rooms.step([0, 3])[0].tolist() == [[5, 4], [4, 3]]


def test_what_was_seen_does_not_change_afterwards():
    rooms = GridVectorEnv(1, rules=RULES[DARKROOM], tasks=[0])
    first, _ = rooms.reset()
    rooms.step([0])
    assert first.tolist() == [[4, 4]]


@each_room
def test_same_seed_same_tasks(env_id):
    def drawn(seed):
        rooms = GridVectorEnv(50, rules=RULES[env_id])
        rooms.reset(seed=seed)
        return rooms.tasks.tolist()

    assert drawn(3) == drawn(3)
    assert drawn(3) != drawn(4)
    tasks = []
    for seed in (3, 3, 4):
        room = gym.make(env_id)
        room.reset(seed=seed)
        tasks.append(room.unwrapped.task)
    assert tasks[0] == tasks[1] != tasks[2]


def test_a_drawn_task_stays_until_a_seed_or_an_option_changes_it():
    rooms = GridVectorEnv(20, rules=RULES[DARKROOM])
    rooms.reset(seed=0)
    drawn = rooms.tasks.tolist()
    rooms.reset()
    assert rooms.tasks.tolist() == drawn
    rooms.reset(seed=1)
    assert rooms.tasks.tolist() != drawn
    rooms.reset(options={"tasks": np.arange(20)})
    assert rooms.tasks.tolist() == list(range(20))


def test_fixed_tasks_survive_every_reset():
    rooms = GridVectorEnv(2, rules=RULES[DARKROOM], tasks=[7, 9])
    room = gym.make(DARKROOM, task=7)
    for seed in (None, 0, 1):
        rooms.reset(seed=seed)
        room.reset(seed=seed)
        assert rooms.tasks.tolist() == [7, 9]
        assert room.unwrapped.task == 7
    room.reset(options={"task": 8})
    assert room.unwrapped.task == 8


# ------------------------------------------------------------------ optimum


@each_room
def test_optimal_returns_are_those_of_brute_force(env_id):
    rng = np.random.default_rng(1)
    tasks = [*special_tasks(env_id)[:12], *rng.integers(RULES[env_id].num_tasks, size=6).tolist()]
    expected = [best_return(env_id, task) for task in tasks]
    assert RULES[env_id].optimal_returns(tasks).tolist() == expected


def test_optimal_returns_when_time_runs_short():
    rules = GridRules(9, 3, (4, 4), "every")
    # two steps away: the second and the third step pay; four steps away: out of reach
    assert rules.optimal_returns([CENTRE, CENTRE + 1, CENTRE + 2, 0]).tolist() == [3, 3, 2, 0]
    rules = GridRules(9, 3, (4, 4), "once", num_targets=2)
    near, far = CENTRE + 1, CENTRE + 4
    pairs = [near * CELLS + CENTRE, near * CELLS + far, far * CELLS + near]
    assert rules.optimal_returns(pairs).tolist() == [2, 1, 0]


def test_mean_optimum_over_all_goals():
    assert RULES[DARKROOM].optimal_returns(np.arange(81)).mean() == pytest.approx(1340 / 81)  # 16.543
    assert RULES[HARD].optimal_returns(np.arange(81)).tolist() == [1] * 81
    assert RULES[KEY_TO_DOOR].optimal_returns(np.arange(81**2)).tolist() == [2] * 81**2


@each_room
def test_walking_straight_collects_the_optimum(env_id):
    tasks = np.arange(81) if env_id != KEY_TO_DOOR else np.arange(0, 81**2, 13)
    rooms = GridVectorEnv(len(tasks), rules=RULES[env_id], tasks=tasks)
    slow = [PlainRoom(env_id, int(task)) for task in tasks]
    rooms.reset()
    total = np.zeros(len(tasks))
    for _ in range(HORIZONS[env_id]):
        actions = [room.way() for room in slow]
        total += rooms.step(actions)[1]
        for room, action in zip(slow, actions, strict=True):
            room.step(action)
    assert total.tolist() == RULES[env_id].optimal_returns(tasks).tolist()


# ------------------------------------------------------------------ names and errors


@pytest.mark.parametrize("name", [DARKROOM, "Darkroom-v0", "dmh/Darkroom", "darkroom"])
def test_short_names_are_understood(name):
    assert full_env_id(name) == DARKROOM
    assert rules_of(name) is RULES[DARKROOM]


def test_an_unknown_room_is_answered_with_the_known_ones():
    with pytest.raises(SettingError, match=r"'darkhall' is not known; .*darkroom, darkroomhard, darkkey"):
        rules_of("darkhall")


@each_room
@pytest.mark.parametrize("beyond", [True, False])
def test_a_task_outside_the_room_is_refused(env_id, beyond):
    last = RULES[env_id].num_tasks - 1
    task = last + 1 if beyond else -1
    with pytest.raises(SettingError, match=rf"task: ids must lie in 0 … {last}, got {task}"):
        gym.make(env_id, task=task)
    with pytest.raises(SettingError, match="task: ids must lie in"):
        GridVectorEnv(2, rules=RULES[env_id]).reset(options={"tasks": [0, task]})


def test_every_copy_needs_a_task():
    with pytest.raises(SettingError, match="3 environments need as many task ids, got 2"):
        GridVectorEnv(3, rules=RULES[DARKROOM], tasks=[1, 2])
