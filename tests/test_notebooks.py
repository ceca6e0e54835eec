"""Every notebook runs headless with small settings, leaves its pictures, and is stored without outputs."""

import os
from pathlib import Path
from typing import Any

import nbformat
import pytest
from choreographer.browsers.chromium import Chromium

from dmh_lib.batch import notebook_parameters, run_notebook

FOLDER = Path(__file__).parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))

SMALL: dict[str, dict[str, Any]] = {
    "05_training": {
        "updates": 6,
        "compare_updates": 2,
        "batch_size": 8,
        "runs_per_task": 2,
        "learner_episodes": 30,
        "eval_seeds": [0],
    },
    "06_evaluation": {"fallback_updates": 4, "episodes": 4, "eval_seeds": [0]},
    "07_efficiency": {"contexts": [6, 12]},
    "08_tmaze_memory": {"updates": 4, "longest": 200, "played": [40, 80], "read": [40, 80, 200], "mazes": 4},
    "09_baselines": {
        "bc_updates": 4,
        "dt_updates": 2,
        "ad_updates": 2,
        "batch_size": 4,
        "runs_per_task": 2,
        "episodes": 4,
        "eval_seeds": [0],
        "targets": [13, 20],
    },
    "10_ablations": {"updates": 2, "batch_size": 8, "runs_per_task": 2, "episodes": 4, "eval_seeds": [0]},
}
PLACES = {"figures_dir": "figures", "data_dir": "data", "run_dir": "run", "results_file": "results.parquet"}


def test_there_are_notebooks() -> None:
    assert [path.name[:2] for path in NOTEBOOKS] == [f"{number:02}" for number in range(1, 12)]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_stored_without_outputs(path: Path) -> None:
    for cell in nbformat.read(path, as_version=4).cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_executes(path: Path, tmp_path: Path) -> None:
    known = notebook_parameters(path)
    places = {name: str(tmp_path / place) for name, place in PLACES.items() if name in known}
    if "own_results" in known:
        places["own_results"] = str(tmp_path / "none")
    output = run_notebook(path, tmp_path / "out.ipynb", {**SMALL.get(path.stem, {}), **places}, timeout=600)
    executed = nbformat.read(output, as_version=4)
    outputs = [entry for cell in executed.cells for entry in cell.get("outputs", [])]
    if not Chromium.find_browser(skip_local=False) and "CI" not in os.environ:
        return  # pictures need a browser; CI installs one and requires it
    assert not [entry for entry in outputs if entry.get("name") == "stderr"], "warnings on stderr"
    pictures = [entry for entry in outputs if "image/svg+xml" in entry.get("data", {})]
    drawn = list((tmp_path / "figures").glob("*.png"))
    assert len(pictures) == len(drawn) >= 3
    assert all(png.with_suffix(".html").exists() for png in drawn)
    assert output.stat().st_size < 1_000_000, "an executed notebook is small enough to commit"
