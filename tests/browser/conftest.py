"""Pages with the explorer in JupyterLab and in Voilà, in the browser that is installed."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import chromium
import pytest
import servers
from explorer_page import PATIENCE, ExplorerPage, Watch, run_all
from playwright.sync_api import Browser

NOTEBOOKS = {"lab": Path("11_explorer.ipynb"), "voila": Path("app/explorer.ipynb")}
WIDTHS = {"lab": 1440, "voila": 1200}  # pixels; JupyterLab has a list of files beside the notebook
SERVERS = {"lab": servers.lab, "voila": servers.voila}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser, and not longer than for one module: other tests run event loops of their own."""
    found = chromium.installed()
    if found is None:
        reason = "no chromium and no google-chrome; install one to test pages"
        if os.environ.get("DMH_BROWSER") == "required":
            pytest.fail(reason)
        pytest.skip(reason)
    with chromium.launched(found) as launched:
        yield launched


@pytest.fixture(scope="module", params=list(NOTEBOOKS))
def place(request: pytest.FixtureRequest) -> str:
    """Where the explorer is looked at."""
    return str(request.param)


@pytest.fixture(scope="module")
def opened(
    browser: Browser, place: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[ExplorerPage, Watch]]:
    """The explorer on a page, and what was seen there that should not be."""
    home = tmp_path_factory.mktemp(place)
    notebook = home / "notebooks" / NOTEBOOKS[place]
    notebook.parent.mkdir(parents=True)
    shutil.copy(servers.ROOT / "notebooks" / NOTEBOOKS[place], notebook)
    (home / "checkpoints").symlink_to(servers.ROOT / "checkpoints")
    with SERVERS[place](notebook, home) as url:
        page = chromium.new_page(browser, WIDTHS[place], PATIENCE)
        watch = Watch(page)
        page.goto(url, wait_until="commit")
        if place == "lab":
            run_all(page)
        explorer = ExplorerPage(page)
        explorer.wait()
        yield explorer, watch
        page.close()


@pytest.fixture(scope="session")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pictures of the panels go."""
    folder = os.environ.get("DMH_SCREENSHOTS")
    return Path(folder) if folder else tmp_path_factory.mktemp("screenshots")


@pytest.fixture
def explorer(
    opened: tuple[ExplorerPage, Watch], place: str, screenshots: Path, request: pytest.FixtureRequest
) -> Iterator[ExplorerPage]:
    """The explorer; in the end there is a picture of it, and the page has done nothing that it should not."""
    page, watch = opened
    yield page
    name = request.node.originalname.removeprefix("test_")
    page.root.screenshot(path=screenshots / f"{name}-{place}.png")
    assert watch.found == []
