"""The context editor: change what an agent remembers, and see what it would do next instead."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import ipywidgets
import numpy as np
import plotly.graph_objects as go

from dmh_lib import figures
from dmh_lib.explore import Decision, Episode

from .pictures import Picture
from .session import ACTIONS, Session

Rewards = Literal["as lived", "none", "one at the end"]
REWARDS: tuple[Rewards, ...] = ("as lived", "none", "one at the end")
SLIM = {"width": "34px"}


def relabelled(episode: Episode, rewards: Rewards) -> Episode:
    """An episode with its own rewards, without any, or with a single one on its last step."""
    if rewards == "as lived":
        return episode
    changed = np.zeros(len(episode))
    changed[-1] = rewards == "one at the end"
    return episode.relabelled(changed)


class PastEpisode(ipywidgets.HBox):
    """A row of the editor: one past episode, kept or dropped, shortened, relabelled.

    Args:
        episode: as it was lived.
        number: which it was, from 1.
    """

    def __init__(self, episode: Episode, number: int) -> None:
        self._episode = episode
        self.kept = ipywidgets.Checkbox(
            True, description=f"{number}: return {episode.value:g}", indent=False, layout={"width": "120px"}
        )
        self.steps = ipywidgets.IntSlider(
            len(episode), 1, len(episode), description="steps", layout={"width": "175px"},
            style={"description_width": "38px"},
        )  # fmt: skip
        self.rewards = ipywidgets.Dropdown(options=REWARDS, layout={"width": "110px"}, tooltip="rewards")
        self.earlier = ipywidgets.Button(description="↑", layout=SLIM, tooltip="earlier")
        self.later = ipywidgets.Button(description="↓", layout=SLIM, tooltip="later")
        super().__init__([self.kept, self.earlier, self.later, self.steps, self.rewards])

    def edited(self) -> Episode | None:
        """The episode as the agent is to remember it; None if it is dropped."""
        if not self.kept.value:
            return None
        return relabelled(self._episode.shortened(self.steps.value), self.rewards.value)

    def restore(self) -> None:
        """As it was lived."""
        self.kept.value, self.steps.value, self.rewards.value = True, len(self._episode), "as lived"


class ContextEditor(ipywidgets.VBox):
    """The panel *Context*: past episodes of a moment, and the next decision with and without the changes.

    Args:
        session: one that has played.

    Attributes:
        rows: the past episodes in the order in which the agent is to remember them.
        moment: which moment that is.
        original, edited: the decisions.
        reading: how sub-goals are shown in the room.
        target: what return to aim at; None for agents that are not told.
    """

    def __init__(self, session: Session) -> None:
        self._session, self._quiet = session, False
        self.target: ipywidgets.FloatText | None = None
        if session.model.config.wants_target:
            self.target = ipywidgets.FloatText(
                session.play_config.target_return, description="target return",
                style={"description_width": "90px"},
            )  # fmt: skip
            self.target.observe(self._redraw, names="value")
        self.wipe = ipywidgets.Button(description="wipe the memory", tooltip="drop all past episodes")
        self.sort = ipywidgets.Button(description="sort by return", tooltip="worst first, as in training")
        self.restore = ipywidgets.Button(description="as lived", tooltip="undo all changes")
        self.wipe.on_click(lambda _: self._wipe())
        self.sort.on_click(lambda _: self._sort())
        self.restore.on_click(lambda _: self._restore())
        self.reading = ipywidgets.Dropdown(
            options=list(session.readings), description="sub-goals", style={"description_width": "70px"}
        )
        self.reading.observe(self._redraw, names="value")
        self._all = [PastEpisode(past, number) for number, past in enumerate(session.life[:-1], 1)]
        for row in self._all:
            for control in (row.kept, row.steps, row.rewards):
                control.observe(self._redraw, names="value")
            row.earlier.on_click(lambda _, row=row: self._move(row, -1))
            row.later.on_click(lambda _, row=row: self._move(row, 1))
        self.rows, self._lived = self._all.copy(), self._all.copy()
        self._list = ipywidgets.VBox(
            self.rows, layout={"max_height": "620px", "overflow": "auto", "min_width": "505px"}
        )
        self._at = len(session.life), 0
        self._now = session.at(*self._at)
        self.original = self.edited = session.redecide(session.life[:-1], self._now)
        self.chances = Picture(chances_figure(self.original, self.edited, len(self.rows)))
        pictures = [self.chances]
        if session.readings:
            self.room = Picture(self._room())
            pictures.append(self.room)
        controls = [self.target] if self.target else []
        self.moment = ipywidgets.Label(self._when())
        buttons = ipywidgets.HBox([self.wipe, self.sort, self.restore])
        left = ipywidgets.VBox([self.moment, *controls, buttons, self._list])
        right = ipywidgets.VBox([*pictures, *([self.reading] if session.readings else [])])
        super().__init__([ipywidgets.HBox([left, right], layout={"flex_flow": "row wrap"})])

    def look_at(self, episode: int, step: int) -> None:
        """Take up the moment before a step (from 0) of an episode (from 1); another episode undoes all."""
        session = self._session
        self._at = episode, min(step, len(session.life[episode - 1]) - 1)
        self._now = session.at(*self._at)
        self.moment.value = self._when()
        self.original = session.redecide(session.life[: episode - 1], self._now)
        if self.rows_of(episode) == self._lived:
            self._redraw()
        else:
            self._lived = self.rows_of(episode)
            self._restore()

    def _when(self) -> str:
        episode, step = self._at
        return f"What came before step {step} of episode {episode}, chosen under Lifetime"

    def rows_of(self, episode: int) -> list[PastEpisode]:
        """The rows of what came before an episode (from 1)."""
        return self._all[: episode - 1]

    @property
    def context(self) -> list[Episode]:
        """The past episodes as the agent is to remember them."""
        return [episode for row in self.rows if (episode := row.edited()) is not None]

    # ------------------------------------------------------------------ changes

    def _arrange(self, rows: Sequence[PastEpisode]) -> None:
        self.rows = list(rows)
        self._list.children = self.rows
        self._redraw()

    def _move(self, row: PastEpisode, by: int) -> None:
        place = self.rows.index(row)
        rows = [other for other in self.rows if other is not row]
        rows.insert(max(0, place + by), row)
        self._arrange(rows)

    def _sort(self) -> None:
        self._arrange(sorted(self.rows, key=_worth))

    def _wipe(self) -> None:
        self._quiet = True
        for row in self.rows:
            row.kept.value = False
        self._quiet = False
        self._redraw()

    def _restore(self) -> None:
        self._quiet = True
        for row in self._all:
            row.restore()
        if self.target is not None:
            self.target.value = self._session.play_config.target_return
        self._quiet = False
        self._arrange(self._lived)

    # ------------------------------------------------------------------ what follows from them

    def _redraw(self, _: Any = None) -> None:
        if self._quiet:
            return
        session = self._session
        play = session.play_config
        if self.target is not None:
            play = replace(play, target_return=self.target.value)
        self.edited = session.redecide(self.context, self._now, play)
        self.chances.redraw(chances_figure(self.original, self.edited, len(self.context)))
        if session.readings:
            self.room.redraw(self._room())

    def _room(self) -> go.Figure:
        session = self._session
        means = [  # where the two sub-goals in force lie
            session.in_room([decision], self.reading.value).means[0]
            for decision in (self.original, self.edited)
        ]
        return figures.edited_subgoals(
            session.rules.size, "sub-goal in force", self._now.observations, means[0], means[1]
        )


def _worth(row: PastEpisode) -> float:
    """Return of what is kept of an episode; dropped ones come first."""
    episode = row.edited()
    return -np.inf if episode is None else episode.value


def chances_figure(original: Decision, edited: Decision, kept: int) -> go.Figure:
    """Chances of the next action at temperature 1, as lived and with the edited context."""
    title = f"next action; edited: {kept} past episode{'s' * (kept != 1)}"
    return figures.action_chances(ACTIONS, original.probabilities, edited.probabilities, title)
