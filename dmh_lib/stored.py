"""Stored results of a benchmark as tables to look at, be all of the runs there, some of them or none."""

import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from dmh_lib.benchmark import TABLES, Places, RunSpec, load_done
from dmh_lib.benchmark.markdown import short_title_of
from dmh_lib.benchmark.store import NO_MEMORY, final_rows
from dmh_lib.benchmark.summary import Group, Series, compare, minutes_of
from dmh_lib.benchmark.value_learning import read_learned
from dmh_lib.results import by_length
from dmh_lib.statistics import mean, score_array, verdict


def wanted(tables: Sequence[str], methods: Sequence[str] | None = None) -> list[RunSpec]:
    """The runs of some of the benchmark's tables, each once; of certain methods where these are named."""
    specs = {spec.name: spec for name in tables for spec in TABLES.get(name, [])}
    return [spec for spec in specs.values() if methods is None or spec.method in methods]


def read_groups(
    tables: Sequence[str], docs: str | os.PathLike[str] = "docs", methods: Sequence[str] | None = None
) -> list[Group]:
    """The finished runs of some tables by dataset and method, datasets and methods without any left out.

    Scores are not estimated, which takes a second for each method; `score_table` gives the chief one.

    Args:
        tables: names of tables, for example `rooms`.
        docs: folder of the page, which holds `results`.
        methods: of the runs, for example `dm-h` with all its variants; None: all.
    """
    specs, by_data = wanted(tables, methods), dict[str, dict[str, list[RunSpec]]]()
    for spec in specs:
        by_data.setdefault(spec.data.name, {}).setdefault(spec.series, []).append(spec)
    done = {run.spec.name: run for run in load_done(specs, Places(Path(docs)))}
    groups = []
    for name, by_series in by_data.items():
        series = [
            Series(siblings, [done[spec.name] for spec in siblings if spec.name in done], None)
            for siblings in by_series.values()
        ]
        groups.append(Group(name, [one for one in series if one.runs]))
    return [group for group in groups if group.series]


def what_is_there(tables: Sequence[str], docs: str | os.PathLike[str] = "docs") -> pd.DataFrame:
    """For each table how many of its runs are stored, and what makes the others."""
    rows = []
    for name in tables:
        specs = wanted([name])
        here = len(load_done(specs, Places(Path(docs))))
        rows.append((name, here, len(specs), "" if here == len(specs) > 0 else f"dmh benchmark {name}"))
    return pd.DataFrame(rows, columns=["table", "runs here", "of", "makes the rest"]).set_index("table")


def score_table(group: Group, curves: pd.DataFrame) -> pd.DataFrame:
    """Percent of optimum at the last episode, final checkpoint, a row for each method.

    Args:
        group: what `read_groups` gives.
        curves: of the group, from `dmh_lib.benchmark.summary.group_curves`.

    Returns:
        `method`, `room` (named with its histories where they are not the searcher's usual ones), `mean` with
        the bounds `low` and `high` of its 95 % interval, `without_memory`,
        `seeds` (training seeds that are there, of how many), `updates` and `minutes` of training on one core.
    """
    last = curves[curves["episode"] == curves["episode"].max()].set_index("method")
    rows = []
    for series in group.series:
        forgetful = pd.concat([final_rows(run.table, NO_MEMORY) for run in series.runs])
        at_end = forgetful["episode"] == forgetful["episode"].max()
        rows.append(
            {
                "method": series.label,
                "room": short_title_of(group),
                **last.loc[series.label, ["mean", "low", "high"]],
                "without_memory": forgetful.loc[at_end, "percent_of_optimum"].mean(),
                "seeds": f"{len(series.runs)} of {len(series.specs)}",
                "updates": max(int(run.table["updates"].max()) for run in series.runs),
                "minutes": minutes_of(series.runs),
            }
        )
    return pd.DataFrame(rows)


def difference_table(group: Group) -> pd.DataFrame:
    """Each other method or variant less DM-H, in points of percent of optimum, paired by task.

    Returns:
        `method`, `room`, `mean`, `low`, `high`, `verdict` (of the method: wins, loses or no clear
        difference); no rows where DM-H itself is not there.
    """
    rows = []
    if (ours := group.reference) is not None:
        for theirs in group.others:
            found = compare(theirs, ours)
            rows.append((theirs.label, short_title_of(group), *found, verdict(found)))
    return pd.DataFrame(rows, columns=["method", "room", "mean", "low", "high", "verdict"])


def chunk_table(group: Group, curves: pd.DataFrame) -> pd.DataFrame:
    """DM-H by chunk length c, all else equal: `room`, `chunk_len`, `mean`, `low`, `high`, sorted by c.

    Empty where there are results of one length only.
    """
    specs = {series.label: series.specs[0] for series in group.series}
    lengths = {
        label: spec.config().model.chunk_len
        for label, spec in specs.items()
        if spec.method == "dm-h" and spec.variant.partition("-")[0] in ("", "c")
    }
    scores = score_table(group, curves)
    scores = scores[scores["method"].isin(list(lengths))]
    if len(scores) < 2:
        scores = scores[:0]
    table = scores.assign(chunk_len=scores["method"].map(lengths)).sort_values("chunk_len", ignore_index=True)
    return table[["room", "chunk_len", "mean", "low", "high"]]


def maze_table(docs: str | os.PathLike[str] = "docs", tables: Sequence[str] = ("tmaze",)) -> pd.DataFrame:
    """T-maze returns by corridor length from the stored runs' final checkpoints.

    Returns:
        `line` (how it was judged: `closed loop` or `along the path`) and the columns of `results.by_length`.
    """
    finals = []
    for run in load_done(wanted(tables), Places(Path(docs))):
        finals.append(run.table[run.table["updates"] == run.table["updates"].max()])
    if not finals:
        return pd.DataFrame(columns=["line", "method", "corridor", "mean", "low", "high"])
    by_line = pd.concat(finals, ignore_index=True).groupby("line", sort=False)
    parts = [by_length(rows).assign(line=line) for line, rows in by_line]
    return pd.concat(parts, ignore_index=True)[["line", "method", "corridor", "mean", "low", "high"]]


def mujoco_table(docs: str | os.PathLike[str] = "docs", tables: Sequence[str] = ("mujoco",)) -> pd.DataFrame:
    """D4RL's scores at the last episode of the stored runs' final checkpoints: methods × datasets.

    Means over training seeds and lifetimes, value learning's (see `benchmarks/d3rlpy`) as well; empty where
    nothing is stored.
    """
    scores: dict[str, dict[str, float]] = {}
    for group in read_groups(tables, docs):
        for series in group.series:
            finals = pd.concat([final_rows(run.table) for run in series.runs])
            scores.setdefault(group.name, {})[series.label] = mean(score_array(finals)[..., -1])
        scores[group.name] |= {one.label: mean(one.scores) for one in read_learned(group, Places(Path(docs)))}
    return pd.DataFrame(scores)
