"""What all figures share: colours that colour-blind people can tell apart, and a template.

Paper stays white in a dark theme, because no palette of twelve is readable on both.
"""

import itertools
from collections.abc import Sequence

import plotly.graph_objects as go
import plotly.io as pio
from plotly.subplots import make_subplots

# Okabe and Ito's colours, told apart by colour-blind people
BLUE, ORANGE, GREEN, RED, PURPLE, SKY, GREY = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#777777",
)  # fmt: skip
COLORS = (BLUE, ORANGE, GREEN, PURPLE, RED, SKY)
METHOD_COLORS = {
    "DM-H": BLUE, "DM-H without memory": ORANGE, "oracle": GREY, "AD": GREEN, "AD-Mamba": PURPLE, "DT": RED,
    "DM": SKY, "AT": "#BBBB66", "DPT": "#882255", "IDT": "#332288", "BC": "#000000", "BC-10%": "#554422",
}  # fmt: skip

_OWN = go.layout.Template(
    layout={
        "colorway": COLORS,
        "font": {"family": "Helvetica, Arial, sans-serif", "size": 14},
        "width": 760,
        "height": 440,
        "margin": {"l": 70, "r": 30, "t": 70, "b": 60},
        # above the plot's left edge, and clear of a legend below it
        "title": {"x": 0, "xref": "paper", "y": 1, "yref": "container", "yanchor": "top", "pad": {"t": 12}},
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "hoverlabel": {"namelength": -1},
    }
)
# merged once and without defaults for each kind of trace, which every figure would copy: four times faster
_merged = pio.templates.merge_templates("plotly_white", _OWN)
pio.templates["dmh"] = go.layout.Template(layout=_merged.layout)
TEMPLATE = "dmh"
ABOVE = {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"}
"""Where a legend stands that needs one row."""


def blank(title: str, x: str, y: str, **layout: object) -> go.Figure:
    """An empty figure with its texts."""
    texts = {"title": {"text": title}, "xaxis": {"title": {"text": x}}, "yaxis": {"title": {"text": y}}}
    return go.Figure(layout={"template": TEMPLATE, **texts, **layout})


def subplots(
    rows: int, columns: int, title: str, *, titles: Sequence[str] = (), **layout: object
) -> go.Figure:
    """An empty figure of several panels below or beside each other; `layout` goes to `make_subplots`."""
    empty = go.Figure(layout={"template": TEMPLATE, "title": {"text": title}})
    return make_subplots(rows=rows, cols=columns, subplot_titles=list(titles) or None, figure=empty, **layout)


def fade(color: str, alpha: float) -> str:
    """A colour that lets through what lies behind it."""
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha})"


def colors_of(names: Sequence[str]) -> dict[str, str]:
    """A colour for each name: its own where it is a known method's, else one that no other here has."""
    free = [color for color in COLORS if color not in {METHOD_COLORS.get(name) for name in names}]
    others = [name for name in dict.fromkeys(names) if name not in METHOD_COLORS]
    spare = dict(zip(others, itertools.cycle(free or COLORS), strict=False))
    return {name: METHOD_COLORS.get(name) or spare[name] for name in names}
