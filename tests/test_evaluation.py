"""Evaluation: what is counted, for whom, and the tables that come of it."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from gymnasium.vector import AutoresetMode
from pyarrow import parquet

from dmh_lib import evaluation
from dmh_lib.agents import DMHAgent, PlayConfig
from dmh_lib.envs import RULES, GridVectorEnv, make_split, room_of, rules_of
from dmh_lib.errors import DataError, SettingError
from dmh_lib.evaluation import (
    TEMPERATURES,
    choose_play,
    evaluate,
    evaluate_in_gym,
    evaluate_on_tasks,
    evaluate_split,
    walk,
)
from dmh_lib.methods import Method, method_of
from dmh_lib.models import DMH, DT, ADConfig, ATConfig, DMHConfig, DTConfig, StepConfig
from dmh_lib.results import ABOUT, COLUMNS, curves, read_about, read_results, summarise, write_results


class Walker:
    """Knows the goals and walks straight there: must score the optimum."""

    def __init__(self, targets: np.ndarray) -> None:
        self.targets = targets[:, 0]
        self.begun = 0
        self.forgot: list[np.ndarray] = []

    def begin(self, num_envs: int, seed: int | None = None) -> None:
        self.begun += 1

    def act(self, observations: np.ndarray) -> np.ndarray:
        gap = self.targets - observations
        return np.select([gap[:, 0] > 0, gap[:, 0] < 0, gap[:, 1] > 0, gap[:, 1] < 0], [0, 1, 2, 3], 4)

    def observe(
        self,
        rewards: np.ndarray,
        terminations: np.ndarray,
        truncations: np.ndarray,
        actions: np.ndarray | None = None,
    ) -> None:
        pass

    def forget(self, rows: np.ndarray) -> None:
        self.forgot.append(rows)


def tiny_model(obs_dim: int = 2, action_dim: int = 5, **changes: Any) -> DMH:
    torch.manual_seed(0)
    return DMH(DMHConfig.small(obs_dim, action_dim, d_model=16, d_state=4, **changes))


def test_an_oracle_scores_100_percent() -> None:
    rules, tasks = rules_of("darkroom"), np.arange(81)
    walker = Walker(rules.targets(tasks))
    table = evaluate_on_tasks(walker, "darkroom", tasks, episodes=2, seeds=(0, 1))
    assert list(table.columns) == list(COLUMNS)
    assert len(table) == 81 * 2 * 2
    np.testing.assert_allclose(table["percent_of_optimum"], 100)
    assert (table["length"] == 20).all()
    assert walker.begun == 2  # a lifetime per seed, not per episode
    assert not walker.forgot


@pytest.mark.parametrize("env_id", ["darkroomeps", "darkroomidt"])
def test_an_oracle_scores_100_percent_where_episodes_end_early(env_id: str) -> None:
    rules = room_of(env_id)
    tasks = np.arange(rules.num_tasks)
    table = evaluate_on_tasks(Walker(rules.targets(tasks)), env_id, tasks, episodes=3)
    np.testing.assert_allclose(table["percent_of_optimum"], 100)
    away = np.abs(rules.targets(tasks)[:, 0] - rules.start).sum(-1)
    assert (table["length"] == np.maximum(away, 1)[table["task"]]).all()


class Coins:
    """An environment of another kind, with no more than `TaskRules` asks for: only task 1 pays."""

    num_tasks, horizon = 2, 3

    def optimal_returns(self, tasks: Any) -> np.ndarray:
        return np.where(np.asarray(tasks) == 1, 3.0, 1.0)

    def make_vec(self, tasks: Any) -> gym.vector.VectorEnv[Any, Any, Any]:
        def paid(task: int) -> gym.Env[Any, Any]:
            return gym.wrappers.TransformReward(Unequal(2), lambda reward: reward * task)

        makers = [lambda task=task: paid(task) for task in tasks]
        return gym.vector.SyncVectorEnv(makers, autoreset_mode=AutoresetMode.SAME_STEP)


def test_rules_of_any_kind_can_be_evaluated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RULES, "dmh/Coins-v0", Coins())
    agent = DMHAgent(tiny_model(3, 2, discrete=False))
    table = evaluate_on_tasks(agent, "coins", [0, 1], episodes=1)
    assert table["length"].tolist() == [3, 3]
    assert table["percent_of_optimum"].tolist() == [0, 100]


def test_without_memory_the_agent_forgets_after_each_episode() -> None:
    tasks = np.arange(5)
    walker = Walker(rules_of("darkroom").targets(tasks))
    evaluate(walker, GridVectorEnv(5, rules=rules_of("darkroom"), tasks=tasks), 3, memory=False)
    assert len(walker.forgot) == 3
    assert all(rows.all() for rows in walker.forgot)


class Unequal(gym.Env[np.ndarray, np.ndarray]):
    """Episodes of 1, 2, 3, … steps with reward 1 each."""

    observation_space = gym.spaces.Box(-1, 1, (3,), np.float32)
    action_space = gym.spaces.Box(-1, 1, (2,), np.float32)

    def __init__(self, shift: int = 0) -> None:
        self.length, self.left = shift, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.length += 1
        self.left = self.length
        return np.zeros(3, np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.left -= 1
        return np.zeros(3, np.float32), 1.0, self.left == 0, False, {}


def test_a_walk_ends_at_the_goal() -> None:
    rules, tasks = rules_of("darkroom"), np.arange(81)
    path = walk(Walker(rules.targets(tasks)), rules.make_vec(tasks))
    assert path.shape == (rules.horizon + 1, 81, 2)
    np.testing.assert_array_equal(path[-1], rules.targets(tasks)[:, 0])
    assert (abs(np.diff(path, axis=0)).sum(-1) <= 1).all()  # the next episode's start is not part of it
    envs = gym.vector.SyncVectorEnv(
        [lambda shift=shift: Unequal(shift) for shift in range(2)], autoreset_mode=AutoresetMode.SAME_STEP
    )
    with pytest.raises(SettingError, match="environment: its episodes differ in length"):
        walk(DMHAgent(tiny_model(3, 2, discrete=False)), envs)


def test_unequal_episodes_are_counted_apart() -> None:
    envs = gym.vector.SyncVectorEnv(
        [lambda shift=shift: Unequal(shift) for shift in range(3)], autoreset_mode=AutoresetMode.SAME_STEP
    )
    table = evaluate(DMHAgent(tiny_model(3, 2, discrete=False)), envs, 3)
    assert table.pivot(index="env", columns="episode", values="return").to_numpy().tolist() == [
        [1, 2, 3],
        [2, 3, 4],
        [3, 4, 5],
    ]
    assert (table["length"] == table["return"]).all()


def test_a_vector_environment_must_reset_in_the_same_step() -> None:
    walker = Walker(np.zeros((1, 1, 2)))
    with pytest.raises(SettingError, match="autoreset_mode"):
        evaluate(walker, gym.make_vec("CartPole-v1", 1), 1)
    with pytest.raises(SettingError, match="episodes"):
        evaluate(walker, GridVectorEnv(1, rules=rules_of("darkroom")), 0)


def test_a_split_gives_three_methods() -> None:
    split = make_split("darkroom", num_test=3, num_train=2)
    table = evaluate_split(tiny_model(), split, "test", episodes=2, seeds=(0, 1))
    assert table.groupby("method").size().to_dict() == {"DM-H": 12, "DM-H without memory": 12, "oracle": 12}
    assert set(table["task"]) == set(split.test)
    assert (
        table.loc[table["method"] == "oracle", "return"] == table.loc[table["method"] == "oracle", "optimum"]
    ).all()
    again = evaluate_split(tiny_model(), split, "test", episodes=2, seeds=(0, 1))
    pd.testing.assert_frame_equal(table, again)


@pytest.mark.parametrize(
    ("kind", "backbone", "label"),
    [
        (ADConfig, "transformer", "AD"),
        (ADConfig, "mamba", "AD-Mamba"),
        (DTConfig, "transformer", "DT"),
        (DTConfig, "mamba", "DM"),
        (ATConfig, "transformer", "AT"),
    ],
)
def test_a_baseline_gives_the_same_table(kind: type[StepConfig], backbone: str, label: str) -> None:
    torch.manual_seed(0)
    sizes = {"backbone": backbone, "d_model": 16, "d_state": 4, "context_len": 30}
    config = kind.small(2, 5, **sizes)
    model = method_of(config).model(config)
    split = make_split("darkroom", num_test=3, num_train=2)
    table = evaluate_split(model, split, "test", episodes=2, seeds=(0, 1))
    assert table.groupby("method").size().to_dict() == {
        label: 12,
        f"{label} without memory": 12,
        "oracle": 12,
    }
    assert list(table.columns) == list(COLUMNS)
    assert summarise(table)["method"] == label
    _, scores = choose_play(model, split, 1)
    assert tuple(scores) == TEMPERATURES
    continuous = method_of(config).model(kind.small(3, 1, discrete=False, **sizes))
    table = evaluate_in_gym(continuous, "Pendulum-v1", episodes=2, seeds=(3, 4))
    assert table["method"].unique().tolist() == [label, f"{label} without memory"]
    assert np.isfinite(table["return"]).all()


def test_temperature_is_chosen_on_training_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    split = make_split("darkroom", num_test=3, num_train=2)
    played: list[int] = []
    real = evaluation.evaluate_on_tasks

    def watched(agent: Any, env_id: str, tasks: Any, *rest: Any, **more: Any) -> pd.DataFrame:
        played.extend(int(task) for task in tasks)
        return real(agent, env_id, tasks, *rest, **more)

    monkeypatch.setattr(evaluation, "evaluate_on_tasks", watched)
    play, scores = choose_play(tiny_model(), split, 1, PlayConfig(target_return=7.0))
    assert play.target_return == 7.0
    assert set(played) == set(split.train)
    assert tuple(scores) == TEMPERATURES
    assert scores[play.temperature] == max(scores.values())


@pytest.mark.parametrize("best", [9.0, 13.0, 17.0, 20.0])
def test_a_target_is_chosen_on_training_tasks(best: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what is tried, the lowest, median and highest optimum and the given target, that which pays most."""
    split = make_split("darkroom", num_test=3, num_train=40)
    optima = rules_of("darkroom").optimal_returns(split.tasks("train"))
    tried: list[float] = []

    class Told:
        def __init__(self, play: PlayConfig) -> None:
            self.play = play

    def played(agent: Told, env_id: str, tasks: Any, *_: Any) -> pd.DataFrame:
        assert set(tasks) <= set(split.train)
        tried.append(agent.play.target_return)
        percent = -abs(agent.play.target_return - best) - agent.play.temperature
        return pd.DataFrame({"episode": [1], "percent_of_optimum": [percent]})

    monkeypatch.setattr(evaluation, "evaluate_on_tasks", played)
    model = DT(DTConfig(2, 5))
    told = Method(DTConfig, DT, {}, lambda _, play: Told(play), lambda _: "DT")
    monkeypatch.setattr(evaluation, "method_of", lambda _: told)
    play, scores = choose_play(model, split, 1, PlayConfig(target_return=20.0))
    assert play.temperature == min(TEMPERATURES)
    assert set(scores) == set(TEMPERATURES)
    wanted = {20.0, optima.min(), np.median(optima), optima.max()}
    assert set(tried) == wanted
    assert play.target_return == min(wanted, key=lambda target: abs(target - best))


def test_any_gymnasium_environment() -> None:
    model = tiny_model(3, 1, discrete=False)
    table = evaluate_in_gym(model, "Pendulum-v1", episodes=2, seeds=(3, 4))
    assert list(table.columns) == list(COLUMNS)
    assert table.groupby(["method", "seed"]).size().eq(2).all()
    summary = summarise(table)
    assert summary["percent_of_optimum"] is None
    assert len(summary["return_by_episode"]) == 2
    with pytest.raises(SettingError, match="the model was trained on others"):
        evaluate_in_gym(model, "CartPole-v1", 1)
    with pytest.raises(SettingError, match="cannot be made"):
        evaluate_in_gym(model, "NoSuchPlace-v0", 1)
    with pytest.raises(SettingError, match="seeds"):
        evaluate_in_gym(model, "Pendulum-v1", 1, seeds=())


def test_seeds_are_seeds() -> None:
    """The same seed gives the same lifetime, whatever stands beside it in the batch."""
    model = tiny_model(3, 1, discrete=False)
    both = evaluate_in_gym(model, "Pendulum-v1", episodes=2, seeds=(3, 40))
    alone = evaluate_in_gym(model, "Pendulum-v1", episodes=2, seeds=(40,))
    mine = both[both["seed"] == 40]["return"].to_numpy()
    np.testing.assert_allclose(mine, alone["return"].to_numpy(), rtol=1e-3)


def test_an_environment_that_may_never_end_is_refused() -> None:
    gym.register("dmh-test/Endless-v0", entry_point=Unequal)
    with pytest.raises(SettingError, match="no time limit"):
        evaluate_in_gym(tiny_model(3, 2, discrete=False), "dmh-test/Endless-v0", 1)


# ---------------------------------------------------------------------- tables


def made_up_table() -> pd.DataFrame:
    rows = [
        {
            "method": "DM-H",
            "env_id": "dmh/Darkroom-v0",
            "task": task,
            "seed": seed,
            "episode": episode,
            "return": 2.0 * episode + task,
            "length": 20,
            "optimum": 10.0,
            "percent_of_optimum": 10 * (2.0 * episode + task),
        }
        for task in range(3)
        for seed in range(2)
        for episode in (1, 2, 3)
    ]
    return pd.DataFrame(rows)


def test_a_summary_reports_the_last_episode() -> None:
    summary = summarise(made_up_table())
    assert summary["return_by_episode"] == [3.0, 5.0, 7.0]
    assert summary["percent_by_episode"] == [30.0, 50.0, 70.0]
    assert summary["percent_of_optimum"] == 70.0
    assert summary["by_seed"] == {"0": 70.0, "1": 70.0}
    assert (summary["tasks"], summary["seeds"], summary["episodes"]) == (3, 2, 3)
    low, high = summary["interval_95"]
    assert 60 <= low < 70 < high <= 80
    with pytest.raises(DataError, match="no rows of method 'AD'"):
        summarise(made_up_table(), "AD")
    with pytest.raises(DataError, match="no rows"):
        summarise(made_up_table().iloc[:0])


def test_lifetimes_on_one_task_do_not_narrow_the_interval() -> None:
    once = made_up_table().query("seed == 0")
    thrice = pd.concat([once.assign(seed=seed) for seed in range(3)])
    pd.testing.assert_frame_equal(curves(once), curves(thrice))


def test_curves_hold_the_mean_between_their_bounds() -> None:
    found = curves(made_up_table())
    assert found["mean"].tolist() == [30.0, 50.0, 70.0]
    assert (found["low"] <= found["mean"]).all()
    assert (found["mean"] <= found["high"]).all()
    alone = curves(made_up_table().query("task == 0 and seed == 0"))
    assert (alone["low"] == alone["high"]).all()


def test_parquet_round_trip_and_its_errors(tmp_path: Path) -> None:
    path = tmp_path / "results.parquet"
    with pytest.raises(DataError, match="does not exist"):
        read_results(path)
    write_results(made_up_table(), path)
    pd.testing.assert_frame_equal(read_results(path), made_up_table())
    write_results(made_up_table().drop(columns="optimum"), path)
    with pytest.raises(DataError, match="'optimum' is missing"):
        read_results(path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match="not a readable Parquet file"):
        read_results(path)


def test_tables_that_are_none(tmp_path: Path) -> None:
    """Written by others, each with one thing wrong."""
    path, table = tmp_path / "results.parquet", made_up_table()
    for change, message in (
        (table.assign(task="one"), "field 'task' holds object, not numbers"),
        (table.assign(seed=None), "field 'seed' holds object, not numbers"),
        (table.assign(episode=True), "field 'episode' holds bool, not numbers"),
        (table.assign(length=np.nan), "field 'length' is not finite everywhere"),
        (table.assign(optimum=np.inf), "field 'optimum' is not finite everywhere"),
        (table.assign(method=b"x"), "field 'method' holds more than texts"),
        (table[:0], "holds no rows"),
    ):
        write_results(change, path)
        with pytest.raises(DataError, match=f"results.parquet: {message}; run the evaluation again"):
            read_results(path)
    rows = pa.Table.from_pandas(table)
    parquet.write_table(rows.append_column("seed", rows["seed"]), path)
    with pytest.raises(DataError, match="field 'seed' stands twice"):
        read_results(path)


@pytest.mark.parametrize(
    "told", [b"3", b'{"index_columns": [{"kind": "range"}]}', b'{"columns": [{"name": "task"}]}']
)
def test_what_a_file_tells_pandas_does_not_matter(tmp_path: Path, told: bytes) -> None:
    path = tmp_path / "results.parquet"
    parquet.write_table(pa.Table.from_pandas(made_up_table()).replace_schema_metadata({"pandas": told}), path)
    pd.testing.assert_frame_equal(read_results(path), made_up_table())


def test_tables_of_absurd_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A column that is constant takes no room in a file, but all of it in memory."""
    path = tmp_path / "results.parquet"
    write_results(made_up_table(), path)
    for limit in ("MOST_ROWS", "MOST_BYTES"):
        with monkeypatch.context() as patch:
            patch.setattr(f"dmh_lib.results.{limit}", 10)
            with pytest.raises(DataError, match=r"claims \d+ rows of .*, more than any evaluation has"):
                read_results(path)


def test_notes_travel_with_a_table(tmp_path: Path) -> None:
    path = tmp_path / "results.parquet"
    write_results(made_up_table(), path, {"temperature": 0.5})
    pd.testing.assert_frame_equal(read_results(path), made_up_table())
    assert read_about(path) == {"temperature": 0.5}
    write_results(made_up_table(), path)
    with pytest.raises(DataError, match="no notes"):
        read_about(path)
    with pytest.raises(DataError, match="no notes"):
        read_about(tmp_path / "nowhere.parquet")
    deep = pa.table({"x": [1]}).replace_schema_metadata({ABOUT: b"[" * 100_000})
    parquet.write_table(deep, path)
    with pytest.raises(DataError, match="no notes"):
        read_about(path)
