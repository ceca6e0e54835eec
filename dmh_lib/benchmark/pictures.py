"""The page's figures, as PNG files beside it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dmh_lib.display import save_png
from dmh_lib.figures import METHOD_COLORS, colors_of, lines, return_curves
from dmh_lib.statistics import Estimate

from .maze_summary import MazeSeries
from .mazes import ALONG_PATH
from .store import MEMORY, NO_MEMORY
from .summary import Group, group_curves, progress

FOLDER = "figures"


def save_figures(group: Group, title: str, out: Path) -> list[str]:
    """Draw a group's figures; their paths relative to the page, none where no browser is installed."""
    stem = group.name.replace("/", "-").replace(".", "-")
    drawn = {
        f"{stem}.png": learning_curves(group_curves(group), group_curves(group, NO_MEMORY), title),
        f"{stem}-training.png": training_curves(progress(group), f"{title}: by training time"),
    }
    return [f"{FOLDER}/{name}" for name, figure in drawn.items() if save_png(figure, out / FOLDER / name)]


def save_lives(group: Group, unit: str, title: str, out: Path) -> list[str]:
    """Draw scores by episode where no optimum is known; the path as of `save_figures`."""
    name = f"{FOLDER}/mujoco-{group.name.replace('/', '-').replace('.', '-')}.png"
    remembering, forgetful = (group_curves(group, line, oracle=False) for line in (MEMORY, NO_MEMORY))
    figure = learning_curves(remembering, forgetful, title, unit)
    figure.update_yaxes(range=None, tickvals=None, rangemode="tozero")
    return [name] if save_png(figure, out / name) else []


def policy_curves(curves: Mapping[str, pd.DataFrame]) -> go.Figure:
    """D4RL's score of behaviour policies by step of their learning."""
    points = {name: (table["step"], table["score"]) for name, table in curves.items()}
    figure = lines(points, "Behaviour policies", "steps of the environment", "D4RL's score, drawn actions")
    figure.update_layout(showlegend=True)
    return figure


def save_picture(figure: go.Figure, name: str, out: Path) -> str:
    """Draw a figure and show it in Markdown, by its title; empty where no browser is installed."""
    return f"![{figure.layout.title.text}]({FOLDER}/{name})" if save_png(figure, out / FOLDER / name) else ""


def learning_curves(
    remembering: pd.DataFrame, forgetful: pd.DataFrame, title: str, unit: str = "percent of optimum"
) -> go.Figure:
    """Scores by episode: bands with memory, dotted lines without, the oracle dashed."""
    figure = return_curves(remembering, title, unit)
    colors = {trace.name: trace.line.color for trace in figure.data if trace.name}
    for method, rows in forgetful.groupby("method", sort=False):
        dots = {"color": colors[str(method)], "width": 1.5, "dash": "dot"}
        figure.add_scatter(x=rows["episode"], y=rows["mean"], mode="lines", line=dots, showlegend=False)
    dots = {"color": METHOD_COLORS["oracle"], "width": 1.5, "dash": "dot"}
    figure.add_scatter(x=[None], y=[None], name="without memory", mode="lines", line=dots)
    return _tall(figure, range(0, 101, 20))


def training_curves(table: pd.DataFrame, title: str) -> go.Figure:
    """Percent of optimum at the last episode by minutes of training, a mark per checkpoint."""
    names = list(dict.fromkeys(table["method"]))
    points = {
        name: (rows["minutes"], rows["percent"])
        for name in names
        for rows in [table[table["method"] == name]]
    }
    figure = lines(points, title, "minutes of training", "percent of optimum, last episode")
    colors = colors_of(names)
    for trace in figure.data:
        trace.update(mode="lines+markers", line={"color": colors[trace.name]}, marker={"size": 8})
    figure.update_layout(showlegend=True)
    figure.update_xaxes(rangemode="tozero")
    return _tall(figure, range(0, 101, 20))


def _tall(figure: go.Figure, ticks: range) -> go.Figure:
    """Room for a legend of several rows below the picture, and the whole percent axis."""
    entries = sum(trace.showlegend is not False and bool(trace.name) for trace in figure.data)
    below = 24 * int(np.ceil(entries / 5))
    figure.update_layout(
        height=420 + below,
        margin={"t": 50, "b": 80 + below},
        legend={"orientation": "h", "y": -0.2, "yanchor": "top", "x": 0},
    )
    figure.update_yaxes(range=[-2, 104], tickvals=list(ticks))
    return figure


def save_length_curves(
    name: str, series: Sequence[MazeSeries], published: Mapping[str, Mapping[int, str]], title: str, out: Path
) -> list[str]:
    """Draw return by length in mazes; the figure's path relative to the page, none without a browser."""
    path = f"{FOLDER}/{name.replace('/', '-').replace('.', '-')}.png"
    return [path] if save_png(length_curves(series, published, title), out / path) else []


def length_curves(
    series: Sequence[MazeSeries], published: Mapping[str, Mapping[int, str]], title: str
) -> go.Figure:
    """Mean return by length with intervals; open where read along the path, crosses as published."""
    done = [one for one in series if one.runs]
    colors = colors_of([one.label for one in done])
    points = {}
    for one in done:
        ordered = sorted(one.best_known().items())
        points[one.label] = ([length for length, _ in ordered], [found.value for _, (_, found) in ordered])
    figure = lines(points, title, "length of the corridor, steps", "mean return", log_x=True)
    for one, trace in zip(done, figure.data, strict=True):
        by_length = one.best_known()
        known = [by_length[length] for length in trace.x]
        symbols = ["circle-open" if line == ALONG_PATH else "circle" for line, _ in known]
        above, below = ([edge(found) for _, found in known] for edge in (_above, _below))
        error = {"type": "data", "symmetric": False, "array": above, "arrayminus": below}
        color = colors[one.label]
        marker = {"size": 10, "symbol": symbols, "color": color}
        trace.update(mode="lines+markers", line={"color": color}, marker=marker, error_y=error)
        numbers = {
            length: value for length, value in published.get(one.label, {}).items() if _is_number(value)
        }
        if numbers:
            cross = {"size": 11, "symbol": "x-thin", "line": {"width": 2.5, "color": color}}
            values = [float(value) for value in numbers.values()]
            figure.add_scatter(
                x=list(numbers), y=values, name=f"{one.label}, published", mode="markers", marker=cross
            )
    figure.update_layout(showlegend=True)
    figure = _tall(figure, range(0, 101, 20))
    figure.update_yaxes(range=[-0.05, 1.06], tickvals=[0, 0.25, 0.5, 0.75, 1])
    return figure


def _above(found: Estimate) -> float:
    return float(found.high - found.value)


def _below(found: Estimate) -> float:
    return float(found.value - found.low)


def _is_number(value: str) -> bool:
    return value.replace(".", "", 1).isdigit()
