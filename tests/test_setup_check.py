"""The set-up check says what is there, and what to do about what is not."""

from pathlib import Path

import pytest

from dmh_lib import setup_check

CHECKPOINT = Path(__file__).parent.parent / "checkpoints" / "darkroom-dm-h"


def test_all_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup_check, "has_browser", lambda: True)
    found = setup_check.check_setup(CHECKPOINT)
    assert found["fine"].all()
    assert (found["remedy"] == "").all()
    assert "torch" in found.loc["packages", "found"]
    assert found.loc["trained agent", "found"] == "dm-h for dmh/Darkroom-v0"


def test_what_is_missing_comes_with_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup_check, "has_browser", lambda: False)
    monkeypatch.setattr(setup_check, "PYTHONS", ((2, 6), (2, 7)))
    found = setup_check.check_setup(tmp_path)
    assert found.index[~found["fine"]].tolist() == ["Python", "browser", "trained agent"]
    assert found.loc["Python", "remedy"] == "make the environment anew with Python 2.6 to 2.7"
    assert "install Chrome or Chromium" in found.loc["browser", "remedy"]
    assert "checkpoint.json is missing" in found.loc["trained agent", "remedy"]
