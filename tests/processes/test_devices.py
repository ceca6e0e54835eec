"""Training with two processes: what one learns from whole batches, and resumable to the bit."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dmh_lib.checkpoints import load_checkpoint, load_training
from dmh_lib.data import Trajectories, read_hdf5, write_hdf5
from dmh_lib.data.contexts import ContextConfig, ContextSampler
from dmh_lib.data.histories import make_histories
from dmh_lib.data.pairs import PairSampler
from dmh_lib.data.searcher import SearcherConfig
from dmh_lib.devices import fabric_of
from dmh_lib.envs import make_split
from dmh_lib.errors import CheckpointError, SettingError
from dmh_lib.models import DMH, DMHConfig
from dmh_lib.models.dmh import DMHLoss
from dmh_lib.presets import preset_named
from dmh_lib.run_folders import all_checkpoints
from dmh_lib.training import train

UPDATES, BATCH = 20, 9  # the parts are not of one size
CONTEXTS = ContextConfig(4, goal_share=0.5)


@pytest.fixture(scope="module")
def data_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "data.hdf5"
    history = SearcherConfig(runs_per_task=3, episodes=6)
    data = make_histories(make_split("darkroom", num_train=5), history)
    del data.metadata["split"]
    write_hdf5(data, path)
    return path


@pytest.fixture(scope="module")
def data(data_file: Path) -> Trajectories:
    return read_hdf5(data_file)


def train_with_two(data_file: Path, out: Path, *options: str) -> None:
    """`dmh train` with two processes; without a split there is no temperature to choose afterwards."""
    command = [sys.executable, "-m", "dmh_lib.cli", "train", "--data", str(data_file), "--out", str(out)]
    sizes = ["--training.updates", str(UPDATES), "--training.batch-size", str(BATCH)]
    often = ["--training.checkpoint-every", "8", "--model.d-model", "16", "--model.d-state", "4"]
    done = subprocess.run(
        [*command, "--devices", "2", *options, "small", *sizes, *often],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(f"trained {UPDATES} updates") == 1


def test_two_processes_learn_what_one_does(data_file: Path, data: Trajectories, tmp_path: Path) -> None:
    """Every parameter after 20 updates within 1e-5, also after an interruption, then to the bit."""
    settings = preset_named("small").settings
    settings = settings.changed(
        {"model.d_model": 16, "model.d_state": 4, "training.updates": UPDATES, "training.batch_size": BATCH}
        | {"training.checkpoint_every": 8}
    )
    alone = train(data, settings.model_for(data), tmp_path / "one", settings.contexts, settings.training)
    train_with_two(data_file, tmp_path / "two")
    both = load_checkpoint(tmp_path / "two")
    assert both.about["devices"] == 2
    expected = alone.model.state_dict()
    for name, tensor in both.model.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], rtol=0, atol=1e-5, msg=name)
    history = [row["loss"] for row in load_training(both.path).history]
    assert history == pytest.approx(alone.history["loss"].tolist(), abs=1e-5)

    shutil.copytree(tmp_path / "two", tmp_path / "cut")
    for path in all_checkpoints(tmp_path / "cut")[1:]:
        shutil.rmtree(path)
    train_with_two(data_file, tmp_path / "cut", "--resume")
    assert_equal_states(tmp_path / "cut", tmp_path / "two")
    with pytest.raises(CheckpointError, match="'devices': trained with 2, not with 1"):
        train(
            data,
            settings.model_for(data),
            tmp_path / "two",
            settings.contexts,
            settings.training,
            resume=True,
        )


def assert_equal_states(one: Path, other: Path) -> None:
    found, expected = load_training(one), load_training(other)
    assert found.tensors.keys() == expected.tensors.keys()
    for name, tensor in found.tensors.items():
        assert torch.equal(tensor, expected.tensors[name]), name
    weights = load_checkpoint(other).model.state_dict()
    for name, tensor in load_checkpoint(one).model.state_dict().items():
        assert torch.equal(tensor, weights[name]), name


def test_parts_of_a_batch_make_it_whole(data: Trajectories) -> None:
    """Losses of the parts add up to that of the whole, weighted by the steps they count."""
    torch.manual_seed(0)
    model = DMH(DMHConfig.small(2, 5, d_model=16, d_state=4)).eval()
    model.sample_subgoals = lambda mean, *_: mean  # type: ignore[method-assign]
    batch = ContextSampler(data, CONTEXTS, 5, seed=3).sample(BATCH)
    parts = [batch.part(number, 3) for number in range(3)]
    whole: DMHLoss = model(batch)
    losses = [model(part) for part in parts]
    steps = [float(part.weights.sum()) for part in parts]
    assert sum(steps) == float(batch.weights.sum())
    found = sum(loss.action * count for loss, count in zip(losses, steps, strict=True)) / sum(steps)
    torch.testing.assert_close(found, whole.action)
    with_goal = [float(part.weights[: len(part.goal_states)].sum()) for part in parts]
    found = sum(loss.goal * count for loss, count in zip(losses, with_goal, strict=True)) / sum(with_goal)
    torch.testing.assert_close(found, whole.goal)
    assert torch.stack([part.here for part in parts]).sum(0).eq(1).all()


def test_the_noise_of_parts_is_that_of_the_whole(data: Trajectories) -> None:
    model = DMH(DMHConfig.small(2, 5, d_model=16, d_state=4))
    batch = ContextSampler(data, CONTEXTS, 5, seed=3).sample(BATCH)
    mean = torch.zeros(len(batch.rows), model.config.goal_dim)
    model.noise = torch.Generator()
    whole = model.sample_subgoals(mean, mean, model.noise.manual_seed(5))
    for number in range(2):
        here = batch.part(number, 2).here
        part = model.sample_subgoals(mean[here], mean[here], model.noise.manual_seed(5), here)
        assert torch.equal(part, whole[here])


def test_batches_too_small_to_share(data: Trajectories) -> None:
    with pytest.raises(SettingError, match="batch_size: 2 in a batch are too few for 3 devices"):
        PairSampler(data).sample(2).part(0, 3)
    with pytest.raises(SettingError, match="too few for 3 devices"):
        ContextSampler(data, CONTEXTS, 5).sample(2).part(2, 3)


@pytest.mark.parametrize("devices", [0, 10_000])
def test_devices_that_there_are(tmp_path: Path, devices: int) -> None:
    with pytest.raises(SettingError, match="devices: must be 1 to"):
        fabric_of(tmp_path, "32-true", devices)


def test_a_notebook_has_one_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning_fabric.connector._IS_INTERACTIVE", True)
    fabric_of(tmp_path, "32-true")
    with pytest.raises(SettingError, match="devices: in a notebook there is one; use `dmh train --devices`"):
        fabric_of(tmp_path, "32-true", 2)
