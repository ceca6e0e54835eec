"""Evaluation in mazes: what is read at once against what is played, step by step."""

import numpy as np
import pandas as pd
import pytest
import torch

from dmh_lib.agents import ADAgent, DMHAgent, DTAgent, PlayConfig
from dmh_lib.data.maze_sampling import MazeConfig
from dmh_lib.data.mazes import MazeDataConfig, expert_steps, make_mazes
from dmh_lib.envs import MazeRules, maze_id
from dmh_lib.envs.tmaze import TMazeVectorEnv
from dmh_lib.errors import DataError, SettingError
from dmh_lib.mazes import evaluate_along_path, evaluate_mazes, maze_set
from dmh_lib.models import AD, DMH, DT, ADConfig, DMHConfig, DTConfig
from dmh_lib.results import COLUMNS, by_length
from dmh_lib.train_config import TrainConfig
from dmh_lib.training import train


def model_of(active=False, **changes):
    torch.manual_seed(0)
    model = DMH(DMHConfig.small(2, 4, **({"chunk_len": 5, "d_model": 16, "heads": 1} | changes)))
    model.fit_normalisation(make_mazes(maze_id(active), MazeDataConfig(20, 4)))
    return model.eval()


def test_mazes_of_a_set_differ():
    corridors, tasks = maze_set(10, 5)
    assert corridors.tolist() == [10, 10, 9, 9, 8]
    assert tasks.tolist() == [0, 1, 0, 1, 0]
    for mazes in (0, 21):
        with pytest.raises(SettingError, match="mazes: 1 to 20 differ at length 10"):
            maze_set(10, mazes)


@pytest.mark.parametrize(
    ("active", "changes"),
    [
        (False, {}),
        (True, {"tokens": "paper"}),
        (True, {"chunk_summary": True}),
        (False, {"memory": "attention", "most_chunks": 20}),
    ],
)
def test_the_path_read_at_once_is_the_path_walked(active, changes):
    model, lengths = model_of(active, **changes), (9, 33)
    table = evaluate_along_path(model, lengths, mazes=14, active=active, checked=100)
    assert len(table) == 28
    for length in lengths:
        corridors, tasks = maze_set(length, 14)
        env = TMazeVectorEnv(14, length=corridors, active=active, tasks=tasks)
        goals, agent = MazeRules().goals(tasks), DMHAgent(model, PlayConfig(0.0), backend="eager")
        seen, _ = env.reset()
        agent.begin(14)
        margins = np.full((env.horizons.max(), 14), np.nan)
        for step in range(env.horizons.max()):
            _, way, _ = expert_steps(corridors, goals, np.minimum(step, env.horizons - 1), active)
            agent.act(seen)
            right = agent.logits[np.arange(14), way]
            others = np.where(np.arange(4) == way[:, None], -np.inf, agent.logits).max(1)
            walking = step < env.horizons
            margins[step, walking] = (right - others)[walking]
            agent._last_action = way
            seen, rewards, terminations, truncations, _ = env.step(way)
            agent.observe(rewards, terminations, truncations)
        turns = margins[env.horizons - 1, np.arange(14)]
        found = table[table["corridor"] == length].set_index(["length", "task"])
        for index, key in enumerate(zip(env.horizons, tasks, strict=True)):
            assert found.loc[key, "margin"] == pytest.approx(turns[index], abs=1e-4)
            assert found.loc[key, "correct"] == (turns[index] > 0)
        for task in (0, 1):  # the longest maze of each task stands for the way of all
            way_margin = np.nanmin(margins[: env.horizons[task] - 1, task])
            assert found.xs(task, level="task")["way_margin"].tolist() == pytest.approx(
                [way_margin] * 7, abs=1e-4
            )


@pytest.mark.parametrize("tokens", ["fused", "paper"])
@pytest.mark.parametrize(("kind", "agent"), [(DTConfig, DTAgent), (ADConfig, ADAgent)])
def test_a_path_read_into_a_cache_is_the_path_walked(kind, agent, tokens):
    torch.manual_seed(0)
    method = DT if kind is DTConfig else AD
    model = method(kind.small(2, 4, context_len=40, d_model=16, heads=1, tokens=tokens)).eval()
    table = evaluate_along_path(model, [9, 33], mazes=10, active=True)
    assert len(table) == 20
    play = PlayConfig(0.0, target_return=1.0)
    for row in table.itertuples():
        rules = MazeRules(row.length - 3, active=True)
        goals, player = rules.goals([row.task]), agent(model, play)
        env = TMazeVectorEnv(1, length=rules.length, active=True, tasks=[row.task])
        seen, _ = env.reset()
        player.begin(1)
        found = []
        for step in range(rules.horizon):
            player.act(seen)
            _, way, _ = expert_steps(rules.length, goals, step, active=True)
            player._last_action = torch.from_numpy(way)
            found.append(player.logits[0, way[0]] - np.delete(player.logits[0], way[0]).max())
            seen, rewards, terminations, truncations, _ = env.step(way)
            player.observe(rewards, terminations, truncations)
        assert row.margin == pytest.approx(float(found[-1]), abs=1e-5)
        assert row.correct == (found[-1] > 0)
        if row.length - 3 == row.corridor:  # the longest stands for the way of all
            assert row.way_margin == pytest.approx(float(min(found[:-1])), abs=1e-5)


def test_paths_that_cannot_be_read_at_once():
    with pytest.raises(SettingError, match="41 steps do not fit"):
        evaluate_along_path(DT(DTConfig.small(2, 4, context_len=40)), [40], 4)
    with pytest.raises(SettingError, match="let it play"):
        evaluate_along_path(DT(DTConfig.small(2, 4, backbone="mamba")), [20], 4)


def test_playing_mazes_gives_a_tidy_table():
    model = model_of()
    table = evaluate_mazes(model, [4, 12], mazes=6)
    assert list(table.columns) == [*COLUMNS, "corridor"]
    assert table["length"].tolist() == [5, 5, 4, 4, 3, 3, 13, 13, 12, 12, 11, 11]
    assert table["corridor"].tolist() == [4] * 6 + [12] * 6
    assert table["task"].tolist() == [0, 1] * 6
    assert (table["percent_of_optimum"] == 100 * table["return"]).all()
    assert table[["method", "env_id", "seed", "episode"]].iloc[0].tolist() == ["DM-H", "dmh/TMaze-v0", 0, 1]
    assert table.equals(evaluate_mazes(model, [4, 12], mazes=6, seed=0))
    random = PlayConfig(temperature=1.0)
    played = [evaluate_mazes(model, [9], 18, play=random, seed=seed)["return"].tolist() for seed in (0, 0, 1)]
    assert played[0] == played[1] != played[2]


def test_other_methods_and_active_mazes_can_be_played():
    torch.manual_seed(0)
    table = evaluate_mazes(AD(ADConfig.small(2, 4, context_len=50, d_model=16)).eval(), [6], 4, active=True)
    assert table["length"].tolist() == [9, 9, 8, 8]
    assert set(table["method"]) == {"AD"}
    assert set(table["env_id"]) == {"dmh/TMazeActive-v0"}


def test_a_trained_agent_is_right_in_play_and_along_the_path(tmp_path):
    data = make_mazes("dmh/TMaze-v0", MazeDataConfig(10, 4))
    sizes = {"chunk_len": 5, "d_model": 32, "heads": 2, "mamba_layers": 1, "transformer_layers": 1}
    mazes = MazeConfig(longest=30, shortest=5, first_cap=30)
    training = TrainConfig(updates=150, batch_size=32, learning_rate=1e-2, warmup=10)
    model = train(data, DMHConfig.small(2, 4, **sizes), tmp_path, mazes, training).model
    assert evaluate_mazes(model, [20], mazes=20)["return"].tolist() == [1] * 20
    path = evaluate_along_path(model, [20], mazes=20)
    assert path["correct"].all()
    assert (path[["margin", "way_margin"]] > 0).all(axis=None)


def test_scores_by_length():
    solved = [1.0, 1.0, 1.0, 0.0] * 5
    table = pd.DataFrame({"method": "DM-H", "corridor": [9] * 20 + [5] * 20, "return": solved + [1.0] * 20})
    found = by_length(table)
    assert found[["corridor", "mean"]].to_numpy().tolist() == [[9, 0.75], [5, 1.0]]
    assert found["low"][0] < 0.75 < found["high"][0]
    assert found["low"][1] == found["high"][1] == 1
    pd.testing.assert_frame_equal(by_length(table.rename(columns={"return": "correct"}), "correct"), found)
    seeded = pd.concat([table.assign(training_seed=0), table.assign(training_seed=1)])
    assert by_length(seeded)["mean"].tolist() == [0.75, 1.0]
    with pytest.raises(DataError, match="not every training seed has every maze of 5"):
        by_length(seeded[:-1])
