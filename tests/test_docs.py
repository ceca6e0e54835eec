"""What the documents say is there: every link within the project leads somewhere."""

import json
import re
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).parent.parent
LINK = re.compile(r"(?<!`)!?\[[^\]\n]*\]\(([^)\s]+)\)")
FENCED = re.compile(r"^(```|~~~).*?^\1", re.DOTALL | re.MULTILINE)


def documents() -> list[Path]:
    """Markdown files and notebooks of the project, not those of what is installed or was made."""
    folders = [ROOT, *(ROOT / name for name in ("benchmarks", "checkpoints", "data", "docs", "figures"))]
    found = [path for folder in folders for path in folder.glob("*.md")]
    return sorted(
        [*found, *(ROOT / "benchmarks/results").glob("*.md"), *(ROOT / "notebooks").rglob("*.ipynb")]
    )


def text_of(path: Path) -> str:
    """Its Markdown."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    return FENCED.sub("", text)


def anchors_of(path: Path) -> set[str]:
    """What its headings are called in links, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", text_of(path), re.MULTILINE)
    plain = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in headings]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("path", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    broken = []
    for link in LINK.findall(text_of(path)):
        if re.match(r"[a-z]+:", link):
            continue  # elsewhere; whether that is there is not for a test to find out
        place, _, anchor = unquote(link).partition("#")
        target = (path.parent / place).resolve() if place else path
        if not target.exists() or (
            anchor and target.suffix in (".md", ".ipynb") and anchor not in anchors_of(target)
        ):
            broken.append(link)
    assert not broken


def test_that_links_are_found() -> None:
    readme = LINK.findall(text_of(ROOT / "README.md"))
    assert "notebooks/12_mujoco.ipynb" in readme
    assert len(readme) > 20
    assert "the-command-line" in anchors_of(ROOT / "README.md")
