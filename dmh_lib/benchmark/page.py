"""`results.md`: what the stored runs say, and what is missing, as Markdown made from data alone."""

import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from dmh_lib.files import atomic_path
from dmh_lib.statistics import verdict

from .claims import the_claims
from .data import DataSpec, MujocoSpec
from .markdown import interval, markdown_table, number, room_name, title_of
from .maze_page import maze_section
from .maze_summary import maze_series
from .mujoco_page import mujoco_section
from .overview import details, overview, verdicts
from .pictures import save_figures
from .protocol import how_it_differs, how_it_was_measured
from .published import FILE, read_published
from .specs import RunSpec
from .store import Places, load_done, state_of
from .summary import Group, Scores, Series, at_equal, group_runs

PAGE = "results.md"


def render(tables: dict[str, list[RunSpec]], places: Places, *, figures: bool = True) -> Path:
    """Write the page and its figures from the stored runs of some tables; runs that lack are named.

    Returns:
        The page.
    """
    specs = list({spec.name: spec for runs in tables.values() for spec in runs}.values())
    stored, rooms = load_done(specs, places), [spec for spec in specs if isinstance(spec.data, DataSpec)]
    wanted = group_runs(rooms, stored)
    groups = [group for group in wanted if group.runs]
    parts = [HEAD, SCORES if groups else "", _whats_there(tables, places)]
    if groups:
        title = "## Where another beats DM-H, and where not"
        parts += [
            overview(groups, "## All at once"),
            verdicts(groups, title, "percent of optimum", "task"),
            the_claims(wanted, places, figures=figures),
        ]
    for group in groups:
        pictures = save_figures(group, title_of(group), places.out) if figures else []
        parts.append(_section(group, pictures))
    for name, series in maze_series(specs, stored).items():
        parts.append(maze_section(name, series, places, figures=figures))
    locomotion = group_runs([spec for spec in specs if isinstance(spec.data, MujocoSpec)], stored)
    parts.append(mujoco_section(locomotion, places, figures=figures))
    if groups:
        parts += [_beside_the_paper(groups, places), how_it_was_measured(groups), how_it_differs(groups)]
    path = places.out / PAGE
    with atomic_path(path) as temporary:
        temporary.write_text("\n\n".join(filter(None, parts)) + "\n", encoding="utf-8")
    return path


HEAD = """# Results

Made by `dmh benchmark` from the files in [`results/`](results), one per training run; nothing is typed in."""

SCORES = """Scores are **percent of the optimum at the last episode, final checkpoint, on held-out tasks**,
from an empty context and without a gradient step; T-mazes have scores of their own. Brackets are 95 %
stratified-bootstrap intervals; what they cover is said [below](#how-it-was-measured)."""


# ---------------------------------------------------------------------------- what is there


def _whats_there(tables: dict[str, list[RunSpec]], places: Places) -> str:
    rows, lacking, replaced = [], [], []
    for name, specs in tables.items():
        states = {spec.name: state_of(spec, places)[0] for spec in specs}
        count = {state: list(states.values()).count(state) for state in ("done", "missing", "stale")}
        rows.append([f"`{name}`", f"{count['done']} of {len(specs)}", *_counts(count)])
        lacking += [spec for spec in specs if states[spec.name] == "missing" and spec not in lacking]
        replaced += [spec for spec in specs if states[spec.name] == "stale" and spec not in replaced]
    text = "## What is here\n\n" + markdown_table(
        ["table", "runs here", "missing", "of other settings"], rows
    )
    if lacking:
        text += "\n\n**Missing:**\n\n" + _by_series(lacking)
    if replaced:
        title = "**Of other settings, and left out (`--again` does them again):**"
        text += f"\n\n{title}\n\n{_by_series(replaced)}"
    return text


def _counts(count: dict[str, int]) -> list[str]:
    return [str(count[state]) if count[state] else "–" for state in ("missing", "stale")]


def _by_series(specs: Sequence[RunSpec]) -> str:
    """Runs as a list, with a line for all methods of a dataset that have the same seeds."""
    seeds: dict[str, list[int]] = {}
    for spec in specs:
        seeds.setdefault(spec.series, []).append(spec.seed)
    methods: dict[tuple[str, tuple[int, ...]], list[str]] = {}
    for series, found in seeds.items():
        dataset, _, method = series.rpartition("/")
        methods.setdefault((dataset, tuple(found)), []).append(method)
    return "\n".join(
        f"- `{dataset}`, seed{'s' if len(found) > 1 else ''} {', '.join(map(str, found))}: {', '.join(names)}"
        for (dataset, found), names in methods.items()
    )


# ---------------------------------------------------------------------------- one dataset


def _section(group: Group, pictures: list[str]) -> str:
    title = title_of(group)
    parts = [f"## {title}", *(f"![{title}]({path})" for path in pictures)]
    parts.append(_scores(group))
    if winners := _who_wins(group):
        parts.append(winners)
    if fair := _fairness(group):
        parts.append(fair)
    hashes = {str(run.about["data_hash"]) for run in group.runs}
    if len(hashes) > 1:
        problem = f"these runs learned from {len(hashes)} different datasets; run them again"
        parts.append(f"**Not comparable:** {problem}.")
    return "\n\n".join(parts)


def _who_wins(group: Group) -> str:
    """Which methods beat DM-H on this dataset, in a line."""
    if (ours := group.reference) is None or not group.others:
        return ""
    named: dict[str, list[str]] = {"wins": [], "no clear difference": [], "loses": []}
    for theirs, lead in group.leads:
        alone = min(len(theirs.runs), len(ours.runs)) == 1
        named[verdict(lead)].append(f"{theirs.label}{' (one training seed)' if alone else ''}")
    said = [
        f"**Better than {ours.label} here:** {', '.join(named['wins']) or 'none'}.",
        f"No clear difference: {', '.join(named['no clear difference']) or 'none'}.",
        f"Worse: {', '.join(named['loses']) or 'none'}.",
    ]
    return " ".join(said)


def _scores(group: Group) -> str:
    def cells(_: Series, scores: Scores) -> list[str]:
        return [
            f"**{interval(scores.percent)}**",
            interval(scores.iqm),
            interval(scores.area, 2),
            interval(scores.returns, 2),
            interval(scores.no_memory),
            ", ".join(f"{value:.1f}" for value in scores.by_seed),
            f"{scores.best:.1f}",
            f"{scores.updates:,}",
            number(scores.minutes),
            ", ".join(f"{value:g}" for value in scores.temperatures),
        ]

    headings = [
        "percent of optimum", "interquartile mean", "NAUC", "return", "without memory", "each seed",
        "best checkpoint", "updates", "minutes", "temperature",
    ]  # fmt: skip
    return details(group, headings, cells)


def _fairness(group: Group) -> str:
    """Every other method beside DM-H with the same training time, and with the same number of updates."""
    if (ours := group.reference) is None or not group.others:
        return ""
    words = {"wins": "**the method**", "no clear difference": "no clear difference", "loses": ours.label}
    rows = []
    for theirs in group.others:
        row = [theirs.label]
        for budget, unit in (("train_seconds", 60.0), ("updates", 1.0)):
            found = at_equal(theirs, ours, budget)
            much = f"{found.budget / unit:.1f} min" if unit > 1 else f"{found.budget:,.0f}"
            much = "not timed" if math.isnan(found.budget) else much
            row += [much, number(found.theirs), number(found.ours)]
            row.append("" if found.difference is None else words[verdict(found.difference)])
        rows.append(row)
    headings = [
        "method", "equal time", "the method", ours.label, "who wins", "equal updates", "the method",
        ours.label, "who wins",
    ]  # fmt: skip
    about = (
        f"With the same budget as {ours.label}, each at its latest checkpoint (a quarter, half, three "
        "quarters or all of its updates) within what both have had."
    )
    if any(len(series.runs) == 1 for series in (ours, *group.others)):
        about += " Where there is one training seed, who wins is about tasks and not about training."
    return f"{about}\n\n{markdown_table(headings, rows)}"


# ---------------------------------------------------------------------------- published


def _beside_the_paper(groups: list[Group], places: Places) -> str:
    published = read_published(places.out / FILE)
    rooms = list(dict.fromkeys(map(room_name, groups)))
    rows = []
    for room in rooms:
        here = [group for group in groups if room_name(group) == room]
        known = published[published["task"] == room]
        rows += [_published_row(entry, room, here) for _, entry in known.iterrows()]
    if not rows:
        return ""
    about = (
        "Returns, not percent: what the paper (Huang et al. 2024) gives beside the last episode of our runs. "
        f"Rows are from [`{FILE}`]({FILE}); the protocols differ, see the end of this page."
    )
    headings = ["environment", "method", "published", "what was published", "ours"]
    return f"## Beside the published figures\n\n{about}\n\n{markdown_table(headings, rows)}"


def _published_row(entry: "pd.Series[str]", room: str, groups: list[Group]) -> list[str]:
    labels = (entry["label"], f"{entry['label']} (paper)")
    ours = [
        f"{interval(one.scores.returns, 2) if one.scores else '*missing*'} ({group.histories.behaviour})"
        for group in groups
        for one in group.series
        if one.label in labels
    ]
    what = ", ".join(filter(None, [entry["metric"], entry["note"].partition(";")[0]]))
    return [room, entry["label"], entry["value"], what, "; ".join(ours) or "–"]
