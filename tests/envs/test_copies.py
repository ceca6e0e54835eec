"""Environments as they are made for play."""

import logging
from pathlib import Path

import pytest

from dmh_lib.envs.copies import make_copies, make_one
from dmh_lib.errors import SettingError


def test_mujoco_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What MuJoCo says of an old model goes to the log, not into a file where one works."""
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.INFO)
    make_one("HalfCheetah-v5").close()
    make_copies("HalfCheetah-v5", 2).close()
    assert not list(tmp_path.iterdir())
    assert sum("settotalmass" in line for line in caplog.messages) >= 3


@pytest.mark.parametrize("env_id", ["Nowhere-v0", "Hopper-v99", "a b"])
def test_unknown(env_id: str) -> None:
    for make in (make_one, lambda name: make_copies(name, 2)):
        with pytest.raises(SettingError, match="check its id"):
            make(env_id)
