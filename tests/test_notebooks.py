"""Every notebook has the same form, runs headless with small settings, and leaves its pictures."""

import os
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from bs4 import BeautifulSoup

from dmh_lib.batch import notebook_parameters, run_notebook
from dmh_lib.display import browser_path
from dmh_lib.pages import write_page

FOLDER = Path(__file__).parent.parent / "notebooks"
LIBRARY = Path(__file__).parent.parent / "dmh_lib"
NOTATION = Path(__file__).parent.parent / "docs" / "notation.md"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))

SMALL: dict[str, dict[str, Any]] = {
    "00_start_here": {"episodes": 7},
    "05_training": {
        "updates": 6,
        "compare_updates": 2,
        "batch_size": 8,
        "runs_per_task": 2,
        "learner_episodes": 30,
        "episodes": 3,
        "tuning_tasks": 2,
        "eval_seeds": [0],
    },
    "06_evaluation": {"episodes": 6, "eval_seeds": [0]},
    "07_efficiency": {"contexts": [6, 12]},
    "08_tmaze_memory": {"updates": 4, "longest": 200, "played": [40, 80], "read": [40, 80, 200], "mazes": 4},
    "09_baselines": {
        "bc_updates": 4,
        "dt_updates": 2,
        "ad_updates": 2,
        "batch_size": 4,
        "runs_per_task": 2,
        "episodes": 4,
        "tuning_tasks": 2,
        "eval_seeds": [0],
        "targets": [13, 20],
        "tables": ["large"],
    },
    "10_ablations": {
        "updates": 2,
        "batch_size": 8,
        "runs_per_task": 2,
        "episodes": 4,
        "tuning_tasks": 2,
        "eval_seeds": [0],
    },
    "12_mujoco": {
        "steps": 3000,
        "updates": 4,
        "batch_size": 2,
        "eval_seeds": [0, 1],
        "eval_episodes": 2,
        "aims": [1.0],
        "filmed_steps": 20,
    },
}
NUMBERS = {"half a": 0.5, "a": 1, "two": 2, "three": 3, "five": 5, "seven": 7, "eight": 8, "ten": 10}
PLACES = {"figures_dir": "figures", "data_dir": "data", "run_dir": "run", "results_file": "results.parquet"}


each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def cells_of(path: Path, kind: str) -> list[nbformat.NotebookNode]:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == kind]


def prose_of(path: Path) -> str:
    return "\n".join(cell.source for cell in cells_of(path, "markdown"))


def test_there_are_notebooks() -> None:
    assert [path.name[:2] for path in NOTEBOOKS] == [f"{number:02}" for number in range(13)]


@each_notebook
def test_stored_without_outputs(path: Path) -> None:
    for cell in nbformat.read(path, as_version=4).cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


@each_notebook
def test_opens_with_what_it_teaches_and_its_settings(path: Path) -> None:
    opening, settings = nbformat.read(path, as_version=4).cells[:2]
    assert re.match(rf"# {int(path.name[:2])} · \w", opening.source)
    assert "**You will learn**\n\n- " in opening.source
    assert "**It needs** " in opening.source
    assert re.search(r"\*\*It\stakes\*\* .*minute", opening.source, re.DOTALL)
    assert settings.metadata["tags"] == ["parameters"]


@each_notebook
def test_sections_and_equations_are_numbered_without_gaps(path: Path) -> None:
    number, prose = int(path.name[:2]), prose_of(path)
    sections = re.findall(r"^## (\d+\.\d+) ", prose, re.MULTILINE)
    assert sections == [f"{number}.{place}" for place in range(1, len(sections) + 1)]
    equations = [int(found) for found in re.findall(r"\\tag\{(\d+)\}", prose)]
    assert equations == list(range(1, len(equations) + 1))
    assert "$$" in prose
    own = re.sub(r"equation \(\d+\) of notebook \d+", "", prose)
    assert {int(found) for found in re.findall(r"equations? \(?(\d+)", own)} <= set(equations)
    assert sum("assert " in cell.source for cell in cells_of(path, "code")) > 0  # shapes are checked


def test_equations_of_other_notebooks_are_there() -> None:
    tags = {int(path.name[:2]): re.findall(r"\\tag\{(\d+)\}", prose_of(path)) for path in NOTEBOOKS}
    texts = [prose_of(path) for path in NOTEBOOKS] + [NOTATION.read_text(encoding="utf-8")]
    named = [
        found for text in texts for found in re.findall(r"((?:\(\d\) and )?\(\d\)) of notebook (\d+)", text)
    ]
    assert named
    for equations, notebook in named:
        assert set(re.findall(r"\d", equations)) <= set(tags[int(notebook)]), (equations, notebook)


def test_the_code_has_the_names_of_the_notation() -> None:
    rows = [
        line.split("|") for line in NOTATION.read_text(encoding="utf-8").splitlines() if line[:3] == "| $"
    ]
    names = {name for row in rows for name in re.findall(r"`(\w+)`", row[2])}
    code = "\n".join(file.read_text(encoding="utf-8") for file in LIBRARY.rglob("*.py"))
    assert len(names) > 20
    assert {name for name in names if not re.search(rf"\b{name}\b", code)} == set()


@each_notebook
def test_ends_with_a_summary_and_three_exercises(path: Path) -> None:
    prose = prose_of(path)
    summary, exercises = prose.index("\n## Summary\n"), prose.index("\n## Exercises\n")
    assert summary < exercises
    folded = re.findall(
        r"<details><summary>Solutions?</summary>\n(.+?)</details>", prose[exercises:], re.DOTALL
    )
    asked = re.sub(r"<details>.*?</details>", "", prose[exercises:], flags=re.DOTALL)
    assert re.findall(r"^(?:\*\*)?(\d)\.", asked, re.MULTILINE) == ["1", "2", "3"]
    solutions = folded if len(folded) > 1 else re.findall(r"^\d\. ", folded[0], re.MULTILINE)
    assert len(solutions) == 3


@each_notebook
def test_pictures_have_text_beside_them(path: Path) -> None:
    cells = nbformat.read(path, as_version=4).cells
    for before, cell, after in zip(cells, cells[1:], cells[2:], strict=False):
        if cell.cell_type == "code" and re.search(r"\bshow\(", cell.source):
            assert "markdown" in (before.cell_type, after.cell_type), cell.source


def minutes_of(path: Path) -> float:
    """What a notebook says it takes, with its own settings."""
    words = "|".join(sorted(NUMBERS, key=len, reverse=True))
    found = re.search(rf"\*\*It\stakes\*\*.*?\b({words})\sminutes?\b", prose_of(path), re.DOTALL)
    assert found, "**It takes** … minutes, the number in words"
    return NUMBERS[" ".join(found[1].split())]


@each_notebook
def test_executes(path: Path, tmp_path: Path) -> None:
    known = notebook_parameters(path)
    places = {name: str(tmp_path / place) for name, place in PLACES.items() if name in known}
    if "own_results" in known:
        places["own_results"] = str(tmp_path / "none")
    settings = {**SMALL.get(path.stem, {}), **places}
    # with small settings no cell alone may take as long as the whole should; machines of CI may be slow
    output = run_notebook(path, tmp_path / "out.ipynb", settings, timeout=int(60 + 60 * minutes_of(path)))
    executed = nbformat.read(output, as_version=4)
    outputs = [entry for cell in executed.cells for entry in cell.get("outputs", [])]
    if not browser_path() and "CI" not in os.environ:
        return  # pictures need a browser; CI installs one and requires it
    assert not [entry for entry in outputs if entry.get("name") == "stderr"], "warnings on stderr"
    drawn = list((tmp_path / "figures").glob("*.png"))
    assert all(png.with_suffix(".html").exists() for png in drawn)
    assert output.stat().st_size < 1_000_000, "an executed notebook is small enough to commit"
    page = write_page(output, tmp_path / "out.html").read_text(encoding="utf-8")
    images = BeautifulSoup(page, "html.parser").find_all("img")
    assert all(len(image["alt"]) > 20 for image in images), "each says what it shows"
    pictures = [image for image in images if not image["src"].startswith("data:image/webp;base64,")]  # a film
    assert len(pictures) == len(drawn) >= 3
    assert all(picture["src"].startswith("data:image/svg+xml;base64,") for picture in pictures)
