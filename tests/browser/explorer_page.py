"""The explorer on a page, as a person uses it: tabs, sliders, buttons, pictures."""

import re
import time
from collections.abc import Callable

from playwright.sync_api import ConsoleMessage, Locator, Page, expect

PATIENCE = 120  # seconds; long, as machines that run tests may be busy with other things
STARTING = 300  # seconds for a kernel, its imports and all cells of a notebook
expect.set_options(timeout=1000 * PATIENCE)


class Watch:
    """What a page should not do: fail, complain, or ask another host for anything.

    Attributes:
        found: a line for each time that it did.
    """

    def __init__(self, page: Page) -> None:
        self.found: list[str] = []
        page.on("pageerror", lambda error: self.found.append(f"page error: {error}"))
        page.on("console", self._console)
        page.on("request", lambda request: self._address(request.url))
        page.on("websocket", lambda socket: self._address(socket.url))

    def _console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.found.append(f"console error: {message.text}")

    def _address(self, url: str) -> None:
        if not re.match(r"data:|blob:|(http|ws)://127\.0\.0\.1:", url):
            self.found.append(f"request to another host: {url}")


class ExplorerPage:
    """The explorer's widgets on a page.

    Args:
        page: one on which the explorer is, or will be.

    Attributes:
        root: everything of the explorer.
        head: what is above the tabs.
        panel: what the open tab shows.
    """

    def __init__(self, page: Page) -> None:
        self.page = page
        self.root = page.locator(".jp-OutputArea-output .widget-vbox:has(> .widget-tab)")
        self.head = self.root.locator("> .widget-hbox")
        self.panel = self.root.locator("> .widget-tab > .widget-tab-contents > :not(.lm-mod-hidden)")

    def wait(self) -> None:
        """Until it is there, with its first picture."""
        expect(self.panel.locator(".gtitle").first).to_be_visible(timeout=1000 * STARTING)

    def open_tab(self, title: str) -> None:
        """Open a tab and wait until there is something in it."""
        tabs = self.root.locator("> .widget-tab > .lm-TabBar .lm-TabBar-tab")
        tabs.filter(has_text=re.compile(f"^{title}$")).click()
        expect(tabs.and_(self.page.locator(".lm-mod-current"))).to_have_text(title)
        expect(self.panel.locator("button, .js-plotly-plot").first).to_be_visible()

    # ------------------------------------------------------------------ controls

    def control(self, label: str, within: Locator | None = None) -> Locator:
        """A slider, field or menu by its label, of the open panel if nothing else is given."""
        named = self.page.locator(".widget-label", has_text=re.compile(f"^{re.escape(label)}$"))
        return (within or self.panel).locator(".widget-inline-hbox").filter(has=named)

    def fill(self, label: str, value: object, within: Locator | None = None) -> None:
        """Type into a field."""
        field = self.control(label, within).locator("input")
        field.fill(str(value))
        field.press("Enter")

    def press(self, name: str, within: Locator | None = None) -> None:
        """Press a button."""
        (within or self.panel).get_by_role("button", name=name, exact=True).click()

    # ------------------------------------------------------------------ pictures

    def picture(self, title: str) -> Locator:
        """A picture of the open panel by what its title begins with."""
        named = self.page.locator(".gtitle", has_text=re.compile(f"^{title}"))
        return self.panel.locator(".js-plotly-plot").filter(has=named)


def run_all(page: Page) -> None:
    """Run all cells of the notebook that is open in JupyterLab, and wait until the last one is done."""
    begin(page)
    number = re.compile(r"\[\d+\]:")
    done = page.locator(".jp-CodeCell .jp-InputPrompt").last.filter(has_text=number)
    errors = page.locator(".jp-OutputArea-output", has_text="Traceback (most recent call last)")
    expect(done.or_(errors).first).to_be_attached(timeout=1000 * STARTING)
    assert errors.all_inner_texts() == []


def begin(page: Page) -> None:
    """Run all cells of the notebook that is open in JupyterLab, once its kernel is there."""
    # by the bar at the bottom; the toolbar says idle before there is a kernel, and what is run then is lost
    idle = page.locator(".jp-StatusBar-Widget").get_by_text(re.compile(r"\| Idle$"))
    expect(idle).to_be_visible(timeout=1000 * STARTING)
    for name in ("Run", "Run All Cells"):
        page.get_by_role("menuitem", name=name, exact=True).click()


def slide(slider: Locator, key: str, times: int = 1) -> None:
    """Move a slider with a key."""
    for _ in range(times):
        slider.locator(".noUi-handle").press(key)


def value_of(slider: Locator) -> int:
    """Where a slider stands."""
    return int(slider.locator(".widget-readout").inner_text())


def drawn(picture: Locator) -> list[str]:
    """The outlines of what a picture shows; others when it has changed."""
    shapes = picture.locator(".mlayer path, .mlayer image, .shapelayer path")
    found: list[str] = shapes.evaluate_all("all => all.map(one => one.outerHTML)")
    return found


def after(change: Callable[[], object], picture: Locator) -> list[str]:
    """What a picture shows once a change has changed it."""
    before, until = drawn(picture), time.monotonic() + PATIENCE
    change()
    while (now := drawn(picture)) == before:
        assert time.monotonic() < until, "the picture stays as it is"
        picture.page.wait_for_timeout(50)
    return now
