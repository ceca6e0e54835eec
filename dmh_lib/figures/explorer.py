"""What the explorer shows; pure functions, each with the same traces whatever it is given."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike, NDArray

from .rooms import room_axes
from .style import ABOVE, BLUE, GREEN, GREY, ORANGE, RED, SKY, blank, fade, subplots

NONE = np.zeros((0, 2))  # and not NaN, which no message to a page may hold
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
        subgoals: (K, 2) generated, of the chunks so far; the last is in force.
        uncertainty: (P, 2) a line around the last.
        goal: (n, 2) hidden cells.
        choice: (n, 2) where the agent would go next.
        who: acts.
    """
    cells = np.asarray(path, dtype=np.float64)
    valuable, subgoals = np.asarray(valuable, dtype=np.float64), np.asarray(subgoals, dtype=np.float64)
    goal, uncertainty = np.atleast_2d(np.asarray(goal)), np.asarray(uncertainty)
    order, rest = np.arange(step + 1), cells[step:] if step < len(cells) - 1 else NONE
    figure = blank(title, "x", "y", width=540, height=580, legend={"orientation": "h", "y": -0.12})

    def marks(name: str, at: NDArray[np.floating], hover: str, **marker: object) -> go.Scatter:
        numbers = np.arange(1, len(at) + 1)
        return go.Scatter(
            x=at[:, 0], y=at[:, 1], mode="markers", name=name, marker=marker, customdata=numbers,
            hovertemplate=hover, cliponaxis=False,
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
                  symbol="star", size=22, color=ORANGE),
            marks("valuable goals, by chunk", valuable, "chunk %{customdata}: (%{x}, %{y})<extra></extra>",
                  symbol="diamond-open", size=25, color=GREEN, line={"width": 2}),
            go.Scatter(
                x=uncertainty[:, 0], y=uncertainty[:, 1], mode="lines", name="95 % of the sub-goal in force",
                line={"color": RED, "width": 1}, fill="toself", fillcolor=fade(RED, 0.15), hoverinfo="skip",
            ),
            marks("generated sub-goals, by chunk", subgoals,
                  "chunk %{customdata}: (%{x:.2f}, %{y:.2f})<extra></extra>", symbol="x", color=RED,
                  size=[9] * (len(subgoals) - 1) + [15] * (len(subgoals) > 0)),
            marks("where the agent would go", np.asarray(choice, dtype=np.float64),
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
    figure = subplots(2, 1, title, shared_xaxes=True, vertical_spacing=0.08)
    colors = np.where(at == episode, BLUE, fade(BLUE, 0.35))
    figure.add_bar(x=at, y=values, marker={"color": colors}, name="return", showlegend=False, row=1, col=1)
    figure.add_scatter(
        x=at[: len(gaps)], y=gaps, mode="lines+markers", name="distance", row=2, col=1, showlegend=False,
        line={"color": RED, "width": 2}, marker={"size": np.where(at == episode, 12, 5)},
    )  # fmt: skip
    figure.add_hline(
        y=optimum, line={"color": GREY, "dash": "dash", "width": 1}, row=1, col=1,
        annotation={"text": "optimum", "font": {"size": 11, "color": GREY}},
    )  # fmt: skip
    figure.update_layout(width=500, height=420, bargap=0.15, title={"subtitle": {"text": subtitle}})
    figure.update_xaxes(title="episode", row=2, col=1)
    figure.update_yaxes(title="return", range=[0, 1.15 * max(optimum, 1e-9)], row=1, col=1)
    figure.update_yaxes(title="cells from<br>sub-goal to goal", rangemode="tozero", row=2, col=1)
    return figure


def action_chances(names: Sequence[str], chances: ArrayLike, edited: ArrayLike, title: str) -> go.Figure:
    """Chances of the actions (A,); beside them, if there are any, those after a change of the context."""
    figure = blank(title, "", "probability", width=520, height=330, barmode="group", legend=ABOVE)
    figure.add_bar(x=list(names), y=np.asarray(chances), name="as lived", marker={"color": SKY})
    if len(np.asarray(edited)):
        figure.add_bar(x=list(names), y=np.asarray(edited), name="edited", marker={"color": ORANGE})
    figure.update_yaxes(range=[0, 1])
    return figure


def edited_subgoals(size: int, title: str, path: ArrayLike, lived: ArrayLike, edited: ArrayLike) -> go.Figure:
    """A room with the path so far (T, 2), and the sub-goal in force (2,) before and after a change."""
    cells = np.asarray(path, dtype=np.float64)
    figure = blank(title, "x", "y", width=520, height=540, legend={"orientation": "h", "y": -0.14})
    places = {"as lived": (lived, SKY, 20), "edited": (edited, ORANGE, 13)}
    figure.add_scatter(
        x=cells[:, 0], y=cells[:, 1], mode="lines+markers", name="path so far", line={"color": GREY},
        marker={"size": [6] * (len(cells) - 1) + [14], "color": GREY},
    )  # fmt: skip
    for name, (place, color, width) in places.items():
        x, y = np.clip(np.asarray(place, dtype=np.float64), -0.9, size - 0.1)  # on the margin at most
        figure.add_scatter(
            x=[x], y=[y], mode="markers", name=name, cliponaxis=False,
            marker={"symbol": "x", "size": width, "color": color},
        )  # fmt: skip
    room_axes(figure, size)
    return figure
