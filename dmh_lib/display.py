"""Showing and keeping pictures from a notebook: live in JupyterLab, static when run headless."""

import os
import warnings
from functools import cache
from pathlib import Path
from threading import Thread
from typing import Any

import plotly.graph_objects as go
from choreographer.browsers.chromium import Chromium
from IPython.display import SVG
from kaleido import calc_fig_sync, start_sync_server

from dmh_lib.batch import is_headless
from dmh_lib.files import atomic_path

PATIENCE = 60.0  # seconds for the browser to start


def save_figure(figure: go.Figure, path: str | os.PathLike[str]) -> list[Path]:
    """Write a figure as HTML and, where a Chrome or Chromium is installed, as PNG.

    Args:
        figure: what to write.
        path: without suffix; the HTML shares one plotly.min.js with its neighbours, so that it works offline.

    Returns:
        The files written. Without a browser a warning says how to get one.
    """
    base = Path(path)
    base.parent.mkdir(parents=True, exist_ok=True)
    html = base.with_name(f"{base.name}.html")  # a dot may be part of the name
    with atomic_path(html) as temporary:
        figure.write_html(temporary, include_plotlyjs="directory", config={"displaylogo": False})
    png = base.with_name(f"{base.name}.png")
    return [html, png] if save_png(figure, png) else [html]


def save_png(figure: go.Figure, path: str | os.PathLike[str]) -> bool:
    """Write a figure as PNG; False, with a warning that says what to install, where there is no browser."""
    image = _image(figure, "png")
    if image is None:
        return False
    with atomic_path(path) as temporary:
        temporary.write_bytes(image)
    return True


def show(figure: go.Figure, path: str | os.PathLike[str]) -> Any:
    """Save a figure and return what a notebook's cell should end with.

    In JupyterLab that is the figure itself; headless it is an SVG picture, small and visible everywhere.
    """
    save_figure(figure, path)
    if not is_headless():
        return figure
    image = _image(figure, "svg")
    return figure if image is None else SVG(image)


@cache
def _has_browser() -> bool:
    """Whether there is a Chrome or Chromium that starts; says once what is missing without one."""
    # tried in a thread of its own, because kaleido waits for ever for a browser that does not come
    if Chromium.find_browser(skip_local=False):
        start_sync_server(silence_warnings=True)  # one browser for all pictures of this process
        drawn: list[bytes] = []
        trial = Thread(
            target=lambda: drawn.append(calc_fig_sync(go.Figure(), opts={"format": "svg"})), daemon=True
        )
        trial.start()
        trial.join(PATIENCE)
        if drawn:
            return True
    warnings.warn(
        "no PNG or SVG pictures: install Chrome or Chromium, or run plotly_get_chrome", stacklevel=4
    )
    return False


def _image(figure: go.Figure, kind: str) -> bytes | None:
    """The figure through a headless browser, or None where there is none."""
    if not _has_browser():
        return None
    image: bytes = calc_fig_sync(figure, opts={"format": kind, "scale": 2 if kind == "png" else 1})
    return image
