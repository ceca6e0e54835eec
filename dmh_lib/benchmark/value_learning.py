"""TD3+BC and IQL on the page: what `benchmarks/d3rlpy` wrote, in an environment of its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from dmh_lib.envs.scores import normalised_scores
from dmh_lib.errors import DataError
from dmh_lib.files import read_object
from dmh_lib.statistics import Estimate, Floats, difference, estimate, mean

from .data import MujocoSpec
from .overview import score_cell, sentence
from .store import Places
from .summary import Group, final_scores

FOLDER = "d3rlpy"  # among the results
SEEDS = 3  # of the table
LABELS = {"td3-bc": "TD3+BC", "iql": "IQL"}


@dataclass(frozen=True)
class Learned:
    """A method's trainings on a dataset."""

    label: str
    """What tables call it."""
    scores: Floats
    """(S, R) D4RL's score of the last episode by training seed and lifetime."""
    notes: list[dict[str, Any]]
    """What each training noted: `seed`, `updates`, `train_seconds` and `versions` among others."""

    @cached_property
    def percent(self) -> Estimate:
        """Mean score with its interval."""
        return estimate(self.scores, mean)


def read_learned(group: Group, places: Places) -> list[Learned]:
    """What was learned from the very file of a group's data; other files' results are left out.

    Raises DataError for a result that is not whole.
    """
    data = group.data
    assert isinstance(data, MujocoSpec)
    found = []
    for method, label in LABELS.items():
        folder = places.results / FOLDER / data.env / data.kind / method
        read = [(path, read_object(path)) for path in sorted(folder.glob("seed-*.json"))]
        same = [(path, note) for path, note in read if note.get("data") == places.histories(data).name]
        if same:
            last = [_last_returns(path, note) for path, note in same]  # (R,) each
            if len({len(lives) for lives in last}) > 1:
                raise DataError(f"{folder}: not all seeds have as many lifetimes; train them again")
            scores = normalised_scores(data.env, np.stack(last))  # (S, R)
            found.append(Learned(label, scores, [note for _, note in same]))
    return found


def _last_returns(path: Path, note: dict[str, Any]) -> Floats:
    """(R,) returns of the last episodes; R and the number of episodes are those of the protocol."""
    for name, kind in (("seed", int), ("updates", int), ("train_seconds", float), ("versions", dict)):
        if not isinstance(note.get(name), kind):
            raise DataError(f"{path}: field '{name}': missing or of another kind; train it again")
    try:
        returns = np.asarray(note.get("returns"), dtype=np.float64)
    except (TypeError, ValueError):
        returns = np.empty(0)
    if returns.ndim != 2 or not returns.size or not np.isfinite(returns).all():
        raise DataError(f"{path}: field 'returns': not a row of numbers for each lifetime; train it again")
    return returns[:, -1]


Found = Sequence[tuple[Group, Sequence[Learned]]]


def score_rows(found: Found) -> list[list[str]]:
    """Rows for the table of all datasets; nothing where nothing was learned."""
    rows = []
    for label in LABELS.values():
        by_group = [next((one for one in learned if one.label == label), None) for _, learned in found]
        if any(by_group):
            cells = [
                score_cell(one.percent, len(one.scores), SEEDS) if one else "*missing*" for one in by_group
            ]
            rows.append([label, *cells])
    return rows


def leads(group: Group, learned: Sequence[Learned]) -> list[str]:
    """How each compares with DM-H, in words."""
    ours = group.reference
    if ours is None:
        return []
    scores = final_scores(ours)  # (S, R)
    return [
        sentence(one.label, ours.label, difference(one.scores, scores), min(len(one.scores), len(scores)))
        for one in learned
    ]


def note_on(found: Found) -> str:
    """How it was learned, for the page's notes; nothing where nothing was."""
    lines = []
    for label in LABELS.values():
        notes = [note for _, learned in found for one in learned if one.label == label for note in one.notes]
        if notes:
            minutes = np.mean([note["train_seconds"] for note in notes]) / 60
            updates = ", ".join(f"{count:,}" for count in sorted({note["updates"] for note in notes}))
            versions = ", ".join(sorted({str(note["versions"].get("d3rlpy")) for note in notes}))
            lines.append(f"{label} {updates} updates, {minutes:.0f} minutes of a core (d3rlpy {versions})")
    if not lines:
        return ""
    return f"- **Value learning.** {'; '.join(lines)}. {ABOUT}"


ABOUT = """The papers take a million updates with these settings, so that more may be in
  them; each score is of the final weights, in ten lifetimes of ten episodes as everywhere here. They have no
  memory. `python benchmarks/d3rlpy/train.py` trains them, in the environment of the file beside it."""
