"""Curves, bars, points and matrices; pure functions."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import ArrayLike

from .style import ABOVE, BLUE, GREY, RED, SKY, blank, colors_of, fade

FEW = 10  # episodes that have a mark each


def return_curves(curves: pd.DataFrame, title: str, y: str = "percent of optimum") -> go.Figure:
    """Mean and 95 % band per episode, one line per method, from `results.curves`."""
    figure = blank(title, "episode", y, hovermode="x unified", legend=ABOVE)
    colors = colors_of(curves["method"].unique().tolist())
    for method, rows in curves.groupby("method", sort=False):
        name = str(method)
        color = colors[name]
        if (rows["high"] > rows["low"]).any():
            figure.add_scatter(
                x=pd.concat([rows["episode"], rows["episode"][::-1]]),
                y=pd.concat([rows["high"], rows["low"][::-1]]),
                mode="lines", fill="toself", fillcolor=fade(color, 0.18), line={"width": 0},
                hoverinfo="skip", showlegend=False,
            )  # fmt: skip
        line = {"color": color, "width": 3, "dash": "dash" if name == "oracle" else "solid"}
        figure.add_scatter(x=rows["episode"], y=rows["mean"], name=name, mode="lines", line=line)
    figure.update_yaxes(rangemode="tozero")
    if curves["episode"].max() <= FEW:
        figure.update_xaxes(tick0=1, dtick=1)  # or half episodes would be marked
    return figure


def lines(
    series: Mapping[str, tuple[ArrayLike, ArrayLike]],
    title: str,
    x: str,
    y: str,
    *,
    log_x: bool = False,
    log_y: bool = False,
) -> go.Figure:
    """Plain lines: name → (x values, y values); methods have their colours, others one of those left."""
    figure = blank(title, x, y, legend=ABOVE)
    colors = colors_of(list(series))
    for name, (at, values) in series.items():
        line = {"width": 2.5, "color": colors[name]}
        figure.add_scatter(x=np.asarray(at), y=np.asarray(values), name=name, mode="lines", line=line)
    figure.update_layout(showlegend=len(series) > 1)
    if log_x:
        figure.update_xaxes(type="log", dtick=1, tickformat=",~r")
    if log_y:
        figure.update_yaxes(type="log", dtick=1, tickformat=",~r")
    return figure


def bars(
    values: Mapping[str, ArrayLike], title: str, x: str, y: str, *, labels: Sequence[str] | None = None
) -> go.Figure:
    """One group of bars per name, over `labels` or else positions 1, 2, …"""
    figure = blank(title, x, y, legend=ABOVE, barmode="group")
    for name, heights in values.items():
        heights = np.asarray(heights)
        at = np.arange(1, len(heights) + 1) if labels is None else labels
        figure.add_bar(x=at, y=heights, name=name)
    figure.update_layout(showlegend=len(values) > 1)
    return figure


def ranking(values: Mapping[str, float], title: str, x: str) -> go.Figure:
    """One horizontal bar per name on a logarithmic axis, longest on top, its number beside it."""
    names = sorted(values, key=lambda name: values[name])
    sizes = [values[name] for name in names]
    figure = blank(title, x, "", margin={"l": 300, "r": 70, "t": 60, "b": 60})
    texts = [f"{size:,.0f} ×" for size in sizes]
    figure.add_bar(x=sizes, y=names, orientation="h", text=texts, textposition="outside", cliponaxis=False)
    highest = float(np.log10(max(sizes)))
    figure.update_xaxes(type="log", range=[0, highest + 0.35], dtick=1, tickformat=",~r")
    figure.update_yaxes(ticksuffix="  ")  # a gap before the bars
    return figure


def heatmap(
    values: ArrayLike, title: str, x: str, y: str, *, colorbar: str = "", diverging: bool = False
) -> go.Figure:
    """A matrix as colours, rows downwards."""
    matrix = np.asarray(values)
    figure = blank(title, x, y)
    limits = {"zmid": 0, "colorscale": "RdBu"} if diverging else {"colorscale": "Viridis"}
    figure.add_heatmap(z=matrix, colorbar=_bar(colorbar), **limits)
    figure.update_yaxes(autorange="reversed")
    return figure


def rewards_and_goal(rewards: ArrayLike, step: int, goal: int, title: str) -> go.Figure:
    """Prefix sums of an episode's rewards, and the steepest chord from `step` to its goal in the episode.

    The state after the last step is not on record, so the last one on record stands for it as a goal. The
    chord is then drawn to the very end where that is what makes it steepest.
    """
    sums = np.concatenate([[0.0], np.cumsum(np.asarray(rewards, dtype=np.float64))])
    end = len(sums) - 1
    slopes = (sums[step + 1 :] - sums[step]) / np.arange(1, len(sums) - step)
    if goal == end - 1 and slopes[-1] == slopes.max():
        goal = end
    figure = blank(title, "step", "rewards collected so far", legend=ABOVE)
    figure.add_scatter(
        x=np.arange(len(sums)), y=sums, mode="lines+markers", name="prefix sum S", line={"color": GREY}
    )
    for other in range(step + 1, len(sums)):
        color = fade(SKY, 0.45)
        figure.add_scatter(
            x=[step, other], y=[sums[step], sums[other]], mode="lines", line={"color": color, "width": 1},
            showlegend=other == step + 1, name="candidates", hoverinfo="skip",
        )  # fmt: skip
    figure.add_scatter(
        x=[step, goal], y=[sums[step], sums[goal]], mode="lines+markers", line={"color": RED, "width": 4},
        name="steepest: the valuable goal",
    )  # fmt: skip
    return figure


def _bar(title: str) -> dict[str, object]:
    """A colour bar with its title along it: above, it would stand in the way of the highest number."""
    return {"title": {"text": title, "side": "right"}}


def scatter(
    x: ArrayLike,
    y: ArrayLike,
    title: str,
    x_title: str,
    y_title: str,
    *,
    color: ArrayLike | None = None,
    bar: str = "",
) -> go.Figure:
    """Points, coloured by a third quantity where one is given."""
    figure = blank(title, x_title, y_title)
    marker: dict[str, object] = {"size": 6, "opacity": 0.6, "color": BLUE}
    if color is not None:
        marker |= {
            "color": np.asarray(color),
            "colorscale": "Viridis",
            "showscale": True,
            "colorbar": _bar(bar),
        }
    figure.add_scatter(x=np.asarray(x), y=np.asarray(y), mode="markers", marker=marker)
    return figure


def attention_mask(names: Sequence[str], title: str) -> go.Figure:
    """Who sees whom under a causal mask: dark cells are visible."""
    count = len(names)
    figure = blank(title, "sees", "token", width=640, height=520)
    labels = [f"{index + 1} {name}" for index, name in enumerate(names)]
    figure.add_heatmap(
        z=np.tril(np.ones((count, count))), x=labels, y=labels, showscale=False, xgap=2, ygap=2,
        colorscale=[[0, "#F2F2F2"], [1, BLUE]],
    )  # fmt: skip
    figure.update_yaxes(autorange="reversed")
    return figure
