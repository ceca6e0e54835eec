"""The page of a sweep in a browser: headings sort, lists filter, and it asks for nothing from elsewhere."""

from pathlib import Path

import chromium
from playwright.sync_api import Browser

from dmh_lib.sweep.gather import read_lives
from dmh_lib.sweep.orders import TrainingTarget, order_of
from dmh_lib.sweep.page import write_index
from dmh_lib.sweep.store import State, folder_of, write_state


def test_sort_and_filter(browser: Browser, tmp_path: Path) -> None:
    rows = [{"rate": rate, "seed": seed} for rate in (10, 9, 0.5) for seed in range(2)]
    orders = [order_of(TrainingTarget(Path("x")), "", {}, row) for row in rows]
    for number, order in enumerate(orders[:5]):
        write_state(folder_of(order, tmp_path), State(order.digest, None, float(number), {}))
    file = write_index(orders, tmp_path, read_lives(orders, tmp_path), "x").as_uri()
    page, asked, errors = chromium.new_page(browser, 1200, 10_000), list[str](), list[str]()
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(file)

    def column(number: int) -> list[str]:
        return [row.split("\t")[number] for row in page.locator("tbody tr:visible").all_inner_texts()]

    assert column(0) == ["10", "10", "9", "9", "0.5", "0.5"]
    page.get_by_role("button", name="rate").click()
    assert column(0) == ["0.5", "0.5", "9", "9", "10", "10"]  # as numbers
    page.get_by_role("button", name="seconds").click()
    page.get_by_role("button", name="seconds").click()
    assert column(3) == ["4", "3", "2", "1", "0", "–"]  # what is not known stays last
    page.get_by_label("filter by seed").select_option("1")
    page.get_by_label("filter by state").select_option("done")
    assert column(0) == ["9", "10"]
    assert page.locator("#shown").inner_text() == "2"
    assert asked == [file]
    assert errors == []
    page.close()
