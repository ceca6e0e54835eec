"""How fast the explorer answers in JupyterLab: python benchmarks/explorer.py --help."""

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nbformat
import tyro
from playwright.sync_api import Locator, Page, expect

from dmh_lib.bench.common import describe_machine
from dmh_lib.errors import BenchmarkError, DMHError

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "browser"))

import chromium
import servers
from explorer_page import PATIENCE, ExplorerPage, begin, slide

CELL = "from dmh_lib.widgets import explore\nexplore({checkpoint!r}, episodes={episodes})"
# milliseconds in the page from a key or click to another title of a picture
STOPWATCH = """
picture => {
  const title = () => picture.querySelector(".gtitle")?.textContent;
  let begun = null, before = null;
  window.answers = [];
  for (const kind of ["keydown", "click"])
    window.addEventListener(kind, () => { begun = performance.now(); before = title(); }, true);
  new MutationObserver(() => {
    if (begun === null || title() === undefined || title() === before) return;
    window.answers.push(performance.now() - begun);
    begun = null;
  }).observe(picture, { subtree: true, childList: true, characterData: true });
}
"""


@dataclass(frozen=True)
class Settings:
    """How fast does the explorer answer in JupyterLab, on a lifetime in a dark room?"""

    checkpoint: Path = ROOT / "checkpoints" / "darkroom-dm-h"
    """folder of the agent"""
    episodes: int = 20
    """of the lifetime"""
    moves: int = 20
    """of the scrubber, and of the context editor"""
    json: Path | None = None
    """where to write what was measured"""


def measure(settings: Settings) -> dict[str, float]:
    """Seconds to the first picture, in a new kernel and in a used one; median milliseconds of moves.

    Raises BenchmarkError where there is no browser.
    """
    browser_path = chromium.installed()
    if browser_path is None:
        raise BenchmarkError("browser: none is installed; install chromium or google-chrome")
    cell = CELL.format(checkpoint=str(settings.checkpoint.resolve()), episodes=settings.episodes)
    with tempfile.TemporaryDirectory() as folder:
        notebook = Path(folder, "notebooks", "explorer.ipynb")
        notebook.parent.mkdir()
        kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        nodes = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)], metadata=kernel)
        nbformat.write(nodes, notebook)
        with servers.lab(notebook, Path(folder)) as url, chromium.launched(browser_path) as browser:
            page = chromium.new_page(browser, 1700, PATIENCE)
            page.goto(url, wait_until="commit")
            explorer = ExplorerPage(page)
            return {
                "first picture, new kernel (s)": first_picture(page, explorer),
                "first picture, again (s)": first_picture(page, explorer),
                "scrubber (ms)": scrubber(explorer, settings.moves),
                "context editor (ms)": context_editor(explorer, settings.moves),
            }


def first_picture(page: Page, explorer: ExplorerPage) -> float:
    """Seconds from running the cell to the first picture."""
    page.evaluate("document.querySelectorAll('.gtitle').forEach(one => one.remove())")  # of a run before
    begin(page)
    start = time.perf_counter()
    explorer.wait()
    return time.perf_counter() - start


def scrubber(explorer: ExplorerPage, moves: int) -> float:
    """Median milliseconds from an arrow key to the moment's picture."""
    step = explorer.control("step")
    picture = explorer.picture("episode ")

    def move(number: int) -> None:
        slide(step, "ArrowRight" if number // 10 % 2 == 0 else "ArrowLeft")

    return answers(picture, move, moves)


def context_editor(explorer: ExplorerPage, moves: int) -> float:
    """Median milliseconds from a tick to the chances of the next action."""
    explorer.open_tab("Context")
    boxes = explorer.panel.get_by_role("checkbox")
    picture = explorer.picture("next action")
    rows = boxes.count()
    return answers(picture, lambda number: boxes.nth(number % rows).click(), moves)


def answers(picture: Locator, move: Callable[[int], None], moves: int) -> float:
    """Median of the times from moves to another title of a picture."""
    expect(picture).to_be_visible()
    picture.evaluate(STOPWATCH)
    for number in range(moves):
        move(number)
        picture.page.wait_for_function(f"window.answers.length > {number}")
    return statistics.median(picture.page.evaluate("window.answers"))


def main() -> None:
    """Measure, print, and write where told."""
    settings = tyro.cli(Settings)
    try:
        found = measure(settings)
    except DMHError as error:
        sys.exit(str(error))
    for what, number in found.items():
        print(f"{what:32} {number:8.2f}")
    if settings.json is not None:
        record = {
            "checkpoint": settings.checkpoint.name,
            "episodes": settings.episodes,
            "moves": settings.moves,
            "measured": found,
            "machine": describe_machine(),
        }
        settings.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
