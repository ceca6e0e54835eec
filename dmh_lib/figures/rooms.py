"""Dark rooms from above, with paths, sub-goals and hidden goals; pure functions."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike, NDArray

from .style import ORANGE, RED, SKY, blank, subplots

MOST_TICKS = 20  # cells along a side of which each has its number


def room_axes(figure: go.Figure, size: int, row: int | None = None, column: int | None = None) -> None:
    """Let a figure, or one panel of it, show the cells of a room."""
    edges = {"tickvals": (np.arange(size + 1) - 0.5).tolist(), "showgrid": True, "gridcolor": "#DDDDDD"}
    axis = {
        "range": [-0.5, size - 0.5],
        "tickvals": list(range(0, size, 1 if size <= MOST_TICKS else 5)),
        "minor": edges,
        "showline": True,
        "mirror": True,
        "linecolor": "#CCCCCC",
        "zeroline": False,
        "showgrid": False,
        "constrain": "domain",
    }
    figure.update_xaxes(**axis, row=row, col=column)
    figure.update_yaxes(
        **axis,
        constraintoward="top",
        scaleanchor="x" if column in (None, 1) else f"x{column}",
        row=row,
        col=column,
    )


def _room_traces(
    size: int, path: ArrayLike | None, subgoals: ArrayLike | None, goal: ArrayLike | None, subgoal_name: str
) -> list[go.Scatter]:
    traces = []
    if path is not None:
        cells = np.asarray(path, dtype=np.float64)
        order = np.arange(len(cells))
        shades = {"colorscale": "Blues", "cmin": -len(cells), "cmax": len(cells)}
        traces.append(go.Scatter(
            x=cells[:, 0], y=cells[:, 1], mode="lines+markers", name="path", legendgroup="path",
            line={"color": SKY, "width": 3}, marker={"size": 9, "color": order} | shades,
            customdata=order, hovertemplate="step %{customdata}: (%{x}, %{y})<extra></extra>",
        ))  # fmt: skip
    if goal is not None:
        marks = np.atleast_2d(np.asarray(goal))
        traces.append(go.Scatter(
            x=marks[:, 0], y=marks[:, 1], mode="markers", name="hidden goal", legendgroup="goal",
            marker={"symbol": "star", "size": 20, "color": ORANGE},
        ))  # fmt: skip
    if subgoals is not None:
        points = np.atleast_2d(np.asarray(subgoals))
        traces.append(go.Scatter(
            x=points[:, 0], y=points[:, 1], mode="markers+text", name=subgoal_name, legendgroup="subgoal",
            text=_chunk_numbers(points, size), textfont={"size": 12, "color": RED},
            # inwards at the upper edge, where a panel's title stands
            textposition=np.where(points[:, 1] > size - 1.5, "bottom right", "top right"),
            marker={"symbol": "x", "size": 11, "color": RED}, cliponaxis=False,
            customdata=np.arange(1, len(points) + 1),
            hovertemplate="chunk %{customdata}: (%{x:.2f}, %{y:.2f})<extra></extra>",
        ))  # fmt: skip
    return traces


def _chunk_numbers(points: NDArray[np.float64], size: int) -> list[str]:
    """Labels of the points: their numbers, of those too close for a label each all beside the first."""
    apart = np.abs(points[:, None] - points).max(-1)  # (K, K)
    groups: dict[int, list[int]] = {}  # by their first point
    for i in range(len(points)):
        first = next((at for at in groups if apart[i, at] < size / 12), i)
        groups.setdefault(first, []).append(i + 1)
    return [",".join(map(str, groups.get(i, []))) for i in range(len(points))]


def room(
    size: int,
    title: str,
    *,
    path: ArrayLike | None = None,
    subgoals: ArrayLike | None = None,
    goal: ArrayLike | None = None,
    subgoal_name: str = "decoded sub-goal (by chunk)",
) -> go.Figure:
    """A room from above, with any of a path (T, 2), sub-goals per chunk (K, 2) and the goal (2,).

    Sub-goals outside the room are drawn on the margin that the picture leaves around it.
    """
    figure = blank(title, "x", "y", width=620, height=560, legend={"orientation": "h", "y": -0.14})
    figure.add_traces(_room_traces(size, path, _within(subgoals, size), goal, subgoal_name))
    room_axes(figure, size)
    return figure


def within(points: ArrayLike, size: int) -> NDArray[np.float64]:
    """Points, those outside a room moved to its margin, as Plotly leaves out what lies beyond an axis."""
    return np.clip(np.asarray(points, dtype=np.float64), -0.4, size - 0.6)


def _within(points: ArrayLike | None, size: int) -> NDArray[np.float64] | None:
    return None if points is None else within(points, size)


def rooms(
    size: int,
    title: str,
    panels: Sequence[Mapping[str, ArrayLike | str | None]],
    *,
    subgoal_name: str = "decoded sub-goal (by chunk)",
) -> go.Figure:
    """Several rooms side by side; each panel has `title` and any of `path`, `subgoals`, `goal`."""
    titles = [str(panel["title"]) for panel in panels]
    figure = subplots(1, len(panels), title, titles=titles, horizontal_spacing=0.04)
    shown: set[str] = set()
    for column, panel in enumerate(panels, 1):
        path, subgoals, goal = (panel.get(name) for name in ("path", "subgoals", "goal"))
        for trace in _room_traces(size, path, _within(subgoals, size), goal, subgoal_name):
            trace.showlegend = trace.name not in shown
            shown.add(trace.name)
            figure.add_trace(trace, row=1, col=column)
        room_axes(figure, size, 1, column)
    figure.update_xaxes(title={"text": "x", "standoff": 5})
    figure.update_yaxes(title={"text": "y", "standoff": 5}, col=1)
    width = max(620, 300 * len(panels))
    figure.update_layout(width=width, height=430, legend={"orientation": "h", "y": -0.2})
    return figure
