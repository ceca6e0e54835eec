"""Executed notebooks as pages: pictures and formulas inside, nothing from elsewhere."""

import re
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup

from dmh_lib.errors import NotebookError
from dmh_lib.pages import write_page

PICTURE = '<img alt="a curve" src="data:image/svg+xml;base64,PHN2Zy8+">'
TEXT = r"""# A title

With $x_k \le \frac{1}{2}$ and a price of \$3 in `$code$`, **bold**:

$$h_t = \exp(\Delta_t A)\,h_{t-1}, \qquad h_0 = 0. \tag{2}$$

A broken one: $\frac$.
"""


def executed(path: Path) -> Path:
    """A notebook with a picture among its outputs, and state of widgets that would come from another host."""
    cell = nbformat.v4.new_code_cell("show(figure)")
    cell.outputs = [nbformat.v4.new_output("display_data", {"text/html": PICTURE, "text/plain": "a curve"})]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(TEXT), cell])
    state = {"application/vnd.jupyter.widget-state+json": {"state": {}, "version_major": 2}}
    notebook.metadata["widgets"] = state
    nbformat.write(notebook, path)
    return path


def fetched(page: BeautifulSoup) -> list[str]:
    """What a browser would ask a server for."""
    named = [tag.get(key) for tag in page.find_all() for key in ("src", "srcset", "data", "poster")]
    linked = [tag.get("href") for tag in page.find_all("link")]
    in_styles = [
        address
        for style in page.find_all("style")
        for address in re.findall(r"""(?:@import\s+|url\()\s*["']?([^"')\s]+)""", style.text)
    ]
    return [address for address in named + linked + in_styles if address and not address.startswith("data:")]


def test_a_page_holds_all_that_it_shows(tmp_path: Path) -> None:
    path = write_page(executed(tmp_path / "n.ipynb"), tmp_path / "made" / "n.html")
    page = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
    assert page.title is not None
    assert page.title.text == "A title"
    assert [image["alt"] for image in page.find_all("img")] == ["a curve"]
    assert fetched(page) == []
    assert page.find_all("script") == []


def test_formulas_become_mathml(tmp_path: Path) -> None:
    page = write_page(executed(tmp_path / "n.ipynb"), tmp_path / "n.html").read_text(encoding="utf-8")
    inline, numbered = BeautifulSoup(page, "html.parser").find_all("math")
    assert (inline["display"], numbered["display"]) == ("inline", "block")
    assert inline.find("mfrac") is not None
    assert numbered.text.replace("\xa0", " ").endswith("(2)")
    assert r"<code>\frac</code>" in page  # what cannot be converted stays as it was written
    assert "<code>$code$</code>" in page
    assert "<strong>bold</strong>" in page


def test_what_is_no_notebook(tmp_path: Path) -> None:
    with pytest.raises(NotebookError, match=r"n\.ipynb: does not exist"):
        write_page(tmp_path / "n.ipynb", tmp_path / "n.html")
    (tmp_path / "n.ipynb").write_text("[" * 100_000)
    with pytest.raises(NotebookError, match=r"n\.ipynb: not a notebook"):
        write_page(tmp_path / "n.ipynb", tmp_path / "n.html")
    assert not (tmp_path / "n.html").exists()
