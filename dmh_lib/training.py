"""The training loop: batches in, checkpoints out."""

import math
import os
import shutil
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import pandas as pd
import torch
from tqdm.auto import tqdm

from dmh_lib.agents import PlayConfig
from dmh_lib.checkpoints import (
    TENSORS,
    TRAINING,
    TrainingState,
    hardware,
    load_checkpoint,
    load_training,
    save_checkpoint,
)
from dmh_lib.data.trajectories import Trajectories
from dmh_lib.devices import fabric_of, part_randomness
from dmh_lib.errors import CheckpointError, SettingError
from dmh_lib.files import write_json
from dmh_lib.methods import DrawConfig, method_of, name_of
from dmh_lib.models import ActionModel, ModelConfig
from dmh_lib.models.base import mean_over_processes
from dmh_lib.run_folders import latest_checkpoint, reading, training_in
from dmh_lib.train_config import TrainConfig
from dmh_lib.train_state import SUMS, parameter_groups, restore, snapshot
from dmh_lib.versions import versions

LOGS, RUN = "logs", "run.json"


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


def train(
    trajectories: Trajectories,
    model_config: ModelConfig,
    run_dir: str | os.PathLike[str],
    contexts: DrawConfig | None = None,
    config: TrainConfig | None = None,
    *,
    resume: bool = False,
    keep: int = 2,
    devices: int = 1,
    progress: bool = False,
    on_log: Callable[[dict[str, float]], bool | None] | None = None,
    on_checkpoint: Callable[[Path], None] | None = None,
) -> TrainResult:
    """Train a model on trajectories.

    With several devices each process takes a part of every batch. What one of them learns is then what one
    process learns from whole batches, but for rounding and for dropout, which is each process' own.

    Args:
        trajectories: the data; its hash and split go into the checkpoints.
        model_config: the model; its kind tells the method, see `dmh_lib.methods`.
        run_dir: gets run.json, logs/ (CSV and TensorBoard) and checkpoint folders.
        contexts: what batches are drawn from: contexts or mazes for DM-H, chains for AT, windows else.
        config: the training itself.
        resume: go on from the newest checkpoint in `run_dir`, with the same numbers as an undisturbed run.
        keep: checkpoints that stay, the newest, and beside them that with the lowest loss.
        devices: processes that share each batch, see `dmh_lib.devices`; the others run the program's command
            line again, up to here.
        progress: show a bar.
        on_log: told each log entry; where it answers True, training stops there, with a checkpoint to resume.
        on_checkpoint: told of each checkpoint once it is whole.

    Raises:
        SettingError: the model does not fit the data, `contexts` are another method's, there are not so many
            devices, or the loss is no longer finite.
        CheckpointError: `run_dir` holds a run already and `resume` is off, or one of other data or settings.
    """
    method, config, run_dir = method_of(model_config), config or TrainConfig(), Path(run_dir)
    contexts = contexts or method.draws()
    _check_fit(trajectories, model_config)
    sampler = method.sampler(trajectories, contexts, model_config, config.seed)
    fabric = fabric_of(run_dir / LOGS, config.precision, devices)
    fabric.launch()  # starts the other processes, which run this command line again and arrive here too
    with training_in(run_dir) if fabric.is_global_zero else nullcontext():
        first, alone = fabric.is_global_zero, fabric.world_size == 1
        about = _about(trajectories, model_config, contexts, config) | {"devices": fabric.world_size}
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
        if (run_dir / LOGS).exists() and not (run_dir / RUN).exists():
            raise CheckpointError(f"{run_dir / LOGS}: exists already and is no run's; choose another folder")
        fabric.barrier()  # all have looked before one writes
        if first:
            # ours; a resumed run writes its whole curve again
            shutil.rmtree(run_dir / LOGS, ignore_errors=True)
            write_json(run_dir / RUN, about)
        wrapped, optimizer = fabric.setup(model, optimizer)
        if not alone:
            part_randomness(model, config.seed, fabric.global_rank)
        sums = torch.zeros(len(model.loss_names), device=fabric.device)  # losses since the last log entry
        if start is not None:
            state = load_training(start)
            step, history, before = state.step, state.history, state.seconds
            logged = int(history[-1]["update"]) if history else 0
            reading(start / TRAINING, lambda: sampler.load_state_dict(state.sampler))
            reading(start / TENSORS, lambda: restore(model, optimizer, sums, state.tensors))
            for row in history:
                fabric.log_dict(row, step=int(row["update"]))
        began = time.perf_counter()
        clock = time.process_time if fabric.device.type == "cpu" else time.perf_counter
        used = clock()
        wrapped.train()
        stop = False
        with tqdm(
            total=config.updates, initial=step, desc="training", disable=not (progress and first)
        ) as bar:
            while step < config.updates and not stop:
                for group in optimizer.param_groups:
                    group["lr"] = config.rate(step)
                batch = sampler.sample(config.batch_size)
                mine = batch if alone else batch.part(fabric.global_rank, fabric.world_size)
                loss = wrapped(mine.to(fabric.device))
                fabric.backward(loss.total)
                fabric.clip_gradients(wrapped, optimizer, max_norm=config.clip, error_if_nonfinite=False)
                optimizer.step()
                optimizer.zero_grad()
                sums += torch.stack(loss).detach()
                step += 1
                bar.update()
                logs = step % config.log_every == 0 or step == config.updates
                saves = step % config.checkpoint_every == 0 or step == config.updates
                if logs or saves:
                    sums = mean_over_processes(sums)
                if logs:
                    means = dict(zip(model.loss_names, (sums / (step - logged)).tolist(), strict=True))
                    row = _log_row(step, config, means)
                    logged = step
                    history.append(row)
                    fabric.log_dict(row, step=step)
                    bar.set_postfix(loss=f"{row['loss']:.3f}")
                    sums.zero_()
                    stop = fabric.broadcast(first and on_log is not None and bool(on_log(row)))
                if stop or saves:
                    _require_finite(sums[0].item(), step)  # never let broken weights push out good ones
                    spent = mean_over_processes(torch.tensor(clock() - used, device=fabric.device)).item()
                    if fabric.device.type == "cpu":
                        spent *= fabric.world_size  # time of all cores
                    saved = TrainingState(
                        step,
                        {**snapshot(model, optimizer), SUMS: sums.cpu()},
                        sampler.state_dict(),
                        history,
                        before + spent,
                    )
                    since = step - config.checkpoint_every
                    recent = [row["loss"] for row in history if row["update"] > since]
                    told = about | {"loss": fmean(recent) if recent else None}
                    if first:
                        path = save_checkpoint(run_dir, model, told, saved, keep)
                        if on_checkpoint is not None:
                            on_checkpoint(path)
        for logger in fabric.loggers:
            logger.finalize("success")
        fabric.barrier()  # the last checkpoint is there for all
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
    if (devices := stored.get("devices", 1)) != about["devices"]:  # older ones do not say
        problem = f"field 'devices': trained with {devices}, not with {about['devices']}"
        raise CheckpointError(f"{start}: {problem}; resume with as many")
    return start


def _require_finite(loss: float, step: int) -> None:
    if not math.isfinite(loss):
        raise SettingError(f"training: the loss is not finite by update {step}; lower the learning rate")


def _log_row(step: int, config: TrainConfig, means: dict[str, float]) -> dict[str, float]:
    _require_finite(means["total"], step)
    columns = {"loss" if name == "total" else f"{name}_loss": mean for name, mean in means.items()}
    return {"update": step, **columns, "learning_rate": config.rate(step - 1)}
