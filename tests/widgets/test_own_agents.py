"""What goes wrong with agents of one's own in the explorer, and what they are called there."""

import json
import shutil
import threading
from copy import copy
from pathlib import Path

import pytest

from dmh_lib.checkpoints import load_checkpoint
from dmh_lib.errors import CheckpointError, SettingError
from dmh_lib.widgets import Compare, Explorer, LiveTraining, Session
from dmh_lib.widgets.subgoals import overview_figure

SHIPPED = Path(__file__).parents[2] / "checkpoints" / "darkroom-dm-h"


def played(path: Path) -> Session:
    session = Session(load_checkpoint(path))
    session.play(int(session.tasks["held out"][5]), 2)
    return session


@pytest.fixture(scope="module")
def session() -> Session:
    return played(SHIPPED)


def test_what_fails_unexpectedly_is_said(
    session: Session, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(*_: object) -> None:
        raise ArithmeticError("out of luck")

    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    compare, explorer = Compare(session), Explorer(session, tmp_path)
    training = LiveTraining(session.checkpoint.split, tmp_path, print)
    for place in ("compare.load_checkpoint", "explorer.load_checkpoint", "trainer.preset_named"):
        monkeypatch.setattr(f"dmh_lib.widgets.{place}", broken)
    for panel, button in ((compare, compare.start), (explorer, explorer.load), (training, training.start)):
        button.click()
        panel.wait()
        assert panel.message.value == "it failed: ArithmeticError('out of luck')"
        assert not button.disabled


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("env_id", "dmh/TMaze-v0", "field 'env_id': trained for dmh/TMaze-v0, which is no dark room"),
        ("test", [], "field 'split': no tasks are held out"),
    ],
)
def test_agents_that_cannot_be_shown(field: str, value: object, problem: str, tmp_path: Path) -> None:
    shutil.copy(SHIPPED / "model.safetensors", tmp_path)
    about = json.loads((SHIPPED / "checkpoint.json").read_text())
    (about if field in about else about["split"])[field] = value
    (tmp_path / "checkpoint.json").write_text(json.dumps(about))
    with pytest.raises(SettingError) as caught:
        Session(load_checkpoint(tmp_path))
    assert str(caught.value).startswith(f"{tmp_path}: {problem}")


def test_a_relative_path_says_where_it_was_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint("runs/mine")
    assert str(tmp_path / "runs" / "mine") in str(caught.value)


def test_runs_beside_a_run_are_offered(tmp_path: Path) -> None:
    places = [tmp_path / place for place in ("one/checkpoint-00000004", "two/checkpoint-00000009")]
    for place in places:
        shutil.copytree(SHIPPED, place)
    panel = Compare(played(places[0]))
    assert panel.path.options == (str(places[1]),)
    panel.start.click()
    panel.wait()
    assert [bars.name for bars in panel.returns.shown.data] == ["1: one, update 4", "2: two, update 9"]


def test_a_lifetime_from_a_file_does_not_pass_for_the_agents(session: Session, tmp_path: Path) -> None:
    session.save(tmp_path / "somebody.hdf5")
    led = copy(session)
    led.load(tmp_path / "somebody.hdf5", 0, 2)
    assert [bars.name for bars in Compare(led).returns.shown.data] == ["somebody.hdf5"]
    assert overview_figure(led, 1).layout.title.text == f"task {session.task}, as in somebody.hdf5"
    led.play(session.task, 1)
    assert led.source == ""


def test_a_training_needs_a_folder(session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    panel = LiveTraining(session.checkpoint.split, tmp_path, print)
    panel.folder.value = " "
    panel.start.click()
    panel.wait()
    assert panel.message.value == "folder: is empty; name one that the run goes to"
    assert not any(tmp_path.iterdir())
    assert panel.look.disabled
