"""What goes on inside an agent at the moment that the scrubber stands at."""

from functools import cached_property
from typing import Any

import ipywidgets
import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dmh_lib import figures
from dmh_lib.explore import chunk_attention, context_of, memory_trace
from dmh_lib.models import DMH

from .pictures import Picture
from .session import ACTIONS, Session

MEAN = "mean over heads"


class InsideView(ipywidgets.VBox):
    """The panel *Inside*: action probabilities; of DM-H Mamba's step size and state, and attention.

    Args:
        session: one that has played.

    Attributes:
        chances, memory, attention: the pictures; the last two are None where there is nothing to show.
        layer, head: whose attention is shown.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._at = len(session.life), 0
        self.chances = Picture(self._chances())
        self.memory = Picture(self._memory()) if self._has_state else None
        self.attention: Picture | None = None
        parts: list[Any] = [self.chances]
        beside: list[Any] = [self.memory] if self.memory else []
        if isinstance(session.model, DMH):
            config = session.model.config
            layers = [(f"layer {layer}", layer - 1) for layer in range(1, config.transformer_layers + 1)]
            heads = [(MEAN, -1), *((f"head {head}", head - 1) for head in range(1, config.heads + 1))]
            wide = {"width": "180px"}
            self.layer = ipywidgets.Dropdown(options=layers, value=len(layers) - 1, layout=wide)
            self.head = ipywidgets.Dropdown(options=heads, value=-1, layout=wide)
            self.attention = Picture(self._attention())
            for control in (self.layer, self.head):
                control.observe(self._look, names="value")
            beside.append(ipywidgets.VBox([self.attention, ipywidgets.HBox([self.layer, self.head])]))
        else:
            parts.append(
                ipywidgets.Label(f"{session.label} has no sub-goals and no memory of chunks to show.")
            )
        super().__init__([*parts, ipywidgets.HBox(beside, layout={"flex_flow": "row wrap"})])

    def look_at(self, episode: int, step: int) -> None:
        """Take up the moment before a step (from 0) of an episode (from 1)."""
        self._at = episode, min(step, len(self._session.life[episode - 1]) - 1)
        self.chances.redraw(self._chances())
        if self.memory is not None:
            self.memory.redraw(self._memory())
        self._look()

    def _look(self, _: Any = None) -> None:
        if self.attention is not None:
            self.attention.redraw(self._attention())

    # ------------------------------------------------------------------ pictures

    def _chances(self) -> go.Figure:
        episode, step = self._at
        lived = self._session.life[episode - 1]
        chances = np.stack([decision.probabilities for decision in lived.decisions])  # (T, A)
        title = f"episode {episode}: chances of the actions before each step, at temperature 1"
        return figures.action_history(ACTIONS, chances, lived.actions, step, title)

    @property
    def _has_state(self) -> bool:
        model = self._session.model
        return isinstance(model, DMH) and model.config.memory == "mamba"

    @cached_property
    def _trace(self) -> pd.DataFrame:
        """How the memory takes in the whole lifetime; what comes later changes nothing before it."""
        session, last = self._session, len(self._session.life)
        assert isinstance(session.model, DMH)
        now = session.at(last, len(session.life[-1]) - 1)
        return memory_trace(
            session.model, context_of(session.model, session.life[:-1], now, session.play_config)
        )

    def _memory(self) -> go.Figure:
        session = self._session
        assert session.chunk_len is not None
        chunks = [-(-len(episode) // session.chunk_len) for episode in session.life]
        begins = np.cumsum([1, *chunks[:-1]])  # (E,)
        episode, step = self._at
        chunk = int(begins[episode - 1]) + step // session.chunk_len
        layers = [(f"layer {layer}", rows) for layer, rows in self._trace.groupby("layer")]
        return figures.memory_curves(
            {name: rows["step_size"] for name, rows in layers},
            {name: rows["state_norm"] for name, rows in layers},
            begins,
            chunk,
            f"what Mamba takes in and holds: chunk {chunk}",
        )

    def _attention(self) -> go.Figure:
        session, (episode, step) = self._session, self._at
        assert isinstance(session.model, DMH)
        subgoal, _ = session.life[episode - 1].decisions[step].subgoal_in_force
        weights, names = chunk_attention(session.model, subgoal, session.at(episode, step))
        shown = weights[self.layer.value]  # (H, L, L)
        head = self.head.value
        what = MEAN if head < 0 else f"head {head + 1}"
        title = f"attention before step {step}, layer {self.layer.value + 1}, {what}"
        return figures.attention(shown.mean(0) if head < 0 else shown[head], names, title)
