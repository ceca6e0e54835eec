"""Films of MuJoCo, through a real renderer where this machine has one."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dmh_lib import film
from dmh_lib.agents import BCAgent
from dmh_lib.errors import SettingError
from dmh_lib.film import Film, record
from dmh_lib.models import BC, BCConfig


def agent() -> BCAgent:
    torch.manual_seed(0)
    return BCAgent(BC(BCConfig(11, 3, discrete=False, d_model=8)))


def can_draw() -> bool:
    try:
        record(agent(), "Hopper-v5", steps=1)
    except SettingError:
        return False
    return True


@pytest.mark.skipif("not can_draw()")
def test_an_episode_is_filmed() -> None:
    whole = record(agent(), "Hopper-v5", "a fall", steps=1000, every=10, seed=3)
    assert whole.frames.shape[1:] == (240, 320, 3)
    assert whole.frames.dtype == np.uint8
    assert 1 < len(whole.frames) < 100  # it falls
    assert not np.array_equal(whole.frames[0], whole.frames[-1])
    assert whole.seconds == pytest.approx(10 * 0.008)
    begun = record(agent(), "Hopper-v5", steps=15, every=10, seed=3)
    np.testing.assert_array_equal(begun.frames, whole.frames[:2])
    later = record(agent(), "Hopper-v5", episode=2, steps=15, every=10, seed=3)
    assert not np.array_equal(later.frames[0], begun.frames[0])  # another start


def test_a_film_as_a_file(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (3, 24, 32, 3), dtype=np.uint8)
    made = Film(frames, 0.25, "noise & more")
    made.save(tmp_path / "noise.webp")
    with Image.open(tmp_path / "noise.webp") as picture:
        assert (picture.n_frames, picture.size) == (3, (32, 24))
    with Image.open(BytesIO(made.webp())) as picture:
        picture.seek(1)
        picture.load()
        assert picture.info["duration"] == 250
    shown = made._repr_mimebundle_()
    assert shown["text/html"].startswith(
        '<img alt="noise &amp; more: a film of 3 pictures, 0.8 s" src="data:'
    )


@pytest.fixture
def no_graphics(monkeypatch: pytest.MonkeyPatch) -> None:
    import mujoco

    def broken(*_: object) -> None:
        raise AttributeError("no display")

    monkeypatch.setattr(mujoco, "Renderer", broken)


@pytest.mark.usefixtures("no_graphics")
def test_nothing_to_draw_with() -> None:
    with pytest.raises(SettingError, match=r"nothing to draw with \(no display\); .*MUJOCO_GL=egl"):
        record(agent(), "Hopper-v5")
    said = film.show(agent(), "Hopper-v5", "a fall")
    assert isinstance(said, str)
    assert "MUJOCO_GL" in said


@pytest.mark.parametrize(
    ("env", "said"), [("CartPole-v1", "not one of MuJoCo's"), ("Nothing-v0", "cannot be made")]
)
def test_what_cannot_be_filmed(env: str, said: str) -> None:
    with pytest.raises(SettingError, match=said):
        record(agent(), env)
    assert film.SIZE == (240, 320)
