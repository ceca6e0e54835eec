"""Returns and sub-goals of a lifetime, with a scrubber through its episodes and steps."""

from typing import Any

import ipywidgets
import numpy as np
import plotly.graph_objects as go

from dmh_lib import figures
from dmh_lib.explore.subgoals import rank_correlation

from .pictures import Picture
from .session import Session

WIDE = {"width": "460px"}


def overview_figure(session: Session, episode: int, reading: str | None = None) -> go.Figure:
    """Returns of all episodes, one marked, and how far their sub-goals, so read, lie from the goal."""
    title, subtitle, distances = f"{session.label}, task {session.task}", "", np.zeros(0)
    if session.source:
        title = f"task {session.task}, as in {session.source}"  # the returns are not the agent's own
    if reading is not None:
        distances = session.distances(reading)
        correlation = rank_correlation(distances, session.returns)
        if not np.isnan(correlation):
            subtitle = f"rank correlation of return and distance {correlation:.2f}".replace("-", "−")
    return figures.episode_overview(session.returns, distances, episode, title, session.optimum, subtitle)


def moment_figure(
    session: Session, episode: int, step: int, reading: str | None = None, *, reveal: bool = False
) -> go.Figure:
    """The room at a step (from 0) of an episode (from 1), with its sub-goals as they are read, if at all."""
    lived = session.life[episode - 1]
    shown: dict[str, Any] = {"goal": session.goal} if reveal else {}
    title = f"episode {episode}, step {step}: {lived.rewards[:step].sum():g} of {lived.value:g} collected"
    if reading is not None and session.chunk_len is not None:
        chunks = min(step, len(lived) - 1) // session.chunk_len + 1  # begun so far
        found = session.in_room(lived.decisions, reading)
        shown |= {
            "valuable": session.valuable(episode)[:chunks],
            "subgoals": found.means[:chunks],
            "uncertainty": figures.ellipse(found.means[chunks - 1], found.covariances[chunks - 1]),
        }
    size = session.rules.size
    return figures.explored_room(size, title, path=lived.observations, step=step, **shown)


class SubgoalView(ipywidgets.VBox):
    """The panel *Lifetime*: returns and sub-goals.

    Args:
        session: one that has played.

    Attributes:
        episode, step: sliders; arrow keys move the one that has the focus.
        reading: how sub-goals are shown in the room.
        reveal: whether the hidden goal is drawn.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        last = len(session.life)
        style = {"description_width": "70px"}
        self.episode = ipywidgets.IntSlider(
            last, 1, last, description="episode", layout=WIDE, style=style, tooltip="arrow keys move it"
        )
        self.step = ipywidgets.IntSlider(
            0, 0, len(session.life[-1]), description="step", layout=WIDE, style=style,
            tooltip="arrow keys move it",
        )  # fmt: skip
        self.reading = ipywidgets.Dropdown(
            options=list(session.readings), description="sub-goals", layout=WIDE, style=style,
        )  # fmt: skip
        self.reveal = ipywidgets.Checkbox(False, description="show the hidden goal", indent=False)
        self.overview = Picture(self._overview())
        self.room = Picture(self._moment())
        self.episode.observe(self._turn_to, names="value")
        self.reading.observe(self._read, names="value")
        for control in (self.step, self.reveal):
            control.observe(self._redraw, names="value")
        reading = [self.reading] if session.readings else []
        left = ipywidgets.VBox([self.overview, self.episode, self.step, *reading, self.reveal])
        super().__init__([ipywidgets.HBox([left, self.room], layout={"flex_flow": "row wrap"})])

    def _overview(self) -> go.Figure:
        return overview_figure(self._session, self.episode.value, self.reading.value)

    def _moment(self) -> go.Figure:
        moment = self.episode.value, self.step.value, self.reading.value
        return moment_figure(self._session, *moment, reveal=self.reveal.value)

    def _turn_to(self, change: dict[str, Any]) -> None:
        """Another episode: the same step of it, or its last."""
        self.overview.redraw(self._overview())
        length, step = len(self._session.life[change["new"] - 1]), self.step.value
        self.step.max = length  # which may lower the step, and so redraw
        if self.step.value == step:
            self._redraw()

    def _read(self, _: Any) -> None:
        self.overview.redraw(self._overview())
        self._redraw()

    def _redraw(self, _: Any = None) -> None:
        self.room.redraw(self._moment())
