"""The training loop: batches in, checkpoints out."""

import math
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import pandas as pd
import torch
from tqdm.auto import tqdm

from dmh_lib.agents import PlayConfig
from dmh_lib.checkpoints import (
    TrainingState,
    hardware,
    latest_checkpoint,
    load_checkpoint,
    load_training,
    save_checkpoint,
)
from dmh_lib.data.trajectories import Trajectories
from dmh_lib.errors import CheckpointError, SettingError, require_choice
from dmh_lib.files import write_json
from dmh_lib.methods import DrawConfig, method_of, name_of
from dmh_lib.models import ActionModel, ModelConfig
from dmh_lib.train_state import SUMS, parameter_groups, restore, snapshot
from dmh_lib.versions import versions

if TYPE_CHECKING:
    from lightning_fabric import Fabric

LOGS, RUN = "logs", "run.json"
Schedule = Literal["cosine", "constant"]
Precision = Literal["32-true", "bf16-mixed"]


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained; the defaults are those of the walkthrough."""

    updates: int = 2000
    """Gradient steps."""
    batch_size: int = 64
    """Contexts (DM-H) or windows (all others) per update."""
    learning_rate: float = 3e-3
    """Peak learning rate of AdamW."""
    weight_decay: float = 1e-2
    """Of AdamW, on matrices only."""
    warmup: int = 100
    """Updates over which the learning rate rises."""
    schedule: Schedule = "cosine"
    """What the learning rate does after the warm-up."""
    clip: float = 1.0
    """Largest norm of the gradient."""
    seed: int = 0
    """Of the initial weights, the batches and the noise of sub-goals and dropout."""
    log_every: int = 10
    """Updates between log entries, each the mean of what lies between."""
    checkpoint_every: int = 500
    """Updates between checkpoints."""
    precision: Precision = "32-true"
    """Number format; bf16-mixed pays on GPUs."""

    def __post_init__(self) -> None:
        require_choice("schedule", self.schedule, get_args(Schedule))
        require_choice("precision", self.precision, get_args(Precision))
        for name in ("updates", "batch_size", "log_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise SettingError(f"{name}: must be at least 1, got {getattr(self, name)}")
        if self.seed < 0:
            raise SettingError(f"seed: must be 0 or more, got {self.seed}")
        if not self.learning_rate > 0:
            raise SettingError(f"learning_rate: must be positive, got {self.learning_rate}")

    @classmethod
    def paper(cls, **changes: Any) -> "TrainConfig":
        """The paper's settings; its warm-up is as long as its training."""
        settings: dict[str, Any] = {
            "updates": 100_000,
            "batch_size": 128,
            "learning_rate": 1e-4,
            "weight_decay": 1e-4,
            "warmup": 100_000,
            "schedule": "constant",
            "clip": 0.25,
            "log_every": 100,
            "checkpoint_every": 5000,
        }
        return cls(**(settings | changes))

    def rate(self, step: int) -> float:
        """Learning rate of the update after `step` updates."""
        warm = min(1.0, (step + 1) / max(1, self.warmup))
        if self.schedule == "constant":
            return self.learning_rate * warm
        return self.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * step / self.updates))


@dataclass(frozen=True)
class TrainResult:
    """What training leaves."""

    model: ActionModel
    checkpoint: Path
    """The final checkpoint."""
    history: pd.DataFrame
    """Columns `update`, `loss`, one for each part of the loss (`action_loss`, …), `learning_rate`."""
    play: PlayConfig
    """How the final checkpoint is meant to play, before a temperature is chosen."""
    seconds: float
    """Wall-clock time of this call's updates."""


def _fabric(logs: Path, config: TrainConfig) -> "Fabric":
    """Where and in what precision a model is trained, and what writes its log."""
    # two to three seconds to import, which those need not wait for who look at a trained model
    from lightning_fabric import Fabric
    from lightning_fabric.loggers.csv_logs import CSVLogger
    from lightning_fabric.loggers.tensorboard import TensorBoardLogger

    return Fabric(
        accelerator="cuda" if torch.cuda.is_available() else "cpu",
        devices=1,
        precision=config.precision,
        loggers=[
            CSVLogger(logs, name="", version="", flush_logs_every_n_steps=1),
            TensorBoardLogger(logs, name="tb", version=""),
        ],
    )


def train(
    trajectories: Trajectories,
    model_config: ModelConfig,
    run_dir: str | os.PathLike[str],
    contexts: DrawConfig | None = None,
    config: TrainConfig | None = None,
    *,
    resume: bool = False,
    keep: int = 2,
    progress: bool = False,
    on_log: Callable[[dict[str, float]], bool | None] | None = None,
    on_checkpoint: Callable[[Path], None] | None = None,
) -> TrainResult:
    """Train a model on trajectories.

    Args:
        trajectories: the data; its hash and split go into the checkpoints.
        model_config: the model; its kind tells the method, see `dmh_lib.methods`.
        run_dir: gets run.json, logs/ (CSV and TensorBoard) and checkpoint folders.
        contexts: what batches are drawn from: contexts or mazes for DM-H, chains for AT, windows else.
        config: the training itself.
        resume: go on from the newest checkpoint in `run_dir`, with the same numbers as an undisturbed run.
        keep: checkpoints that stay, the newest.
        progress: show a bar.
        on_log: told each log entry; where it answers True, training stops there, with a checkpoint to resume.
        on_checkpoint: told of each checkpoint once it is whole.

    Raises:
        SettingError: the model does not fit the data, `contexts` are another method's, or the loss is no
            longer finite.
        CheckpointError: `run_dir` holds a run already and `resume` is off, or one of other data or settings.
    """
    method, config, run_dir = method_of(model_config), config or TrainConfig(), Path(run_dir)
    contexts = contexts or method.draws()
    _check_fit(trajectories, model_config)
    about = _about(trajectories, model_config, contexts, config)
    sampler = method.sampler(trajectories, contexts, model_config, config.seed)
    torch.manual_seed(config.seed)
    start = _resumable(run_dir, about) if resume else None
    if not resume and latest_checkpoint(run_dir):
        raise CheckpointError(f"{run_dir}: holds a run already; resume it or choose another folder")
    if start is None:
        model = method.model(model_config)
        model.fit_normalisation(trajectories)
    else:
        model = load_checkpoint(start).model
    optimizer = torch.optim.AdamW(
        parameter_groups(model, config.weight_decay), lr=config.learning_rate, fused=True
    )
    step, logged, history, before = 0, 0, list[dict[str, float]](), 0.0
    state = None if start is None else load_training(start)
    if (run_dir / RUN).exists():
        shutil.rmtree(run_dir / LOGS, ignore_errors=True)  # ours; a resumed run writes its whole curve again
    elif (run_dir / LOGS).exists():
        raise CheckpointError(f"{run_dir / LOGS}: exists already and is no run's; choose another folder")
    write_json(run_dir / RUN, about)
    fabric = _fabric(run_dir / LOGS, config)
    wrapped, optimizer = fabric.setup(model, optimizer)
    sums = torch.zeros(len(model.loss_names), device=fabric.device)  # losses since the last log entry
    if state is not None:
        step, history, before = state.step, state.history, state.seconds
        logged = int(history[-1]["update"]) if history else 0
        sampler.load_state_dict(state.sampler)
        restore(model, optimizer, sums, state.tensors)
        for row in history:
            fabric.log_dict(row, step=int(row["update"]))
    began = time.perf_counter()
    clock = time.process_time if fabric.device.type == "cpu" else time.perf_counter
    used = clock()
    wrapped.train()
    bar, stop = tqdm(total=config.updates, initial=step, desc="training", disable=not progress), False
    with bar:
        while step < config.updates and not stop:
            for group in optimizer.param_groups:
                group["lr"] = config.rate(step)
            batch = sampler.sample(config.batch_size).to(fabric.device)
            loss = wrapped(batch)
            fabric.backward(loss.total)
            fabric.clip_gradients(wrapped, optimizer, max_norm=config.clip, error_if_nonfinite=False)
            optimizer.step()
            optimizer.zero_grad()
            sums += torch.stack(loss).detach()
            step += 1
            bar.update()
            if step % config.log_every == 0 or step == config.updates:
                means = dict(zip(model.loss_names, (sums / (step - logged)).tolist(), strict=True))
                row = _log_row(step, config, means)
                logged = step
                history.append(row)
                fabric.log_dict(row, step=step)
                bar.set_postfix(loss=f"{row['loss']:.3f}")
                sums.zero_()
                stop = on_log is not None and bool(on_log(row))
            if stop or step % config.checkpoint_every == 0 or step == config.updates:
                _require_finite(sums[0].item(), step)  # never let broken weights push out good ones
                tensors = {**snapshot(model, optimizer), SUMS: sums.cpu()}
                seconds = before + clock() - used
                saved = TrainingState(step, tensors, sampler.state_dict(), history, seconds)
                path = save_checkpoint(run_dir, model, about, saved, keep)
                if on_checkpoint is not None:
                    on_checkpoint(path)
    for logger in fabric.loggers:
        logger.finalize("success")
    checkpoint = latest_checkpoint(run_dir)
    assert checkpoint is not None  # the last update saved one
    return TrainResult(
        model.eval(),
        checkpoint,
        pd.DataFrame(history),
        PlayConfig(**about["play"]),
        time.perf_counter() - began,
    )


def _check_fit(trajectories: Trajectories, model: ModelConfig) -> None:
    found = (trajectories.obs_dim, trajectories.action_dim, trajectories.discrete)
    if found != (model.obs_dim, model.action_dim, model.discrete):
        wanted = f"obs_dim {model.obs_dim}, action_dim {model.action_dim}, discrete {model.discrete}"
        data = "obs_dim {}, action_dim {}, discrete {}".format(*found)
        raise SettingError(
            f"{trajectories.metadata.get('path', 'data')}: has {data}, the model {wanted}; make them equal"
        )


def _about(
    trajectories: Trajectories, model: ModelConfig, contexts: DrawConfig, config: TrainConfig
) -> dict[str, Any]:
    # the best return on record is what a model with a return-to-go is asked for, unless told otherwise
    target = float(trajectories.returns.max()) if model.wants_target else 0.0
    return {
        "method": name_of(model),
        "model": model.to_dict(),
        "contexts": asdict(contexts),
        "training": asdict(config),
        "env_id": trajectories.metadata.get("env_id"),
        "split": trajectories.metadata.get("split"),
        "data_hash": trajectories.data_hash(),
        "behaviour": trajectories.metadata.get("behaviour"),
        "play": asdict(PlayConfig(target_return=target)),
        "versions": versions(),
        **hardware(),
    }


def _resumable(run_dir: Path, about: dict[str, Any]) -> Path | None:
    """The checkpoint to go on from; None where there is none yet."""
    start = latest_checkpoint(run_dir)
    if start is None:
        return None
    stored = load_checkpoint(start).about
    for name in ("data_hash", "model", "contexts", "training"):
        if stored.get(name) != about[name]:
            raise CheckpointError(
                f"{start}: field '{name}' differs from this run's; resume with the same settings and data"
            )
    return start


def _require_finite(loss: float, step: int) -> None:
    if not math.isfinite(loss):
        raise SettingError(f"training: the loss is not finite by update {step}; lower the learning rate")


def _log_row(step: int, config: TrainConfig, means: dict[str, float]) -> dict[str, float]:
    _require_finite(means["total"], step)
    columns = {"loss" if name == "total" else f"{name}_loss": mean for name, mean in means.items()}
    return {"update": step, **columns, "learning_rate": config.rate(step - 1)}
