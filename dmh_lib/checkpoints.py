"""Checkpoints: folders of safetensors and JSON, written whole or not at all, with nothing executable in them.

checkpoint-00001500/
    checkpoint.json        what it is: method, model settings, environment, split, data hash, versions, play
    model.safetensors      weights
    training.safetensors   optimizer moments and torch's random state
    training.json          update number, sampler state, loss history
"""

import os
import secrets
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import safetensors
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from dmh_lib.agents import PlayConfig
from dmh_lib.envs import RULES, TaskSplit, full_env_id
from dmh_lib.errors import CheckpointError, DataError, DMHError
from dmh_lib.files import flush, read_json, write_json
from dmh_lib.methods import Method, method_named, name_of
from dmh_lib.models import ActionModel, ModelConfig

T = TypeVar("T")
SMALL_SIZE, SMALL_COUNT = 512, 16
"""A model none of whose sizes, and of whose layers and expansions, is larger takes less than a gigabyte."""

FORMAT_VERSION = 1
FIRST_METHOD = "dm-h"  # what checkpoints hold that name no method
PREFIX = "checkpoint-"
ABOUT, WEIGHTS, TRAINING, TENSORS = (
    "checkpoint.json",
    "model.safetensors",
    "training.json",
    "training.safetensors",
)


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
        return TaskSplit.from_dict(self.about["split"])

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


def latest_checkpoint(run_dir: str | os.PathLike[str]) -> Path | None:
    """The checkpoint of a run with the most updates, or None."""
    return max(all_checkpoints(run_dir), key=updates_of, default=None)


def all_checkpoints(run_dir: str | os.PathLike[str]) -> list[Path]:
    """The checkpoints of a run that were kept, oldest first."""
    found = [path for path in Path(run_dir).glob(f"{PREFIX}*") if path.name.removeprefix(PREFIX).isdigit()]
    return sorted(found, key=updates_of)


def updates_of(checkpoint: Path) -> int:
    """Updates made by a run's checkpoint, as its name says."""
    return int(checkpoint.name.removeprefix(PREFIX))


def save_checkpoint(
    run_dir: str | os.PathLike[str],
    model: ActionModel,
    about: dict[str, Any],
    training: TrainingState,
    keep: int = 2,
) -> Path:
    """Write the folder `checkpoint-<step>` in a run, then drop all but the newest `keep`.

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
        if target.exists():
            shutil.rmtree(target)
        temporary.rename(target)
    except (OSError, DataError, safetensors.SafetensorError) as error:
        raise CheckpointError(
            f"{target}: cannot be written ({error}); free some space or choose another place"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    for old in all_checkpoints(run_dir)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def set_play(path: str | os.PathLike[str], play: PlayConfig) -> None:
    """Note in a checkpoint how it is meant to play."""
    file = _folder(path) / ABOUT
    write_json(file, {**_reading(file, lambda: read_json(file)), "play": asdict(play)})


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
    source, goal = _folder(path), Path(target)
    about = {**_about(source), **(notes or {})}
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
    folder = _folder(path)
    about = _about(folder)
    method = _reading(folder / ABOUT, lambda: method_named(about.get("method", FIRST_METHOD)))
    config = _reading(folder / ABOUT, lambda: method.config.from_dict(dict(about["model"])))
    weights = _reading(folder / WEIGHTS, lambda: load_file(folder / WEIGHTS))
    expected = _reading(folder / ABOUT, lambda: _shapes(method, config))
    stored = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    if stored != expected:
        name = min(name for name in stored.keys() | expected.keys() if stored.get(name) != expected.get(name))
        problem = f"field '{name}': shape {stored.get(name)}, but the settings ask for {expected.get(name)}"
        raise CheckpointError(
            f"{folder / WEIGHTS}: {problem}; take the weights and settings of one training run"
        )
    with torch.random.fork_rng(devices=[]):  # loading must not disturb the caller's random numbers
        model = method.model(config)
    model.load_state_dict(weights)
    checkpoint = Checkpoint(folder, model.to(device).eval(), about)
    _reading(folder / ABOUT, lambda: checkpoint.play)
    return checkpoint


def load_training(path: str | os.PathLike[str]) -> TrainingState:
    """The training state of a checkpoint; raises CheckpointError if it is missing or broken."""
    folder = _folder(path)
    progress = _reading(folder / TRAINING, lambda: read_json(folder / TRAINING))
    tensors = _reading(folder / TENSORS, lambda: load_file(folder / TENSORS))
    return _reading(
        folder / TRAINING,
        lambda: TrainingState(
            int(progress["step"]),
            tensors,
            dict(progress["sampler"]),
            list(progress["history"]),
            float(progress.get("seconds", 0.0)),  # older checkpoints hold none
        ),
    )


def _folder(path: str | os.PathLike[str]) -> Path:
    folder = Path(path)
    if not (folder / ABOUT).is_file():
        newest = latest_checkpoint(folder)
        if newest is None or not (newest / ABOUT).is_file():
            where = "" if folder.is_absolute() else f" in {folder.absolute()}"
            raise CheckpointError(
                f"{folder}: no checkpoint here ({ABOUT} is missing{where}); train one with `dmh train`"
            )
        folder = newest
    return folder


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


def _about(folder: Path) -> dict[str, Any]:
    file = folder / ABOUT
    about = _reading(file, lambda: dict(read_json(file)))
    if about.get("format_version") != FORMAT_VERSION:
        problem = (
            f"field 'format_version': {about.get('format_version')}, this version reads {FORMAT_VERSION}"
        )
        raise CheckpointError(f"{file}: {problem}; load it with the version of dmh_lib that wrote it")
    return about


def _reading(file: Path, read: Callable[[], T]) -> T:
    """Turn the many ways in which a broken file can fail into one error."""
    try:
        return read()
    except DMHError as error:
        message = str(error) if str(file) in str(error) else f"{file}: {error}"
        raise CheckpointError(message) from error
    except (
        OSError,
        safetensors.SafetensorError,
        RuntimeError,
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
    ) as error:
        raise CheckpointError(
            f"{file}: missing or broken ({error!r}); copy or train the checkpoint again"
        ) from error
