"""The explorer of a trained agent: choose a task, let it play, and look at what it does and why."""

import os
from collections.abc import Callable, Sequence
from copy import copy
from pathlib import Path
from threading import Thread
from typing import Any

import ipywidgets
import plotly.graph_objects as go

from dmh_lib.checkpoints import load_checkpoint
from dmh_lib.errors import DMHError
from dmh_lib.explore import Episode
from dmh_lib.headless import is_headless

from .check import ParityCheck
from .compare import Compare, checkpoints_beside
from .context import ContextEditor
from .inside import InsideView
from .play import PlayBeside
from .session import Session
from .subgoals import SubgoalView, moment_figure
from .trainer import LiveTraining

MOST_EPISODES = 40
RUNS = "runs/explorer"


def explore(
    checkpoint: str | os.PathLike[str],
    *,
    task: int | None = None,
    episodes: int = 20,
    seed: int = 0,
    runs: str | os.PathLike[str] = RUNS,
) -> "Explorer | go.Figure":
    """An explorer of a trained agent; headless, a picture of the last moment of its lifetime.

    Args:
        checkpoint: folder of a checkpoint, of any method, trained in a dark room.
        task: where to begin; None takes the first held-out task.
        episodes: of the first lifetime.
        seed: of the first lifetime.
        runs: where what is trained in the explorer goes.

    Raises:
        CheckpointError: there is no readable checkpoint.
        SettingError: it was not trained in a dark room, or the room has no such task.
    """
    session = Session(load_checkpoint(checkpoint))
    session.play(int(session.tasks["held out"][0]) if task is None else task, episodes, seed)
    if is_headless():
        reading = next(iter(session.readings), None)
        return moment_figure(session, episodes, len(session.life[-1]), reading, reveal=True)
    return Explorer(session, runs)


class Explorer(ipywidgets.VBox):
    """Controls of a session above its panels; a panel is made when it is first looked at.

    Args:
        session: one that has played.
        runs: where what is trained goes.

    Attributes:
        checkpoint, load: folder of an agent, and the button that takes it up.
        side, task, episodes, seed, play: what the next lifetime is to be.
        file, run, recall, write: a lifetime from a file, or this one to it.
        session: what the panels look at.
        panels: the tabs.
    """

    def __init__(self, session: Session, runs: str | os.PathLike[str] = RUNS) -> None:
        self.session, self._thread = session, Thread()
        style = {"description_width": "70px"}
        path = session.checkpoint.path
        beside = checkpoints_beside(path)
        self.checkpoint = ipywidgets.Combobox(
            value=str(path), options=[str(path), *map(str, beside)], description="agent", style=style,
            layout={"width": "520px"}, placeholder="folder of a checkpoint",
        )  # fmt: skip
        self.load = ipywidgets.Button(description="open", layout={"width": "80px"})
        self.load.on_click(lambda _: self.take_up(self.checkpoint.value))
        self.side = ipywidgets.Dropdown(description="tasks", style=style, layout={"width": "220px"})
        self.task = ipywidgets.Dropdown(description="task", style=style, layout={"width": "160px"})
        self.episodes = ipywidgets.BoundedIntText(
            min(len(session.life), MOST_EPISODES), 1, MOST_EPISODES, description="episodes", style=style,
            layout={"width": "150px"},
        )  # fmt: skip
        self.seed = ipywidgets.BoundedIntText(
            session.seed, 0, 2**31, description="seed", style=style, layout={"width": "140px"}
        )
        self.play = ipywidgets.Button(description="play", button_style="primary", layout={"width": "80px"})
        self.file = ipywidgets.Text(
            str(Path(runs) / "lifetime.hdf5"), description="file", style=style, layout={"width": "380px"},
            placeholder="HDF5 file of lifetimes or learning histories",
        )  # fmt: skip
        self.run = ipywidgets.BoundedIntText(
            0, 0, 2**31, description="run", style={"description_width": "30px"}, layout={"width": "110px"}
        )
        self.recall = ipywidgets.Button(
            description="load",
            layout={"width": "80px"},
            tooltip="lead the agent through a lifetime of the file",
        )
        self.write = ipywidgets.Button(
            description="save", layout={"width": "80px"}, tooltip="write this lifetime to the file"
        )
        self.recall.on_click(lambda _: self._recall())
        self.write.on_click(lambda _: self._write())
        self.progress = ipywidgets.IntProgress(
            0, 0, 1, layout={"width": "160px", "visibility": "hidden"}, tooltip="episodes played"
        )
        self.message = ipywidgets.Label()
        self._runs, self._trainer = (
            Path(runs),
            LiveTraining(session.checkpoint.split, Path(runs), self.take_up),
        )
        self._makers: dict[str, Callable[[], Any]] = {
            "Lifetime": lambda: SubgoalView(self.session),
            "Context": lambda: ContextEditor(self.session),
            "Inside": lambda: InsideView(self.session),
            "Play": lambda: PlayBeside(self.session, self._taught),
            "Compare": lambda: Compare(self.session),
            "Train": self._training,
            "Check": lambda: ParityCheck(self.session),
        }
        self._places = [ipywidgets.VBox() for _ in self._makers]  # kept, as a new one would close its tab
        self.panels = ipywidgets.Tab(self._places, titles=tuple(self._makers), selected_index=0)
        self.side.observe(self._list_tasks, names="value")
        self.play.on_click(self._play)
        self.panels.observe(lambda _: self._follow(), names="selected_index")
        rows = [
            [self.checkpoint, self.load, self.message],
            [self.side, self.task, self.episodes, self.seed, self.play, self.progress],
            [self.file, self.run, self.recall, self.write],
        ]
        wrap = {"flex_flow": "row wrap"}
        super().__init__([*(ipywidgets.HBox(row, layout=wrap) for row in rows), self.panels])
        self._show(session)

    def _list_tasks(self, _: Any = None) -> None:
        if self.side.value is not None:
            self.task.options = self.session.tasks[self.side.value].tolist()

    # ------------------------------------------------------------------ other lifetimes, in a thread

    def _play(self, _: Any = None) -> None:
        """Live another lifetime; the panels go on looking at theirs."""
        self._begin(lambda: copy(self.session))

    def _recall(self) -> None:
        """Look at a lifetime from a file, through which the agent is led."""

        def load() -> Session:
            session = copy(self.session)
            session.load(self.file.value, self.run.value, self.episodes.value)
            return session

        self._begin(load, play=False)

    def _write(self) -> None:
        try:
            self.session.save(self.file.value)
            self.message.value = f"wrote {self.file.value}"
        except DMHError as error:
            self.message.value = str(error)

    def take_up(self, path: str | os.PathLike[str]) -> None:
        """Explore another agent, from a lifetime as it is set up."""
        self.checkpoint.value = str(path)
        self._begin(lambda: Session(load_checkpoint(path)))

    def _begin(self, make: Callable[[], Session], *, play: bool = True) -> None:
        """Make a session, let it play where told, and look at it; meanwhile the page goes on answering."""
        self.play.disabled = self.load.disabled = self.recall.disabled = True
        self.progress.value, self.progress.max = 0, self.episodes.value
        self.progress.layout.visibility = "visible"
        self.message.value = ""
        self._thread = Thread(target=self._live, args=(make, play), daemon=True)
        self._thread.start()

    def _live(self, make: Callable[[], Session], play: bool) -> None:
        try:
            session = make()
            if play:
                self._let_play(session)
            self._show(session)
        except DMHError as error:
            self.message.value = str(error)
        except Exception as error:
            self.message.value = f"it failed: {error!r}"  # nobody sees what a thread raises
            raise
        finally:
            self.progress.layout.visibility = "hidden"
            self.play.disabled = self.load.disabled = self.recall.disabled = False

    def _let_play(self, session: Session) -> None:
        known = self.task.value in session.tasks[self.side.value]
        task = self.task.value if known else int(session.tasks[self.side.value][0])
        session.play(task, self.episodes.value, self.seed.value, self._count)

    def _count(self, episodes: int) -> None:
        self.progress.value = episodes

    def _taught(self, life: Sequence[Episode]) -> None:
        """Go on with a lifetime whose last episode a person has played, and one more of the agent's."""
        self._show(self.session.after(life))

    def wait(self) -> None:
        """Until a lifetime that was begun is over."""
        if self._thread.is_alive():
            self._thread.join()

    # ------------------------------------------------------------------ panels

    def _show(self, session: Session) -> None:
        """Look at a session under the tab that is open; the panels of the one before are gone."""
        self.session = session
        sides = [(f"{side} ({len(tasks)})", side) for side, tasks in session.tasks.items()]
        home = [side for side, tasks in session.tasks.items() if session.task in tasks]  # none: neither
        chosen = (home or [self.side.value or sides[0][1]])[0]
        if list(self.side.options) != sides:
            self.side.options = sides
        self.side.value = chosen
        self._list_tasks()
        if home:
            self.task.value = session.task
        self._made: dict[str, Any] = {}
        self._follow()
        for name, place in zip(self._makers, self._places, strict=True):
            if name not in self._made:
                place.children = []

    def _training(self) -> LiveTraining:
        """One panel for all agents of a room, so that a training outlasts a change of the agent."""
        if self._trainer.split != self.session.checkpoint.split:
            self._trainer = LiveTraining(self.session.checkpoint.split, self._runs, self.take_up)
        return self._trainer

    def panel(self, name: str) -> Any:
        """A panel by the title of its tab."""
        if name not in self._made:
            self._made[name] = self._makers[name]()
            self._places[list(self._makers).index(name)].children = [self._made[name]]
        return self._made[name]

    def _follow(self) -> None:
        """The panel that is looked at takes up the moment that the scrubber stands at."""
        shown = self.panel(list(self._makers)[self.panels.selected_index])
        if isinstance(shown, ContextEditor | InsideView):
            scrubber = self.panel("Lifetime")
            shown.look_at(scrubber.episode.value, scrubber.step.value)
