"""Parquet: result tables of an evaluation and of the benchmark."""

import json
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
import pandas as pd
import pyarrow as pa
from fuzz_seed import Seed
from fuzz_values import damaged_json, damaged_value, odd_value
from pyarrow import parquet

from dmh_lib import statistics
from dmh_lib.benchmark import DataSpec, Judging, Places, RunSpec, load_done
from dmh_lib.benchmark.store import final_rows, typed
from dmh_lib.errors import DataError
from dmh_lib.results import ABOUT, read_about, read_results, summarise, write_results
from dmh_lib.sweep.gather import overview, read_lives
from dmh_lib.sweep.orders import NotebookTarget, Order
from dmh_lib.sweep.store import State, folder_of, write_state

SPEC = RunSpec(
    DataSpec("darkroom", num_train=3, num_test=2), "dm-h", "small", judging=Judging(3, (0,), (0,), 2)
)

statistics.estimate.__defaults__ = (100, 0)  # few resamples: this is about what is read
ORDER = Order("run_01", NotebookTarget(Path("a.ipynb")), {}, {}, "01")


def table_of(method: str, tasks: int = 2, episodes: int = 3) -> pd.DataFrame:
    """Lifetimes of one method, three lives on each task."""
    rows = np.array([(t, s, e) for t in range(tasks) for s in range(3) for e in range(1, episodes + 1)])
    gained = np.random.default_rng(0).integers(0, 80, len(rows)) / 8.0
    return pd.DataFrame(
        {
            "method": method,
            "env_id": "dmh/Darkroom-v0",
            "task": rows[:, 0],
            "seed": rows[:, 1],
            "episode": rows[:, 2],
            "return": gained,
            "length": 20,
            "optimum": 10.0,
            "percent_of_optimum": 10 * gained,
        }
    )


def lifetimes(folder: Path) -> Path:
    table = pd.concat([table_of("DM-H"), table_of("AD")], ignore_index=True)
    write_results(table, folder / "results.parquet", {"checkpoint": "x", "episodes": 3})
    return folder / "results.parquet"


def of_a_sweep(folder: Path) -> Path:
    place = folder_of(ORDER, folder)
    place.mkdir(parents=True)
    write_state(place, State(ORDER.digest, None, 1.5, {}))
    return lifetimes(place)


def plain(folder: Path) -> Path:
    rows = pa.Table.from_pandas(table_of("DM-H")).replace_schema_metadata(None)
    parquet.write_table(rows, folder / "results.parquet", compression="none", use_dictionary=False)
    return folder / "results.parquet"


def of_the_benchmark(folder: Path) -> Path:
    table = table_of("DM-H").assign(
        run=SPEC.name, training_seed=0, updates=8, train_seconds=1.5, line="memory"
    )
    path = Places(folder).result(SPEC)
    about = {"hash": SPEC.hash, "settings": SPEC.resolved(), "device": "cpu", "seconds": {"total": 9.0}}
    write_results(typed(table), path, about)
    return path


def read_lifetimes(path: Path, _: Path) -> None:
    table = read_results(path)
    try:
        json.dumps(summarise(table))
    except DataError as error:  # a table that was read and then cut is no file
        assert "results: not every training seed" in str(error)


def read_in_a_sweep(path: Path, _: Path) -> None:
    """A sweep goes on where a run left something else under that name."""
    overview([ORDER], path.parents[2], read_lives([ORDER], path.parents[2])).to_string()


def read_notes(path: Path, _: Path) -> None:
    json.dumps(read_about(path))


def read_of_the_benchmark(path: Path, _: Path) -> None:
    for run in load_done([SPEC], Places(path.parents[len(SPEC.name.split("/"))])):
        final_rows(run.table)["percent_of_optimum"].mean()
        assert run.on_cpu in (True, False)


# ---------------------------------------------------------------------- damage


def damage_parquet(rng: Random, path: Path) -> None:
    """Change one to three things in the table, then write it as another program might."""
    rows = parquet.read_table(path)
    for _ in range(rng.choice((1, 1, 2, 3))):
        if rows.num_columns:
            rows = rng.choice(_DAMAGES)(rng, rows)
    how = {
        "compression": rng.choice(("zstd", "none", "gzip", "snappy")),
        "version": rng.choice(("1.0", "2.6")),
    }
    size = rng.choice((1, 5, 1000)) if rows.num_rows < 1000 else rows.num_rows
    parquet.write_table(rows, path, row_group_size=size, **how)


def _some(rng: Random, rows: pa.Table) -> int:
    return rng.randrange(rows.num_columns)


def _dropped(rng: Random, rows: pa.Table) -> pa.Table:
    return rows.remove_column(_some(rng, rows))


def _renamed(rng: Random, rows: pa.Table) -> pa.Table:
    names = list(rows.column_names)
    names[_some(rng, rows)] = rng.choice(("", "x", "a.b", names[0], "ä\n"))
    return rows.rename_columns(names)


def _other_type(rng: Random, rows: pa.Table) -> pa.Table:
    place, count = _some(rng, rows), rows.num_rows
    column = rng.choice(
        (
            lambda: pa.array(["x"] * count),
            lambda: pa.array([b"\xff"] * count),
            lambda: pa.nulls(count),
            lambda: pa.array([[1, 2]] * count),
            lambda: pa.array([{"a": 1}] * count),
            lambda: pa.array([True] * count),
            lambda: pa.array([0] * count, pa.timestamp("ns")),
            lambda: pa.array([1] * count, pa.decimal128(38, 2)),
            lambda: pa.array(["x"] * count).dictionary_encode(),
            lambda: pa.array([-(2**63)] * count),
            lambda: pa.array([2**64 - 1] * count, pa.uint64()),
            lambda: pa.array([[("a", 1)]] * count, pa.map_(pa.string(), pa.int64())),
            lambda: pa.array([1.5] * count, pa.float32()),
            lambda: pa.array([1.5] * count, pa.float16()),
            lambda: pa.array([0] * count, pa.duration("s")),
        )
    )()
    return rows.set_column(place, rows.column_names[place], column)


def _some_values(rng: Random, rows: pa.Table) -> pa.Table:
    place = _some(rng, rows)
    values = rows.column(place).to_pylist()
    if not values:
        return rows
    for _ in range(rng.choice((1, len(values)))):
        values[rng.randrange(len(values))] = rng.choice((None, float("nan"), float("inf"), -1, 2**40, "x"))
    try:
        return rows.set_column(place, rows.column_names[place], pa.array(values))
    except (pa.ArrowException, OverflowError, TypeError):  # a mixture that no column holds
        return rows


def _fewer(rng: Random, rows: pa.Table) -> pa.Table:
    return rows.slice(0, rng.randrange(0, max(1, rows.num_rows)))


def _none(_: Random, rows: pa.Table) -> pa.Table:
    return rows.slice(0, 0)


def _more(rng: Random, rows: pa.Table) -> pa.Table:
    return pa.concat_tables([rows] * rng.choice((2, 10)))


def _notes(rng: Random, rows: pa.Table) -> pa.Table:
    known = dict(rows.schema.metadata or {})
    name = rng.choice((*known, ABOUT, b"pandas", b"ARROW:schema"))
    try:
        known[name] = damaged_json(rng, known.get(name, b"{}").decode())
    except (ValueError, RecursionError):  # ARROW:schema is none of JSON
        known[name] = repr(odd_value(rng)).encode()
    return rows.replace_schema_metadata(known)


def _index(rng: Random, rows: pa.Table) -> pa.Table:
    """What pandas is told of the index and the columns."""
    known = dict(rows.schema.metadata or {})
    try:
        told = dict(json.loads(known.get(b"pandas", b"{}")))
    except (TypeError, ValueError, RecursionError):  # damaged already
        told = {}
    told["index_columns"] = rng.choice(
        (["task"], ["x"], [{"kind": "range", "start": 0, "stop": 10**12, "step": 1}])
    )
    known[b"pandas"] = json.dumps(damaged_value(rng, told)).encode("utf-8", "replace")
    return rows.replace_schema_metadata(known)


def _wide(rng: Random, rows: pa.Table) -> pa.Table:
    for number in range(rng.choice((1, 300))):
        rows = rows.append_column(f"x{number}", pa.nulls(rows.num_rows, pa.float64()))
    return rows


def _tall(_: Random, rows: pa.Table) -> pa.Table:
    return pa.concat_tables([rows.slice(0, 1)] * 20_000).combine_chunks() if rows.num_rows else rows


_DAMAGES: tuple[Callable[[Random, pa.Table], pa.Table], ...] = (
    *(_dropped, _renamed, _other_type, _other_type, _other_type, _some_values, _some_values),
    *(_fewer, _none, _more, _notes, _notes, _index, _wide, _tall),
)

SEEDS = (
    Seed(lifetimes, read_lifetimes, damage_parquet),
    Seed(lifetimes, read_notes, damage_parquet),
    Seed(of_a_sweep, read_in_a_sweep, damage_parquet),
    Seed(plain, read_lifetimes, damage_parquet),
    Seed(of_the_benchmark, read_of_the_benchmark, damage_parquet),
)
