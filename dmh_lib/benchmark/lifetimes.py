"""How a run is judged in lifetimes: every checkpoint, with memory and without."""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dmh_lib.agents import PlayConfig
from dmh_lib.checkpoints import load_checkpoint, load_training
from dmh_lib.envs.scores import PAPER_TARGETS
from dmh_lib.evaluation import choose_play, evaluate_on_tasks, play_in_gym
from dmh_lib.methods import method_of
from dmh_lib.models import DMH, ActionModel
from dmh_lib.rollouts import has_readable_goal, subgoal_meaning
from dmh_lib.run_folders import all_checkpoints, updates_of
from dmh_lib.statistics import Estimate, known_mean
from dmh_lib.training import TrainResult

from .data import DataSpec, MazeSpec, MujocoSpec
from .mazes import greedy
from .specs import Judging, RunSpec
from .store import MEMORY, NO_MEMORY, PAPER_TARGET


def core_seconds(checkpoint: Path) -> float:
    """What the updates took of one core; NaN where a GPU did them, maybe for several runs at once."""
    on_cpu = load_checkpoint(checkpoint).about["device"] == "cpu"
    return load_training(checkpoint).seconds if on_cpu else math.nan


def how_to_play(spec: RunSpec, result: TrainResult) -> tuple[PlayConfig, dict[float, float]]:
    """How the final checkpoint plays, and the scores of the temperatures that were tried."""
    if isinstance(spec.data, MazeSpec):
        return greedy(result.play), {}
    if isinstance(spec.data, MujocoSpec):
        return result.play, {}  # actions are not sampled; the target is the best return on record
    assert isinstance(spec.judging, Judging)
    judging, split = spec.judging, spec.data.split()
    return choose_play(
        result.model, split, judging.episodes, result.play, num_tasks=judging.temperature_tasks
    )


def judge_lifetimes(spec: RunSpec, result: TrainResult, folder: Path, play: PlayConfig) -> pd.DataFrame:
    """Every checkpoint in lifetimes, the final one without memory and at the paper's target too."""
    assert isinstance(spec.judging, Judging)
    parts = list[pd.DataFrame]()
    for path in all_checkpoints(folder):
        final = path == result.checkpoint
        model = result.model if final else load_checkpoint(path, result.model.obs_mean.device).model
        seeds = spec.judging.seeds if final else spec.judging.early_seeds
        about = {"updates": updates_of(path), "train_seconds": core_seconds(path)}
        for line, played in _lines(spec, play) if final else [(MEMORY, play)]:
            if line == NO_MEMORY and not method_of(model.config).across_episodes:
                parts.append(parts[-1].assign(line=line))  # what it has just played, with nothing to forget
            else:
                parts.append(_play(spec, model, played, line, seeds).assign(line=line, **about))
    return pd.concat(parts, ignore_index=True)


def _lines(spec: RunSpec, play: PlayConfig) -> Iterator[tuple[str, PlayConfig]]:
    """What is played with the final checkpoint, and how."""
    yield MEMORY, play
    yield NO_MEMORY, play
    if isinstance(spec.data, MujocoSpec) and spec.config().model.wants_target:
        yield PAPER_TARGET, replace(play, target_return=PAPER_TARGETS[spec.data.env])


def _play(
    spec: RunSpec, model: ActionModel, play: PlayConfig, line: str, seeds: tuple[int, ...]
) -> pd.DataFrame:
    """Lifetimes on the held-out tasks, or in the one task that MuJoCo has."""
    assert isinstance(spec.judging, Judging)
    episodes, memory = spec.judging.episodes, line != NO_MEMORY
    if isinstance(spec.data, MujocoSpec):
        table = play_in_gym(model, spec.data.env_id, episodes, seeds, play, memory=memory)
        return table.assign(method=spec.label)
    assert isinstance(spec.data, DataSpec)
    agent, split = method_of(model.config).agent(model, play), spec.data.split()
    tasks = split.tasks("test")
    return evaluate_on_tasks(agent, split.env_id, tasks, episodes, seeds, method=spec.label, memory=memory)


def read_subgoals(spec: RunSpec, model: ActionModel, play: PlayConfig) -> dict[str, Any] | None:
    """What the final checkpoint's sub-goals say of the hidden cell; None where there are none to read."""
    if not isinstance(model, DMH) or not isinstance(spec.data, DataSpec):
        return None
    assert isinstance(spec.judging, Judging)
    judging, split = spec.judging, spec.data.split()
    if not has_readable_goal(split):
        return None
    found = subgoal_meaning(model, split, judging.episodes, play, num_train=judging.temperature_tasks)
    by_task = {"r2": found.r2, **found.correlations}
    return {
        "cell": found.cell,
        "training_tasks": found.training_tasks,
        "from_episode": found.from_episode,
        "tasks": found.tasks.tolist(),
        "by_task": {name: _known(values) for name, values in by_task.items()},
        "mean": {name: _rounded(known_mean(values[None])) for name, values in by_task.items()},
    }


def _known(values: NDArray[np.float64]) -> list[float | None]:
    """Values for JSON, which has no NaN."""
    return [None if np.isnan(value) else round(float(value), 4) for value in values]


def _rounded(found: Estimate | None) -> dict[str, float] | None:
    return None if found is None else {name: round(v, 4) for name, v in found._asdict().items()}
