"""The explorer of a trained agent: choose a task, let it play, and look at what it does and why."""

import os
from copy import copy
from threading import Thread
from typing import Any

import ipywidgets
import plotly.graph_objects as go

from dmh_lib.batch import is_headless
from dmh_lib.checkpoints import load_checkpoint
from dmh_lib.errors import DMHError

from .context import ContextEditor
from .session import Session
from .subgoals import SubgoalView, moment_figure

MOST_EPISODES = 40
CONTEXT = 1  # place of the panel


def explore(
    checkpoint: str | os.PathLike[str], *, task: int | None = None, episodes: int = 20, seed: int = 0
) -> "Explorer | go.Figure":
    """An explorer of a trained agent; headless, a picture of the last moment of its lifetime.

    Args:
        checkpoint: folder of a checkpoint, of any method, trained in a dark room.
        task: where to begin; None takes the first held-out task.
        episodes: of the first lifetime.
        seed: of the first lifetime.

    Raises:
        CheckpointError: there is no readable checkpoint.
        SettingError: it was not trained in a dark room, or the room has no such task.
    """
    session = Session(load_checkpoint(checkpoint))
    session.play(int(session.tasks["held out"][0]) if task is None else task, episodes, seed)
    if is_headless():
        reading = next(iter(session.readings), None)
        return moment_figure(session, episodes, len(session.life[-1]), reading, reveal=True)
    return Explorer(session)


class Explorer(ipywidgets.VBox):
    """Controls of a session above its panels.

    Args:
        session: one that has played.

    Attributes:
        side, task, episodes, seed, play: what the next lifetime is to be.
        session: what the panels look at.
        panels: the tabs.
        subgoals, context: the panels of this lifetime.
    """

    def __init__(self, session: Session) -> None:
        self.session, self._thread = session, Thread()
        style = {"description_width": "60px"}
        sides = [f"{side} ({len(tasks)})" for side, tasks in session.tasks.items()]
        self.side = ipywidgets.Dropdown(
            options=list(zip(sides, session.tasks, strict=True)), description="tasks", style=style,
            layout={"width": "220px"},
        )  # fmt: skip
        self.task = ipywidgets.Dropdown(description="task", style=style, layout={"width": "160px"})
        self.episodes = ipywidgets.BoundedIntText(
            len(session.life), 1, MOST_EPISODES, description="episodes", style=style,
            layout={"width": "130px"},
        )  # fmt: skip
        self.seed = ipywidgets.BoundedIntText(
            session.seed, 0, 2**31, description="seed", style=style, layout={"width": "130px"}
        )
        self.play = ipywidgets.Button(description="play", button_style="primary", layout={"width": "80px"})
        self.progress = ipywidgets.IntProgress(
            0, 0, 1, layout={"width": "160px", "visibility": "hidden"}, tooltip="episodes played"
        )
        self.message = ipywidgets.Label()
        self.panels = ipywidgets.Tab()
        self.side.observe(self._list_tasks, names="value")
        self._list_tasks()
        if session.task in self.task.options:
            self.task.value = session.task
        self.play.on_click(self._play)
        self.panels.observe(self._follow, names="selected_index")
        controls = [self.side, self.task, self.episodes, self.seed, self.play, self.progress, self.message]
        super().__init__([ipywidgets.HBox(controls, layout={"flex_flow": "row wrap"}), self.panels])
        self._show()

    def _list_tasks(self, _: Any = None) -> None:
        self.task.options = self.session.tasks[self.side.value].tolist()

    def _play(self, _: Any = None) -> None:
        """Live another lifetime, in a thread of its own so that the page goes on answering."""
        self.play.disabled = True
        self.progress.value, self.progress.max = 0, self.episodes.value
        self.progress.layout.visibility = "visible"
        self.message.value = ""
        self._thread = Thread(target=self._live, daemon=True)
        self._thread.start()

    def _live(self) -> None:
        try:
            session = copy(self.session)  # the panels go on looking at theirs
            session.play(self.task.value, self.episodes.value, self.seed.value, self._count)
            self.session = session
            self._show()
        except DMHError as error:
            self.message.value = str(error)
        finally:
            self.progress.layout.visibility = "hidden"
            self.play.disabled = False

    def _count(self, episodes: int) -> None:
        self.progress.value = episodes

    def _show(self) -> None:
        """New panels for the lifetime; what the old ones were looking at is gone."""
        self.subgoals = SubgoalView(self.session)
        self.context = ContextEditor(self.session)
        self.panels.children = [self.subgoals, self.context]
        self.panels.titles = ["Lifetime", "Context"]
        self._follow()

    def _follow(self, _: Any = None) -> None:
        """The panel that is looked at takes up the moment that the scrubber stands at."""
        if self.panels.selected_index == CONTEXT:
            self.context.look_at(self.subgoals.episode.value, self.subgoals.step.value)

    def wait(self) -> None:
        """Until a lifetime that was begun is over."""
        if self._thread.is_alive():
            self._thread.join()
