"""Whether all is there that the notebooks need, and what to do about what is not."""

import os
import platform
import sys
import time

import pandas as pd
import torch

from dmh_lib.checkpoints import load_checkpoint
from dmh_lib.display import has_browser
from dmh_lib.errors import CheckpointError
from dmh_lib.versions import versions
from dmh_lib.warm_up import warm_up

PYTHONS = ((3, 11), (3, 13))  # oldest and newest


def check_setup(checkpoint: str | os.PathLike[str], *, progress: bool = False) -> pd.DataFrame:
    """Look for what the notebooks need; compiles the CPU kernels if nothing has done so yet.

    Args:
        checkpoint: the agent that comes with the project.
        progress: show a bar while kernels are compiled.

    Returns:
        A row for each thing: `what` (the index), `found`, `fine`, and `remedy`, empty where all is fine.
    """
    oldest, newest = (".".join(map(str, version)) for version in PYTHONS)
    packages = {name: number for name, number in versions().items() if name != "python"}
    began = time.perf_counter()
    warm_up(progress=progress)
    kernels = f"ready after {time.perf_counter() - began:.1f} s"
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none, and none is needed"
    browser = has_browser()
    drawn = "found: pictures are PNG and SVG" if browser else "none: pictures are HTML only"
    agent, load_remedy = _agent(checkpoint)
    rows = [
        (
            "Python",
            platform.python_version(),
            PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[1],
            f"make the environment anew with Python {oldest} to {newest}",
        ),
        ("packages", ", ".join(f"{name} {number}" for name, number in packages.items()), True, ""),
        ("CPU kernels", kernels, True, ""),
        ("GPU", gpu, True, ""),
        ("browser", drawn, browser, "install Chrome or Chromium, or run plotly_get_chrome"),
        ("trained agent", agent, not load_remedy, load_remedy),
    ]
    table = pd.DataFrame(rows, columns=["what", "found", "fine", "remedy"]).set_index("what")
    table["remedy"] = table["remedy"].where(~table["fine"], "")
    return table


def _agent(checkpoint: str | os.PathLike[str]) -> tuple[str, str]:
    """What the checkpoint holds, and what to do if it cannot be loaded."""
    try:
        loaded = load_checkpoint(checkpoint)
    except CheckpointError as error:
        return "none", str(error)
    return f"{loaded.about['method']} for {loaded.env_id}", ""
