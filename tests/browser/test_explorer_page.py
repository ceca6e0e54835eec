"""The explorer in a browser: what a person does with it, in JupyterLab and in Voilà.

One page serves all tests of a place, so each begins by opening its panel and by reading how things stand.
"""

import re
from functools import partial

from explorer_page import ExplorerPage, after, drawn, slide, value_of
from playwright.sync_api import expect


def begins(text: str) -> re.Pattern[str]:
    return re.compile(f"^{re.escape(text)}")


def test_lifetime(explorer: ExplorerPage) -> None:
    """The arrow keys move through a lifetime; the goal is hidden until it is asked for."""
    explorer.open_tab("Lifetime")
    episode, step = explorer.control("episode"), explorer.control("step")
    room = explorer.picture("episode ")
    expect(explorer.root.locator("[data-title^='Share']")).to_have_count(0)  # nothing is to be uploaded
    title, marks = room.locator(".gtitle"), room.locator(".legendtext")
    last = value_of(episode)
    slide(step, "ArrowRight", 3)
    expect(title).to_have_text(begins(f"episode {last}, step 3: "))
    slide(episode, "ArrowLeft", 12)
    expect(title).to_have_text(begins(f"episode {last - 12}, step 3: "))
    expect(marks.filter(has_text="hidden goal")).to_have_count(0)
    explorer.panel.get_by_label("show the hidden goal").click()
    expect(marks.filter(has_text="hidden goal")).to_have_count(1)
    slide(step, "ArrowRight", 9)
    expect(title).to_have_text(begins(f"episode {last - 12}, step 12: "))


def test_context(explorer: ExplorerPage) -> None:
    """What is dropped, put elsewhere, shortened or relabelled changes the next action; all can be undone."""
    explorer.open_tab("Lifetime")
    slide(explorer.control("episode"), "End")
    slide(explorer.control("step"), "Home")
    explorer.open_tab("Context")
    chances = explorer.picture("next action")
    title = chances.locator(".gtitle")
    rows = explorer.panel.locator(".widget-hbox:has(> .widget-checkbox)")
    explorer.press("as lived")
    expect(title).to_contain_text(f": {rows.count()} past episodes")
    lived = drawn(chances)
    after(lambda: explorer.press("wipe the memory"), chances)
    expect(title).to_contain_text(": 0 past episodes")
    for row, left in ((rows.first, ": 1 past episode"), (rows.nth(1), ": 2 past episodes")):
        row.get_by_role("checkbox").click()
        expect(title).to_contain_text(left)
    after(lambda: rows.nth(1).locator("select").select_option("one at the end"), chances)
    names = [rows.nth(row).locator(".widget-checkbox").inner_text() for row in (0, 1)]
    after(lambda: explorer.press("↑", rows.nth(1)), chances)
    assert [rows.nth(row).locator(".widget-checkbox").inner_text() for row in (1, 0)] == names
    steps = rows.nth(1).locator(".widget-slider")
    length = value_of(steps)
    after(lambda: slide(steps, "Home"), chances)
    assert value_of(steps) < length
    explorer.press("as lived")
    expect(title).to_contain_text(f": {rows.count()} past episodes")
    assert drawn(chances) == lived
    explorer.press("sort by return")
    explorer.press("wipe the memory")
    expect(title).to_contain_text(": 0 past episodes")


def test_inside(explorer: ExplorerPage) -> None:
    """Chances, memory and attention follow the scrubber; layers and heads can be chosen."""
    explorer.open_tab("Lifetime")
    episode, step = explorer.control("episode"), explorer.control("step")
    slide(step, "Home")
    slide(step, "ArrowRight", 6)
    expect(explorer.picture("episode ").locator(".gtitle")).to_contain_text(", step 6: ")
    moment = value_of(episode)
    explorer.open_tab("Inside")
    expect(explorer.picture(f"episode {moment}: chances of the actions")).to_be_visible()
    expect(explorer.picture("what Mamba takes in and holds: chunk")).to_be_visible()
    attention = explorer.picture("attention before step 6, layer")
    expect(attention.locator(".gtitle")).to_contain_text("mean over heads")
    frame, title = attention.bounding_box(), attention.locator(".gtitle").bounding_box()
    assert frame is not None
    assert title is not None
    assert title["x"] + title["width"] <= frame["x"] + frame["width"]  # nothing is cut
    head = explorer.panel.locator("select").filter(has_text="mean over heads")
    after(lambda: head.select_option("head 2"), attention)
    expect(attention.locator(".gtitle")).to_contain_text("head 2")


def test_play(explorer: ExplorerPage) -> None:
    """A person walks with buttons and keys beside the agent, and gives it the episode."""
    explorer.open_tab("Play")
    number = re.search(r"episode (\d+), yours: step 0", explorer.panel.inner_text())
    assert number
    yours = int(number[1])
    room, chances = explorer.picture("your step"), explorer.picture("what the agent would do at step")
    title = room.locator(".gtitle")
    expect(title).to_have_text(begins("your step 0: "))
    expect(room.locator(".legendtext").filter(has_text="the agent's choice")).to_have_count(1)
    explorer.press("do as the agent would")
    expect(title).to_have_text(begins("your step 1: "))
    explorer.press("begin again")
    expect(title).to_have_text(begins("your step 0: "))
    explorer.press("do as the agent would")
    expect(title).to_have_text(begins("your step 1: "))
    explorer.press("put it into the agent's context")
    expect(explorer.panel).to_contain_text(f"episode {yours + 2}, yours: step 0")  # under the same tab
    explorer.open_tab("Lifetime")  # it ends with the person's episode, and the next of the agent
    expect(explorer.control("episode").locator(".widget-readout")).to_have_text(str(yours + 1))
    explorer.open_tab("Play")
    after(lambda: explorer.press("→ right"), room)
    expect(title).to_have_text(begins("your step 1: "))
    keys = explorer.panel.locator(".dmh-keys")
    keys.click()
    for step, key in enumerate(("ArrowUp", "ArrowUp", "ArrowLeft", " ", "ArrowDown"), 2):
        after(partial(explorer.page.keyboard.press, key), chances)
        expect(title).to_have_text(begins(f"your step {step}: "))
    expect(keys).to_be_focused()  # the notebook has not taken the keys


def test_compare(explorer: ExplorerPage) -> None:
    """Another agent plays the same task, and both are looked at side by side."""
    explorer.open_tab("Compare")
    beside = explorer.control("beside").locator("input")
    assert "darkroom-ad" in beside.input_value()
    returns, rooms = explorer.picture("task "), explorer.picture("episode ")
    after(lambda: explorer.press("play the same task"), returns)
    expect(returns.locator(".legendtext")).to_have_text(["DM-H", "AD"])
    expect(explorer.panel.get_by_role("button", name="play the same task")).to_be_enabled()
    episode = explorer.control("episode")
    number = value_of(episode)
    after(lambda: slide(episode, "ArrowLeft"), rooms)
    expect(rooms.locator(".gtitle")).to_have_text(f"episode {number - 1}")


def test_train(explorer: ExplorerPage) -> None:
    """Curves grow while a model trains; it stops when asked, and goes on."""
    explorer.open_tab("Train")
    explorer.fill("updates", 30)
    loss = explorer.picture("loss")
    message = explorer.panel.locator("> * > .widget-label")
    after(lambda: explorer.press("start"), loss)
    expect(message).to_have_text(re.compile(r"update \d+ of 30: loss"))
    explorer.press("stop")
    expect(message).to_have_text(re.compile(r"update \d+ of 30: stopped; resume goes on"))
    after(lambda: explorer.press("resume"), loss)
    expect(message).to_have_text("update 30 of 30: done")
    assert drawn(explorer.picture("on held-out tasks"))
    expect(explorer.panel.get_by_role("button", name="explore this agent")).to_be_enabled()


def test_check(explorer: ExplorerPage) -> None:
    """The model that reads all at once says what its agent says."""
    explorer.open_tab("Check")
    explorer.press("check")
    rows = explorer.panel.locator("table tr")
    expect(rows).to_have_count(3)  # heads, the sub-goal, the output
    expect(explorer.panel.get_by_text("✓ agree")).to_have_count(2)


def test_another_lifetime(explorer: ExplorerPage) -> None:
    """While the agent plays, a bar shows how far it is, and the page goes on answering."""
    explorer.open_tab("Lifetime")
    episode, step = explorer.control("episode"), explorer.control("step")
    slide(step, "Home")
    title = explorer.picture("episode ").locator(".gtitle")
    expect(title).to_contain_text(", step 0: ")
    explorer.fill("episodes", 40, explorer.head)
    explorer.head.locator(".progress-bar").evaluate(
        "bar => { window.widths = []; new MutationObserver(() => window.widths.push(bar.style.width))"
        ".observe(bar, {attributes: true}) }"
    )
    # a picture of the old lifetime may be replaced by the new one's before anybody looks
    explorer.page.evaluate(
        "window.titles = []; new MutationObserver(() => document.querySelectorAll('.gtitle').forEach("
        "one => window.titles.push(one.textContent)))"
        ".observe(document.body, {childList: true, subtree: true})"
    )
    # in one go, or a quick machine has played it all between the two
    play = explorer.head.get_by_role("button", name="play", exact=True)
    handle = step.locator(".noUi-handle").element_handle()
    play.evaluate(
        "(play, handle) => { play.click(); "
        "handle.dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowRight', bubbles: true})) }",
        handle,
    )
    explorer.page.wait_for_function("window.titles.some(one => one.includes(', step 1: '))")
    expect(episode.locator(".widget-readout")).to_have_text("40")
    widths = explorer.page.evaluate("window.widths")
    assert len(set(widths)) > 5, f"no progress was seen: {widths}"


def test_files(explorer: ExplorerPage) -> None:
    """A lifetime goes into a file and comes back."""
    explorer.open_tab("Lifetime")
    room = explorer.picture("episode ")
    last = value_of(explorer.control("episode"))
    explorer.fill("episodes", last - 1, explorer.head)
    explorer.press("save", explorer.head)
    expect(explorer.head.filter(has_text="wrote ")).to_be_visible()
    explorer.press("load", explorer.head)
    expect(explorer.control("episode").locator(".widget-readout")).to_have_text(str(last - 1))
    expect(room.locator(".gtitle")).to_have_text(begins(f"episode {last - 1}, step 0: "))
