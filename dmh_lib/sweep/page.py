"""A sweep on one page: its runs in a table to sort and filter, and their curves."""

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, select_autoescape

from dmh_lib.files import atomic_path
from dmh_lib.sweep.gather import Lives, overview
from dmh_lib.sweep.orders import EXECUTED, PAGE, Order
from dmh_lib.sweep.store import LOG, folder_of

INDEX = "index.html"
MOST_CURVES = 10
SCORES = ("return", "percent_of_optimum")
_pages = Environment(loader=PackageLoader("dmh_lib.sweep", "."), autoescape=select_autoescape(default=True))


def write_index(orders: Sequence[Order], sweep: Path, lives: Lives, title: str) -> Path:
    """Write the page of a sweep, all that it shows inside and runs' files linked; returns its path."""
    table = overview(orders, sweep, lives)
    counts = table["state"].value_counts()
    parts = [f"{counts[word]} {word}" for word in ("done", "failed", "missing") if word in counts]
    figure, about = _curves(orders, lives)
    text = _pages.get_template("page.html.j2").render(
        title=title,
        about=f"{len(table)} runs: {', '.join(parts)}.",
        columns=[_column(table[name]) for name in table if name not in ("run", "why")],
        rows=[_row(row, order, sweep) for row, order in zip(table.to_dict("records"), orders, strict=True)],
        curves=figure,
        curves_about=about,
    )
    with atomic_path(sweep / INDEX) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return sweep / INDEX


def _column(values: "pd.Series[Any]") -> dict[str, Any]:
    name = str(values.name)
    choices = [] if name in ("seconds", *SCORES) else list(dict.fromkeys(map(_shown, values)))
    return {
        "name": name.replace("_", " "),
        "text": not pd.api.types.is_numeric_dtype(values),
        "choices": choices if len(choices) > 1 else [],
    }


def _row(row: dict[Any, Any], order: Order, sweep: Path) -> dict[str, Any]:
    state, why, folder = row["state"], row.get("why"), folder_of(order, sweep)
    cells = []
    for name, value in row.items():
        if name not in ("run", "why"):
            kind = state if name == "state" else "" if isinstance(value, (int, float)) else "text"
            cells.append({"value": "" if _unknown(value) else value, "shown": _shown(value), "kind": kind})
    files = {"notebook": PAGE, "as .ipynb": EXECUTED, "log": LOG}
    links = [
        {"name": word, "to": (folder / file).relative_to(sweep).as_posix()}
        for word, file in files.items()
        if (folder / file).is_file()
    ]
    return {"cells": cells, "links": links, "why": "" if _unknown(why) else why}


def _unknown(value: Any) -> bool:
    return value is None or (isinstance(value, float) and value != value)


def _shown(value: Any) -> str:
    if _unknown(value):
        return "–"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _curves(orders: Sequence[Order], lives: Lives) -> tuple[str, str]:
    """The curves of finished runs as HTML, those that differ in seeds alone as one; and what they show."""
    from dmh_lib.figures import return_curves
    from dmh_lib.results import curves

    groups: dict[str, list[pd.DataFrame]] = {}
    for number, order in enumerate(orders):
        if (table := lives.get(order.name)) is None:
            continue
        told = {name: value for name, value in order.swept.items() if not name.endswith("seed")}
        label = (
            ", ".join(f"{name.split('.')[-1]} {_shown(value)}" for name, value in told.items()) or "all runs"
        )
        mine = table[table["method"] == table["method"].iloc[0]]
        groups.setdefault(html.escape(label), []).append(mine.assign(training_seed=number))
    if not groups:
        return "", ""
    tables = {label: pd.concat(parts, ignore_index=True) for label, parts in groups.items()}
    known = all(table["percent_of_optimum"].notna().all() for table in tables.values())
    value = "percent_of_optimum" if known else "return"

    def at_last(label: str) -> float:
        table = tables[label]
        return float(table.loc[table["episode"] == table["episode"].max(), value].mean())

    best = sorted(tables, key=at_last, reverse=True)[:MOST_CURVES]
    shown = pd.concat([tables[label].assign(method=label) for label in best], ignore_index=True)
    figure = return_curves(curves(shown, value), "", value.replace("_", " "))
    figure.update_layout(width=1000, margin={"t": 20 + 11 * len(best)})
    about = "Means with 95 % intervals, runs that differ in a seed alone together; the best at the end first."
    if len(best) < len(tables):
        about += f" The {len(best)} best of {len(tables)}."
    return figure.to_html(full_html=False, include_plotlyjs=True), about
