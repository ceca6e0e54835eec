"""Training that is watched: curves that grow, a button that stops it and one that goes on."""

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from threading import Thread

import ipywidgets
import pandas as pd
import plotly.graph_objects as go
import torch

from dmh_lib import figures
from dmh_lib.checkpoints import load_checkpoint, load_training
from dmh_lib.data.histories import make_histories
from dmh_lib.data.trajectories import Trajectories
from dmh_lib.envs import TaskSplit, room_of
from dmh_lib.errors import DMHError, SettingError
from dmh_lib.evaluation import evaluate_on_tasks
from dmh_lib.methods import method_of
from dmh_lib.presets import PRESETS, preset_named
from dmh_lib.run_folders import latest_checkpoint, updates_of
from dmh_lib.training import train

from .pictures import Picture

WATCHED = ("small", "large", "summary", "idt", "ad", "ad-mamba", "at", "dpt", "dt", "dm", "bc", "bc-10")
LARGE = 20  # cells along a side above which the preset `large` serves
EPISODES, MOST_TASKS = 20, 16  # of an evaluation while training
TEMPERATURE = 0.5  # chosen on training tasks when it counts; here curves are to be seen at once
POINTS, LOOKS = 60, 8  # of the two curves


class LiveTraining(ipywidgets.VBox):
    """The panel *Train*: a model learns from a scripted searcher's histories while one looks on.

    Args:
        split: the room and its tasks, to learn from and held out.
        folder: where runs go, a folder for each preset and seed.
        on_ready: told the folder of the run when its agent is asked for.

    Attributes:
        preset, updates, seed, folder: what to train, and where it goes.
        start, stop, resume, look: the buttons.
        losses: log entries so far.
        scores: `update`, and percent of optimum at the `first` and the `last` episode then.
        message: how it stands, or what went wrong.
    """

    def __init__(self, split: TaskSplit, folder: Path, on_ready: Callable[[Path], None]) -> None:
        self.split, self._runs = split, folder
        self._thread, self._stopping = Thread(), False
        style = {"description_width": "60px"}
        self.preset = ipywidgets.Dropdown(
            options=[(f"{name}: {PRESETS[name].description}", name) for name in WATCHED],
            value="large" if room_of(split.env_id).size > LARGE else "small", description="preset",
            style=style, layout={"width": "480px"},
        )  # fmt: skip
        self.updates = ipywidgets.BoundedIntText(
            300, 1, 100_000, description="updates", style=style, layout={"width": "150px"}
        )
        self.seed = ipywidgets.BoundedIntText(
            0, 0, 2**31, description="seed", style=style, layout={"width": "130px"}
        )
        self.folder = ipywidgets.Text(description="folder", style=style, layout={"width": "420px"})
        self.start = ipywidgets.Button(description="start", button_style="primary", layout={"width": "90px"})
        self.stop = ipywidgets.Button(
            description="stop", disabled=True, layout={"width": "90px"}, tooltip="leaves a checkpoint"
        )
        self.resume = ipywidgets.Button(
            description="resume", layout={"width": "90px"}, tooltip="go on from the newest checkpoint"
        )
        self.look = ipywidgets.Button(
            description="explore this agent", disabled=True, layout={"width": "170px"}
        )
        self.message = ipywidgets.Label()
        self.losses, self.scores = list[dict[str, float]](), list[dict[str, float]]()
        self.loss, self.score = Picture(self._loss()), Picture(self._score())
        for control in (self.preset, self.seed):
            control.observe(lambda _: self._name_folder(), names="value")
        self._name_folder()
        self.start.on_click(lambda _: self._begin(resume=False))
        self.resume.on_click(lambda _: self._begin(resume=True))
        self.stop.on_click(lambda _: self._stop())
        self.look.on_click(lambda _: on_ready(Path(self.folder.value)))
        row = {"flex_flow": "row wrap"}
        super().__init__(
            [
                ipywidgets.HBox([self.preset, self.updates, self.seed], layout=row),
                ipywidgets.HBox([self.folder, self.start, self.stop, self.resume, self.look], layout=row),
                self.message,
                ipywidgets.HBox([self.loss, self.score], layout=row),
            ]
        )

    def _name_folder(self) -> None:
        room = self.split.env_id.partition("/")[2].partition("-")[0].lower()
        self.folder.value = str(self._runs / f"{room}-{self.preset.value}-seed-{self.seed.value}")

    @cached_property
    def _data(self) -> Trajectories:
        return make_histories(self.split)

    # ------------------------------------------------------------------ training, in a thread of its own

    def _begin(self, resume: bool) -> None:
        self._stopping = False
        for button in (self.start, self.resume, self.look):
            button.disabled = True
        self.stop.disabled = False
        self._thread = Thread(target=self._train, args=(resume,), daemon=True)
        self._thread.start()

    def _stop(self) -> None:
        self._stopping = True
        self.message.value = "stopping …"

    def _train(self, resume: bool) -> None:
        folder = Path(self.folder.value)
        try:
            if not self.folder.value.strip():
                raise SettingError("folder: is empty; name one that the run goes to")
            self.message.value = "making the histories to learn from …"
            settings, data = preset_named(self.preset.value).settings, self._data
            updates = self.updates.value
            config = replace(
                settings.training,
                updates=updates,
                seed=self.seed.value,
                warmup=min(settings.training.warmup, updates // 5),
                log_every=max(1, updates // POINTS),
                checkpoint_every=max(1, updates // LOOKS),
            )
            self._recall(folder if resume else None)
            train(
                data, settings.model_for(data), folder, settings.contexts, config, resume=resume,
                on_log=self._logged, on_checkpoint=self._evaluate,
            )  # fmt: skip
            done = int(self.losses[-1]["update"])
            word = "done" if done == updates else "stopped; resume goes on"
            self.message.value = f"update {done:,} of {updates:,}: {word}"
        except DMHError as error:
            self.message.value = str(error)
        except Exception as error:
            self.message.value = f"it failed: {error!r}"  # nobody sees what a thread raises
            raise
        finally:
            self.start.disabled = self.resume.disabled = False
            self.stop.disabled = True
            self.look.disabled = latest_checkpoint(folder) is None

    def _recall(self, folder: Path | None) -> None:
        """Begin the curves anew, or with what a run has logged."""
        newest = None if folder is None else latest_checkpoint(folder)
        done = 0 if newest is None else updates_of(newest)
        self.losses = [] if newest is None else list(load_training(newest).history)
        self.scores = [row for row in self.scores if row["update"] <= done]
        self.loss.redraw(self._loss())
        self.score.redraw(self._score())

    def _logged(self, row: dict[str, float]) -> bool:
        self.losses.append(row)
        self.loss.redraw(self._loss())
        self.message.value = (
            f"update {int(row['update']):,} of {self.updates.value:,}: loss {row['loss']:.3f}"
        )
        return self._stopping

    def _evaluate(self, path: Path) -> None:
        """Let a checkpoint live on held-out tasks; the numbers that training draws stay the same."""
        with torch.random.fork_rng():
            checkpoint = load_checkpoint(path)
        play = replace(checkpoint.play, temperature=TEMPERATURE)
        agent = method_of(checkpoint.model.config).agent(checkpoint.model, play)
        tasks = self.split.tasks("test")[:MOST_TASKS]
        table = evaluate_on_tasks(agent, self.split.env_id, tasks, EPISODES)
        means = table.groupby("episode")["percent_of_optimum"].mean()
        row = {"update": updates_of(path), "first": means.iloc[0], "last": means.iloc[-1]}
        self.scores.append(row)
        self.score.redraw(self._score())

    def wait(self) -> None:
        """Until a training that was begun is over."""
        if self._thread.is_alive():
            self._thread.join()

    # ------------------------------------------------------------------ pictures

    def _loss(self) -> go.Figure:
        rows = pd.DataFrame(self.losses, columns=["update", "loss"])
        figure = figures.lines({"loss": (rows["update"], rows["loss"])}, "loss", "update", "loss")
        if rows.empty:
            figure.update_yaxes(range=[0, 2])
        return self._small(figure)

    def _score(self) -> go.Figure:
        rows = pd.DataFrame(self.scores, columns=["update", "first", "last"])
        series = {
            f"episode {EPISODES}": (rows["update"], rows["last"]),
            "episode 1": (rows["update"], rows["first"]),
        }
        figure = figures.lines(series, "on held-out tasks", "update", "percent of optimum")
        figure.update_traces(mode="lines+markers", marker={"size": 8})
        figure.update_yaxes(range=[-2, 104])
        return self._small(figure)

    def _small(self, figure: go.Figure) -> go.Figure:
        if not self.losses:
            figure.update_xaxes(range=[0, self.updates.value])
        return figure.update_layout(width=470, height=380)
