"""Two checkpoints side by side, on the same task."""

import os
from collections.abc import Sequence
from pathlib import Path
from threading import Thread
from typing import Any

import ipywidgets
import plotly.graph_objects as go

from dmh_lib import figures
from dmh_lib.checkpoints import load_checkpoint
from dmh_lib.errors import DMHError
from dmh_lib.run_folders import ABOUT, PREFIX, latest_checkpoint, updates_of

from .pictures import Picture
from .session import Session


def checkpoints_beside(path: str | os.PathLike[str]) -> list[Path]:
    """The other checkpoints in the folder of a checkpoint; for a run's, also those of runs beside it."""
    here = Path(path)
    found = sorted(about.parent for about in here.parent.glob(f"*/{ABOUT}"))
    beside = [other for other in found if other.name != here.name]
    if here.name.startswith(PREFIX):
        runs = sorted(run for run in here.parent.parent.iterdir() if run.name != here.parent.name)
        beside += [newest for run in runs if (newest := latest_checkpoint(run)) is not None]
    return beside


def _name(path: Path) -> str:
    """What a checkpoint is called where there is little room."""
    return f"{path.parent.name}, update {updates_of(path)}" if path.name.startswith(PREFIX) else path.name


class Compare(ipywidgets.VBox):
    """The panel *Compare*: the lifetime that is looked at, beside another agent's on the same task.

    Args:
        session: one that has played.

    Attributes:
        path: folder of the other checkpoint; those that lie beside the first are offered.
        start: the button that lets it play.
        other: its session, once it has played.
        episode: the slider of both.
    """

    def __init__(self, session: Session) -> None:
        self._session, self._thread = session, Thread()
        self.other: Session | None = None
        known = [str(path) for path in checkpoints_beside(session.checkpoint.path)]
        self.path = ipywidgets.Combobox(
            value=known[0] if known else "", options=known, description="beside", layout={"width": "480px"},
            placeholder="folder of a checkpoint of the same environment",
        )  # fmt: skip
        self.start = ipywidgets.Button(
            description="play the same task", button_style="primary", layout={"width": "170px"}
        )
        self.start.on_click(lambda _: self._start())
        self.message = ipywidgets.Label()
        last = len(session.life)
        self.episode = ipywidgets.IntSlider(last, 1, last, description="episode", layout={"width": "500px"})
        self.episode.observe(self._redraw, names="value")
        self.returns, self.rooms = Picture(self._returns()), Picture(self._rooms())
        row = {"flex_flow": "row wrap"}
        controls = ipywidgets.HBox([self.path, self.start, self.message], layout=row)
        super().__init__([controls, self.returns, self.episode, self.rooms])

    def _start(self) -> None:
        self.start.disabled = True
        self.message.value = "playing …"
        self._thread = Thread(target=self._play, daemon=True)
        self._thread.start()

    def _play(self) -> None:
        ours = self._session
        try:
            checkpoint = load_checkpoint(self.path.value)
            checkpoint.require_env(str(ours.checkpoint.env_id))
            other = Session(checkpoint)
            other.play(ours.task, len(ours.life), ours.seed)
            self.other = other
            self.message.value = ""
            self._redraw()
        except DMHError as error:
            self.message.value = str(error)
        except Exception as error:
            self.message.value = f"it failed: {error!r}"  # nobody sees what a thread raises
            raise
        finally:
            self.start.disabled = False

    def wait(self) -> None:
        """Until the other agent has played."""
        if self._thread.is_alive():
            self._thread.join()

    # ------------------------------------------------------------------ pictures

    @property
    def _both(self) -> list[tuple[str, Session]]:
        """Each session with its name: that of a file it is from, or of a folder where two have one label."""
        sessions: Sequence[Session] = [self._session, *([self.other] if self.other else [])]
        labels = [session.source or session.label for session in sessions]
        if len(set(labels)) < len(labels):
            labels = [f"{number}: {_name(s.checkpoint.path)}" for number, s in enumerate(sessions, 1)]
        return list(zip(labels, sessions, strict=True))

    def _redraw(self, _: Any = None) -> None:
        self.returns.redraw(self._returns())
        self.rooms.redraw(self._rooms())

    def _returns(self) -> go.Figure:
        ours = self._session
        values = {label: session.returns for label, session in self._both}
        title = f"task {ours.task}: return of each episode, optimum {ours.optimum:g}"
        return figures.bars(values, title, "episode", "return")

    def _rooms(self) -> go.Figure:
        number = self.episode.value
        panels = []
        for label, session in self._both:
            if number > len(session.life):
                continue
            lived = session.life[number - 1]
            title = f"{label}: return {lived.value:g}"
            panels.append({"title": title, "path": lived.observations, "goal": session.goal})
        return figures.rooms(self._session.rules.size, f"episode {number}", panels)
