"""What all runs of a sweep came to, in two tables."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from dmh_lib.errors import DataError
from dmh_lib.results import read_results, summarise, write_results
from dmh_lib.statistics import score_array
from dmh_lib.sweep.orders import RESULTS, Order
from dmh_lib.sweep.store import folder_of, read_state

Lives = Mapping[str, pd.DataFrame]
"""Lifetimes by the name of the run that left them."""


def read_lives(orders: Sequence[Order], sweep: Path) -> Lives:
    """The lifetimes of all finished runs that left some which can be read and are whole."""
    found = {order.name: _lifetimes_of(order, sweep) for order in orders}
    return {name: table for name, table in found.items() if table is not None}


def overview(orders: Sequence[Order], sweep: Path, lives: Lives) -> pd.DataFrame:
    """One row for each run: `run`, what is swept, `state` (done, failed or missing), `seconds`, `why`.

    Runs that left lifetimes have the last episode's mean `return` too, and `percent_of_optimum` where known.
    """
    rows = []
    for order in orders:
        state = read_state(order, sweep)
        word = "missing" if state is None else "done" if state.why is None else "failed"
        row = {"run": order.name, **order.swept, "state": word}
        if state is not None:
            row |= {"seconds": round(state.seconds, 1), "why": state.why}
        if order.name in lives:
            summary = summarise(lives[order.name])
            row["return"] = summary["return_by_episode"][-1]
            if summary["percent_of_optimum"] is not None:
                row["percent_of_optimum"] = summary["percent_of_optimum"]
        rows.append(row)
    return pd.DataFrame(rows)


def _lifetimes_of(order: Order, sweep: Path) -> pd.DataFrame | None:
    state, file = read_state(order, sweep), folder_of(order, sweep) / RESULTS
    if state is None or state.why is not None or not file.is_file():
        return None
    try:
        table = read_results(file)
        score_array(table[table["method"] == table["method"].iloc[0]], "return")
    except DataError:
        return None  # a notebook may call anything by this name
    return table


def write_lifetimes(orders: Sequence[Order], sweep: Path, lives: Lives) -> None:
    """All lifetimes, if there are any, in one Parquet file, with `run` and what is swept as columns."""
    parts = []
    for order in orders:
        if (table := lives.get(order.name)) is not None:
            told = {f"swept.{name}": [value] * len(table) for name, value in order.swept.items()}
            parts.append(table.assign(run=order.name, **told))
    if parts:
        write_results(pd.concat(parts, ignore_index=True), sweep / RESULTS)
