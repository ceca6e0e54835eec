"""Figures of scores with their intervals, and of pictures; pure functions as in `dmh_lib.figures`."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from dmh_lib.figures import GREY, TEMPLATE, colors_of, lines
from dmh_lib.figures.style import subplots

MOST_ABOVE = 4  # names in a legend above its figure


def interval_lines(
    table: pd.DataFrame,
    title: str,
    x: str,
    y: str,
    *,
    at: str = "corridor",
    name: str = "method",
    log_x: bool = True,
    until: float | None = None,
    until_name: str = "",
) -> go.Figure:
    """Means with 95 % whiskers over a number, one line for each name, marks smaller from line to line.

    So lines that lie on each other can be told apart.

    Args:
        table: columns `at`, `name`, `mean`, `low`, `high`.
        title, x, y: texts.
        at: column of the number.
        name: column of the names.
        log_x: whether the number's axis is logarithmic.
        until: where a vertical line stands, for example the longest training length.
        until_name: what is written at that line.
    """
    names = list(dict.fromkeys(table[name]))
    parts = {one: table[table[name] == one].sort_values(at) for one in names}
    series = {str(one): (rows[at], rows["mean"]) for one, rows in parts.items()}
    figure = lines(series, title, x, y, log_x=log_x)
    colors = colors_of(list(series))
    for number, (trace, rows) in enumerate(zip(figure.data, parts.values(), strict=True), 1):
        whiskers = {"array": rows["high"] - rows["mean"], "arrayminus": rows["mean"] - rows["low"]}
        color = colors[trace.name]
        trace.update(mode="lines+markers", marker={"size": 5 + 3 * (len(names) - number + 1)})
        trace.update(line={"color": color, "width": 1 + 1.5 * (len(names) - number + 1)})
        trace.update(error_y={**whiskers, "symmetric": False, "thickness": 1.5, "width": 4})
    figure.update_layout(showlegend=True)
    if len(names) > MOST_ABOVE:
        beside = {"orientation": "v", "x": 1.02, "xanchor": "left", "y": 0.5, "yanchor": "middle"}
        figure.update_layout(width=940, legend=beside)
    if until is not None:
        mark(figure, until, until_name)
    return figure


def mark(figure: go.Figure, at: float, text: str) -> None:
    """Draw a dashed vertical line with a text at its foot, which plotly misplaces where x is logarithmic."""
    figure.add_vline(at, line_dash="dash", line_color=GREY)
    place = np.log10(at) if figure.layout.xaxis.type == "log" else at
    figure.add_annotation(
        x=place,
        y=0.02,
        yref="paper",
        text=text,
        xanchor="right",
        yanchor="bottom",
        xshift=-4,
        showarrow=False,
    )


def intervals(
    table: pd.DataFrame, title: str, y: str, *, name: str = "method", group: str = "room", zero: bool = False
) -> go.Figure:
    """A dot with its 95 % whisker for each name, groups side by side in colours of their own.

    Args:
        table: columns `name`, `group`, `mean`, `low`, `high`.
        title, y: texts.
        name: column of what stands along the axis.
        group: column of what is told apart by colour.
        zero: whether a line is drawn at 0, for differences.
    """
    figure = go.Figure()
    groups = list(dict.fromkeys(table[group]))
    colors = colors_of([str(one) for one in groups])
    for one in groups:
        rows = table[table[group] == one]
        whiskers = {"array": rows["high"] - rows["mean"], "arrayminus": rows["mean"] - rows["low"]}
        figure.add_scatter(
            x=rows[name], y=rows["mean"], name=str(one), mode="markers",
            marker={"size": 10, "color": colors[str(one)]},
            error_y={**whiskers, "symmetric": False, "thickness": 2, "width": 5},
        )  # fmt: skip
    order = list(dict.fromkeys(table[name]))
    figure.update_layout(
        template=TEMPLATE, title=title, yaxis_title=y, scattermode="group", scattergap=0.4,
        width=max(760, 75 * len(order)), legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"},
        showlegend=True,
    )  # fmt: skip
    figure.update_xaxes(categoryorder="array", categoryarray=order)
    if zero:
        figure.add_hline(0, line_color=GREY, line_dash="dash")
    return figure


def pictures(images: Sequence[NDArray[np.uint8]], titles: Sequence[str], title: str) -> go.Figure:
    """Pictures (height, width, 3) of one size below each other, each with its title."""
    count = len(images)
    figure = subplots(count, 1, title, titles=titles, vertical_spacing=0.25 / count)
    for row, image in enumerate(images, 1):
        figure.add_trace(go.Image(z=image, hoverinfo="skip"), row=row, col=1)
    height, width, _ = images[0].shape
    shown = 760
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    figure.update_layout(
        width=shown, height=90 + count * (40 + shown * height // width),
        margin={"l": 20, "r": 20, "t": 90, "b": 10},
    )  # fmt: skip
    return figure
