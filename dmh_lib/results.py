"""Result tables: tidy, one row per (method, task, seed, episode), stored as Parquet."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from dmh_lib.envs.scores import find_references, normalised_scores
from dmh_lib.errors import DataError
from dmh_lib.files import atomic_path
from dmh_lib.statistics import estimate, score_array

COLUMNS = ("method", "env_id", "task", "seed", "episode", "return", "length", "optimum", "percent_of_optimum")
TEXTS, UNKNOWN = COLUMNS[:2], COLUMNS[-2:]  # columns of texts; columns of numbers that may be missing
# constant columns take no room in a file, however long they are
MOST_ROWS, MOST_BYTES = 20_000_000, 2**31

ABOUT = b"dmh"  # key of the notes in a file's metadata


def write_results(
    table: pd.DataFrame, path: str | os.PathLike[str], about: Mapping[str, Any] | None = None
) -> None:
    """Write a result table as Parquet, whole or not at all, with notes (JSON values) in its metadata."""
    rows = pa.Table.from_pandas(table, preserve_index=False)
    if about is not None:
        notes = json.dumps(about, allow_nan=False).encode()
        rows = rows.replace_schema_metadata({**(rows.schema.metadata or {}), ABOUT: notes})
    with atomic_path(path) as temporary:
        parquet.write_table(rows, temporary, compression="zstd")


def read_about(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The notes that were written with a result table; raises DataError if there are none."""
    try:
        metadata = parquet.read_schema(path).metadata or {}
        return dict(json.loads(metadata[ABOUT]))
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError, RecursionError) as error:
        raise DataError(
            f"{path}: no notes in this Parquet file ({error!r}); run the evaluation again"
        ) from error


def read_results(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read a result table; raises DataError if it is missing, broken or empty, lacks a column, or holds texts
    where numbers should be.
    """
    if not Path(path).is_file():
        raise DataError(f"{path}: does not exist; run an evaluation first")
    try:
        with parquet.ParquetFile(path) as file:
            groups = [file.metadata.row_group(number) for number in range(file.num_row_groups)]
            rows, size = file.metadata.num_rows, sum(group.total_byte_size for group in groups)
            if rows > MOST_ROWS or size > MOST_BYTES:
                problem = f"claims {rows:,} rows of {size:,} bytes"
                raise DataError(f"{path}: {problem}, more than any evaluation has; run the evaluation again")
            # without what pandas is told of its index: it takes that at its word
            table = file.read().replace_schema_metadata(None).to_pandas()
    except (OSError, pa.ArrowException, ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path}: not a readable Parquet file ({error}); run the evaluation again") from error
    if not table.columns.is_unique:
        twice = table.columns[table.columns.duplicated()][0]
        raise DataError(f"{path}: field '{twice}' stands twice; run the evaluation again")
    coded = [name for name, kind in table.dtypes.items() if isinstance(kind, pd.CategoricalDtype)]
    table = table.astype(dict.fromkeys(coded, object))
    if table.empty:
        raise DataError(f"{path}: holds no rows; run the evaluation again")
    require_columns(path, table, TEXTS, COLUMNS[len(TEXTS) :])
    return table


def require_columns(
    path: str | os.PathLike[str],
    table: pd.DataFrame,
    texts: Sequence[str],
    numbers: Sequence[str],
    unknown: Sequence[str] = UNKNOWN,
) -> None:
    """Raise DataError unless columns of a table from a file are there and hold texts or finite numbers.

    The numbers of columns `unknown`, an optimum and what is reckoned from it, may be missing in places.
    """
    for name in (*texts, *numbers):
        problem = None
        if name not in table:
            problem = "is missing"
        elif name in texts:
            if not all(isinstance(value, str) for value in table[name]):
                problem = "holds more than texts"
        elif table[name].dtype.kind not in "iuf":
            problem = f"holds {table[name].dtype}, not numbers"
        elif not np.isfinite(table[name].dropna() if name in unknown else table[name]).all():
            problem = "is not finite everywhere"
        if problem is not None:
            raise DataError(f"{path}: field '{name}' {problem}; run the evaluation again")


def curves(table: pd.DataFrame, value: str = "percent_of_optimum") -> pd.DataFrame:
    """Mean per method and episode with a 95 % bootstrap interval over tasks (over seeds if there is one).

    Lifetimes on one task with the same weights are alike, so they are averaged before tasks are resampled.
    Training seeds are resampled within each task where there is a column `training_seed`; without, the
    interval is about tasks and luck in play and says nothing about other training runs.

    Returns columns `method`, `episode`, `mean`, `low`, `high`, in the order in which methods appear.
    """
    parts = []
    for method, rows in table.groupby("method", sort=False):
        scores = score_array(rows, value)  # (S, R, E)
        if scores.shape[:2] == (1, 1):
            mean = low = high = scores[0, 0]  # one roll-out says nothing about its spread
        else:
            mean, low, high = estimate(scores, lambda array: array.mean((0, 1)))
        episodes = np.sort(rows["episode"].unique())
        parts.append(
            pd.DataFrame({"method": method, "episode": episodes, "mean": mean, "low": low, "high": high})
        )
    return pd.concat(parts, ignore_index=True)


def summarise(table: pd.DataFrame, method: str | None = None) -> dict[str, Any]:
    """The figures of one method, the first in the table if none is named, as plain JSON values.

    `return_by_episode` and `percent_by_episode` are means over tasks and seeds; `percent_of_optimum` is the
    last episode's, with its 95 % interval and per evaluation seed; None where no optimum is known. Where D4RL
    has reference returns, `d4rl_score` is the last episode's normalised score.
    """
    method = next(iter(table["method"]), None) if method is None else method
    mine = table[table["method"] == method]
    if mine.empty:
        raise DataError(
            f"results: no rows of method '{method}'; there are {sorted(table['method'].unique())}"
        )
    by_episode = mine.groupby("episode")[["return", "percent_of_optimum"]].mean()
    last = mine[mine["episode"] == mine["episode"].max()]
    summary: dict[str, Any] = {
        "method": method,
        "env_id": str(mine["env_id"].iloc[0]),
        "tasks": int(mine["task"].nunique()),
        "seeds": int(mine["seed"].nunique()),
        "episodes": len(by_episode),
        "return_by_episode": by_episode["return"].round(4).tolist(),
        "percent_of_optimum": None,
    }
    if last["optimum"].notna().all():
        interval = curves(mine).iloc[-1]
        by_seed = last.groupby("seed")["percent_of_optimum"].mean().round(2)
        summary |= {
            "percent_by_episode": by_episode["percent_of_optimum"].round(2).tolist(),
            "percent_of_optimum": round(float(last["percent_of_optimum"].mean()), 2),
            "interval_95": [round(float(interval["low"]), 2), round(float(interval["high"]), 2)],
            "by_seed": {str(seed): value for seed, value in by_seed.items()},
            "mean_optimum": round(float(last["optimum"].mean()), 4),
        }
    if find_references(summary["env_id"]) is not None:
        last_return = curves(mine, "return").iloc[-1][["mean", "low", "high"]].to_numpy(np.float64)
        score, *interval = normalised_scores(summary["env_id"], last_return).round(2).tolist()
        summary |= {"d4rl_score": score, "d4rl_interval_95": interval}
    return summary


def by_length(table: pd.DataFrame, value: str = "return") -> pd.DataFrame:
    """Mean per method and corridor of a table of mazes, with a 95 % bootstrap interval over mazes.

    Training seeds are resampled within each maze where there is a column `training_seed`. Where all mazes
    give the same, the interval has no width, which is not certainty.

    Returns columns `method`, `corridor`, `mean`, `low`, `high`, methods in the order in which they appear.
    """
    seeded = table if "training_seed" in table else table.assign(training_seed=0)
    rows = []
    for (method, corridor), mazes in seeded.groupby(["method", "corridor"], sort=False):
        by_seed = [part[value].to_numpy(np.float64) for _, part in mazes.groupby("training_seed")]
        if len({len(scores) for scores in by_seed}) > 1:
            raise DataError(f"results: not every training seed has every maze of {corridor:,}; run it again")
        found = estimate(np.stack(by_seed), lambda scores: scores.mean())  # (S, R)
        rows.append((method, corridor, *found))
    return pd.DataFrame(rows, columns=["method", "corridor", "mean", "low", "high"])
