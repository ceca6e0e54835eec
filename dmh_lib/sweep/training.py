"""A training of a sweep: from data to the lifetimes of its final checkpoint."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from dmh_lib.agents import PlayConfig
from dmh_lib.checkpoints import load_checkpoint, set_play
from dmh_lib.console import interruptible
from dmh_lib.data import Trajectories, read_hdf5
from dmh_lib.envs import RULES, TaskSplit
from dmh_lib.errors import SettingError
from dmh_lib.evaluation import choose_play, evaluate_in_gym, evaluate_split
from dmh_lib.models import ActionModel
from dmh_lib.results import write_results
from dmh_lib.run_folders import updates_of
from dmh_lib.sweep.orders import FILES, RESULTS, TrainingTarget
from dmh_lib.training import train
from dmh_lib.warm_up import warm_up


def train_and_play(target: TrainingTarget, parameters: Mapping[str, Any], folder: Path) -> None:
    """Train with a preset's settings and what a run changes, choose how to play, and write the lifetimes.

    A training that was cut off goes on from its newest checkpoint; SIGTERM leaves one.
    """
    data = read_hdf5(target.data)
    settings = target.settings(parameters)
    if not torch.cuda.is_available():
        warm_up()
    with interruptible() as stopped:
        result = train(
            data,
            settings.model_for(data),
            folder / FILES,
            settings.contexts,
            settings.training,
            resume=True,
            on_log=lambda _: bool(stopped()),
        )
    if updates_of(result.checkpoint) < settings.training.updates:
        raise SystemExit(128 + stopped())
    table, play = _lifetimes(target, data, result.model, result.play)
    set_play(result.checkpoint, play)
    about = load_checkpoint(result.checkpoint).about
    write_results(
        table, folder / RESULTS, {name: about[name] for name in ("data_hash", "versions", "device")}
    )


def _lifetimes(
    target: TrainingTarget, data: Trajectories, model: ActionModel, play: PlayConfig
) -> tuple[pd.DataFrame, PlayConfig]:
    env_id = data.metadata.get("env_id")
    if env_id is None:
        raise SettingError(f"{target.data}: field 'env_id' is missing, so that nothing can be played")
    if env_id not in RULES or not data.metadata.get("split"):
        return evaluate_in_gym(model, env_id, target.episodes, target.seeds, play), play
    split = TaskSplit.from_dict(data.metadata["split"])
    play, _ = choose_play(model, split, target.episodes, play)
    return evaluate_split(model, split, "test", target.episodes, target.seeds, play), play
