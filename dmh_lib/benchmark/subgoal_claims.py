"""Claims about what sub-goals say, from what each run of DM-H measured of its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dmh_lib.rollouts import has_readable_goal
from dmh_lib.statistics import Estimate, known_mean

from .claim_pictures import correlation_figure
from .findings import Claim, Finding, ours_of
from .markdown import interval, joined, markdown_table, short_title_of
from .pictures import save_picture
from .store import Places
from .summary import Group, Series

WHOLE = {"read_out": "read out", "decoded": "decoded"}
FIRST = {"read_out_first": "read out, first sub-goal", "decoded_first": "decoded, first sub-goal"}

ABOUT = """Over the episodes of a lifetime, the return goes with how far the sub-goals lie from the hidden
cell, by rank correlation within each task: below 0, nearer sub-goals go with higher returns. *Decoded*
takes a sub-goal for the image of a state, as the paper's valuable sub-goals are. *Read out* takes the cell
off it by a linear map fitted on training tasks, whose R² on held-out tasks stands beside it (1: exact; 0:
no better than the mean cell). That the two go together does not show that sub-goals cause returns: both
change when the goal is found. And a sub-goal partly says where the agent is, which is near the goal when it
earns: even a model that has learned nothing can show it. So the *first sub-goal* of each episode is looked
at alone as well."""

AT_START = """The same of each episode's first sub-goal alone, in the table above. It is given where the
episode starts, so that it lies nearer to the hidden cell only for what is remembered of earlier episodes."""


@dataclass(frozen=True)
class _Said:
    """What the sub-goals of a series say."""

    where: str
    series: Series
    notes: list[dict[str, Any]]
    """What each run measured, see `single.run_one`; runs that did not are left out."""
    means: dict[str, Estimate | None]
    """Over training seeds and tasks, by measure; None where too little is known."""


def subgoal_claims(groups: Sequence[Group], drawn: Places | None) -> list[Claim]:
    """That sub-goals go with returns, in whole episodes and at their start; a picture if places are given."""
    readable = [group for group in groups if has_readable_goal(group.histories.split())]
    said = [_said(group, series) for group in readable for series in group.series]
    ours = [one for one in said if any(one.series is ours_of(group) for group in readable)]
    whole, first = ([_finding(one, name) for one in ours for name in names] for names in (WHOLE, FIRST))
    body = joined(ABOUT, _picture(ours, drawn) if drawn else "", _table([one for one in said if one.notes]))
    return [
        Claim("Episodes whose sub-goals lie nearer to the hidden goal earn more", whole, body),
        Claim("Episodes whose first sub-goal lies nearer to the hidden goal earn more", first, AT_START),
    ]


def _said(group: Group, series: Series) -> _Said:
    notes = [run.about["subgoals"] for run in series.runs if run.about.get("subgoals")]
    scores = {
        name: np.array([note["by_task"][name] for note in notes], dtype=np.float64)  # (S, R)
        for name in ("r2", *WHOLE, *FIRST)
    }
    means = {name: known_mean(array) if notes else None for name, array in scores.items()}
    return _Said(short_title_of(group), series, notes, means)


def _finding(one: _Said, name: str) -> Finding:
    word = name.removesuffix("_first").replace("_", " ")
    return Finding(f"{word} in {one.where}", one.means[name], len(one.notes), digits=2, rising=False)


def _picture(said: Sequence[_Said], places: Places) -> str:
    """DM-H's correlations by environment; empty if there are none."""
    marks = {
        label: [(one.where, found) for one in said if (found := one.means[name]) is not None]
        for name, label in (WHOLE | FIRST).items()
    }
    if not any(marks.values()):
        return ""
    return save_picture(correlation_figure(marks), "subgoals.png", places.out)


def _table(said: Sequence[_Said]) -> str:
    """Every series that has measured its sub-goals, and what was read."""
    if not said:
        return "No run here has measured its sub-goals yet."
    rows = [
        [
            one.where,
            one.series.label,
            _cell(one.means["r2"], ""),
            *(_cell(one.means[name], "+") for name in WHOLE | FIRST),
            f"{len(one.notes)} of {len(one.series.specs)}",
        ]
        for one in said
    ]
    headings = ["environment", "method", "R² of the read-out", *(WHOLE | FIRST).values(), "training seeds"]
    return joined(markdown_table(headings, rows), _read_of({one.where: one.notes[0] for one in said}))


def _read_of(notes: dict[str, dict[str, Any]]) -> str:
    """What was read in which environment, in words."""
    lines: dict[str, list[str]] = {}
    for where, found in notes.items():
        cell = "the door, not the key before it" if found["cell"] == "door" else "the goal"
        fitted = f"fitted on {found['training_tasks']} training tasks from episode {found['from_episode']} on"
        lines.setdefault(f"{cell}, {fitted}", []).append(where)
    said = "; ".join(f"in {', '.join(rooms)} {what}" for what, rooms in lines.items())
    return (
        f"What is read: {said}. Tasks whose return never changes have no correlation. A run stored without "
        "these measures gains them when its file is removed and it is done again."
    )


def _cell(found: Estimate | None, sign: str) -> str:
    return "–" if found is None else interval(found, 2, sign)
