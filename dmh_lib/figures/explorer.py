"""What the explorer shows; pure functions."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike, NDArray

from .rooms import room_axes, within
from .style import ABOVE, BLUE, GREEN, GREY, ORANGE, RED, SKY, blank, fade, subplots

NONE = np.zeros((0, 2))  # and not NaN, which no message to a page may hold
ROOM_MARGIN = {"l": 50, "r": 20, "t": 55, "b": 165}
BELOW = {
    "orientation": "h", "entrywidth": 145, "x": 0.02, "xref": "container", "y": 0.01, "yref": "container",
    "yanchor": "bottom",
}  # fmt: skip
"""Where a legend of two columns stands, in a margin deep enough for all its entries."""
INSIDE_95 = 2.4477  # standard deviations: 95 % of a Gaussian in the plane lie within


def ellipse(mean: ArrayLike, covariance: ArrayLike, points: int = 40) -> NDArray[np.float64]:
    """The line (points, 2) around 95 % of a Gaussian in the plane."""
    angles = np.linspace(0, 2 * np.pi, points)
    values, vectors = np.linalg.eigh(np.asarray(covariance, dtype=np.float64))
    axes = vectors * np.sqrt(np.clip(values, 0, None)) * INSIDE_95  # (2, 2), a column an axis
    return np.asarray(mean) + np.stack([np.cos(angles), np.sin(angles)], axis=-1) @ axes.T


def explored_room(
    size: int,
    title: str,
    *,
    path: ArrayLike,
    step: int,
    valuable: ArrayLike = NONE,
    subgoals: ArrayLike = NONE,
    uncertainty: ArrayLike = NONE,
    goal: ArrayLike = NONE,
    choice: ArrayLike = NONE,
    who: str = "agent",
) -> go.Figure:
    """A room in the middle of an episode.

    Args:
        size: cells along each side.
        title: what is shown.
        path: (T + 1, 2) of the whole episode; what comes after `step` is faint.
        step: where the agent stands.
        valuable: (K, 2) goals worth heading for, of the chunks so far.
        subgoals: (K, 2) generated, of the chunks so far; the last is in force. Those outside the room are
            drawn on its margin.
        uncertainty: (P, 2) a line around the last.
        goal: (n, 2) hidden cells.
        choice: (n, 2) where the agent would go next.
        who: acts.
    """
    cells = np.asarray(path, dtype=np.float64)
    valuable, subgoals = np.asarray(valuable, dtype=np.float64), np.asarray(subgoals, dtype=np.float64)
    goal, uncertainty = np.atleast_2d(np.asarray(goal)), np.asarray(uncertainty)
    order, rest = np.arange(step + 1), cells[step:] if step < len(cells) - 1 else NONE
    figure = blank(title, "x", "y", width=460, height=590, margin=ROOM_MARGIN, legend=BELOW)

    def marks(name: str, at: NDArray[np.floating], hover: str, **marker: object) -> go.Scatter:
        x, y = within(at, size).T
        true = np.column_stack([np.arange(1, len(at) + 1), at])
        return go.Scatter(
            x=x, y=y, mode="markers", name=name, marker=marker, customdata=true, hovertemplate=hover,
            cliponaxis=False,
        )  # fmt: skip

    figure.add_traces(
        [
            go.Scatter(
                x=rest[:, 0], y=rest[:, 1], mode="lines", name="rest of the episode", hoverinfo="skip",
                line={"color": "#DDDDDD", "width": 3},
            ),
            go.Scatter(
                x=cells[order, 0], y=cells[order, 1], mode="lines+markers", name="path so far",
                line={"color": SKY, "width": 3}, marker={"size": 8, "color": SKY}, customdata=order,
                hovertemplate="step %{customdata}: (%{x}, %{y})<extra></extra>",
            ),
            marks("hidden goal", goal, "hidden goal (%{x}, %{y})<extra></extra>",
                  symbol="star", size=36, color=ORANGE),
            marks("valuable goals", valuable, "chunk %{customdata[0]}: (%{x}, %{y})<extra></extra>",
                  symbol="diamond-open", size=25, color=GREEN, line={"width": 2}),
            go.Scatter(
                x=uncertainty[:, 0], y=uncertainty[:, 1], mode="lines", name="95 % around the last",
                line={"color": RED, "width": 1}, fill="toself", fillcolor=fade(RED, 0.15), hoverinfo="skip",
            ),
            marks("generated sub-goals", subgoals,
                  "chunk %{customdata[0]}: (%{customdata[1]:.2f}, %{customdata[2]:.2f})<extra></extra>",
                  symbol="x", color=RED, size=[9] * (len(subgoals) - 1) + [15] * (len(subgoals) > 0)),
            marks("the agent's choice", np.asarray(choice, dtype=np.float64),
                  "the agent would go to (%{x}, %{y})<extra></extra>",
                  symbol="circle-open", size=25, color=GREEN, line={"width": 4}),
            marks(who, cells[step : step + 1], f"step {step}: (%{{x}}, %{{y}})<extra></extra>",
                  symbol="circle", size=17, color=BLUE, line={"color": "white", "width": 2}),
        ]
    )  # fmt: skip
    for trace in figure.data:
        trace.visible = len(trace.x) > 0
    room_axes(figure, size)
    return figure


def episode_overview(
    returns: ArrayLike, distances: ArrayLike, episode: int, title: str, optimum: float, subtitle: str = ""
) -> go.Figure:
    """Returns, and how far the sub-goals lie from the hidden goal, over the episodes; one of them marked.

    Args:
        returns: (E,).
        distances: (E,) in cells, or nothing for agents without sub-goals.
        episode: which is marked, from 1.
        title: what is shown.
        optimum: largest possible return.
        subtitle: below the title.
    """
    values, gaps = np.asarray(returns, dtype=np.float64), np.asarray(distances, dtype=np.float64)
    at = np.arange(1, len(values) + 1)
    rows = 2 if len(gaps) else 1
    figure = subplots(rows, 1, title, shared_xaxes=True, vertical_spacing=0.08)
    colors = np.where(at == episode, BLUE, fade(BLUE, 0.35))
    figure.add_bar(x=at, y=values, marker={"color": colors}, name="return", showlegend=False, row=1, col=1)
    figure.add_hline(
        y=optimum, line={"color": GREY, "dash": "dash", "width": 1}, row=1, col=1,
        annotation={"text": "optimum", "font": {"size": 11, "color": GREY}},
    )  # fmt: skip
    if len(gaps):
        figure.add_scatter(
            x=at, y=gaps, mode="lines+markers", name="distance", row=2, col=1, showlegend=False,
            line={"color": RED, "width": 2}, marker={"size": np.where(at == episode, 12, 5)},
        )  # fmt: skip
        figure.update_yaxes(title="cells from<br>sub-goal to goal", rangemode="tozero", row=2, col=1)
    margin = {"l": 70, "r": 20, "t": 90, "b": 50}
    figure.update_layout(width=460, height=120 + 160 * rows, margin=margin, bargap=0.15)
    figure.update_layout(title={"subtitle": {"text": subtitle}})
    figure.update_xaxes(range=[0.4, len(values) + 0.6])
    figure.update_xaxes(title="episode", row=rows, col=1)
    figure.update_yaxes(title="return", range=[0, 1.15 * max(optimum, 1e-9)], row=1, col=1)
    return figure


def action_chances(names: Sequence[str], chances: ArrayLike, edited: ArrayLike, title: str) -> go.Figure:
    """Chances of the actions (A,); beside them, if there are any, those after a change of the context."""
    figure = blank(title, "", "probability", width=460, height=290, barmode="group", legend=ABOVE)
    figure.add_bar(x=list(names), y=np.asarray(chances), name="as lived", marker={"color": SKY})
    if len(np.asarray(edited)):
        figure.add_bar(x=list(names), y=np.asarray(edited), name="edited", marker={"color": ORANGE})
    figure.update_yaxes(range=[0, 1])
    return figure


def edited_subgoals(size: int, title: str, path: ArrayLike, lived: ArrayLike, edited: ArrayLike) -> go.Figure:
    """A room with the path so far (T, 2), and the sub-goal in force (2,) before and after a change."""
    cells = np.asarray(path, dtype=np.float64)
    figure = blank(
        title,
        "x",
        "y",
        width=460,
        height=510,
        margin=ROOM_MARGIN | {"b": 85},
        legend=BELOW | {"entrywidth": 80},
    )
    places = {"as lived": (lived, SKY, 20), "edited": (edited, ORANGE, 13)}
    figure.add_scatter(
        x=cells[:, 0], y=cells[:, 1], mode="lines+markers", name="path so far", line={"color": GREY},
        marker={"size": [6] * (len(cells) - 1) + [14], "color": GREY},
    )  # fmt: skip
    for name, (place, color, width) in places.items():
        x, y = within(place, size)
        figure.add_scatter(
            x=[x], y=[y], mode="markers", name=name, cliponaxis=False,
            marker={"symbol": "x", "size": width, "color": color},
        )  # fmt: skip
    room_axes(figure, size)
    return figure
