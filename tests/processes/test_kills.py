"""A few SIGKILLs in trainings and in a sweep; `kills.py` does as many as one likes."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(sys.platform == "win32", reason="processes are forked")
@pytest.mark.parametrize(("of", "kills"), [("trainings", 4), ("sweeps", 1)])
def test_what_is_killed_and_resumed_ends_as_if_nothing_had_happened(of: str, kills: int) -> None:
    script = Path(__file__).with_name("kills.py")  # in a process of its own, which may be forked
    command = [sys.executable, str(script), of, "--kills", str(kills)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    assert f"{kills} kills over " in done.stdout
