"""The explorer's further panels, without a browser: what goes on inside, play, compare, train, check."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dmh_lib.checkpoints import load_checkpoint
from dmh_lib.data import write_hdf5
from dmh_lib.data.histories import make_histories
from dmh_lib.data.searcher import SearcherConfig
from dmh_lib.envs.rooms import MOVES
from dmh_lib.explore import Episode, chunk_attention, context_of, memory_trace
from dmh_lib.widgets import (
    Compare,
    Explorer,
    InsideView,
    LiveTraining,
    ParityCheck,
    PlayBeside,
    Session,
    explore,
)
from dmh_lib.widgets.pictures import Picture
from dmh_lib.widgets.play import KEYS

SHIPPED = Path(__file__).parents[2] / "checkpoints"


def played(name: str, episodes: int = 4) -> Session:
    session = Session(load_checkpoint(SHIPPED / name))
    session.play(int(session.tasks["held out"][5]), episodes, seed=1)
    return session


@pytest.fixture(scope="module")
def session() -> Session:
    return played("darkroom-dm-h")


@pytest.fixture(scope="module")
def distilled() -> Session:
    return played("darkroom-ad")


def title(picture: Picture | None) -> str:
    assert picture is not None
    return str(picture.shown.layout.title.text)


# ---------------------------------------------------------------------------- inside


def test_inside_shows_the_moment(session: Session) -> None:
    view = InsideView(session)
    view.look_at(3, 7)
    taken = session.life[2]
    assert title(view.chances).startswith("episode 3")
    bars = [trace for trace in view.chances.shown.data if trace.type == "bar"]
    np.testing.assert_allclose([bar.y[7] for bar in bars], taken.decisions[7].probabilities, rtol=1e-6)
    np.testing.assert_allclose(np.sum([bar.y for bar in bars], axis=0), 1, rtol=1e-5)
    dots = next(trace for trace in view.chances.shown.data if trace.name == "taken")
    below = sum(bar.y[7] for bar in bars[: taken.actions[7]])
    assert below < dots.y[7] < below + bars[taken.actions[7]].y[7]
    assert title(view.memory).endswith("chunk 10")  # four chunks in each of two episodes, then the second
    now = session.at(3, 7)
    trace = memory_trace(session.model, context_of(session.model, session.life[:2], now))
    assert view.memory is not None
    first = view.memory.shown.data[0]  # layer 1, of the whole lifetime
    expected = trace.loc[trace["layer"] == 1, "step_size"]
    np.testing.assert_allclose(first.y[: len(expected)], expected, rtol=1e-3, atol=1e-6)
    view.layer.value, view.head.value = 0, 2
    assert title(view.attention) == "attention before step 7, layer 1, head 3"
    weights, names = chunk_attention(session.model, taken.decisions[7].subgoal, now)
    assert view.attention is not None
    shown = view.attention.shown.data[0].z
    np.testing.assert_allclose(shown, np.tril(weights[0, 2]), atol=1e-6)
    np.testing.assert_allclose(np.sum(shown, axis=1), 1, rtol=1e-4)
    assert list(view.attention.shown.layout.xaxis.ticktext) == names


def test_agents_without_sub_goals_show_their_chances_alone(distilled: Session) -> None:
    view = InsideView(distilled)
    view.look_at(2, 3)
    assert (view.memory, view.attention) == (None, None)
    assert title(view.chances).startswith("episode 2")
    assert any("AD has no sub-goals" in getattr(part, "value", "") for part in view.children)


# ---------------------------------------------------------------------------- play


@pytest.mark.parametrize("name", ["darkroom-dm-h", "darkroom-ad", "darkroom-ad-mamba"])
def test_a_person_walks_and_the_agent_says_what_it_would_do(name: str) -> None:
    session = played(name, 3)
    panel = PlayBeside(session, lambda life: None)
    walk = [2, 2, 0, 4, 1]
    place = np.array(session.rules.start)
    for number, action in enumerate(walk, 1):
        expected = session.redecide(session.life, panel.episode if number > 1 else session.at(1, 0))
        assert panel.decision is not None
        np.testing.assert_allclose(panel.decision.output, expected.output, rtol=1e-3, atol=1e-4)
        shown = panel.chances.shown.data[0].y
        np.testing.assert_allclose(shown, expected.probabilities, rtol=1e-3, atol=1e-5)
        place = np.clip(place + MOVES[action], 0, 8)
        panel.moves[action].click()
        assert panel.episode.observations[-1].tolist() == place.tolist()
        assert f"step {number} of 20" in panel.message.value
    assert panel.episode.actions.tolist() == walk
    marks = {trace.name: trace for trace in panel.room.shown.data}
    assert (marks["you"].x[0], marks["you"].y[0]) == tuple(place)
    assert panel.decision is not None
    there = np.clip(place + MOVES[panel.decision.output.argmax()], 0, 8)
    assert (marks["the agent's choice"].x[0], marks["the agent's choice"].y[0]) == tuple(there)


def test_keys_and_the_end_of_an_episode(session: Session) -> None:
    panel = PlayBeside(session, lambda life: None)
    for count in range(22):  # two more than there are steps
        panel.keyboard._pressed = [KEYS[3] if count < 2 else " ", count + 1]
    assert panel.episode.actions.tolist() == [3, 3] + [4] * 18
    assert panel.decision is None
    assert "over" in panel.message.value
    assert all(button.disabled for button in panel.moves)
    panel.again.click()
    assert (len(panel.episode), panel.moves[0].disabled, panel.give.disabled) == (0, False, True)
    assert panel.decision is not None
    likeliest = int(panel.decision.output.argmax())
    panel.follow.click()
    assert panel.episode.actions.tolist() == [likeliest]
    assert panel.keyboard.taken == list(KEYS)


def test_what_is_put_into_the_context_teaches(session: Session) -> None:
    """A beginner that is shown the way to the goal goes there itself in its next episode."""
    young = Session(session.checkpoint)
    for task in young.tasks["held out"]:
        young.play(int(task), 1, seed=0)
        if young.returns[0] == 0:
            break
    assert young.returns[0] == 0
    given: list[tuple[Episode, ...]] = []
    panel = PlayBeside(young, lambda life: given.append(tuple(life)))
    (x, y), (goal_x, goal_y) = young.rules.start, young.goal[0]
    way = [0 if goal_x > x else 1] * abs(goal_x - x) + [2 if goal_y > y else 3] * abs(goal_y - y)
    for action in way + [4] * (20 - len(way)):
        panel.move(action)
    assert panel.episode.value == young.optimum
    panel.give.click()
    (life,) = given
    told = young.after(life)
    assert [len(episode) for episode in told.life] == [20, 20, 20]
    assert told.life[1].actions.tolist() == panel.episode.actions.tolist()
    assert len(told.life[1].decisions) == 20
    assert told.returns[2] > 0.8 * young.optimum
    assert len(young.life) == 1


# ---------------------------------------------------------------------------- compare and check


def test_two_agents_side_by_side(session: Session) -> None:
    panel = Compare(session)
    assert str(SHIPPED / "darkroom-ad") in panel.path.options
    panel.path.value = str(SHIPPED / "darkroom-ad")
    panel.start.click()
    panel.wait()
    assert panel.other is not None
    assert panel.message.value == ""
    assert (panel.other.task, panel.other.seed, len(panel.other.life)) == (session.task, session.seed, 4)
    assert [bar.name for bar in panel.returns.shown.data] == ["DM-H", "AD"]
    np.testing.assert_allclose(panel.returns.shown.data[1].y, panel.other.returns)
    panel.episode.value = 2
    titles = [text.text for text in panel.rooms.shown.layout.annotations]
    assert titles == [f"{s.label}: return {s.returns[1]:g}" for s in (session, panel.other)]


def test_an_agent_beside_its_like(session: Session) -> None:
    panel = Compare(session)
    panel.path.value = str(SHIPPED / "darkroom-dm-h")
    panel.start.click()
    panel.wait()
    assert [bar.name for bar in panel.returns.shown.data] == ["1: darkroom-dm-h", "2: darkroom-dm-h"]
    np.testing.assert_allclose(panel.returns.shown.data[0].y, panel.returns.shown.data[1].y)


def test_what_cannot_be_compared(session: Session, tmp_path: Path) -> None:
    panel = Compare(session)
    panel.path.value = str(tmp_path / "nothing")
    panel.start.click()
    panel.wait()
    assert "nothing" in panel.message.value
    assert panel.other is None
    assert not panel.start.disabled


@pytest.mark.parametrize("name", ["darkroom-dm-h", "darkroom-ad", "darkroom-ad-mamba"])
def test_the_check_compares_training_and_play(name: str) -> None:
    panel = ParityCheck(played(name, 2))
    panel.check.click()
    assert "✓ agree" in panel.table.value
    assert "✗" not in panel.table.value


def test_the_check_sees_a_difference(monkeypatch: pytest.MonkeyPatch, session: Session) -> None:
    predict = session.model.predict
    monkeypatch.setattr(session.model, "predict", lambda *parts: predict(*parts) + 0.1)
    panel = ParityCheck(session)
    panel.check.click()
    assert "✗ differ" in panel.table.value


# ---------------------------------------------------------------------------- train


@pytest.fixture(scope="module")
def trained(session: Session, tmp_path_factory: pytest.TempPathFactory) -> tuple[LiveTraining, list[Path]]:
    ready: list[Path] = []
    panel = LiveTraining(session.checkpoint.split, tmp_path_factory.mktemp("runs"), ready.append)
    panel.updates.value = 8
    panel.start.click()
    panel.wait()
    return panel, ready


def test_training_is_watched(trained: tuple[LiveTraining, list[Path]]) -> None:
    panel, ready = trained
    assert panel.message.value == "update 8 of 8: done"
    assert panel.folder.value.endswith("darkroom-small-seed-0")
    assert panel.loss.shown.data[0].x.tolist() == list(range(1, 9))
    np.testing.assert_allclose(panel.loss.shown.data[0].y, [row["loss"] for row in panel.losses])
    assert panel.score.shown.data[0].x.tolist() == list(range(1, 9))
    assert all(0 <= row["last"] <= 100 for row in panel.scores)
    assert (panel.stop.disabled, panel.look.disabled) == (True, False)
    panel.look.click()
    assert ready == [Path(panel.folder.value)]
    panel.start.click()  # nothing is trained over
    panel.wait()
    assert "holds a run already" in panel.message.value
    assert panel.losses == []


def test_a_stopped_training_goes_on(
    session: Session,
    trained: tuple[LiveTraining, list[Path]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And ends with the same weights as the undisturbed one."""
    panel = LiveTraining(session.checkpoint.split, tmp_path, lambda path: None)
    panel.updates.value = 8
    logged = panel._logged
    with monkeypatch.context() as patched:
        patched.setattr(
            panel, "_logged", lambda row: logged(row) or (row["update"] == 3 and not panel._stop())
        )
        panel.start.click()
        panel.wait()
    assert panel.message.value == "update 3 of 8: stopped; resume goes on"
    panel.resume.click()
    panel.wait()
    assert panel.message.value == "update 8 of 8: done"
    assert [row["update"] for row in panel.losses] == list(range(1, 9))
    assert [row["update"] for row in panel.scores] == list(range(1, 9))
    whole = load_checkpoint(trained[0].folder.value).model.state_dict()
    cut = load_checkpoint(panel.folder.value).model.state_dict()
    assert all(torch.equal(cut[name], whole[name]) for name in whole)


# ---------------------------------------------------------------------------- all of them together


def test_lifetimes_from_files(session: Session, tmp_path: Path) -> None:
    """This one is written and read again; then one of a searcher, through which the agent is led."""
    explorer = explore(SHIPPED / "darkroom-dm-h", task=session.task, episodes=3, runs=tmp_path)
    assert isinstance(explorer, Explorer)
    before = explorer.session
    explorer.write.click()
    assert explorer.message.value == f"wrote {tmp_path / 'lifetime.hdf5'}"
    explorer.recall.click()
    explorer.wait()
    assert explorer.message.value == ""
    assert explorer.session is not before
    assert explorer.session.returns.tolist() == before.returns.tolist()
    for one, other in zip(explorer.session.life, before.life, strict=True):
        np.testing.assert_array_equal(one.observations, other.observations)
        np.testing.assert_allclose(one.decisions[-1].output, other.decisions[-1].output, rtol=1e-4, atol=1e-4)
    histories = make_histories(session.checkpoint.split, SearcherConfig(runs_per_task=2, episodes=5))
    write_hdf5(histories, tmp_path / "searcher.hdf5")
    explorer.file.value, explorer.run.value, explorer.episodes.value = str(tmp_path / "searcher.hdf5"), 3, 4
    explorer.recall.click()
    explorer.wait()
    taken = histories.run_offsets[3] + np.array([0, 1, 3, 4])  # evenly, and the last
    assert explorer.session.task == histories.task_ids[taken[0]]
    assert explorer.side.value == "training"
    assert explorer.session.returns.tolist() == histories.returns[taken].tolist()
    explorer.file.value = str(tmp_path / "nothing.hdf5")
    explorer.recall.click()
    explorer.wait()
    assert "nothing.hdf5" in explorer.message.value


def test_the_explorer_takes_up_what_a_person_played_and_other_agents(
    session: Session, tmp_path: Path
) -> None:
    explorer = explore(SHIPPED / "darkroom-dm-h", task=session.task, episodes=2, runs=tmp_path)
    assert isinstance(explorer, Explorer)
    names: list[Any] = list(explorer.panels.titles)
    assert names == ["Lifetime", "Context", "Inside", "Play", "Compare", "Train", "Check"]
    for place in range(len(names)):
        explorer.panels.selected_index = place
        assert len(explorer.panels.children[place].children) == 1
    training = explorer.panel("Train")
    explorer.panels.selected_index = names.index("Play")
    explorer.panel("Play").move(0)
    explorer.panel("Play").give.click()
    assert explorer.panels.selected_index == names.index("Play")
    filled = [name for name, place in zip(names, explorer.panels.children, strict=True) if place.children]
    assert filled == ["Play"]
    assert [len(episode) for episode in explorer.session.life] == [20, 20, 1, 20]
    assert explorer.panel("Lifetime").episode.value == 4
    explorer.take_up(SHIPPED / "darkroom-ad")
    explorer.wait()
    assert explorer.session.label == "AD"
    assert explorer.checkpoint.value == str(SHIPPED / "darkroom-ad")
    assert explorer.session.task == session.task
    assert explorer.panel("Train") is training  # it may be at work
    explorer.take_up(tmp_path / "nothing")
    explorer.wait()
    assert "nothing" in explorer.message.value
    assert explorer.session.label == "AD"
    assert not explorer.load.disabled
