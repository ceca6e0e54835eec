"""Showing and keeping pictures from a notebook: live in JupyterLab, static when run headless.

Paper is white, in a dark theme too: every colour of the palette was chosen to be read on white.
"""

import os
import re
import shutil
import warnings
from base64 import b64encode
from functools import cache
from html import escape
from pathlib import Path
from threading import Thread
from typing import Any

import plotly.graph_objects as go
from choreographer.browsers.chromium import Chromium
from kaleido import calc_fig_sync, start_sync_server

from dmh_lib.files import atomic_path
from dmh_lib.headless import is_headless

CONFIG = {"displaylogo": False, "showSendToCloud": False}  # of Plotly; nothing is sent anywhere
PATIENCE = 120.0  # seconds for the browser to start, which is long on a busy machine


class StaticPicture:
    """A picture in words and in vectors, as an executed notebook keeps it.

    An image of its own among the outputs would have no place for the words, and JupyterLab hides SVG in
    notebooks that it did not run itself; an <img> with the SVG inside has the one and is shown.
    """

    def __init__(self, svg: bytes, alt: str) -> None:
        self.svg, self.alt = svg, alt

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        source = f"data:image/svg+xml;base64,{b64encode(self.svg).decode()}"
        return {"text/html": f'<img alt="{escape(self.alt)}" src="{source}">', "text/plain": self.alt}


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
        figure.write_html(
            temporary, include_plotlyjs="directory", config={"displaylogo": False, "showSendToCloud": False}
        )
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


def show(figure: go.Figure, path: str | os.PathLike[str], alt: str | None = None) -> Any:
    """Save a figure and return what a notebook's cell should end with.

    In JupyterLab that is the figure itself; headless it is a `StaticPicture`, small and visible everywhere.

    Args:
        figure: what to show.
        path: of the files, without suffix.
        alt: what the picture shows, for those who cannot see it; `alternative_text(figure)` if left out.
    """
    save_figure(figure, path)
    if not is_headless():
        return figure
    image = _image(figure, "svg")
    return figure if image is None else StaticPicture(image, alt or alternative_text(figure))


def alternative_text(figure: go.Figure) -> str:
    """A figure in words: its title, what its axes and panels are called, and the names in its legend."""
    across = [axis.title.text for axis in figure.select_xaxes()]
    upwards = [axis.title.text for axis in figure.select_yaxes()]
    # some kinds of traces, images for one, can have no place in a legend
    names = [trace.name for trace in figure.data if getattr(trace, "showlegend", False) is not False]
    groups = {
        "": [figure.layout.title.text],
        "Across: ": across,
        "Upwards: ": upwards,
        "Panels and notes: ": [note.text for note in figure.layout.annotations],
        "Shown: ": names,
    }
    sentences = []
    for opening, texts in groups.items():
        plain = [" ".join(re.sub(r"<[^>]*>", " ", text).split()) for text in texts if text]
        if any(plain):
            sentences.append(opening + "; ".join(dict.fromkeys(filter(None, plain))))
    return ". ".join(sentences)


def browser_path() -> str | None:
    """What draws pictures: BROWSER_PATH, a headless shell, or a Chrome or Chromium; None if there is none."""
    shell = shutil.which("chromium-headless-shell")  # starts in half the time
    return (None if "BROWSER_PATH" in os.environ else shell) or Chromium.find_browser(skip_local=False)


@cache
def has_browser() -> bool:
    """Whether there is a Chrome or Chromium that starts, without which figures are written as HTML only."""
    browser = browser_path()
    if browser is None:
        return False
    # one browser for all pictures of this process, which without MathJax asks no other host for anything
    start_sync_server(silence_warnings=True, path=browser, mathjax=False)
    # tried in a thread of its own, because kaleido waits for ever for a browser that does not come
    drawn: list[bytes] = []
    trial = Thread(
        target=lambda: drawn.append(calc_fig_sync(go.Figure(), opts={"format": "svg"})), daemon=True
    )
    trial.start()
    trial.join(PATIENCE)
    return bool(drawn)


@cache
def _say_what_is_missing() -> None:
    """Warn, once."""
    remedy = "install Chrome or Chromium, or run plotly_get_chrome"
    warnings.warn(f"no PNG or SVG pictures: {remedy}; it must start within {PATIENCE:g} s", stacklevel=4)


def _image(figure: go.Figure, kind: str) -> bytes | None:
    """The figure through a headless browser, or None where there is none."""
    if not has_browser():
        _say_what_is_missing()
        return None
    image: bytes = calc_fig_sync(figure, opts={"format": kind, "scale": 2 if kind == "png" else 1})
    return image
