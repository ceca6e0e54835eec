"""Live pictures: figures on a page that can be drawn anew."""

from functools import cache
from pathlib import Path
from typing import Any

import anywidget
import plotly.graph_objects as go
import traitlets
from ipywidgets import widget_serialization
from plotly.offline import get_plotlyjs


class PlotlySource(anywidget.AnyWidget):
    """Plotly's code, which a page gets once for all pictures."""

    _esm = "export default {};"
    source = traitlets.Unicode().tag(sync=True)


@cache
def _plotly_source() -> PlotlySource:
    return PlotlySource(source=get_plotlyjs())


class Picture(anywidget.AnyWidget):
    """A plotly figure on a page.

    Plotly's own FigureWidget brings 5 MB of code for each figure, and a page that needs more than two seconds
    to load them leaves the figure empty or deaf, which laptops do. This one brings a few lines; Plotly is
    loaded once.

    Attributes:
        shown: the figure.
    """

    _esm = Path(__file__).with_name("picture.js")
    _figure = traitlets.Unicode().tag(sync=True)  # as JSON
    _plotly = traitlets.Instance(PlotlySource).tag(sync=True, **widget_serialization)

    def __init__(self, figure: go.Figure, **traits: Any) -> None:
        self.shown = figure
        super().__init__(_figure=figure.to_json(), _plotly=_plotly_source(), **traits)

    def redraw(self, figure: go.Figure) -> None:
        """Show another figure."""
        self.shown = figure
        self._figure = figure.to_json()
