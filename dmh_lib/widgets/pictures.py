"""Live pictures: a figure once shown is changed in place, in one message to the page."""

import plotly.graph_objects as go

CHANGING = ("x", "y", "z", "marker", "customdata", "visible", "hovertemplate")


class Picture(go.FigureWidget):
    """A figure that can be redrawn with another one of the same traces."""

    def redraw(self, figure: go.Figure) -> None:
        """Take over what changes: numbers and marks of the traces, the title."""
        with self.batch_update():
            if self.layout.title.text != figure.layout.title.text:
                self.layout.title.text = figure.layout.title.text
            for shown, new in zip(self.data, figure.data, strict=True):
                given = new.to_plotly_json()
                for name in CHANGING:
                    if name in given:
                        shown[name] = given[name]
