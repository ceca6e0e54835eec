"""Training and checkpoints: reproducible, resumable to the bit, and clear about what is broken."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from dmh_lib.agents import PlayConfig
from dmh_lib.checkpoints import (
    TrainingState,
    export_checkpoint,
    load_checkpoint,
    load_training,
    save_checkpoint,
    set_play,
)
from dmh_lib.data import Trajectories
from dmh_lib.data.contexts import ContextConfig
from dmh_lib.data.histories import make_histories
from dmh_lib.data.searcher import SearcherConfig
from dmh_lib.data.windows import WindowConfig
from dmh_lib.envs import make_split
from dmh_lib.errors import CheckpointError, SettingError
from dmh_lib.methods import method_of
from dmh_lib.models import AD, DMH, ADConfig, ATConfig, DMHConfig, DTConfig, StepConfig
from dmh_lib.run_folders import all_checkpoints, best_checkpoint, latest_checkpoint, training_in, updates_of
from dmh_lib.train_config import TrainConfig
from dmh_lib.training import train

MODEL = DMHConfig.small(2, 5, d_model=16, d_state=4, dropout=0.1)
TINY = {"most_chunks": 1, "d_state": 1, "subgoal_dim": 1, "chunk_len": 1}  # beside one absurd size
CONTEXTS = ContextConfig(4)
TRAINING = TrainConfig(updates=12, batch_size=4, warmup=3, log_every=2, checkpoint_every=7)


@pytest.fixture(scope="module")
def data() -> Trajectories:
    return make_histories(make_split("darkroom", num_train=5), SearcherConfig(runs_per_task=3, episodes=6))


@pytest.fixture(scope="module")
def run(data: Trajectories, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    train(data, MODEL, folder, CONTEXTS, TRAINING)
    return folder


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(folder).model.state_dict()


def assert_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


def test_what_a_run_leaves(data: Trajectories, run: Path) -> None:
    about = json.loads((run / "run.json").read_text())
    assert about["data_hash"] == data.data_hash()
    assert about["env_id"] == "dmh/Darkroom-v0"
    assert about["training"]["seed"] == 0
    assert set(about["versions"]) >= {"dmh_lib", "python", "torch", "numpy"}
    assert sorted(path.name for path in run.glob("checkpoint-*")) == [
        "checkpoint-00000007",
        "checkpoint-00000012",
    ]
    metrics = pd.read_csv(run / "logs" / "metrics.csv")
    assert metrics["update"].tolist() == [2, 4, 6, 8, 10, 12]
    assert np.isfinite(metrics[["loss", "action_loss", "goal_loss", "learning_rate"]]).all(axis=None)
    assert list((run / "logs" / "tb").glob("events*"))
    suffixes = {path.suffix for path in run.rglob("*") if path.is_file() and "events" not in path.name}
    assert suffixes <= {".json", ".safetensors", ".csv", ".lock"}
    assert (run / "run.lock").stat().st_size == 0


def test_the_same_seed_gives_the_same_weights(data: Trajectories, run: Path, tmp_path: Path) -> None:
    train(data, MODEL, tmp_path / "again", CONTEXTS, TRAINING)
    assert_equal(weights(run), weights(tmp_path / "again"))
    train(data, MODEL, tmp_path / "other", CONTEXTS, replace(TRAINING, seed=1))
    assert not torch.equal(
        weights(run)["actor.head.weight"], weights(tmp_path / "other")["actor.head.weight"]
    )


@pytest.mark.parametrize("tokens", ["fused", "paper"])
def test_a_resumed_run_equals_an_undisturbed_one(data: Trajectories, tmp_path: Path, tokens: str) -> None:
    """Weights, optimizer, random states and the logged curve, bit for bit; dropout is on."""
    model = replace(MODEL, tokens=tokens)
    whole = train(data, model, tmp_path / "whole", CONTEXTS, TRAINING)
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    shutil.rmtree(tmp_path / "cut" / "checkpoint-00000012")
    resumed = train(data, model, tmp_path / "cut", CONTEXTS, TRAINING, resume=True)
    assert_equal(weights(tmp_path / "whole"), weights(tmp_path / "cut"))
    one, other = load_training(whole.checkpoint), load_training(resumed.checkpoint)
    assert_equal(one.tensors, other.tensors)
    assert one.sampler == other.sampler
    pd.testing.assert_frame_equal(whole.history, resumed.history)
    for folder in ("whole", "cut"):
        assert len(pd.read_csv(tmp_path / folder / "logs" / "metrics.csv")) == 6


def test_training_is_stopped_from_outside(data: Trajectories, run: Path, tmp_path: Path) -> None:
    """At a log entry, with a checkpoint from which it goes on to the same weights."""
    rows: list[float] = []
    saved: list[str] = []

    def logged(row: dict[str, float]) -> bool:
        rows.append(row["update"])
        return row["update"] == 4

    stopped = train(
        data, MODEL, tmp_path, CONTEXTS, TRAINING, on_log=logged, on_checkpoint=lambda p: saved.append(p.name)
    )
    assert rows == [2, 4]
    assert saved == ["checkpoint-00000004"] == [stopped.checkpoint.name]
    train(data, MODEL, tmp_path, CONTEXTS, TRAINING, resume=True)
    assert_equal(weights(run), weights(tmp_path))


@pytest.mark.parametrize(
    ("kind", "backbone"),
    [(ADConfig, "transformer"), (ADConfig, "mamba"), (DTConfig, "mamba"), (ATConfig, "transformer")],
)
def test_a_resumed_run_of_a_baseline_equals_an_undisturbed_one(
    data: Trajectories, tmp_path: Path, kind: type[StepConfig], backbone: str
) -> None:
    model = kind.small(2, 5, backbone=backbone, d_model=16, d_state=4, context_len=30, dropout=0.1)
    whole = train(data, model, tmp_path / "whole", config=TRAINING)
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    shutil.rmtree(tmp_path / "cut" / "checkpoint-00000012")
    resumed = train(data, model, tmp_path / "cut", config=TRAINING, resume=True)
    assert_equal(weights(tmp_path / "whole"), weights(tmp_path / "cut"))
    one, other = load_training(whole.checkpoint), load_training(resumed.checkpoint)
    assert_equal(one.tensors, other.tensors)
    assert one.sampler == other.sampler
    pd.testing.assert_frame_equal(whole.history, resumed.history)
    assert whole.history.columns.tolist() == ["update", "loss", "action_loss", "learning_rate"]


def test_checkpoints_to_keep_and_what_they_took(data: Trajectories, tmp_path: Path) -> None:
    config = replace(TRAINING, checkpoint_every=4)
    train(data, MODEL, tmp_path, CONTEXTS, config, keep=3)
    kept = all_checkpoints(tmp_path)
    assert [updates_of(path) for path in kept] == [4, 8, 12]
    seconds = [load_training(path).seconds for path in kept]
    assert 0 < seconds[0] < seconds[1] < seconds[2]
    shutil.rmtree(kept[2])
    train(data, MODEL, tmp_path, CONTEXTS, config, resume=True, keep=3)
    assert load_training(tmp_path).seconds > seconds[1]  # the time before the interruption counts


def test_the_best_checkpoint_stays(tmp_path: Path) -> None:
    """It is the one with the lowest loss, the newer of equals, and no newer ones push it out."""
    model, kept = DMH(MODEL), list[list[int]]()
    for step, loss in enumerate([None, 3.0, 1.0, 2.0, 1.0, 4.0, None, 2.0], 1):
        save_checkpoint(tmp_path, model, {"loss": loss}, TrainingState(step, {}, {}, []), keep=1)
        kept.append([updates_of(path) for path in all_checkpoints(tmp_path)])
    assert kept == [[1], [2], [3], [3, 4], [5], [5, 6], [5, 7], [5, 8]]
    assert best_checkpoint(tmp_path) == tmp_path / "checkpoint-00000005"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_broken_older_checkpoint_ends_no_training(tmp_path: Path) -> None:
    """It is pushed out like any other."""
    model = DMH(MODEL)
    (tmp_path / "checkpoint-00000001").mkdir()  # a process was killed while it took this away
    for step in (2, 3):
        save_checkpoint(tmp_path, model, {"loss": 1.0}, TrainingState(step, {}, {}, []), keep=2)
    assert [updates_of(path) for path in all_checkpoints(tmp_path)] == [2, 3]


def test_the_loss_of_a_checkpoint_is_that_of_the_updates_before_it(
    data: Trajectories, tmp_path: Path
) -> None:
    config = replace(TRAINING, checkpoint_every=4, updates=10)
    history = train(data, MODEL, tmp_path, CONTEXTS, config, keep=9).history.set_index("update")["loss"]
    found = [load_checkpoint(path).about["loss"] for path in all_checkpoints(tmp_path)]
    assert found == pytest.approx([history[[2, 4]].mean(), history[[6, 8]].mean(), history[[8, 10]].mean()])


def test_one_process_at_a_run(data: Trajectories, tmp_path: Path) -> None:
    """And what a killed one left half-written is gone, but nothing of others."""
    half, others = tmp_path / ".0123456789abcdef", tmp_path / ".cache"
    for folder in (half, others):
        folder.mkdir()
    with training_in(tmp_path):
        assert not half.exists()
        assert others.exists()
        with pytest.raises(CheckpointError, match="another process is at it"):
            train(data, MODEL, tmp_path, CONTEXTS, TRAINING)
    train(data, MODEL, tmp_path, CONTEXTS, replace(TRAINING, updates=1))


def test_an_exported_checkpoint_plays_and_cannot_go_on(run: Path, tmp_path: Path) -> None:
    target = export_checkpoint(run, tmp_path / "small", {"scores": {"percent": 1.0}})
    assert sorted(path.name for path in target.iterdir()) == ["checkpoint.json", "model.safetensors"]
    assert_equal(weights(target), weights(run))
    assert load_checkpoint(target).about["scores"] == {"percent": 1.0}
    with pytest.raises(CheckpointError, match=r"training\.json"):
        load_training(target)
    assert export_checkpoint(run, target) == target
    assert "scores" not in load_checkpoint(target).about
    (tmp_path / "mine").mkdir()
    with pytest.raises(CheckpointError, match="is no checkpoint"):
        export_checkpoint(run, tmp_path / "mine")
    assert {path.name for path in tmp_path.iterdir()} == {"small", "mine"}


def test_resume_without_a_checkpoint_starts_and_a_finished_run_stays(
    data: Trajectories, tmp_path: Path
) -> None:
    first = train(data, MODEL, tmp_path, CONTEXTS, TRAINING, resume=True)
    before = weights(tmp_path)
    again = train(data, MODEL, tmp_path, CONTEXTS, TRAINING, resume=True)
    assert_equal(before, weights(tmp_path))
    assert again.checkpoint == first.checkpoint


def test_a_run_is_not_overwritten_or_mixed(data: Trajectories, run: Path) -> None:
    with pytest.raises(CheckpointError, match="holds a run already"):
        train(data, MODEL, run, CONTEXTS, TRAINING)
    with pytest.raises(CheckpointError, match="'training' differs"):
        train(data, MODEL, run, CONTEXTS, replace(TRAINING, seed=5), resume=True)
    with pytest.raises(CheckpointError, match="'data_hash' differs"):
        train(data.select(np.arange(6)), MODEL, run, CONTEXTS, TRAINING, resume=True)


def test_a_model_that_does_not_fit_the_data(data: Trajectories, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"obs_dim 2.*the model obs_dim 3"):
        train(data, replace(MODEL, obs_dim=3), tmp_path, CONTEXTS, TRAINING)
    assert not list(tmp_path.iterdir())


def test_draws_of_another_method(data: Trajectories, tmp_path: Path) -> None:
    with pytest.raises(
        SettingError, match="DM-H is trained with ContextConfig or MazeConfig, not WindowConfig"
    ):
        train(data, MODEL, tmp_path, WindowConfig(), TRAINING)
    with pytest.raises(
        SettingError, match="AD-Mamba is trained with WindowConfig or MazeConfig, not ContextConfig"
    ):
        train(data, ADConfig.small(2, 5, backbone="mamba"), tmp_path, CONTEXTS, TRAINING)
    assert not list(tmp_path.iterdir())


def test_learning_rate_schedules() -> None:
    cosine = TrainConfig(updates=100, learning_rate=1.0, warmup=10)
    assert cosine.rate(0) == pytest.approx(0.1)
    assert max(cosine.rate(step) for step in range(100)) == pytest.approx(cosine.rate(9), rel=0.01)
    assert cosine.rate(99) < 0.001
    paper = TrainConfig.paper()
    assert paper.rate(99_999) == paper.learning_rate == 1e-4
    assert (paper.batch_size, paper.weight_decay, paper.clip, paper.updates) == (128, 1e-4, 0.25, 100_000)


@pytest.mark.parametrize(
    "changes", [{"updates": 0}, {"learning_rate": 0.0}, {"schedule": "sine"}, {"precision": "8"}]
)
def test_training_settings_that_cannot_work(changes: dict[str, object]) -> None:
    with pytest.raises(SettingError, match=next(iter(changes))):
        TrainConfig(**changes)  # type: ignore[arg-type]


def test_mixed_precision_trains(data: Trajectories, tmp_path: Path) -> None:
    result = train(data, MODEL, tmp_path, CONTEXTS, replace(TRAINING, updates=2, precision="bf16-mixed"))
    assert np.isfinite(result.history["loss"]).all()
    assert {tensor.dtype for tensor in weights(tmp_path).values()} == {torch.float32}


@pytest.mark.parametrize("backbone", ["transformer", "mamba"])
@pytest.mark.parametrize("kind", [ADConfig, ATConfig])
def test_mixed_precision_trains_baselines(
    data: Trajectories, tmp_path: Path, kind: type[StepConfig], backbone: str
) -> None:
    model = kind.small(2, 5, backbone=backbone, d_model=16, d_state=4, context_len=30)
    result = train(data, model, tmp_path, config=replace(TRAINING, updates=2, precision="bf16-mixed"))
    assert np.isfinite(result.history["loss"]).all()
    assert {tensor.dtype for tensor in weights(tmp_path).values()} == {torch.float32}


def test_a_model_with_a_target_is_asked_for_the_best_return(data: Trajectories, tmp_path: Path) -> None:
    result = train(
        data, replace(MODEL, use_return_to_go=True), tmp_path, CONTEXTS, replace(TRAINING, updates=2)
    )
    assert result.play.target_return == data.returns.max() > 0
    assert load_checkpoint(tmp_path).play == result.play


@pytest.mark.parametrize(("kind", "name"), [(DTConfig, "dt"), (ATConfig, "at")])
def test_a_baseline_with_a_target_keeps_it_and_the_unit_of_returns(
    data: Trajectories, tmp_path: Path, kind: type[StepConfig], name: str
) -> None:
    model = kind.small(2, 5, d_model=16, context_len=30)
    result = train(data, model, tmp_path, config=replace(TRAINING, updates=2))
    loaded = load_checkpoint(tmp_path)
    assert loaded.about["method"] == name
    assert loaded.play.target_return == data.returns.max() > 0
    assert loaded.model.return_scale == data.returns.max()
    assert_equal(result.model.state_dict(), loaded.model.state_dict())


def test_broken_weights_never_reach_a_checkpoint(data: Trajectories, tmp_path: Path) -> None:
    train(data, MODEL, tmp_path, CONTEXTS, replace(TRAINING, updates=7))
    reckless = replace(TRAINING, learning_rate=1e30, log_every=100, checkpoint_every=2, clip=1e30)
    with pytest.raises(SettingError, match="not finite"):
        train(data, MODEL, tmp_path / "reckless", CONTEXTS, reckless)
    kept = latest_checkpoint(tmp_path / "reckless")
    assert kept is None or all(tensor.isfinite().all() for tensor in weights(kept).values())


def test_files_of_others_in_the_run_folder_stay(data: Trajectories, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "mine.txt").write_text("keep")
    with pytest.raises(CheckpointError, match="logs: exists already"):
        train(data, MODEL, tmp_path, CONTEXTS, replace(TRAINING, updates=2))
    assert (tmp_path / "logs" / "mine.txt").read_text() == "keep"


# ---------------------------------------------------------------------- checkpoints


@pytest.fixture
def broken(run: Path, tmp_path: Path) -> Path:
    """A copy of the newest checkpoint, to be damaged."""
    newest = latest_checkpoint(run)
    assert newest is not None
    return Path(shutil.copytree(newest, tmp_path / "checkpoint"))


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_play_is_kept_with_the_checkpoint(broken: Path) -> None:
    assert load_checkpoint(broken).play == PlayConfig()
    set_play(broken, PlayConfig(temperature=0.35))
    assert load_checkpoint(broken).play.temperature == 0.35


def test_a_checkpoint_knows_its_method(data: Trajectories, broken: Path, tmp_path: Path) -> None:
    assert load_checkpoint(broken).about["method"] == "dm-h"
    model = ADConfig.small(2, 5, d_model=16, context_len=30)
    result = train(data, model, tmp_path / "ad", config=replace(TRAINING, updates=2))
    loaded = load_checkpoint(tmp_path / "ad")
    assert loaded.about["method"] == "ad"
    assert isinstance(loaded.model, AD)
    assert loaded.model.config == model
    assert_equal(result.model.state_dict(), loaded.model.state_dict())


def test_a_checkpoint_that_names_no_method_is_of_the_first(broken: Path) -> None:
    about = json.loads((broken / "checkpoint.json").read_text())
    del about["method"]
    (broken / "checkpoint.json").write_text(json.dumps(about))
    assert isinstance(load_checkpoint(broken).model, DMH)


def test_a_checkpoint_knows_its_split_and_environment(broken: Path) -> None:
    checkpoint = load_checkpoint(broken)
    assert len(checkpoint.split.train) == 5
    checkpoint.require_env("darkroom")
    with pytest.raises(CheckpointError, match=r"trained for dmh/Darkroom-v0, not for dmh/DarkKeyToDoor-v0"):
        checkpoint.require_env("darkkeytodoor")
    edit(broken / "checkpoint.json", split=None)
    with pytest.raises(CheckpointError, match="'split' is missing"):
        _ = load_checkpoint(broken).split


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint here"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("name", "damage", "word"),
    [
        ("model.safetensors", "remove", "model.safetensors"),
        ("model.safetensors", "truncate", "model.safetensors"),
        ("checkpoint.json", "truncate", "checkpoint.json"),
        ("checkpoint.json", {"format_version": 99}, "format_version"),
        ("checkpoint.json", {"method": "guess"}, "method: 'guess' is not known; choose one of dm-h"),
        ("checkpoint.json", {"method": ["ad"]}, "method"),
        ("checkpoint.json", {"method": "ad"}, "not a setting of this version of ADConfig"),
        ("checkpoint.json", {"model": None}, "checkpoint.json"),
        ("checkpoint.json", {"model": {"obs_dim": 2}}, "action_dim"),
        ("checkpoint.json", {"model": DMHConfig.small(2, 5, d_model=32).to_dict()}, "shape"),
        ("checkpoint.json", {"model": DMHConfig.small(2, 5, d_model=2**20).to_dict()}, "shape"),
        ("checkpoint.json", {"model": DMHConfig.small(2, 5, d_model=2**17, **TINY).to_dict()}, "shape"),
        ("checkpoint.json", {"model": DMHConfig.small(2, 5, d_model=2**40).to_dict()}, "overflow"),
        ("checkpoint.json", {"play": {"temperature": -1}}, "temperature"),
        ("checkpoint.json", {"play": {"speed": 1}}, "speed"),
        ("checkpoint.json", {"play": {"temperature": 10**400}}, "checkpoint.json"),
        ("checkpoint.json", {"play": {"target_return": "much"}}, "checkpoint.json"),
        ("checkpoint.json", {"env_id": ["dmh/Darkroom-v0"]}, "'env_id'.* is no name"),
        (
            "model.safetensors",
            {"obs_mean": torch.full((2,), torch.nan)},
            "'obs_mean': must hold finite numbers",
        ),
        (
            "model.safetensors",
            {"obs_mean": torch.zeros(2, dtype=torch.int64)},
            "'obs_mean': must hold finite",
        ),
    ],
)
def test_a_broken_checkpoint_gives_one_clear_error(
    broken: Path, name: str, damage: object, word: str
) -> None:
    path = broken / name
    if damage == "remove":
        path.unlink()
    elif damage == "truncate":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif path.suffix == ".json":
        edit(path, **damage)  # type: ignore[arg-type]
    else:
        save_file({**load_file(path), **damage}, path)  # type: ignore[dict-item]
    with pytest.raises(CheckpointError, match=word) as caught:
        load_checkpoint(broken)
    assert str(broken) in str(caught.value)


@pytest.mark.parametrize("name", ["training.json", "training.safetensors"])
def test_a_broken_training_state_gives_one_clear_error(broken: Path, name: str) -> None:
    (broken / name).write_bytes(b"{")
    with pytest.raises(CheckpointError, match=name):
        load_training(broken)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"history": [{"update": 2, "loss": "small"}]}, "could not convert"),
        ({"history": [{"update": 10**400, "loss": 1.0}]}, "too large"),
        ({"history": [{"update": 2}]}, "is no log entry"),
        ({"history": [{"update": -2, "loss": 1.0}]}, "is no log entry"),
        ({"history": [[1, 2]]}, "list indices"),
        ({"history": [{"update": 99, "loss": 1.0}]}, "field 'step': 12"),
        ({"seconds": 10**400}, "too large"),
    ],
)
def test_progress_that_cannot_be(broken: Path, changes: dict[str, object], word: str) -> None:
    edit(broken / "training.json", **changes)
    with pytest.raises(CheckpointError, match=rf"training\.json: .*{word}"):
        load_training(broken)


def test_progress_of_another_checkpoint(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    edit(tmp_path / "run" / "checkpoint-00000012" / "training.json", step=13)
    with pytest.raises(CheckpointError, match="field 'step': 13, but the folder is checkpoint-00000012"):
        load_training(tmp_path / "run")


MOMENT = "actor.head.bias:exp_avg"


@pytest.mark.parametrize(
    ("name", "changes", "word"),
    [
        ("training.json", {"sampler": {"bit_generator": "MT19937"}}, "training.json"),
        ("training.json", {"sampler": {}}, "training.json"),
        ("training.safetensors", {MOMENT: torch.zeros(3)}, f"'{MOMENT}' is torch.float32"),
        ("training.safetensors", {MOMENT: torch.zeros(5, dtype=torch.bool)}, f"'{MOMENT}' is torch.bool"),
        ("training.safetensors", {f"{MOMENT}_sq": -torch.ones(5)}, "is negative"),
        (
            "training.safetensors",
            {"log:sums": torch.full((3,), torch.inf)},
            "'log:sums': holds NaN or infinite",
        ),
        ("training.safetensors", {"random:cpu": torch.zeros(3)}, "training state: "),
    ],
)
def test_a_training_does_not_go_on_from_a_broken_state(
    data: Trajectories, run: Path, tmp_path: Path, name: str, changes: dict[str, object], word: str
) -> None:
    shutil.copytree(run, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoint-00000012")
    path = tmp_path / "run" / "checkpoint-00000007" / name
    if path.suffix == ".json":
        edit(path, **changes)
    else:
        save_file({**load_file(path), **changes}, path)  # type: ignore[dict-item]
    with pytest.raises(CheckpointError, match=word) as caught:
        train(data, MODEL, tmp_path / "run", CONTEXTS, TRAINING, resume=True)
    assert str(path) in str(caught.value)


def test_a_split_that_is_none_names_its_file(broken: Path) -> None:
    for split in ([], {"env_id": "darkroom"}, {"env_id": "darkroom", "seed": 0, "train": [0], "test": [81]}):
        edit(broken / "checkpoint.json", split=split or "x")
        with pytest.raises(CheckpointError, match=r"checkpoint\.json: "):
            _ = load_checkpoint(broken).split


def test_a_loss_that_is_none_names_its_file(broken: Path) -> None:
    (broken.parent / "run").mkdir()
    broken.rename(broken.parent / "run" / "checkpoint-00000012")
    edit(broken.parent / "run" / "checkpoint-00000012" / "checkpoint.json", loss="small")
    with pytest.raises(CheckpointError, match=r"checkpoint\.json: "):
        best_checkpoint(broken.parent / "run")


def test_weights_too_large_to_play(broken: Path) -> None:
    path = broken / "model.safetensors"
    weights = load_file(path)
    save_file({**weights, "actor.head.weight": torch.full_like(weights["actor.head.weight"], 3e38)}, path)
    checkpoint = load_checkpoint(broken)
    agent = method_of(MODEL).agent(checkpoint.model, checkpoint.play)
    agent.begin(1, seed=0)
    with pytest.raises(CheckpointError, match=r"its outputs are no chances .*; take a checkpoint"):
        agent.act(np.zeros((1, 2), dtype=np.float32))


def test_names_that_are_no_checkpoints(run: Path, tmp_path: Path) -> None:
    for name in ("checkpoint-²", "checkpoint-", "checkpoint-../x", "checkpoint--1", "checkpoint-1e3"):
        (tmp_path / name).mkdir(parents=True)
    assert all_checkpoints(tmp_path) == []


def test_a_checkpoint_that_is_a_link_leaves_the_other_place_alone(
    data: Trajectories, run: Path, tmp_path: Path
) -> None:
    """Old checkpoints go and the same one is replaced, but nothing outside the run is touched."""
    outside = Path(shutil.copytree(run / "checkpoint-00000007", tmp_path / "outside"))
    before = {path.name: path.read_bytes() for path in outside.iterdir()}
    mine = Path(shutil.copytree(run, tmp_path / "run"))
    shutil.rmtree(mine / "checkpoint-00000012")
    shutil.rmtree(mine / "checkpoint-00000007")
    (mine / "checkpoint-00000007").symlink_to(outside)
    (mine / "checkpoint-00000012").symlink_to(outside)
    with pytest.raises(CheckpointError):
        train(data, MODEL, mine, CONTEXTS, TRAINING, resume=True, keep=1)
    assert {path.name: path.read_bytes() for path in outside.iterdir()} == before


def test_nothing_half_written(data: Trajectories, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fills up while a checkpoint is written leaves the older one, and no rubbish."""
    train(data, MODEL, tmp_path, CONTEXTS, replace(TRAINING, updates=5))
    before = weights(tmp_path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dmh_lib.checkpoints.save_file", full)
    edit(
        tmp_path / "checkpoint-00000005" / "checkpoint.json", training={**_training(tmp_path), "updates": 10}
    )
    with pytest.raises(CheckpointError, match="No space left"):
        train(data, MODEL, tmp_path, CONTEXTS, replace(TRAINING, updates=10), resume=True)
    assert_equal(before, weights(tmp_path))
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def _training(run: Path) -> dict[str, object]:
    return load_checkpoint(run).about["training"]  # type: ignore[no-any-return]
