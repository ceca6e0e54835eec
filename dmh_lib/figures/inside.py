"""What goes on inside an agent, as the explorer shows it; pure functions."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike

from .plots import heatmap
from .style import ABOVE, COLORS, GREY, blank, subplots

Curves = Mapping[str, ArrayLike]


def memory_curves(step_sizes: Curves, norms: Curves, begins: ArrayLike, chunk: int, title: str) -> go.Figure:
    """Step sizes Δ above, norms of the state below, over the chunks of a lifetime; one chunk marked.

    Args:
        step_sizes: name of each layer → (K,).
        norms: the same of the state's norm.
        begins: (E,) chunks, from 1, with which episodes begin.
        chunk: which is marked, from 1.
        title: what is shown.
    """
    figure = subplots(2, 1, title, shared_xaxes=True, vertical_spacing=0.07)
    for row, curves in ((1, step_sizes), (2, norms)):
        for (name, values), color in zip(curves.items(), COLORS, strict=False):
            heights = np.asarray(values, dtype=np.float64)
            figure.add_scatter(
                x=np.arange(1, len(heights) + 1), y=heights, name=name, mode="lines", row=row, col=1,
                line={"color": color, "width": 2}, legendgroup=name, showlegend=row == 1,
                hovertemplate="chunk %{x}: %{y:.3g}",
            )  # fmt: skip
    ticks = {"tickvals": (np.asarray(begins) - 0.5).tolist(), "showgrid": True, "gridcolor": "#DDDDDD"}
    figure.update_xaxes(minor=ticks, showgrid=False)
    figure.add_vline(x=chunk, line={"color": GREY, "dash": "dash", "width": 2})
    figure.update_layout(width=480, height=430, legend=ABOVE)
    figure.update_xaxes(title="chunk of the lifetime (grey lines: episodes begin)", row=2, col=1)
    figure.update_yaxes(title="mean step<br>size Δ", rangemode="tozero", row=1, col=1)
    figure.update_yaxes(title="norm of<br>the state", rangemode="tozero", row=2, col=1)
    return figure


def attention(weights: ArrayLike, names: Sequence[str], title: str) -> go.Figure:
    """Who attends to whom (L, L), rows to columns; what a causal mask hides is left white."""
    shown = np.asarray(weights, dtype=np.float64)
    hidden = np.triu(np.ones_like(shown, dtype=bool), 1)
    figure = heatmap(np.where(hidden, 0.0, shown), title, "sees", "token", colorbar="weight")
    at = {"tickvals": list(range(len(names))), "ticktext": list(names)}
    figure.update_traces(zmin=0, zmax=1, colorscale="Blues", xgap=1, ygap=1)
    figure.update_layout(width=470, height=420, title_font_size=16)  # or a long title is cut
    figure.update_xaxes(**at)
    figure.update_yaxes(**at)
    return figure


def action_history(
    names: Sequence[str], chances: ArrayLike, taken: ArrayLike, step: int, title: str
) -> go.Figure:
    """Chances (T, A) of the actions before each step of an episode, stacked, with those taken (T,) dotted."""
    shares, chosen = np.asarray(chances, dtype=np.float64), np.asarray(taken, dtype=np.int64)
    steps = np.arange(len(shares))
    figure = blank(title, "step", "probability", width=960, height=330, barmode="stack", bargap=0.1)
    below = np.cumsum(shares, axis=1) - shares  # (T, A)
    for action, (name, color) in enumerate(zip(names, COLORS, strict=False)):
        figure.add_bar(
            x=steps, y=shares[:, action], name=name, marker={"color": color},
            hovertemplate=f"step %{{x}}: {name} %{{y:.2f}}<extra></extra>",
        )  # fmt: skip
    heights = (below + shares / 2)[steps, chosen]
    figure.add_scatter(
        x=steps, y=heights, name="taken", mode="markers", hoverinfo="skip",
        marker={"color": "white", "size": 8, "line": {"color": "black", "width": 1.5}},
    )  # fmt: skip
    if step < len(shares):
        figure.add_vrect(
            x0=step - 0.5, x1=step + 0.5, line={"color": "black", "width": 2}, fillcolor="rgba(0,0,0,0)"
        )
    figure.update_yaxes(range=[0, 1])
    figure.update_xaxes(range=[-0.6, len(shares) - 0.4])
    return figure
