"""Methods beside each other on all datasets, and in words where another beats DM-H."""

from collections.abc import Callable, Mapping, Sequence

from dmh_lib.statistics import Estimate, verdict

from .markdown import interval, markdown_table, title_of
from .summary import Group, Scores, Series


def overview(groups: list[Group], title: str, more: Sequence[Sequence[str]] = ()) -> str:
    """A table of scores with a column for each dataset, and more rows of what is no run of ours."""
    labels = list(dict.fromkeys(series.label for group in groups for series in group.series))
    rows = []
    for label in labels:
        by_group = [next((one for one in group.series if one.label == label), None) for group in groups]
        rows.append([label, *map(_cell, by_group)])
    headings = ["", *(title_of(group) for group in groups)]
    return f"{title}\n\n{markdown_table(headings, [*rows, *more])}"


def _cell(series: Series | None) -> str:
    if series is None:
        return ""
    if series.scores is None:
        return "*missing*"
    return score_cell(series.scores.percent, len(series.runs), len(series.specs))


def score_cell(percent: Estimate, seeds: int, wanted: int) -> str:
    """A score, and how many of the training seeds it is of if some lack."""
    return interval(percent) + (f" ({seeds} of {wanted} seeds)" if seeds < wanted else "")


def details(group: Group, headings: Sequence[str], cells: Callable[[Series, Scores], list[str]]) -> str:
    """A table with a row for each method: what it is called, and what `cells` says under `headings`."""
    rows = []
    for series in group.series:
        if series.scores is None:
            rows.append([series.label, "*missing*", *[""] * (len(headings) - 1)])
        else:
            label = series.label + (" *" if series.missing else "")
            rows.append([label, *cells(series, series.scores)])
    partial = any(series.runs and series.missing for series in group.series)
    note = "\n\n\\* not all training seeds are there yet." if partial else ""
    return markdown_table(["method", *headings], rows) + note


def verdicts(
    groups: list[Group], title: str, unit: str, units: str, more: Mapping[str, Sequence[str]] | None = None
) -> str:
    """What each method is less DM-H, dataset by dataset.

    Args:
        groups: the datasets.
        title: of the section, in Markdown.
        unit: of a score, for example `percent of optimum`.
        units: what scores are paired by, for example `task`.
        more: by group's name sentences on what is no run of ours.
    """
    lines = []
    for group in groups:
        ours = group.reference
        if ours is None:
            lines.append(f"- **{title_of(group)}:** no run of DM-H yet to compare with.")
            continue
        said = [
            sentence(theirs.label, ours.label, lead, min(len(theirs.runs), len(ours.runs)))
            for theirs, lead in group.leads
        ]
        said += (more or {}).get(group.name, [])
        if said:
            lines.append(f"- **{title_of(group)}:** {' '.join(said)}")
    if not lines:
        return ""
    about = (
        f"Each method less DM-H in points of {unit}, paired by {units}. Who wins is said only where "
        "the 95 % interval of the difference leaves out 0; there is no correction for asking often."
    )
    return f"{title}\n\n{about}\n\n" + "\n".join(lines)


def sentence(theirs: str, ours: str, found: Estimate, seeds: int) -> str:
    """Who wins, for example `**AD beats DM-H: +2.1 [+0.4, +3.9]**.`; of so many training seeds each."""
    points = f"{found.value:+.1f} [{found.low:+.1f}, {found.high:+.1f}]"
    match verdict(found):
        case "wins":
            text = f"**{theirs} beats {ours}: {points}**"
        case "loses":
            text = f"{theirs} loses to {ours}: {points}"
        case _:
            text = f"{theirs} and {ours}, no clear difference: {points}"
    return f"{text}{' (one training seed)' if seeds == 1 else ''}."
