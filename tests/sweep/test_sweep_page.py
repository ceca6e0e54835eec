"""The page of a sweep: every run is on it, and nothing of what strangers wrote becomes part of the page."""

from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dmh_lib.results import COLUMNS, read_results, write_results
from dmh_lib.sweep.gather import read_lives, write_lifetimes
from dmh_lib.sweep.orders import EXECUTED, PAGE, RESULTS, Order, TrainingTarget, order_of
from dmh_lib.sweep.page import MOST_CURVES, write_index
from dmh_lib.sweep.store import LOG, State, folder_of, write_state
from dmh_lib.versions import versions

HOSTILE = "<script>alert('x')</script>\"' {{ 7 * 7 }}"


def lifetimes(score: float) -> pd.DataFrame:
    tasks, episodes = np.divmod(np.arange(12), 3)
    table = pd.DataFrame(
        {"task": tasks, "episode": episodes + 1, "return": score, "percent_of_optimum": score}
    )
    about = {"method": "DM-H", "env_id": "dmh/Darkroom-v0", "seed": 0, "length": 20, "optimum": 100.0}
    return table.assign(**about)[list(COLUMNS)]


@pytest.fixture
def sweep(tmp_path: Path) -> tuple[list[Order], Path]:
    """Five runs: two done with lifetimes, one without, one failed, one missing."""
    rows = [{"rate": 0.1 * number, "word": HOSTILE, "seed": number % 2} for number in range(5)]
    orders = [order_of(TrainingTarget(Path("x")), "", {"size": 3}, row) for row in rows]
    for number, order in enumerate(orders[:4]):
        folder = folder_of(order, tmp_path)
        why = f"went wrong: {HOSTILE}" if number == 3 else None
        write_state(folder, State(order.digest, why, 1.5 * number, versions()))
        (folder / LOG).write_text("…")
        if number < 2:
            write_results(lifetimes(50.0 + number), folder / RESULTS)
            for name in (EXECUTED, PAGE):
                (folder / name).write_text("…")
    return orders, tmp_path


class Reader(HTMLParser):
    """Collects rows of the table, links and scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.rows, self.links, self.scripts, self.open = [], [], 0, ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open = tag
        if tag == "tr":
            self.rows.append([])
        if tag == "td":
            self.rows[-1].append("")
        if tag == "script":
            self.scripts += 1
        self.links += [str(value) for name, value in attrs if name in ("href", "src")]

    def handle_data(self, data: str) -> None:
        if self.rows and self.rows[-1] and self.open in ("td", "a"):
            self.rows[-1][-1] += data


def test_the_page(sweep: tuple[list[Order], Path]) -> None:
    orders, folder = sweep
    page = write_index(orders, folder, read_lives(orders, folder), "my sweep")
    text = page.read_text()
    reader = Reader()
    reader.feed(text)
    assert "5 runs: 3 done, 1 failed, 1 missing." in text
    rows = [[cell.strip() for cell in row] for row in reader.rows[1:]]
    assert len(rows) == 5
    assert [row[0] for row in rows] == ["0", "0.1", "0.2", "0.3", "0.4"]
    assert all(row[1] == HOSTILE for row in rows)
    assert [row[3] for row in rows] == ["done", "done", "done", "failed", "missing"]
    assert [row[5] for row in rows] == ["50", "51", "–", "–", "–"]
    assert rows[3][-1] == f"went wrong: {HOSTILE}"
    for link in reader.links:  # relative, to what is there
        assert (folder / link).is_file()
    assert len(reader.links) == 2 * 3 + 2
    assert "alert('x')" not in text.replace("&#39;", "'").replace("&lt;script&gt;alert('x')", "")
    assert "49" not in rows[0][1]


def test_without_lifetimes_there_are_no_curves(sweep: tuple[list[Order], Path]) -> None:
    orders, folder = sweep
    for some, drawn in ((orders, True), (orders[2:], False)):
        text = write_index(some, folder, read_lives(some, folder), "x").read_text()
        assert ("From episode to episode" in text) == drawn


def test_what_went_wrong_has_a_column_only_if_something_did(sweep: tuple[list[Order], Path]) -> None:
    orders, folder = sweep
    for some, failed in ((orders, True), (orders[:3], False)):
        text = write_index(some, folder, read_lives(some, folder), "x").read_text()
        assert ('<th class="text">what went wrong</th>' in text) == failed
        assert ('<td class="why">' in text) == failed


def test_only_the_best_are_drawn(tmp_path: Path) -> None:
    orders = [
        order_of(TrainingTarget(Path("x")), "", {}, {"rate": number}) for number in range(MOST_CURVES + 2)
    ]
    for number, order in enumerate(orders):
        write_state(folder_of(order, tmp_path), State(order.digest, None, 1.0, versions()))
        write_results(lifetimes(float(number)), folder_of(order, tmp_path) / RESULTS)
    text = write_index(orders, tmp_path, read_lives(orders, tmp_path), "x").read_text()
    assert f"The {MOST_CURVES} best of {MOST_CURVES + 2}." in text
    assert '"name":"rate 2"' in text
    assert '"name":"rate 1"' not in text


def test_lifetimes_come_together(sweep: tuple[list[Order], Path]) -> None:
    orders, folder = sweep
    write_lifetimes(orders, folder, read_lives(orders, folder))
    table = read_results(folder / RESULTS)
    assert table.groupby("run").size().to_dict() == {order.name: 12 for order in orders[:2]}
    assert set(table["swept.seed"]) == {0, 1}
    (folder / RESULTS).unlink()
    write_lifetimes(orders[2:], folder, read_lives(orders[2:], folder))
    assert not (folder / RESULTS).exists()


@pytest.mark.parametrize("what", ["text", "part"])
def test_any_file_may_be_called_results(sweep: tuple[list[Order], Path], what: str) -> None:
    orders, folder = sweep
    file = folder_of(orders[0], folder) / RESULTS
    if what == "text":
        file.write_text("something else")
    else:  # some task lacks an episode
        write_results(read_results(file)[:-1], file)
    text = write_index(orders, folder, read_lives(orders, folder), "x").read_text()
    assert "3 done" in text
