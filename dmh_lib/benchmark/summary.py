"""What stored runs say: for each dataset the scores of every method, and how each compares with DM-H."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from dmh_lib.results import curves
from dmh_lib.statistics import (
    Estimate,
    Floats,
    difference,
    estimate,
    interquartile_mean,
    mean,
    normalised_area,
    score_array,
)

from .data import AnyData, DataSpec
from .specs import RunSpec
from .store import MEMORY, NO_MEMORY, Stored, final_rows

REFERENCE = "dm-h"


@dataclass(frozen=True)
class Scores:
    """A method's finished runs on a dataset: percent of optimum, or of MuJoCo D4RL's score, at the last
    episode unless said otherwise."""

    percent: Estimate
    """Mean, final checkpoint."""
    iqm: Estimate
    """Interquartile mean."""
    area: Estimate
    """NAUC: area under the return curve over the oracle's, 1 at most; NaN where no optimum is known."""
    returns: Estimate
    """Mean return."""
    no_memory: Estimate
    """Mean with the context wiped at each episode."""
    by_seed: list[float]
    """Mean of each training seed."""
    best: float
    """Mean over training seeds of the best checkpoint's score, chosen by that score: too good by design."""
    updates: int
    """Updates trained."""
    minutes: float | None
    """Mean time of training in minutes of one core; None where GPUs did it all."""
    temperatures: list[float]
    """Chosen on training tasks, by training seed."""


@dataclass(frozen=True)
class Versus:
    """A method beside DM-H with the same budget: each at its latest checkpoint within what both have had."""

    budget: float
    """The smaller of both, over all runs: seconds or updates; NaN where one has no run that was timed."""
    theirs: float | None
    """Percent of optimum; None if a run has no checkpoint that early."""
    ours: float | None
    difference: Estimate | None
    """Theirs less DM-H's, in points."""


@dataclass(frozen=True)
class Series:
    """A method on a dataset: what was wanted of it, and what is there."""

    specs: list[RunSpec]
    """One per training seed."""
    runs: list[Stored]
    """Those that are done."""
    scores: Scores | None
    """None while no run is done."""

    @property
    def label(self) -> str:
        """What tables and figures call it."""
        return self.specs[0].label

    @property
    def missing(self) -> list[int]:
        """Training seeds that are not done."""
        done = {run.spec.seed for run in self.runs}
        return [spec.seed for spec in self.specs if spec.seed not in done]


@dataclass(frozen=True)
class Group:
    """All methods on one dataset."""

    name: str
    """For example `darkroom/searcher`."""
    series: list[Series]

    @property
    def data(self) -> AnyData:
        """What all methods learned from."""
        return self.series[0].specs[0].data

    @property
    def histories(self) -> DataSpec:
        """The same, of a dark room."""
        assert isinstance(self.data, DataSpec)
        return self.data

    @property
    def runs(self) -> list[Stored]:
        """All finished runs."""
        return [run for series in self.series for run in series.runs]

    @property
    def reference(self) -> Series | None:
        """DM-H as it is, or where it stands under another name only, the first of these, if it has runs."""
        ours = [series for series in self.series if series.specs[0].method == REFERENCE]
        plain = [series for series in ours if not series.specs[0].variant] or ours[:1]
        return next((series for series in plain if series.runs), None)

    @property
    def others(self) -> list[Series]:
        """The series with runs that are not the reference."""
        return [series for series in self.series if series.runs and series is not self.reference]

    @cached_property
    def leads(self) -> list[tuple[Series, Estimate]]:
        """Each of the others with how far it leads the reference, see `compare`; none without a reference."""
        ours = self.reference
        return [] if ours is None else [(theirs, compare(theirs, ours)) for theirs in self.others]


def group_runs(specs: Sequence[RunSpec], stored: Sequence[Stored]) -> list[Group]:
    """Runs by dataset and method, in the order of the tables."""
    done = {run.spec.name: run for run in stored}
    groups: dict[str, dict[str, list[RunSpec]]] = {}
    for spec in specs:
        groups.setdefault(spec.data.name, {}).setdefault(spec.series, []).append(spec)
    found = []
    for name, by_series in groups.items():
        series = []
        for wanted in by_series.values():
            runs = [done[spec.name] for spec in wanted if spec.name in done]
            series.append(Series(wanted, runs, _scores(runs) if runs else None))
        found.append(Group(name, series))
    return found


def compare(theirs: Series, ours: Series) -> Estimate:
    """Mean difference of final checkpoints, theirs less ours, in points of percent of optimum."""
    return difference(final_scores(theirs), final_scores(ours))


def final_scores(series: Series) -> Floats:
    """Percent of optimum at the last episode, final checkpoints, (S, R)."""
    return _last(_final(series.runs))


def at_equal(theirs: Series, ours: Series, budget: str) -> Versus:
    """Both at their latest checkpoint within the smaller budget: `train_seconds` or `updates`.

    A series' checkpoints are those of all its runs after as many updates; what they took is the mean.
    """
    took = [_took(series.runs, budget) for series in (theirs, ours)]
    smallest = float(np.min([taken.max() for taken in took]))
    tables = [
        _at(series.runs, taken[taken <= smallest].index.max())
        for series, taken in zip((theirs, ours), took, strict=True)
    ]
    scores = [None if table is None else _last(table) for table in tables]
    means = [None if array is None else mean(array) for array in scores]
    both = None if scores[0] is None or scores[1] is None else difference(scores[0], scores[1])
    return Versus(smallest, means[0], means[1], both)


def group_curves(group: Group, line: str = MEMORY, *, oracle: bool = True) -> pd.DataFrame:
    """`results.curves` of the final checkpoints of all methods, with the oracle if played with memory."""
    tables = [_final(series.runs, line) for series in group.series if series.runs]
    if line == MEMORY and oracle:
        told = tables[0].assign(method="oracle", percent_of_optimum=100.0)
        tables.append(told.drop_duplicates(["training_seed", "task", "seed", "episode"]))
    return curves(pd.concat(tables, ignore_index=True))


def progress(group: Group) -> pd.DataFrame:
    """Each method's checkpoints: `method`, `updates`, `minutes` and `percent`, means over training seeds."""
    rows = []
    for series in group.series:
        for run in series.runs:
            for updates, table in run.table[run.table["line"] == MEMORY].groupby("updates"):
                percent = mean(_last(table))
                minutes = float(table["train_seconds"].iloc[0]) / 60
                rows.append((series.label, updates, minutes, percent))
    table = pd.DataFrame(rows, columns=["method", "updates", "minutes", "percent"])
    return table.groupby(["method", "updates"], sort=False).mean().reset_index()


def _scores(runs: list[Stored]) -> Scores:
    final, blind = _final(runs), _final(runs, NO_MEMORY)
    last = _last(final)
    both = estimate(last, lambda array: np.array([mean(array), interquartile_mean(array)]))
    returns, optimum = score_array(final, "return"), score_array(final, "optimum")
    return Scores(
        percent=Estimate(*(float(part[0]) for part in both)),
        iqm=Estimate(*(float(part[1]) for part in both)),
        area=estimate(normalised_area(returns, optimum), mean),
        returns=estimate(returns[..., -1], mean),
        no_memory=estimate(_last(blind), mean),
        by_seed=last.mean(1).tolist(),
        best=float(np.mean([_best(run) for run in runs])),
        updates=int(final["updates"].max()),
        minutes=minutes_of(runs),
        temperatures=[run.about["temperature"] for run in runs],
    )


def minutes_of(runs: Sequence[Stored]) -> float | None:
    """Mean time of training in minutes of one core, over the runs that a CPU trained; None without one."""
    took = [float(run.table["train_seconds"].max()) / 60 for run in runs if run.on_cpu]
    return float(np.mean(took)) if took else None


def _final(runs: list[Stored], line: str = MEMORY) -> pd.DataFrame:
    return pd.concat([final_rows(run.table, line) for run in runs], ignore_index=True)


def _last(table: pd.DataFrame) -> Floats:
    """Percent of optimum at the last episode, (S, R)."""
    return score_array(table)[..., -1]


def _best(run: Stored) -> float:
    memory = run.table[run.table["line"] == MEMORY]
    return max(mean(_last(table)) for _, table in memory.groupby("updates"))


def _took(runs: list[Stored], budget: str) -> pd.Series:
    """What the checkpoints after so many updates (the index) took of a budget, means over the runs."""
    tables = [run.table.groupby("updates")[budget].first() for run in runs]
    return pd.concat(tables, axis=1).astype("float64").mean(axis=1)


def _at(runs: list[Stored], updates: float) -> pd.DataFrame | None:
    """All runs' rows with memory after so many updates; None where there is no such checkpoint."""
    if np.isnan(updates):
        return None
    table = pd.concat([run.table for run in runs], ignore_index=True)
    return table[(table["updates"] == updates) & (table["line"] == MEMORY)]
