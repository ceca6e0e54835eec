"""Mazes that are written down, against mazes that are played and batches that are cut from episodes."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dmh_lib.agents import PlayConfig
from dmh_lib.data import Trajectories, concatenate
from dmh_lib.data.contexts import ContextConfig, ContextSampler
from dmh_lib.data.maze_sampling import MazeConfig, MazeSampler, MazeWindowSampler
from dmh_lib.data.mazes import MazeDataConfig, load_or_make_mazes, make_mazes
from dmh_lib.envs import MazeRules, maze_id
from dmh_lib.errors import DataError, SettingError
from dmh_lib.mazes import evaluate_mazes
from dmh_lib.models import ADConfig, DMHConfig, DTConfig
from dmh_lib.train_config import TrainConfig
from dmh_lib.training import train

lengths = st.integers(1, 9)


# ------------------------------------------------------------------ episodes


@given(
    length=lengths,
    active=st.booleans(),
    shares=st.tuples(*[st.sampled_from([0.0, 0.5, 1.0])] * 3),
    seed=st.integers(0, 99),
)
def test_what_is_written_down_is_what_the_environment_gives(length, active, shares, seed):
    data = make_mazes(maze_id(active), MazeDataConfig(length, 6, *shares), seed=seed)
    rules = MazeRules(length, active)
    tasks = [episode.task_id for episode in data]
    assert tasks == [0, 1, 0, 1, 0, 1]
    mazes = rules.make_vec(tasks)
    shape = (6, rules.horizon)
    seen, _ = mazes.reset()
    for step, actions in enumerate(data.actions.reshape(shape).T):
        assert data.observations.reshape(*shape, 2)[:, step].tolist() == seen.tolist()
        seen, rewards, terminations, _, _ = mazes.step(actions)
        assert data.rewards.reshape(shape)[:, step].tolist() == rewards.tolist()
        assert data.terminations.reshape(shape)[:, step].tolist() == terminations.tolist()
    assert not data.truncations.any()


@pytest.mark.parametrize("active", [False, True])
def test_returns_of_experts_guessers_and_dawdlers(active):
    env_id = maze_id(active)
    assert (make_mazes(env_id, MazeDataConfig(50)).returns == 1).all()
    guessers = make_mazes(env_id, MazeDataConfig(50, 1000, coin_flips=1)).returns
    assert set(guessers) == {0, 1}
    assert guessers.mean() == pytest.approx(0.5, abs=0.06)
    dawdlers = make_mazes(env_id, MazeDataConfig(50, dawdlers=1, bumps=0.5)).returns
    assert (dawdlers < 0).all()
    mixed = make_mazes(env_id, MazeDataConfig.mixed(50, 2000))
    assert mixed.returns.max() == 1
    shares = [(mixed.returns < 0).mean(), (mixed.returns == 0).mean()]
    assert shares == pytest.approx([0.25, 0.75 * 0.25], abs=0.04)
    assert [mixed.metadata["behaviour"], mixed.metadata["env_id"]] == ["mixed", env_id]


def test_same_seed_same_episodes():
    hashes = [
        make_mazes("dmh/TMaze-v0", MazeDataConfig.mixed(20), seed=seed).data_hash() for seed in (1, 1, 2)
    ]
    assert hashes[0] == hashes[1] != hashes[2]


# ------------------------------------------------------------------ contexts


def cut(batch_lengths, goals, active, chunk_len, inside):
    """The batch of the sampler that cuts stored episodes, everything learned."""
    parts = []
    for length, goal in zip(batch_lengths, goals, strict=True):
        pair = make_mazes(maze_id(active), MazeDataConfig(length, 2))
        parts.append(pair.select([(goal + 1) // 2]))
    data: Trajectories = concatenate(parts)
    config = ContextConfig(1, supervise="all", goal_share=1.0)
    sampler = ContextSampler(data, config, chunk_len, inside=inside)
    episodes = np.arange(len(parts))[:, None]
    return sampler.build(episodes, np.ones(len(parts), dtype=np.int64))


@given(
    chunk_len=st.integers(1, 6),
    chunks=st.integers(1, 5),
    active=st.booleans(),
    inside=st.booleans(),
    data=st.data(),
)
def test_contexts_are_those_that_are_cut_from_episodes(chunk_len, chunks, active, inside, data):
    beyond = MazeRules(1, active).horizon - 1
    possible = range(max(chunk_len * (chunks - 1) + 1 - beyond, 1), chunk_len * chunks - beyond + 1)
    if not possible:
        return
    batch_lengths = data.draw(st.lists(st.sampled_from(possible), min_size=1, max_size=4))
    goals = data.draw(st.lists(st.sampled_from([-1, 1]), min_size=len(batch_lengths), max_size=4))
    goals = (goals * 4)[: len(batch_lengths)]
    expected = cut(batch_lengths, goals, active, chunk_len, inside)
    rows, places = divmod(expected.rows.numpy(), expected.states.shape[1])
    sampler = MazeSampler(MazeConfig(active=active, goal_share=1.0), chunk_len, inside=inside)
    found = sampler.build(np.array(batch_lengths), np.array(goals), rows, places)
    for name, tensor in vars(expected).items():
        mine = getattr(found, name)
        assert (mine.shape, mine.dtype) == (tensor.shape, tensor.dtype), name
        if name == "weights":
            mine, tensor = found.mask, expected.mask
        if name.startswith("inside"):  # padding shows any step
            mine, tensor = mine[found.inside_mask], tensor[expected.inside_mask]
        if name in ("observations", "actions", "rewards"):
            mine, tensor = mine[found.mask], tensor[expected.mask]
        assert torch.equal(mine, tensor), name


@pytest.mark.parametrize("share", [0.5, 0.2])
@pytest.mark.parametrize("active", [False, True])
def test_turns_have_their_share_of_the_loss(active, share):
    config = MazeConfig(longest=300, first_cap=300, junction_share=share, active=active)
    sampler = MazeSampler(config, 7)
    for _ in range(5):
        batch = sampler.sample(8)
        turns = batch.mask & (batch.rewards > 0)
        assert turns.sum() == len(batch.states)
        assert (batch.weights[turns].sum() / batch.weights.sum()).item() == pytest.approx(share)
        assert batch.weights[batch.mask & ~turns].unique().tolist() == [1]
        assert len(batch.rows) <= 6 * len(batch.states)
        first = batch.rows % batch.states.shape[1] == 0
        assert first.sum() == len(batch.states)
        assert len(batch.goal_states) == int(np.ceil(0.25 * len(batch.rows)))
        assert batch.inside_actions.shape[2] == 0


def lengths_drawn(config, chunk_len=20, batch_size=4, updates=400):
    sampler = MazeSampler(config, chunk_len)
    return [sampler.draw(batch_size)[0] for _ in range(updates)]


def test_lengths_grow_with_the_curriculum():
    config = MazeConfig(longest=100_000, rise_begins=100, rise_ends=300)
    assert [config.cap(update) for update in (0, 100, 300, 10**6)] == pytest.approx([2000, 2000, 1e5, 1e5])
    assert config.cap(200) == pytest.approx((2000 * 1e5) ** 0.5)
    drawn = lengths_drawn(config)
    longest = [max(row.max() for row in drawn[start : start + 100]) for start in (0, 100, 300)]
    assert longest[0] < 2020 < longest[1] < 1e5
    assert 3e4 < longest[2] <= 1e5
    assert min(row.min() for row in drawn) >= 60
    late = np.log([row[0] for row in lengths_drawn(MazeConfig(10_000, first_cap=10_000), updates=2000)])
    assert late.mean() == pytest.approx((np.log(60) + np.log(10_000)) / 2, abs=0.15)  # log-uniform
    short = [row.max() for row in lengths_drawn(MazeConfig(longest=100))]
    assert 90 < max(short) <= 100


def test_a_curriculum_can_be_fitted_to_the_updates():
    fitted = MazeConfig.over(1000, 50_000, shortest=10)
    assert (fitted.rise_begins, fitted.rise_ends, fitted.longest, fitted.shortest) == (150, 550, 50_000, 10)
    assert MazeConfig.over(1).rise_ends == 1


def test_batches_are_bounded_and_alike():
    config = MazeConfig(longest=4000, first_cap=4000, most_chunks=600, active=True)
    places = set()
    for row in lengths_drawn(config, chunk_len=5, batch_size=16):
        chunks = set((row + 3 - 1) // 5 + 1)
        assert len(chunks) == 1
        assert len(row) == max(1, min(16, 600 // chunks.pop()))
        places |= set((row + 2) % 5)
    assert places == {0, 1, 2, 3, 4}
    _, goals = MazeSampler(MazeConfig(), 5).draw(4)
    assert sorted(goals) == [-1, -1, 1, 1]


@pytest.mark.parametrize(
    "make",
    [
        lambda seed: MazeSampler(MazeConfig(), 20, seed),
        lambda seed: MazeWindowSampler(MazeConfig(), 30_000, seed),
    ],
)
def test_seed_decides_and_a_stored_state_continues(make):
    def same(one, other):
        return all(torch.equal(tensor, getattr(other, name)) for name, tensor in vars(one).items())

    one, other, third = make(1), make(1), make(2)
    for _ in range(3):
        first = one.sample(2)
        assert same(first, other.sample(2))
    third.load_state_dict(json.loads(json.dumps(one.state_dict())))
    assert third.update == 3
    later = [(one.sample(2), third.sample(2)) for _ in range(3)]
    assert all(same(*pair) for pair in later)
    assert not same(later[0][0], later[1][0])
    assert same(first, first.to("cpu"))


# ------------------------------------------------------------------ windows


@pytest.mark.parametrize("active", [False, True])
def test_windows_are_whole_episodes(active):
    sampler = MazeWindowSampler(MazeConfig(longest=200, first_cap=200, active=active), 203, seed=3)
    batch = sampler.sample(4)
    length = batch.actions.shape[1] - (3 if active else 1)
    data = make_mazes(maze_id(active), MazeDataConfig(length, 2))
    goals = batch.actions[:, -1]
    assert sorted(goals.tolist()) == [1, 1, 3, 3]
    for row in range(4):
        episode = data.episode(1 if goals[row] == 1 else 0)
        for name in ("observations", "actions", "rewards"):
            assert torch.equal(getattr(batch, name)[row], torch.from_numpy(getattr(episode, name)))
        assert batch.ended[row].nonzero().flatten().tolist() == [len(episode) - 1]
    assert batch.mask.sum(1).tolist() == [2, 2, 2, 2]
    assert batch.mask[:, -1].all()
    targets = MazeWindowSampler(sampler.config, 203, seed=3, targets=True).sample(4)
    assert torch.equal(targets.actions, batch.actions)
    assert (targets.returns_to_go == 1).all()
    assert targets.returns_to_go.shape == batch.rewards.shape
    many = MazeWindowSampler(MazeConfig(longest=200, most_chunks=1, junction_share=0.2), 300)
    assert many.sample(4).mask.sum(1).max() <= 5
    assert len(many.sample(4).mask) == 1


# ------------------------------------------------------------------ training


def test_training_on_mazes_resumes_bit_exactly(tmp_path):
    data = make_mazes("dmh/TMaze-v0", MazeDataConfig(20, 4))
    model = DMHConfig.small(2, 4, chunk_len=5, d_model=16, heads=1)
    mazes = MazeConfig(longest=200, shortest=10, first_cap=20, rise_begins=2, rise_ends=8)
    config = TrainConfig(updates=6, batch_size=4, warmup=2, log_every=1, checkpoint_every=3)
    whole = train(data, model, tmp_path / "whole", mazes, config)
    train(data, model, tmp_path / "parts", mazes, config)
    newest = sorted((tmp_path / "parts").glob("checkpoint-*"))[-1]
    for file in newest.iterdir():
        file.unlink()
    newest.rmdir()
    resumed = train(data, model, tmp_path / "parts", mazes, config, resume=True)
    assert resumed.history.equals(whole.history)
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, resumed.model.state_dict()[name])
    assert whole.play == PlayConfig()


@pytest.mark.parametrize("kind", [ADConfig, DTConfig])
@pytest.mark.parametrize("backbone", ["transformer", "mamba"])
def test_models_of_single_steps_learn_mazes(kind, backbone, tmp_path):
    data = make_mazes("dmh/TMaze-v0", MazeDataConfig(10, 4))
    model = kind.small(2, 4, context_len=31, d_model=16, layers=1, heads=1, backbone=backbone)
    mazes = MazeConfig(longest=30, shortest=5, first_cap=30)
    training = TrainConfig(updates=20, batch_size=8, learning_rate=1e-2, warmup=2, log_every=10)
    result = train(data, model, tmp_path, mazes, training)
    assert result.history["loss"].iloc[-1] < result.history["loss"].iloc[0]
    play = replace(result.play, temperature=0.0)
    assert play.target_return == (kind is DTConfig)
    assert evaluate_mazes(result.model, [20], 4, play=play)["return"].notna().all()


def test_mazes_of_another_kind_are_refused(tmp_path):
    data = make_mazes("dmh/TMaze-v0", MazeDataConfig(20, 4))
    model = DMHConfig.small(2, 4)
    with pytest.raises(
        DataError, match="'env_id' is dmh/TMaze-v0; MazeConfig needs episodes of dmh/TMazeActive"
    ):
        train(data, model, tmp_path, MazeConfig(active=True))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: MazeDataConfig(episodes=0), "episodes: must be at least 1"),
        (lambda: MazeDataConfig(bumps=1.5), "bumps: a share lies in 0 … 1"),
        (lambda: make_mazes("dmh/Darkroom-v0"), "environment: 'darkroom' is not known"),
        (lambda: make_mazes("dmh/TMaze-v0", MazeDataConfig(10**7)), "are more than 200,000,000 steps"),
        (lambda: make_mazes("dmh/TMaze-v0", seed=-1), "seed: must be 0 or more"),
        (lambda: MazeConfig(longest=50), "shortest: must be 1 to 50, the lesser of longest and first_cap"),
        (lambda: MazeConfig(rise_begins=9, rise_ends=9), "rise_begins: must be 0 to 8, got 9"),
        (lambda: MazeConfig(most_chunks=0), "most_chunks: must be at least 1"),
        (lambda: MazeConfig(learned_chunks=1), "learned_chunks: must be at least 2"),
        (lambda: MazeConfig(goal_share=2), "goal_share: a share lies in 0 … 1"),
        (lambda: MazeConfig(junction_share=1), "junction_share: must lie between 0 and 1"),
        (lambda: MazeWindowSampler(MazeConfig(), 20_000), "mazes of 20,001 steps do not fit into 20,000"),
        (lambda: MazeSampler(MazeConfig(), 0), "chunk_len: must be at least 1"),
    ],
)
def test_settings_that_cannot_work_are_refused(wrong, message):
    with pytest.raises(SettingError, match=message):
        wrong()


def test_mazes_are_made_once(tmp_path):
    path, config = tmp_path / "maze.hdf5", MazeDataConfig.mixed(10, 6)
    made = load_or_make_mazes(path, "tmaze", config, seed=1)
    assert made.data_hash() == make_mazes("tmaze", config, seed=1).data_hash()
    written = path.stat().st_mtime_ns
    assert load_or_make_mazes(path, "tmaze", config, seed=1).data_hash() == made.data_hash()
    assert path.stat().st_mtime_ns == written
    for env_id, other, seed, field in (
        ("tmazeactive", config, 1, "env_id"),
        ("tmaze", MazeDataConfig.mixed(12, 6), 1, "settings"),
        ("tmaze", config, 2, "seed"),
    ):
        with pytest.raises(DataError, match=f"field '{field}' is not what was asked for; remove the file"):
            load_or_make_mazes(path, env_id, other, seed=seed)
