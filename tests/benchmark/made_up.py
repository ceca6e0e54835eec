"""Made-up results: what a run leaves, without the run."""

import numpy as np
import pandas as pd

from dmh_lib.benchmark import DataSpec, Judging, Places, RunSpec
from dmh_lib.benchmark.store import MEMORY, NO_MEMORY, typed
from dmh_lib.envs import rules_of
from dmh_lib.results import write_results
from dmh_lib.versions import versions

DATA = DataSpec("darkroom", settings={"runs_per_task": 2, "episodes": 4}, num_train=3, num_test=2)
JUDGING = Judging(episodes=3, seeds=(0, 1), temperature_tasks=2)
TINY = {"training.updates": 2, "training.batch_size": 2, "model.d_model": 16}


def tiny(
    method: str = "dm-h", preset: str = "small", seed: int = 0, variant: str = "", **more: object
) -> RunSpec:
    """A run of seconds; more overrides with __ for the dot."""
    overrides = {**TINY, **{name.replace("__", "."): value for name, value in more.items()}}
    return RunSpec(DATA, method, preset, variant, overrides, seed, JUDGING)


def results(spec: RunSpec, final: float, minutes: float = 1.0) -> pd.DataFrame:
    """Four checkpoints, the last of which rises to `final` percent over its episodes; tasks differ."""
    split, judging = spec.data.split(), spec.judging
    tasks, episodes = split.tasks("test"), np.arange(1, judging.episodes + 1)
    optimum = rules_of(spec.data.env).optimal_returns(tasks)
    rng, updates, parts = np.random.default_rng(spec.seed), spec.config().training.updates, []
    spread = rng.normal(0, 3, len(tasks))
    for quarter in range(1, 5):
        last = quarter == 4
        for line in (MEMORY, NO_MEMORY) if last else (MEMORY,):
            for life in judging.seeds if last else judging.early_seeds:
                rise = episodes / judging.episodes if line == MEMORY else np.full(len(episodes), 0.15)
                share = np.clip(final + spread[:, None], 0, 100) * rise * (0.4 + 0.15 * quarter)
                rows = {
                    "method": spec.label,
                    "env_id": spec.data.env_id,
                    "task": np.repeat(tasks, len(episodes)),
                    "seed": life,
                    "episode": np.tile(episodes, len(tasks)),
                    "return": (share / 100 * optimum[:, None]).reshape(-1),
                    "length": 20,
                    "optimum": np.repeat(optimum, len(episodes)),
                    "percent_of_optimum": share.reshape(-1),
                    "run": spec.name,
                    "training_seed": spec.seed,
                    "updates": updates * quarter // 4,
                    "train_seconds": 15.0 * minutes * quarter,
                    "line": line,
                }
                parts.append(pd.DataFrame(rows))
    return pd.concat(parts, ignore_index=True)


def subgoals(spec: RunSpec, correlation: float, cell: str = "goal") -> dict[str, object]:
    """What a run notes of its sub-goals: correlations around one value, unknown for the first task."""
    tasks = spec.data.split().tasks("test")
    spread = np.random.default_rng(spec.seed).normal(0, 0.05, len(tasks))
    values = [None, *np.clip(correlation + spread[1:], -1, 1).tolist()]
    names = ("read_out", "decoded", "read_out_first", "decoded_first")
    by_task = {"r2": (0.8 + spread).tolist(), **dict.fromkeys(names, values)}
    return {
        "cell": cell,
        "training_tasks": 3,
        "from_episode": 2,
        "tasks": tasks.tolist(),
        "by_task": by_task,
    }


def store(spec: RunSpec, places: Places, final: float, minutes: float = 1.0, **about: object) -> None:
    """Write a made-up result where a finished run would leave its own."""
    notes = {
        "run": spec.name,
        "hash": spec.hash,
        "spec": spec.to_dict(),
        "settings": spec.resolved(),
        "data_hash": f"{spec.data.hash}0000",
        "temperature": 0.5,
        "seconds": {"total": 60.0 * minutes + 30},
        "device": "cpu",
        "threads": 1,
        "versions": versions(),
        **about,
    }
    write_results(typed(results(spec, final, minutes)), places.result(spec), notes)
