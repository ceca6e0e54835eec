"""Figures hold the numbers they were given; they are written as HTML and PNG; widgets redraw them."""

import itertools
import os
from pathlib import Path

import ipywidgets
import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from dmh_lib import display, figures
from dmh_lib.rollouts import Rollout
from dmh_lib.widgets import episode_figure, episode_slider


@pytest.fixture
def life() -> Rollout:
    rng = np.random.default_rng(0)
    return Rollout(
        task=5,
        goal=np.array([[0, 5]]),
        size=9,
        paths=rng.integers(9, size=(3, 21, 2)).astype(np.float32),
        rewards=np.eye(3, 20, dtype=np.float32),
        latents=rng.normal(size=(3, 4, 16)).astype(np.float32),
        subgoals=rng.normal(4, 3, size=(3, 4, 2)).astype(np.float32),
    )


def test_curves_are_drawn_with_their_bands() -> None:
    table = pd.DataFrame(
        {
            "method": ["DM-H"] * 3 + ["oracle"] * 3,
            "episode": [1, 2, 3] * 2,
            "mean": [10.0, 50.0, 90.0, 100.0, 100.0, 100.0],
            "low": [5.0, 40.0, 85.0, 100.0, 100.0, 100.0],
            "high": [15.0, 60.0, 95.0, 100.0, 100.0, 100.0],
        }
    )
    figure = figures.return_curves(table, "title")
    lines = {trace.name: trace for trace in figure.data if trace.name}
    assert list(lines["DM-H"].y) == [10.0, 50.0, 90.0]
    assert lines["oracle"].line.dash == "dash"
    bands = [trace for trace in figure.data if trace.fill == "toself"]
    assert len(bands) == 1  # the oracle has no spread
    assert list(bands[0].y) == [15.0, 60.0, 95.0, 85.0, 40.0, 5.0]
    assert figure.layout.xaxis.dtick == 1  # no half episodes


def test_a_room_shows_what_it_was_given(life: Rollout) -> None:
    figure = episode_figure(life, 2)
    path, goal, subgoals = figure.data
    np.testing.assert_array_equal(path.x, life.paths[1, :, 0])
    assert (goal.x[0], goal.y[0]) == (0, 5)
    assert all(-0.5 < x < 8.5 for x in subgoals.x)  # those outside are drawn on the edge
    assert "return 1" in figure.layout.title.text


@pytest.mark.parametrize("beside", [[1, 1], [1.4, 0.6]])
def test_subgoals_on_one_spot_share_a_label(beside: list[float]) -> None:
    figure = figures.room(9, "", subgoals=[[1, 1], [2, 2], beside, [8, 8]])
    assert list(figure.data[0].text) == ["1,3", "2", "", "4"]
    assert list(figure.data[0].textposition) == ["top right", "top right", "top right", "bottom right"]


def test_subgoals_outside_a_room_are_drawn_on_its_margin() -> None:
    explored = figures.explored_room(5, "room", path=[[2, 2], [2, 3]], step=1, subgoals=[[-3, 2], [9, 1]])
    edited = figures.edited_subgoals(5, "room", [[2, 2]], [-3.0, 2.0], [2.0, 9.0])
    shown = {trace.name: (list(trace.x), list(trace.y)) for trace in (*explored.data, *edited.data)}
    assert shown["generated sub-goals"] == ([-0.4, 4.4], [2, 1])
    assert shown["as lived"] == ([-0.4], [2])
    assert shown["edited"] == ([2], [4.4])
    hover = [place.customdata.tolist() for place in explored.data if place.name == "generated sub-goals"]
    assert hover == [[[1, -3, 2], [2, 9, 1]]]  # where they are
    (low, high) = explored.layout.xaxis.range
    assert low < -0.4
    assert high > 4.4


def test_the_steepest_chord_ends_on_its_goal() -> None:
    figure = figures.rewards_and_goal([0, 0, 1, 0], 1, 3, "")
    assert list(figure.data[-1].x) == [1, 3]
    assert list(figure.data[-1].y) == [0, 1]


def test_the_chord_goes_to_the_very_end_where_that_makes_it_steepest() -> None:
    figure = figures.rewards_and_goal(
        [0, 0, 1, 1], 0, 3, ""
    )  # the state after the last step is not on record
    assert list(figure.data[-1].x) == [0, 4]
    assert list(figure.data[-1].y) == [0, 2]


# what colours look like to whom, in linear RGB (Machado, Oliveira and Fernandes 2009, table 1, severity 1)
SEEN_BY = {
    "all cones": np.eye(3),
    "no red cones": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "no green cones": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "no blue cones": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}
TO_CONES = np.array(  # linear RGB to Oklab, a space in which distances mean something
    [[0.41222, 0.53633, 0.05145], [0.21190, 0.68070, 0.10740], [0.08830, 0.28172, 0.62998]]
)
TO_OKLAB = np.array(
    [[0.21045, 0.79362, -0.00407], [1.97800, -2.42859, 0.45059], [0.02590, 0.78277, -0.80868]]
)


def perceived(color: str, eye: str) -> np.ndarray:
    channels = np.array([int(color[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return TO_OKLAB @ np.cbrt(TO_CONES @ np.clip(SEEN_BY[eye] @ linear, 0, 1))


@pytest.mark.parametrize("eye", SEEN_BY)
@pytest.mark.parametrize(
    "palette",
    [dict(zip(figures.COLORS, figures.COLORS, strict=True)), figures.METHOD_COLORS],
    ids=["lines", "methods"],
)
def test_colors_can_be_told_apart(palette: dict[str, str], eye: str) -> None:
    for one, other in itertools.combinations(palette, 2):
        distance = np.linalg.norm(perceived(palette[one], eye) - perceived(palette[other], eye))
        assert distance > 0.05, (one, other)


def test_a_method_has_its_color_in_every_picture() -> None:
    figure = figures.lines({"mine": ([1], [1]), "AD": ([1], [1]), "other": ([1], [2])}, "", "", "")
    shown = {trace.name: trace.line.color for trace in figure.data}
    assert shown["AD"] == figures.METHOD_COLORS["AD"]
    assert len(set(shown.values())) == 3


def test_paper_is_white_in_dark_themes_too() -> None:
    layout = figures.lines({"a": ([1, 2], [1, 2])}, "title", "x", "y").layout.template.layout
    assert (layout.paper_bgcolor, layout.plot_bgcolor) == ("white", "white")
    assert perceived(layout.font.color, "all cones")[0] < 0.5  # dark letters


def test_a_figure_in_words() -> None:
    figure = figures.lines({"one": ([1], [1]), "two": ([1], [2])}, "A <b>title</b>", "x axis", "y axis")
    figure.add_vline(1, annotation_text="a note")
    assert display.alternative_text(figure) == (
        "A title. Across: x axis. Upwards: y axis. Panels and notes: a note. Shown: one; two"
    )
    assert display.alternative_text(go.Figure()) == ""
    assert display.alternative_text(go.Figure(go.Image(z=np.zeros((2, 2, 3), np.uint8)))) == ""


def test_the_slider_redraws(life: Rollout) -> None:
    box = episode_slider(life)
    slider, picture = box.children
    assert isinstance(slider, ipywidgets.IntSlider)
    slider.value = 3
    expected = episode_figure(life, 3)
    assert picture.shown.layout.title.text == expected.layout.title.text
    np.testing.assert_array_equal(picture.shown.data[0].x, expected.data[0].x)
    np.testing.assert_allclose(picture.shown.data[2].y, expected.data[2].y)


needs_browser = pytest.mark.skipif(
    "CI" not in os.environ and not display.browser_path(),
    reason="pictures need a Chrome or Chromium; CI installs one and requires it",
)


@needs_browser
def test_saved_as_html_and_png(life: Rollout, tmp_path: Path) -> None:
    written = display.save_figure(episode_figure(life, 1), tmp_path / "room")
    assert [path.name for path in written] == ["room.html", "room.png"]
    assert written[1].read_bytes().startswith(b"\x89PNG")
    html = written[0].read_text()
    assert 'src="plotly.min.js"' in html
    assert "https://cdn" not in html
    assert (tmp_path / "plotly.min.js").stat().st_size > 1_000_000


def test_a_headless_shell_draws_where_no_other_browser_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell = tmp_path / "chromium-headless-shell"
    shell.touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("BROWSER_PATH", raising=False)
    assert display.browser_path() == str(shell)
    monkeypatch.setenv("BROWSER_PATH", "/opt/mine")
    assert display.browser_path() == "/opt/mine"


def test_without_a_browser_there_is_html_and_a_hint(
    life: Rollout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(display, "browser_path", lambda: None)
    display.has_browser.cache_clear()
    display._say_what_is_missing.cache_clear()
    with pytest.warns(UserWarning, match="install Chrome or Chromium"):
        written = display.save_figure(episode_figure(life, 1), tmp_path / "room.hasty")
    assert [path.name for path in written] == ["room.hasty.html"]  # a dot is part of the name
    assert display.save_figure(episode_figure(life, 1), tmp_path / "room.hasty") == written  # warned once
    display.has_browser.cache_clear()


@needs_browser
def test_show_is_live_in_a_notebook_and_static_when_headless(
    life: Rollout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        display, "calc_fig_sync", lambda *_, **__: b"<svg xmlns='http://www.w3.org/2000/svg'/>"
    )
    figure = episode_figure(life, 1)
    assert isinstance(display.show(figure, tmp_path / "room"), go.Figure)
    monkeypatch.setenv("DMH_HEADLESS", "1")
    outputs = display.show(figure, tmp_path / "room")._repr_mimebundle_()
    assert 'src="data:image/svg+xml;base64,' in outputs["text/html"]
    assert "episode 1: return" in outputs["text/plain"]
    assert f'alt="{outputs["text/plain"]}"' in outputs["text/html"]
    outputs = display.show(figure, tmp_path / "room", alt='one "room" & more')._repr_mimebundle_()
    assert 'alt="one &quot;room&quot; &amp; more"' in outputs["text/html"]
