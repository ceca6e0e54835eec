"""The browser that is installed, driven from Python."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Page, sync_playwright

QUIET = [  # no sandbox, as CI runs as root; and nothing that asks the browser's own hosts
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


def installed() -> str | None:
    """Where Chromium or Chrome is, if anywhere."""
    return shutil.which("chromium") or shutil.which("google-chrome")


@contextmanager
def launched(path: str) -> Iterator[Browser]:
    """A browser while it is needed."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=QUIET)
        yield browser
        browser.close()


def new_page(browser: Browser, width: int, patience: float) -> Page:
    """An empty page, high enough for all of a panel, that waits so many seconds for what is asked of it."""
    page = browser.new_page(viewport={"width": width, "height": 1600})
    page.set_default_timeout(1000 * patience)
    return page
