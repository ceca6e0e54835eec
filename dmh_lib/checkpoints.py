"""Checkpoints: folders of safetensors and JSON, written whole or not at all, with nothing executable in them.

checkpoint-00001500/
    checkpoint.json        what it is: method, model settings, environment, split, data hash, versions, play
    model.safetensors      weights
    training.safetensors   optimizer moments and torch's random state
    training.json          update number, sampler state, loss history
"""

import math
import os
import secrets
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from dmh_lib.agents import PlayConfig
from dmh_lib.envs import RULES, TaskSplit, full_env_id
from dmh_lib.errors import CheckpointError, DataError
from dmh_lib.files import flush, read_json, write_json
from dmh_lib.methods import Method, method_named, name_of
from dmh_lib.models import ActionModel, ModelConfig
from dmh_lib.run_folders import (
    ABOUT,
    FORMAT_VERSION,
    PREFIX,
    about_of,
    all_checkpoints,
    best_checkpoint,
    checkpoint_at,
    reading,
    remove,
)

SMALL_SIZE, SMALL_COUNT = 512, 16
"""A model none of whose sizes, and of whose layers and expansions, is larger takes less than a gigabyte."""

FIRST_METHOD = "dm-h"  # what checkpoints hold that name no method
WEIGHTS, TRAINING, TENSORS = "model.safetensors", "training.json", "training.safetensors"


@dataclass(frozen=True)
class TrainingState:
    """All that is needed to go on as if nothing had happened."""

    step: int
    """Updates made."""
    tensors: dict[str, Tensor]
    """Optimizer moments by parameter name, open log sums, and torch's random state."""
    sampler: dict[str, Any]
    """State of the sampler."""
    history: list[dict[str, float]]
    """Logged losses so far."""
    seconds: float = 0.0
    """What the updates so far took, in all calls: time of the cores on a CPU, by the clock on a GPU."""


@dataclass(frozen=True)
class Checkpoint:
    """A loaded checkpoint."""

    path: Path
    model: ActionModel
    about: dict[str, Any]
    """What stands in checkpoint.json: `method`, `model`, `env_id`, `split`, `data_hash`, `play`, …"""

    @property
    def play(self) -> PlayConfig:
        """How the model is meant to play: the temperature chosen on training tasks."""
        return PlayConfig(**self.about.get("play", {}))

    @property
    def env_id(self) -> str | None:
        """The environment it was trained for, if its data named one."""
        return self.about.get("env_id")

    @property
    def split(self) -> TaskSplit:
        """Tasks it was trained on and those held out; raises CheckpointError if its data had no split."""
        if not self.about.get("split"):
            raise CheckpointError(
                f"{self.path}: field 'split' is missing; its training data had no task split"
            )
        return reading(self.path / ABOUT, lambda: TaskSplit.from_dict(self.about["split"]))

    def require_env(self, env_id: str) -> None:
        """Raise CheckpointError unless the model was trained for this environment."""
        asked = full_env_id(env_id) if self.env_id in RULES else env_id
        if asked != self.env_id:
            problem = f"field 'env_id': trained for {self.env_id}, not for {asked}"
            raise CheckpointError(f"{self.path}: {problem}; choose a checkpoint of that environment")


def hardware() -> dict[str, Any]:
    """What training runs on here: `device`, which is "cpu" or the name of a GPU, and `threads`."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return {"device": device, "threads": torch.get_num_threads()}


def save_checkpoint(
    run_dir: str | os.PathLike[str],
    model: ActionModel,
    about: dict[str, Any],
    training: TrainingState,
    keep: int = 2,
) -> Path:
    """Write the folder `checkpoint-<step>` in a run, then drop all but the newest `keep` and the best.

    Returns its path. Raises CheckpointError when it cannot be written; older ones then stay.
    """
    target = Path(run_dir) / f"{PREFIX}{training.step:08d}"
    temporary = target.with_name(f".{secrets.token_hex(8)}")
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    progress = {
        "step": training.step,
        "sampler": training.sampler,
        "history": training.history,
        "seconds": training.seconds,
    }
    try:
        temporary.mkdir(parents=True)
        save_file(weights, temporary / WEIGHTS)
        save_file(training.tensors, temporary / TENSORS)
        write_json(temporary / TRAINING, progress)
        what = {"method": name_of(model.config), "model": model.config.to_dict()}
        write_json(temporary / ABOUT, {"format_version": FORMAT_VERSION, **what, **about})
        for name in (WEIGHTS, TENSORS):
            flush(temporary / name)
        remove(target)
        temporary.rename(target)
    except (OSError, DataError, safetensors.SafetensorError) as error:
        raise CheckpointError(
            f"{target}: cannot be written ({error}); free some space or choose another place"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    try:
        best = best_checkpoint(run_dir)
    except (
        CheckpointError
    ):  # an older one is broken; that must not end a training, it is pushed out in its turn
        best = None
    for old in all_checkpoints(run_dir)[:-keep]:
        if old != best:
            remove(old)
    return target


def set_play(path: str | os.PathLike[str], play: PlayConfig) -> None:
    """Note in a checkpoint how it is meant to play."""
    file = checkpoint_at(path) / ABOUT
    write_json(file, {**reading(file, lambda: read_json(file)), "play": asdict(play)})


def export_checkpoint(
    path: str | os.PathLike[str], target: str | os.PathLike[str], notes: dict[str, Any] | None = None
) -> Path:
    """Copy what is needed to play, weights and settings without the training state, to the folder `target`.

    Args:
        path: a checkpoint, or a run for its newest.
        target: replaced if it holds a checkpoint already.
        notes: added to checkpoint.json, for example scores.

    Raises:
        CheckpointError: the checkpoint is broken, `target` holds something else, or it cannot be written.
    """
    source, goal = checkpoint_at(path), Path(target)
    about = {**about_of(source), **(notes or {})}
    if goal.exists() and not (goal / ABOUT).is_file():
        raise CheckpointError(f"{goal}: exists already and is no checkpoint; choose another folder")
    temporary = goal.with_name(f".{secrets.token_hex(8)}")
    try:
        temporary.mkdir(parents=True)
        shutil.copyfile(source / WEIGHTS, temporary / WEIGHTS)
        flush(temporary / WEIGHTS)
        write_json(temporary / ABOUT, about)
        shutil.rmtree(goal, ignore_errors=True)
        temporary.rename(goal)
    except (OSError, DataError) as error:
        raise CheckpointError(f"{goal}: cannot be written ({error}); choose another place") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return goal


def load_checkpoint(path: str | os.PathLike[str], device: torch.device | str = "cpu") -> Checkpoint:
    """Load a checkpoint, or the newest one of a run.

    Raises CheckpointError, naming file, field and remedy, if anything is missing, broken or does not fit.
    """
    folder = checkpoint_at(path)
    about = about_of(folder)
    if not isinstance(about.get("env_id"), str | None):
        problem = f"field 'env_id': {about['env_id']!r} is no name"
        raise CheckpointError(f"{folder / ABOUT}: {problem}; copy or train the checkpoint again")
    method = reading(folder / ABOUT, lambda: method_named(about.get("method", FIRST_METHOD)))
    config = reading(folder / ABOUT, lambda: method.config.from_dict(dict(about["model"])))
    weights = reading(folder / WEIGHTS, lambda: load_file(folder / WEIGHTS))
    expected = reading(folder / ABOUT, lambda: _shapes(method, config))
    stored = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    if stored != expected:
        name = min(name for name in stored.keys() | expected.keys() if stored.get(name) != expected.get(name))
        problem = f"field '{name}': shape {stored.get(name)}, but the settings ask for {expected.get(name)}"
        raise CheckpointError(
            f"{folder / WEIGHTS}: {problem}; take the weights and settings of one training run"
        )
    with torch.random.fork_rng(devices=[]):  # loading must not disturb the caller's random numbers
        model = method.model(config)
    for name, tensor in model.state_dict().items():
        if weights[name].dtype != tensor.dtype or not weights[name].isfinite().all():
            problem = f"field '{name}': must hold finite numbers of type {tensor.dtype}"
            raise CheckpointError(f"{folder / WEIGHTS}: {problem}; copy or train the checkpoint again")
    model.load_state_dict(weights)
    checkpoint = Checkpoint(folder, model.to(device).eval(), about)
    reading(folder / ABOUT, lambda: checkpoint.play)
    return checkpoint


def load_training(path: str | os.PathLike[str]) -> TrainingState:
    """The training state of a checkpoint; raises CheckpointError if it is missing or broken."""
    folder = checkpoint_at(path)
    progress = reading(folder / TRAINING, lambda: read_json(folder / TRAINING))
    tensors = reading(folder / TENSORS, lambda: load_file(folder / TENSORS))
    reading(folder / TENSORS, lambda: _require_finite(tensors))
    state = reading(
        folder / TRAINING,
        lambda: TrainingState(
            int(progress["step"]),
            tensors,
            dict(progress["sampler"]),
            [_log_row(row) for row in progress["history"]],
            float(progress.get("seconds", 0.0)),  # older checkpoints hold none
        ),
    )
    named = folder.name.removeprefix(PREFIX)
    last = state.history[-1]["update"] if state.history else 0
    if not last <= state.step or (named.isdecimal() and int(named) != state.step):
        problem = (
            f"field 'step': {state.step}, but the folder is {folder.name} and {last:g} updates are logged"
        )
        raise CheckpointError(f"{folder / TRAINING}: {problem}; resume from another checkpoint")
    return state


def _require_finite(tensors: dict[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise CheckpointError(f"field '{name}': holds NaN or infinite numbers; take another checkpoint")


def _log_row(stored: dict[str, Any]) -> dict[str, float]:
    """One entry of the loss history; raises what `reading` turns into an error where it is none."""
    update, values = int(stored["update"]), {name: float(value) for name, value in stored.items()}
    if update < 0 or "loss" not in values or not all(map(math.isfinite, values.values())):
        raise ValueError(f"history: {stored!r} is no log entry")
    return {**values, "update": update}


def _shapes(method: Method, config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a model's tensors.

    A stranger chose the sizes, so unless all are small they are found without memory for them. That makes
    PyTorch import its compiler, which takes two seconds.
    """
    small = all(
        size <= (SMALL_COUNT if name.endswith("layers") or name == "expand" else SMALL_SIZE)
        for name, size in asdict(config).items()
        if isinstance(size, int)
    )
    with torch.random.fork_rng(devices=[]), torch.device("cpu" if small else "meta"):
        return {name: tuple(tensor.shape) for name, tensor in method.model(config).state_dict().items()}
