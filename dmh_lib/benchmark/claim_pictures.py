"""Figures of the section on the paper's claims."""

import itertools
from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from dmh_lib.figures import BLUE, COLORS, ORANGE, lines
from dmh_lib.statistics import Estimate

DASHES = ("dash", "dot")


def sweep_figure(
    points: Mapping[str, Sequence[tuple[int, Estimate]]], published: Mapping[str, Sequence[tuple[int, float]]]
) -> go.Figure:
    """Percent of optimum by chunk length: a line with a band per environment, published ones dashed.

    Args:
        points: environment → (c, percent of optimum), by rising c.
        published: what it is called → (c, percent of optimum).
    """
    figure = lines({}, "Score by chunk length", "steps of a chunk, c", "percent of optimum, last episode")
    lengths = sorted({c for values in (*points.values(), *published.values()) for c, _ in values})
    for (name, values), color in zip(points.items(), itertools.cycle(COLORS), strict=False):
        chunks, found = [c for c, _ in values], [part for _, part in values]
        figure.add_scatter(
            x=[*chunks, *chunks[::-1]],
            y=[*(part.high for part in found), *(part.low for part in found[::-1])],
            fill="toself", fillcolor=color, opacity=0.18, line={"width": 0}, hoverinfo="skip",
            showlegend=False,
        )  # fmt: skip
        figure.add_scatter(
            x=chunks, y=[part.value for part in found], name=name, mode="lines+markers",
            line={"color": color, "width": 3}, marker={"size": 8},
        )  # fmt: skip
    for (name, pairs), dash in zip(published.items(), itertools.cycle(DASHES), strict=False):
        figure.add_scatter(
            x=[c for c, _ in pairs], y=[value for _, value in pairs], name=name, mode="lines+markers",
            line={"color": "#777777", "width": 2, "dash": dash}, marker={"size": 7, "symbol": "circle-open"},
        )  # fmt: skip
    figure.update_layout(
        showlegend=True, height=500, margin={"t": 50, "b": 130},
        legend={"orientation": "h", "y": -0.2, "yanchor": "top", "x": 0},
    )  # fmt: skip
    figure.update_xaxes(type="log", tickvals=lengths, ticktext=[str(c) for c in lengths])
    figure.update_yaxes(range=[-2, 104], tickvals=list(range(0, 101, 20)))
    return figure


def correlation_figure(marks: Mapping[str, Sequence[tuple[str, Estimate]]]) -> go.Figure:
    """Correlations with their intervals: a row per environment, a mark per measure, four at most."""
    title = "DM-H: return against the sub-goals' distance from the goal"
    figure = lines({}, title, "rank correlation within tasks", "")
    environments = list(dict.fromkeys(name for values in marks.values() for name, _ in values))
    looks = [(BLUE, "circle"), (ORANGE, "circle"), (BLUE, "circle-open"), (ORANGE, "circle-open")]
    for place, ((measure, values), (color, symbol)) in enumerate(zip(marks.items(), looks, strict=False)):
        found = [part for _, part in values]
        error = {
            "type": "data", "symmetric": False, "thickness": 2, "width": 5,
            "array": [part.high - part.value for part in found],
            "arrayminus": [part.value - part.low for part in found],
        }  # fmt: skip
        figure.add_scatter(
            x=[part.value for part in found],
            y=[environments.index(name) + 0.16 * (place - 1.5) for name, _ in values],
            name=measure, mode="markers", error_x=error,
            marker={"color": color, "symbol": symbol, "size": 11, "line": {"width": 2, "color": color}},
        )  # fmt: skip
    inside = 75 * len(environments)  # pixels between the axes
    figure.add_vline(x=0, line={"color": "#777777", "width": 1})
    figure.update_layout(
        showlegend=True, height=170 + inside, margin={"l": 210, "t": 50, "b": 120},
        legend={"orientation": "h", "y": -60 / inside, "yanchor": "top", "x": 0},
    )  # fmt: skip
    figure.update_xaxes(range=[-1.05, 1.05])
    ticks = list(range(len(environments)))
    figure.update_yaxes(
        range=[len(environments) - 0.5, -0.5],
        tickvals=ticks,
        ticktext=environments,
        showgrid=False,
        zeroline=False,
    )
    return figure
