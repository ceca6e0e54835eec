"""The explorer's panels, without a browser: what their controls do to what they show."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dmh_lib import figures
from dmh_lib.checkpoints import load_checkpoint
from dmh_lib.errors import SettingError
from dmh_lib.explore import relive
from dmh_lib.widgets import ContextEditor, Explorer, Session, SubgoalView, explore
from dmh_lib.widgets.context import relabelled
from dmh_lib.widgets.pictures import Picture
from dmh_lib.widgets.session import DECODED, READ_OUT

SHIPPED = Path(__file__).parents[2] / "checkpoints"


@pytest.fixture(scope="module")
def session() -> Session:
    played = Session(load_checkpoint(SHIPPED / "darkroom-dm-h"))
    played.play(int(played.tasks["held out"][5]), 6, seed=1)
    return played


def trace(picture: Any, name: str) -> tuple[list, list]:
    (found,) = (shown for shown in picture.shown.data if shown.name == name)
    assert found.visible is not False
    return list(found.x), list(found.y)


def test_a_session_lives_what_its_agent_lives(session: Session) -> None:
    counted: list[int] = []
    other = Session(session.checkpoint)
    other.play(session.task, 6, 1, counted.append)
    assert counted == [1, 2, 3, 4, 5, 6]
    assert other.returns.tolist() == session.returns.tolist()
    assert session.returns.max() <= session.optimum
    assert session.goal.tolist() == [list(divmod(session.task, 9))]
    assert list(session.readings) == [READ_OUT, DECODED]
    # a trained agent knows the goal by the last episode, and the read-out shows that
    assert session.distances(READ_OUT)[-1] < 2
    with pytest.raises(SettingError, match="episodes: must be at least 1"):
        other.play(session.task, 0)
    with pytest.raises(SettingError, match="task"):
        other.play(81, 1)
    assert other.life  # the lifetime before is still there


def test_the_scrubber_shows_the_moment(session: Session) -> None:
    view = SubgoalView(session)
    assert (view.episode.value, view.step.value) == (6, 0)
    view.episode.value, view.step.value = 3, 12
    lived = session.life[2]
    x, y = trace(view.room, "path so far")
    assert list(zip(x, y, strict=True)) == [tuple(place) for place in lived.observations[:13].tolist()]
    assert trace(view.room, "agent") == ([lived.observations[12, 0]], [lived.observations[12, 1]])
    subgoals = session.in_room(lived.decisions, READ_OUT).means[:3]  # chunks begin at 0, 5 and 10
    np.testing.assert_allclose(np.transpose(trace(view.room, "generated sub-goals")), subgoals)
    np.testing.assert_allclose(np.transpose(trace(view.room, "valuable goals")), session.valuable(3)[:3])
    assert view.room.shown.layout.title.text.startswith("episode 3, step 12: ")
    (bars,) = (shown for shown in view.overview.shown.data if shown.type == "bar")
    assert len(set(bars.marker.color)) == 2
    assert bars.marker.color[2] not in bars.marker.color[3:]
    view.reading.value = DECODED
    decoded = session.in_room(lived.decisions, DECODED).means[:3]
    shown = np.transpose(trace(view.room, "generated sub-goals"))
    np.testing.assert_allclose(shown, np.clip(decoded, -0.4, 8.4))  # on the margin where they lie outside
    (gaps,) = (shown for shown in view.overview.shown.data if shown.type == "scatter")
    np.testing.assert_allclose(gaps.y, session.distances(DECODED))


def test_the_goal_is_hidden_until_asked_for(session: Session) -> None:
    view = SubgoalView(session)
    (star,) = (shown for shown in view.room.shown.data if shown.name == "hidden goal")
    assert star.visible is False
    view.reveal.value = True
    assert trace(view.room, "hidden goal") == ([session.goal[0, 0]], [session.goal[0, 1]])


def test_a_step_beyond_a_shorter_episode_becomes_its_last() -> None:
    short = Session(load_checkpoint(SHIPPED / "darkroom-dm-h"))
    short.play(3, 2)
    short.life = (short.life[0].shortened(7), short.life[1])
    view = SubgoalView(short)
    view.step.value = 15
    view.episode.value = 1
    assert (view.step.max, view.step.value) == (7, 7)
    assert len(trace(view.room, "path so far")[0]) == 8


def test_the_context_editor_begins_with_what_was_lived(session: Session) -> None:
    editor = ContextEditor(session)
    editor.look_at(5, 8)
    assert [row.kept.description for row in editor.rows] == [
        f"{number}: return {value:g}" for number, value in enumerate(session.returns[:4], 1)
    ]
    said = session.life[4].decisions[8]
    np.testing.assert_allclose(editor.original.output, said.output, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(editor.edited.output, said.output, rtol=1e-4, atol=1e-4)


def test_edits_change_the_next_decision(session: Session) -> None:
    editor = ContextEditor(session)
    editor.look_at(5, 0)

    def expect(past: list) -> None:
        said = session.redecide(past, session.at(5, 0))
        np.testing.assert_allclose(editor.edited.output, said.output, rtol=1e-5, atol=1e-5)
        drawn = editor.chances.shown.data[1].y
        np.testing.assert_allclose(drawn, said.probabilities, rtol=1e-4, atol=1e-6)

    lived = list(session.life[:4])
    editor.rows[1].kept.value = False
    expect([lived[0], *lived[2:]])
    editor.rows[3].later.click()  # is last already
    editor.rows[3].earlier.click()
    expect([lived[0], lived[3], lived[2]])
    editor.rows[0].steps.value = 6
    expect([lived[0].shortened(6), lived[3], lived[2]])
    editor.rows[2].rewards.value = "one at the end"
    expect([lived[0].shortened(6), relabelled(lived[3], "one at the end"), lived[2]])
    assert not np.allclose(editor.edited.output, editor.original.output, atol=1e-3)
    editor.wipe.click()
    expect([])
    assert "0 past episodes" in editor.chances.shown.layout.title.text
    editor.restore.click()
    expect(lived)
    editor.sort.click()
    expect(sorted(lived, key=lambda episode: episode.value))
    editor.look_at(5, 3)  # the edits stay at another step of the episode
    assert editor.context == sorted(lived, key=lambda episode: episode.value)
    editor.look_at(3, 3)
    assert editor.context == lived[:2]


def test_relabelled_rewards(session: Session) -> None:
    episode = session.life[0]
    assert relabelled(episode, "as lived") is episode
    assert relabelled(episode, "none").value == 0
    assert relabelled(episode, "one at the end").rewards.nonzero()[0].tolist() == [19]


def test_the_explorer_plays_another_lifetime(session: Session) -> None:
    explorer = explore(SHIPPED / "darkroom-dm-h", task=session.task, episodes=3)
    assert isinstance(explorer, Explorer)
    assert explorer.panels.titles[:2] == ("Lifetime", "Context")
    assert explorer.task.value == session.task
    explorer.side.value = "training"
    assert len(explorer.task.options) == 65
    explorer.episodes.value = 2
    before = explorer.panel("Lifetime")
    explorer.play.click()
    explorer.wait()
    before.episode.value, before.step.value = 1, 3  # a panel keeps the lifetime that it shows
    assert len(trace(before.room, "path so far")[0]) == 4
    before.episode.value = 3
    assert before.room.shown.layout.title.text.startswith("episode 3, step 3: ")
    explorer.episodes.value = 4
    explorer.play.click()
    explorer.wait()
    assert explorer.panel("Lifetime").episode.max == 4
    assert not explorer.play.disabled
    assert explorer.message.value == ""
    explorer.panel("Lifetime").episode.value = 2
    explorer.panels.selected_index = 1
    assert len(explorer.panel("Context").rows) == 1  # it has come to the moment looked at


def test_agents_without_sub_goals_have_the_same_panels() -> None:
    explorer = explore(SHIPPED / "darkroom-ad", episodes=3)
    assert isinstance(explorer, Explorer)
    left = explorer.panel("Lifetime").children[0].children[0]
    assert explorer.panel("Lifetime").reading not in left.children
    assert [shown.name for shown in explorer.panel("Lifetime").overview.shown.data] == ["return"]
    explorer.panel("Lifetime").step.value = 4
    assert len(trace(explorer.panel("Lifetime").room, "path so far")[0]) == 5
    explorer.panels.selected_index = 1
    lived = relive(explorer.session.agent(), explorer.session.life)
    said = explorer.panel("Context").original
    np.testing.assert_allclose(said.output, lived[2].decisions[4].output, rtol=1e-3, atol=1e-3)


def test_pictures_hold_nothing_that_no_message_can_hold(session: Session) -> None:
    editor, view = ContextEditor(session), SubgoalView(session)
    without = explore(SHIPPED / "darkroom-ad", episodes=2)
    for picture in (
        editor.chances,
        editor.room,
        view.overview,
        view.room,
        without.panel("Lifetime").overview,
    ):
        for shown in picture.shown.data:
            for values in (shown.x, shown.y, shown.customdata):
                numbers = [
                    value for value in (() if values is None else values) if not isinstance(value, str)
                ]
                assert np.isfinite(np.array(numbers, dtype=float)).all()
    assert without.panel("Lifetime").room.shown.data[-2].visible is False  # no sub-goals


def test_a_picture_sends_its_figure_and_plotly_once() -> None:
    figure = figures.lines({"one": ([1, 2], [3, 4])}, "a title", "x", "y")
    picture, other = Picture(figure), Picture(figure)
    assert picture.get_state()["_plotly"] == other.get_state()["_plotly"]
    assert len(json.dumps(picture.get_state(), default=str)) < 50_000
    assert json.loads(picture.get_state()["_figure"])["layout"]["title"]["text"] == "a title"
    picture.redraw(figures.lines({"one": ([1, 2], [5, 6])}, "another", "x", "y"))
    assert json.loads(picture.get_state()["_figure"])["layout"]["title"]["text"] == "another"
    assert list(picture.shown.data[0].y) == [5, 6]


def test_headless_it_is_a_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DMH_HEADLESS", "1")
    figure = explore(SHIPPED / "darkroom-dm-h", episodes=2)
    assert figure.layout.title.text.startswith("episode 2, step 20: ")
