"""Runs on MuJoCo: tiny ones from end to end, and the page's section on them."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from made_up import TINY

from dmh_lib import statistics
from dmh_lib.behaviour.policy import GaussianPolicy, save_policy
from dmh_lib.benchmark import TABLES, Judging, MujocoSpec, Places, RunSpec, load, load_done, state_of
from dmh_lib.benchmark.page import PAGE, render
from dmh_lib.benchmark.pictures import policy_curves
from dmh_lib.benchmark.published import FILE
from dmh_lib.benchmark.single import run_one
from dmh_lib.benchmark.store import MEMORY, NO_MEMORY, PAPER_TARGET
from dmh_lib.benchmark.summary import group_runs
from dmh_lib.data import read_hdf5
from dmh_lib.envs.scores import PAPER_TARGETS, normalised_scores
from dmh_lib.errors import CheckpointError, DataError, SettingError
from dmh_lib.stored import mujoco_table

PUBLISHED = Path(__file__).parents[2] / "docs" / FILE
DATA = MujocoSpec("hopper", "medium-replay", steps=300)
LIVES = Judging(episodes=2, seeds=(0, 1, 2), early_seeds=(0,))
OURS = RunSpec(DATA, "dm-h", "mujoco", overrides={**TINY, "model.chunk_len": 5}, judging=LIVES)
BC = RunSpec(DATA, "bc", "bc", overrides=TINY, judging=LIVES)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    """With two policies, who do next to nothing."""
    root = tmp_path_factory.mktemp("mujoco")
    torch.manual_seed(0)
    kept, points = root / "data/policies/hopper", []
    for step, score in ((10, 5.0), (20, 41.0)):
        policy = GaussianPolicy(11, [-1.0] * 3, [1.0] * 3, hidden=4)
        save_policy(policy, kept / f"policies/step-{step:08d}.safetensors", {"env_id": "Hopper-v5"})
        points.append({"step": step, "return": 10.0 * score, "std": 1.0, "score": score})
    (kept / "curve.json").write_text(json.dumps({"config": {}, "curve": points}))
    return Places(root / "docs", root / "data", root / "scratch")


@pytest.fixture(scope="module")
def done(places: Places) -> list[RunSpec]:
    for spec in (OURS, BC):
        assert "D4RL's score" in run_one(spec, places)
    return [OURS, BC]


def test_what_mujoco_runs_leave(done: list[RunSpec], places: Places) -> None:
    for spec in done:
        assert state_of(spec, places) == ("done", [])
        run = load(spec, places.result(spec))
        final = run.table[run.table["updates"] == 2]
        lines = [MEMORY, NO_MEMORY, *([PAPER_TARGET] if spec is OURS else [])]
        assert final.groupby("line").size().to_dict() == dict.fromkeys(lines, 6)
        early = run.table[run.table["updates"] < 2]
        assert set(early["line"]) == {MEMORY}
        assert set(early["seed"]) == {0}
        assert run.table["optimum"].isna().all()
        expected = normalised_scores("hopper", run.table["return"])
        np.testing.assert_allclose(run.table["percent_of_optimum"], expected)
        data = read_hdf5(places.histories(spec.data))
        assert run.about["data"]["return_max"] == data.returns.max()
        assert [policy["score"] for policy in run.about["policies"]] == [5, 41]
    ours = load(OURS, places.result(OURS)).about
    assert ours["target_return"] == pytest.approx(ours["data"]["return_max"])
    assert PAPER_TARGETS["hopper"] == 3600


def test_first_episodes_begin_with_nothing(done: list[RunSpec], places: Places) -> None:
    """With memory and without, the first episode is the same; BC has no memory at all."""
    for spec in done:
        table = load(spec, places.result(spec)).table
        final = table[table["updates"] == 2].set_index(["line", "seed", "episode"])["return"]
        both = [
            final[line] if spec is BC else final[line].xs(1, level="episode") for line in (MEMORY, NO_MEMORY)
        ]
        np.testing.assert_array_equal(*both)


def test_the_page(done: list[RunSpec], places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics.estimate, "__defaults__", (100, 0))
    (places.out / FILE).write_text(PUBLISHED.read_text())
    lacking = replace(BC, method="bc-10", preset="bc-10")
    page = render({"mine": [*done, lacking]}, places, figures=False)
    assert page.name == PAGE
    text = page.read_text()
    (group,) = group_runs([*done, lacking], load_done(done, places))
    ours = group.reference
    assert ours is not None
    assert ours.scores is not None
    assert f"| DM-H | {ours.scores.percent.value:.1f} [" in text
    assert "| BC-10% | *missing* |" in text
    assert f"| DM-H | 98.36 · {ours.scores.percent.value:.1f} |" in text  # published for this dataset
    assert "not D4RL's datasets" in text
    assert f"| `hopper/medium-replay` | {load(OURS, places.result(OURS)).about['data']['steps']} |" in text
    assert "nan" not in text
    assert "percent of the optimum" not in text  # which rooms have


def learned_by_d3rlpy(places: Places, root: Path, **changed: object) -> Places:
    """The same runs beside a result of TD3+BC, as `benchmarks/d3rlpy/train.py` writes it."""
    shutil.copytree(places.results, root / "docs/results")
    note = {
        "data": places.histories(DATA).name,
        "seed": 0,
        "updates": 20_000,
        "train_seconds": 330.0,
        "versions": {"d3rlpy": "2.8.1"},
        "returns": [[0.0, 1000.0], [0.0, 2000.0], [0.0, 3000.0]],
        **changed,
    }
    folder = root / "docs/results/d3rlpy/hopper/medium-replay/td3-bc"
    folder.mkdir(parents=True)
    (folder / "seed-0.json").write_text(json.dumps(note))
    return Places(root / "docs", places.data, places.scratch)


def test_value_learning_on_the_page(
    done: list[RunSpec], places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statistics.estimate, "__defaults__", (100, 0))
    here = learned_by_d3rlpy(places, tmp_path)
    (here.out / FILE).write_text(PUBLISHED.read_text())
    text = render({"mine": done}, here, figures=False).read_text()
    score = normalised_scores("hopper", 2000)
    assert f"| TD3+BC | {score:.1f} [" in text
    assert "] (1 of 3 seeds) |" in text
    assert f"| TD3+BC | 98.12 · {score:.1f} |" in text
    assert "**TD3+BC beats DM-H: +" in text
    assert "TD3+BC 20,000 updates, 6 minutes of a core (d3rlpy 2.8.1)." in text
    assert "IQL" not in text


def test_value_learning_in_the_table_of_stored_runs(
    done: list[RunSpec], places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TABLES, "mine", done)
    table = mujoco_table(learned_by_d3rlpy(places, tmp_path).out, ["mine"])
    assert list(table.index) == ["DM-H", "BC", "TD3+BC"]
    assert table.loc["TD3+BC", DATA.name] == pytest.approx(normalised_scores("hopper", 2000))
    assert not table.isna().any(axis=None)


def test_value_learning_from_other_data_is_left_out(
    done: list[RunSpec], places: Places, tmp_path: Path
) -> None:
    here = learned_by_d3rlpy(places, tmp_path, data="benchmark-hopper-medium-replay-00000000.hdf5")
    assert "TD3+BC" not in render({"mine": done}, here, figures=False).read_text()


def test_seeds_of_value_learning_have_as_many_lifetimes(
    done: list[RunSpec], places: Places, tmp_path: Path
) -> None:
    here = learned_by_d3rlpy(places, tmp_path)
    folder = here.results / "d3rlpy/hopper/medium-replay/td3-bc"
    note = json.loads((folder / "seed-0.json").read_text())
    (folder / "seed-1.json").write_text(json.dumps(note | {"returns": [[1.0], [2.0]]}))
    with pytest.raises(DataError, match="td3-bc: not all seeds have as many lifetimes"):
        render({"mine": done}, here, figures=False)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("returns", [[1.0, 2.0], [1.0]]),
        ("returns", [[1.0, "two"]]),
        ("returns", None),
        ("updates", "many"),
        ("versions", 3),
    ],
)
def test_value_learning_that_is_not_whole(
    done: list[RunSpec], places: Places, tmp_path: Path, name: str, value: object
) -> None:
    here = learned_by_d3rlpy(places, tmp_path, **{name: value})
    with pytest.raises(DataError, match=rf"seed-0\.json: field '{name}'"):
        render({"mine": done}, here, figures=False)


def test_the_paper_s_preset_trains(done: list[RunSpec], places: Places) -> None:
    """In bfloat16, which is for GPUs; of the data that the other runs left."""
    small = {**TINY, "model.chunk_len": 5, "model.heads": 2}
    spec = replace(OURS, preset="mujoco-paper", variant="paper", overrides=small)
    assert "D4RL's score" in run_one(spec, places)


def test_curves_of_policies(places: Places) -> None:
    import pandas as pd

    path = places.data / "policies/hopper/curve.json"
    figure = policy_curves({"hopper": pd.DataFrame(json.loads(path.read_text())["curve"])})
    assert list(figure.data[0].y) == [5, 41]


def test_data_of_other_policies(done: list[RunSpec], places: Places, tmp_path: Path) -> None:
    """Policies that were learned on make the old data another's."""
    shutil.copytree(places.data, tmp_path / "data")
    path = tmp_path / "data" / places.histories(DATA).name
    assert DATA.load(path).num_steps >= 300
    curve = tmp_path / "data/policies/hopper/curve.json"
    curve.write_text(curve.read_text().replace("41.0", "42.0"))
    with pytest.raises(DataError, match="field 'policies' is not what was asked for"):
        DATA.load(path)


def test_data_that_cannot_be_made(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no run here"):
        DATA.load(tmp_path / "data.hdf5")
    with pytest.raises(SettingError, match=r"data\.env"):
        MujocoSpec("ant")
    with pytest.raises(SettingError, match="kind"):
        MujocoSpec("hopper", "simple")  # type: ignore[arg-type]


def test_runs_read_back(tmp_path: Path) -> None:
    for spec in TABLES["mujoco"]:
        again = RunSpec.from_dict(json.loads(json.dumps(spec.to_dict())))
        assert again == spec
        assert again.hash == spec.hash
    assert len({spec.name for spec in TABLES["mujoco"]}) == 3 * 9 * 7
