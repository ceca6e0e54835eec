"""What the page's sections write with."""

from collections.abc import Sequence

from dmh_lib.envs.names import plain_name
from dmh_lib.statistics import Estimate

from .data import MujocoSpec, dotted
from .summary import Group


def title_of(group: Group) -> str:
    """For example `Darkroom, a scripted searcher's histories`, or `Hopper, medium`."""
    data = group.data
    if isinstance(data, MujocoSpec):
        return f"{data.env_id.removesuffix('-v5')}, {dotted(data.kind, data.variant)}"
    data = group.histories
    behaviour = {"searcher": "a scripted searcher's", "q-learning": "Q-learning", "dqn": "DQN"}
    variant = f" ({data.variant})" if data.variant else ""
    return f"{room_name(group)}, {behaviour.get(data.behaviour, data.behaviour)} histories{variant}"


def short_title_of(group: Group) -> str:
    """For example `Darkroom`, or `Darkroom (q-learning)` where no searcher's histories were learned from."""
    data = group.histories
    words = [word for word in (data.behaviour, data.variant) if word and word != "searcher"]
    return f"{room_name(group)} ({', '.join(words)})" if words else room_name(group)


def room_name(group: Group) -> str:
    """For example `Darkroom`."""
    return plain_name(group.data.env_id)


def markdown_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of cells that are Markdown already."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def interval(found: Estimate, digits: int = 1, sign: str = "") -> str:
    """For example `81.2 [78.0, 84.1]`, all with their signs where `sign` is +."""
    value, low, high = (f"{part:{sign}.{digits}f}" for part in found)
    return f"{value} [{low}, {high}]"


def number(value: float | None) -> str:
    """With one digit, or a dash."""
    return "–" if value is None else f"{value:.1f}"


def joined(*parts: str) -> str:
    """Paragraphs, the empty ones left out."""
    return "\n\n".join(filter(None, parts))
