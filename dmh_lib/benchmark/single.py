"""One run from data to result: train, choose the temperature, evaluate every checkpoint, write one file."""

import math
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from dmh_lib.agents import PlayConfig
from dmh_lib.checkpoints import (
    all_checkpoints,
    export_checkpoint,
    load_checkpoint,
    load_training,
    set_play,
    updates_of,
)
from dmh_lib.errors import BenchmarkError
from dmh_lib.evaluation import choose_play, evaluate_on_tasks
from dmh_lib.methods import method_of
from dmh_lib.models import DMH, ActionModel
from dmh_lib.results import read_about, summarise, write_results
from dmh_lib.rollouts import has_readable_goal, subgoal_meaning
from dmh_lib.statistics import Estimate, known_mean
from dmh_lib.training import TrainResult, train
from dmh_lib.warm_up import warm_up

from .data import DataSpec, MazeSpec
from .mazes import greedy, judge_mazes, longest_solved, scores_of
from .specs import QUARTERS, Judging, RunSpec
from .store import MEMORY, NO_MEMORY, Places, Stored, final_rows, load, state_of, typed

TRAINED_ON = ("device", "threads", "versions")  # of a checkpoint
SCORES = ["line", "updates", "task", "seed", "episode", "return", "length"]  # what a repeated run must give


def run_one(spec: RunSpec, places: Places, *, keep: bool = False, repeat: bool = False) -> str:
    """Do a run and store its result; an interrupted one goes on from its newest checkpoint.

    Args:
        spec: what to run.
        places: where everything lies.
        keep: leave the final weights in `places.kept(spec)`.
        repeat: run from nothing what is done already, compare, and leave the stored result as it is.

    Returns:
        A line on what came out.

    Raises:
        BenchmarkError: a repeated run gave other numbers.
    """
    folder, histories = places.run(spec), places.histories(spec.data)
    done = state_of(spec, places)[0] == "done"
    if repeat:
        folder = folder.with_name(f"{folder.name}-repeat")
        histories = folder.with_name(f"{folder.name}.hdf5")  # made from nothing as well
    with _alone(folder):
        if repeat:
            shutil.rmtree(folder, ignore_errors=True)
            histories.unlink(missing_ok=True)
        table, about = _train_and_judge(spec, histories, folder)
        if repeat:
            said = _compared(table, about, load(spec, places.result(spec)))
        elif done:  # only its weights are wanted, on another machine perhaps
            said = f"{_said(spec, table)}; the stored result stays"
        else:
            write_results(typed(table), places.result(spec), about)
            said = _said(spec, table)
        if keep and not repeat:
            of_result = read_about(places.result(spec))["hash"]
            notes = {"run": spec.name, "hash": of_result, "scores": _scores(spec, table)}
            export_checkpoint(folder, places.kept(spec), notes)
        shutil.rmtree(folder, ignore_errors=True)
        if repeat:
            histories.unlink(missing_ok=True)
    return f"{said}, {about['seconds']['total'] / 60:.1f} minutes"


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """No other process at the same run; raises BenchmarkError if there is one."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.with_name(f"{folder.name}.lock"), timeout=0)
    try:
        with lock:
            yield
    except Timeout as error:
        raise BenchmarkError(f"{folder}: another process is at this run; wait for it") from error


def _train_and_judge(spec: RunSpec, histories: Path, folder: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    config, began = spec.config(), time.process_time()
    data = spec.data.load(histories)
    made = time.process_time() - began
    if not torch.cuda.is_available():
        warm_up()  # compilation is no training
    result = train(
        data, config.model_for(data), folder, config.contexts, config.training, resume=True, keep=QUARTERS
    )
    began_play = time.process_time()
    play, tried = _how_to_play(spec, result)
    set_play(result.checkpoint, play)
    chosen = time.process_time()
    trained_on = {name: load_checkpoint(result.checkpoint).about[name] for name in TRAINED_ON}
    trained = _core_seconds(result.checkpoint)
    if isinstance(spec.data, MazeSpec):
        updates = updates_of(result.checkpoint)
        table = judge_mazes(spec, result).assign(updates=updates, train_seconds=trained)
    else:
        table = _judge_lifetimes(spec, result, folder, play)
    ended = time.process_time()
    subgoals = _subgoals(spec, result.model, play)
    table = table.assign(run=spec.name, training_seed=spec.seed)
    took = {
        "data": made,
        "training": trained,
        "temperature": chosen - began_play,
        "playing": ended - chosen,
        "subgoals": time.process_time() - ended,
    }
    took["total"] = sum(seconds for seconds in took.values() if not math.isnan(seconds))
    about = {
        "run": spec.name,
        "hash": spec.hash,
        "spec": spec.to_dict(),
        "settings": spec.resolved(),
        "data_hash": data.data_hash(),
        "temperature": play.temperature,
        "target_return": play.target_return,
        "temperatures": {f"{key:g}": round(value, 2) for key, value in tried.items()},
        "subgoals": subgoals,
        "parameters": sum(parameter.numel() for parameter in result.model.parameters()),
        "seconds": {name: round(value, 2) for name, value in took.items() if not math.isnan(value)},
        **trained_on,
    }
    return table, about


def _core_seconds(checkpoint: Path) -> float:
    """What the updates took of one core; NaN where a GPU did them, maybe for several runs at once."""
    on_cpu = load_checkpoint(checkpoint).about["device"] == "cpu"
    return load_training(checkpoint).seconds if on_cpu else math.nan


def _how_to_play(spec: RunSpec, result: TrainResult) -> tuple[PlayConfig, dict[float, float]]:
    """How the final checkpoint plays, and the scores of the temperatures that were tried."""
    if isinstance(spec.data, MazeSpec):
        return greedy(result.play), {}
    assert isinstance(spec.judging, Judging)
    judging, split = spec.judging, spec.data.split()
    return choose_play(
        result.model, split, judging.episodes, result.play, num_tasks=judging.temperature_tasks
    )


def _judge_lifetimes(spec: RunSpec, result: TrainResult, folder: Path, play: PlayConfig) -> pd.DataFrame:
    """Every checkpoint on the held-out tasks, the final one without memory too."""
    assert isinstance(spec.judging, Judging)
    parts = []
    for path in all_checkpoints(folder):
        final = path == result.checkpoint
        model = result.model if final else load_checkpoint(path, result.model.obs_mean.device).model
        for line in (MEMORY, NO_MEMORY) if final else (MEMORY,):
            seeds = spec.judging.seeds if final else spec.judging.early_seeds
            played = _play(spec, model, play, line, seeds)
            seconds = _core_seconds(path)
            parts.append(played.assign(line=line, updates=updates_of(path), train_seconds=seconds))
    return pd.concat(parts, ignore_index=True)


def _play(
    spec: RunSpec, model: ActionModel, play: PlayConfig, line: str, seeds: tuple[int, ...]
) -> pd.DataFrame:
    """Lifetimes on the held-out tasks."""
    assert isinstance(spec.data, DataSpec)
    assert isinstance(spec.judging, Judging)
    split = spec.data.split()
    agent = method_of(model.config).agent(model, play)
    return evaluate_on_tasks(
        agent,
        split.env_id,
        split.tasks("test"),
        spec.judging.episodes,
        seeds,
        method=spec.label,
        memory=line == MEMORY,
    )


def _subgoals(spec: RunSpec, model: ActionModel, play: PlayConfig) -> dict[str, Any] | None:
    """What the final checkpoint's sub-goals say of the hidden cell; None where there are none to read."""
    if not isinstance(model, DMH) or isinstance(spec.data, MazeSpec):
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


def _last(table: pd.DataFrame) -> float:
    rows = final_rows(table)
    return float(rows.loc[rows["episode"] == rows["episode"].max(), "percent_of_optimum"].mean())


def _said(spec: RunSpec, table: pd.DataFrame) -> str:
    """What came out, in words."""
    return longest_solved(table) if isinstance(spec.data, MazeSpec) else f"{_last(table):.1f} % of optimum"


def _scores(spec: RunSpec, table: pd.DataFrame) -> dict[str, Any]:
    """Summary of the final checkpoint, for its checkpoint.json."""
    if isinstance(spec.data, MazeSpec):
        return scores_of(table)
    return {**summarise(final_rows(table)), "without_memory": summarise(final_rows(table, NO_MEMORY))}


def _compared(table: pd.DataFrame, about: dict[str, Any], stored: Stored) -> str:
    """What to say of a repeated run; raises BenchmarkError if it did not give the stored data or numbers."""
    spec = stored.spec
    new, old = (typed(frame)[SCORES] for frame in (table, stored.table))
    same_data = about["data_hash"] == stored.about["data_hash"]
    if not new.equals(old) or not same_data:
        why = "" if same_data else "; they learned from other data"
        raise BenchmarkError(
            f"{spec.name}: {_said(spec, table)}, stored are {_said(spec, stored.table)}{why}"
        )
    return f"{_said(spec, table)}, every return as stored"
