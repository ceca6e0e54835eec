"""The page's section on mazes: return against memory length, and how far it goes beyond the training's."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from dmh_lib.statistics import Estimate

from .markdown import interval, markdown_table, number
from .maze_summary import MazeSeries
from .mazes import ALONG_PATH
from .pictures import save_length_curves
from .protocol import software
from .published import FILE, read_published
from .specs import MazeJudging
from .store import Places
from .summary import REFERENCE

Published = dict[str, dict[int, str]]  # label → length → value
KEY = "k="  # begins a published length


def maze_section(name: str, series: Sequence[MazeSeries], places: Places, *, figures: bool = True) -> str:
    """The Markdown of one kind of maze; its figure is drawn beside the page.

    Args:
        name: of the data, for example `tmaze/expert`.
        series: all methods, some of them with runs.
        places: where everything lies.
        figures: draw.
    """
    active = name.startswith("tmazeactive")
    title = f"{'Active T-maze' if active else 'T-maze'} against memory length"
    published = {} if active else published_lengths(read_published(places.out / FILE))
    pictures = save_length_curves(name, series, published, title, places.out) if figures else []
    parts = [f"## {title}", INTRODUCTION, *(f"![{title}]({path})" for path in pictures)]
    parts.append(_by_length(series, published))
    parts.append(_beyond(series))
    parts.append(_trainings(series))
    parts.append(_protocol(series))
    return "\n\n".join(filter(None, parts))


INTRODUCTION = f"""A bit is shown at the start of a corridor and says which way to turn at its end. The
return is 1 for the right turn, 0 for the wrong one, less where steps of the corridor were wasted. The tables
show its mean, with 95 % intervals over training seeds: mazes of one length are alike, so that many of them
say little more than a few. Where all returns are equal, or there is one training, an interval has no width,
which is not certainty. *Published* rows are the paper's (Huang et al. 2024, from [`{FILE}`]({FILE}));
how its protocol differs is said below."""


def published_lengths(table: pd.DataFrame) -> Published:
    """Published returns in the T-maze by label and length."""
    found: Published = {}
    for _, entry in table[table["task"].str.startswith(KEY)].iterrows():
        length = entry["task"].removeprefix(KEY)
        if length.isdigit():
            found.setdefault(entry["label"], {})[int(length)] = entry["value"]
    return found


# ---------------------------------------------------------------------------- tables


def _by_length(series: Sequence[MazeSeries], published: Published) -> str:
    """Methods that played, and what was published, by length."""
    players = [one for one in series if _judging(one).played]
    if not players:
        return ""
    asked = {length for one in players for length, _ in _judging(one).played}
    lengths = sorted(asked.union(*(published.get(one.label, {}) for one in players)))
    rows = []
    for one in players:
        known = one.best_known()
        cells = [_cell(known.get(length)) for length in lengths]
        rows.append([_name(one), *(cells if one.runs else ["*missing*", *[""] * (len(cells) - 1)])])
        rows[-1].append(_each_seed(one))
        if one.label in published:
            values = published[one.label]
            rows.append([f"*{one.label}, published*", *(values.get(length, "") for length in lengths), ""])
    text = markdown_table(["method", *map(_steps, lengths), "each seed at its longest"], rows)
    if any(one.runs and len(one.runs) < len(one.specs) for one in players):
        text += "\n\n\\* not all training seeds are there yet."
    if any(line == ALONG_PATH for one in players for line, _ in one.best_known().values()):
        text += "\n\n† not played: read along the expert's path."
    return text


def _beyond(series: Sequence[MazeSeries]) -> str:
    """DM-H along the path, by length and by the longest maze of its training."""
    readers = [one for one in series if one.specs[0].method == REFERENCE and one.returns(ALONG_PATH)]
    if not readers:
        return ""
    lengths = sorted(set().union(*(one.returns(ALONG_PATH) for one in readers)))
    rows = []
    for one in sorted(readers, key=lambda one: one.longest):
        returns, margins = one.returns(ALONG_PATH), one.lowest_margins()
        cells = []
        for length in lengths:
            cell = interval(returns[length], 2) if length in returns else ""
            cells.append(f"**{cell}**" if cell and length > one.longest else cell)
        lowest = [f"{margins[length]:.1f}" if length in margins else "" for length in lengths]
        rows += [[_name(one), f"{one.longest:,}", *cells], ["*lowest margin*", "", *lowest]]
    about = (
        "DM-H along the expert's path; in bold, mazes longer than any of its training. The *margin* is the "
        "logit of the right turn less the largest other one; below 0 the turn is wrong."
    )
    headings = ["method", "longest in training", *map(_steps, lengths)]
    return f"### Longer than in training\n\n{about}\n\n{markdown_table(headings, rows)}"


def _trainings(series: Sequence[MazeSeries]) -> str:
    headings = [
        "method",
        "updates",
        "lengths",
        "first only up to",
        "parameters",
        "training, minutes",
        "in all",
    ]
    rows = []
    for one in series:
        if not one.runs:
            continue
        config = one.specs[0].config()
        contexts = config.contexts
        timed = [run.about["seconds"] for run in one.runs if run.on_cpu]
        minutes = [
            sum(seconds[part] for seconds in timed) / len(timed) / 60 if timed else None
            for part in ("training", "total")
        ]
        rows.append(
            [
                _name(one),
                f"{config.training.updates:,}",
                f"{contexts.shortest:,} … {contexts.longest:,}",
                f"{min(contexts.first_cap, contexts.longest):,}",
                f"{one.runs[0].about['parameters']:,}",
                *map(number, minutes),
            ]
        )
    about = "Minutes of one core, means over the training seeds that a CPU trained."
    return f"### Their trainings\n\n{about}\n\n{markdown_table(headings, rows)}"


def _name(series: MazeSeries) -> str:
    return series.label + (" \\*" if series.runs and len(series.runs) < len(series.specs) else "")


def _cell(known: tuple[str, Estimate] | None) -> str:
    if known is None:
        return "–"
    line, found = known
    return interval(found, 2) + (" †" if line == ALONG_PATH else "")


def _each_seed(series: MazeSeries) -> str:
    known = series.best_known()
    if not known:
        return ""
    played = [length for length, (line, _) in known.items() if line != ALONG_PATH]
    length = max(played or known)
    return ", ".join(f"{value:.2f}" for value in series.by_seed(known[length][0])[length])


def _steps(length: int) -> str:
    return f"{length:,} steps"


# ---------------------------------------------------------------------------- protocol


NOTES = (
    "**Mazes.** One episode in each, where the paper plays 20. Play and maze are without chance, so mazes of "
    "one length and goal would be the same walk: lengths are L, L, L − 1, L − 1, …, the goals take turns.",
    "**Greedy play**, without choosing a temperature: one slip in a corridor costs the goal, so that "
    "sampling would measure the temperature. Every maze begins with an empty memory; there is no gradient "
    "step.",
    "**Along the path.** The expert's walk is read at once, and the return is 1 where the turn and all "
    "checked steps before it are the expert's, else 0. For DT every step is checked, which makes it the same "
    "as play; its cache of 200 mazes of 20,000 steps would take 6 GB. For DM-H 64 "
    "chunks are checked.",
    "**One training for all lengths**, which are drawn log-uniformly, where the paper shows a point for each "
    "length. The longest rises in the course of the training (*first only up to*), so that the bit is found "
    "where it is near before it has to be kept for long.",
    "**Data.** Experts of the mazes, written down as they are drawn; the file whose hash is given stands for "
    "them. The turn makes half of the loss of DM-H, and one of two steps learned of DM and DT.",
    "**Targets.** DM and DT are asked for a return of 1; DM-H sees no return-to-go.",
    "**Sizes.** Width 64, chunks of 20 steps and the few updates of the table above; the paper's sizes and "
    "schedule are those of the preset `paper`. Its DM and DT ran out of a GPU's memory at 20,000 steps.",
    "**The final checkpoint** alone is judged.",
)


def _protocol(series: Sequence[MazeSeries]) -> str:
    runs = [run for one in series for run in one.runs]
    counts = [_counts(one) for one in series if one.runs]
    hashes = sorted({str(run.about["data_hash"])[:12] for run in runs})
    settings = runs[0].about["settings"]
    episodes = f"{settings['data.settings.episodes']} of {settings['data.settings.length']} steps"
    told = [*NOTES, f"**How many mazes.** {'; '.join(counts)}."]
    told.append(f"**Episodes on file.** {episodes}, hash {', '.join(f'`{one}`' for one in hashes)}.")
    told.append(f"**Software.** {'; '.join(sorted({software(run.about) for run in runs}))}.")
    title = "### How mazes were measured, and where that differs from the paper"
    return f"{title}\n\n" + "\n".join(f"- {note}" for note in told)


def _counts(series: MazeSeries) -> str:
    judging = _judging(series)
    lines = (("played", judging.played), ("along the path", judging.along_path))
    words = [f"{_grouped(dict(entries))} {name}" for name, entries in lines if entries]
    return f"{series.label}: {', '.join(words)}"


def _grouped(mazes: Mapping[int, int]) -> str:
    """For example `200 up to 20,000 steps, 20 at 1,000,000`."""
    parts = []
    for count, lengths in itertools.groupby(sorted(mazes), key=lambda length: mazes[length]):
        reached = list(lengths)
        parts.append(f"{count} {'up to' if len(reached) > 1 else 'at'} {reached[-1]:,}")
    return ", ".join(parts)


def _judging(series: MazeSeries) -> MazeJudging:
    judging: Any = series.specs[0].judging
    assert isinstance(judging, MazeJudging)
    return judging
