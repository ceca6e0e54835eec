"""One run from data to result: train, choose the temperature, evaluate every checkpoint, write one file."""

import math
import shutil
import time
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from dmh_lib.checkpoints import export_checkpoint, load_checkpoint, set_play
from dmh_lib.envs.scores import normalised_scores
from dmh_lib.errors import BenchmarkError
from dmh_lib.files import only_one_at
from dmh_lib.results import read_about, summarise, write_results
from dmh_lib.run_folders import updates_of
from dmh_lib.training import train
from dmh_lib.warm_up import warm_up

from .data import MazeSpec, MujocoSpec
from .lifetimes import core_seconds, how_to_play, judge_lifetimes, read_subgoals
from .mazes import judge_mazes, longest_solved, scores_of
from .specs import QUARTERS, RunSpec
from .store import NO_MEMORY, Places, Stored, final_rows, load, state_of, typed

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
        BenchmarkError: a repeated run gave other numbers, or another process is at this run.
    """
    folder, histories = places.run(spec), places.histories(spec.data)
    done = state_of(spec, places)[0] == "done"
    if repeat:
        folder = folder.with_name(f"{folder.name}-repeat")
        histories = folder.with_name(f"{folder.name}.hdf5")  # made from nothing as well
    with only_one_at(folder.parent, f"{folder.name}.lock", BenchmarkError):  # the folder itself goes
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
    play, tried = how_to_play(spec, result)
    set_play(result.checkpoint, play)
    chosen = time.process_time()
    trained_on = {name: load_checkpoint(result.checkpoint).about[name] for name in TRAINED_ON}
    trained = core_seconds(result.checkpoint)
    if isinstance(spec.data, MazeSpec):
        updates = updates_of(result.checkpoint)
        table = judge_mazes(spec, result).assign(updates=updates, train_seconds=trained)
    else:
        table = judge_lifetimes(spec, result, folder, play)
    ended = time.process_time()
    subgoals = read_subgoals(spec, result.model, play)
    table = table.assign(run=spec.name, training_seed=spec.seed)
    took = {
        "data": made,
        "training": trained,
        "temperature": chosen - began_play,
        "playing": ended - chosen,
        "subgoals": time.process_time() - ended,
    }
    took["total"] = sum(seconds for seconds in took.values() if not math.isnan(seconds))
    summary = data.summary()
    about = {
        "run": spec.name,
        "hash": spec.hash,
        "spec": spec.to_dict(),
        "settings": spec.resolved(),
        "data": summary,
        "data_hash": summary["hash"],
        "policies": data.metadata.get("policies", []),  # of MuJoCo
        "temperature": play.temperature,
        "target_return": play.target_return,
        "temperatures": {f"{key:g}": round(value, 2) for key, value in tried.items()},
        "subgoals": subgoals,
        "parameters": sum(parameter.numel() for parameter in result.model.parameters()),
        "seconds": {name: round(value, 2) for name, value in took.items() if not math.isnan(value)},
        **trained_on,
    }
    return table, about


def _said(spec: RunSpec, table: pd.DataFrame) -> str:
    """What came out, in words."""
    if isinstance(spec.data, MazeSpec):
        return longest_solved(table)
    rows = final_rows(table)
    last = rows[rows["episode"] == rows["episode"].max()]
    if isinstance(spec.data, MujocoSpec):
        return f"D4RL's score {normalised_scores(spec.data.env, last['return'].mean()):.1f}"
    return f"{last['percent_of_optimum'].mean():.1f} % of optimum"


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
