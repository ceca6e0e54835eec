"""Notebooks, up to where their cells would be run."""

import json
from pathlib import Path
from random import Random
from typing import Any

import nbformat
from fuzz_seed import Seed
from fuzz_values import EXECUTES, damaged_json, odd_value
from papermill.engines import Engine, papermill_engines

from dmh_lib.batch import notebook_parameters, run_notebook
from dmh_lib.pages import write_page

PARAMETERS = """\
seed = 0  # of all draws
rate: float = 1e-3
word = 'a'
sizes = [1, 2]
quick = True
more = 2 * seed
"""
MARKDOWN = (
    "# A title\n\nSome *text*, $x^2$ and\n\n$$\\frac{a}{b} \\tag{1}$$\n\n| a | b |\n|---|---|\n| 1 | 2 |\n"
)


class Nothing(Engine):
    """In the place of the engine that runs cells."""

    @classmethod
    def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, **_: Any) -> None:
        nb_man.notebook_complete()


def notebook(folder: Path) -> Path:
    code = nbformat.v4.new_code_cell
    outputs = [
        nbformat.v4.new_output("stream", text="hello\n"),
        nbformat.v4.new_output("display_data", {"text/html": "<b>x</b>", "image/png": "iVBORw0KGgo="}),
        nbformat.v4.new_output("error", ename="ValueError", evalue="x", traceback=["\x1b[31mx\x1b[0m"]),
    ]
    cells = [
        nbformat.v4.new_markdown_cell(MARKDOWN),
        code(PARAMETERS, metadata={"tags": ["parameters"]}),
        code("open('executed', 'w')", outputs=outputs, execution_count=1),
    ]
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"  # else by chance
    spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    language = {"name": "python", "version": "3.11", "file_extension": ".py", "pygments_lexer": "ipython3"}
    found = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": spec, "language_info": language})
    nbformat.write(found, folder / "notebook.ipynb")
    return folder / "notebook.ipynb"


def old_notebook(folder: Path) -> Path:
    """As version 3 has them."""
    path = notebook(folder)
    nbformat.write(nbformat.convert(nbformat.read(path, 4), 3), path)
    return path


def read(path: Path, out: Path) -> None:
    papermill_engines.register(None, Nothing)
    known = notebook_parameters(path)
    assert all(isinstance(name, str) and isinstance(default, str) for name, default in known.items())
    values = dict.fromkeys(list(known)[:2], 1)
    run_notebook(path, out / "executed.ipynb", values)
    run_notebook(path, out / "executed.html", values)


def show(path: Path, out: Path) -> None:
    write_page(path, out / "page.html")


def damage(rng: Random, path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    if rng.random() < 0.5:
        path.write_bytes(damaged_json(rng, text))
        return
    found = json.loads(text)
    for _ in range(rng.choice((1, 1, 2))):
        _damage(rng, found)
    path.write_text(json.dumps(found), encoding="utf-8")


def _damage(rng: Random, found: dict[str, Any]) -> None:
    cells = found.get("cells") or found["worksheets"][0]["cells"]
    cell, odd = rng.choice(cells), odd_value(rng)
    choice = rng.randrange(9)
    if choice == 0:
        cell["cell_type"] = rng.choice(("raw", "heading", "x", 3, None, "markdown", "code"))
    elif choice == 1:
        cell["source"] = rng.choice(
            (["a = 1\n", "b = 2"], 3, None, [1, 2], ["a", None], {"a": 1}, "a = (", odd)
        )
    elif choice == 2:
        cell["metadata"] = rng.choice(
            ({}, None, {"tags": "parameters"}, {"tags": 3}, {"tags": [3, "parameters"]}, odd)
        )
    elif choice == 3:
        spec = {
            "name": rng.choice(("../x", "a;b", "ir", "", None, "python3\n", odd)),
            "language": rng.choice(("R", "x", odd)),
        }
        found["metadata"]["kernelspec"] = rng.choice((spec, odd))
    elif choice == 4:
        found["metadata"]["language_info"] = rng.choice(({"name": odd}, {"name": "scala"}, {}, odd))
    elif choice == 5:
        found["nbformat"] = rng.choice((0, 1, 2, 3, 4, 5, 10**9, -1, "4", 4.0, None, odd))
    elif choice == 6:
        found["nbformat_minor"] = rng.choice((0, 4, 5, 99, -1, "5", None, odd))
    elif choice == 7:
        cell["outputs"] = rng.choice(
            (
                None,
                3,
                [3],
                [{"output_type": "x"}],
                [{"output_type": "stream", "text": odd, "name": odd}],
                [{}],
                odd,
            )
        )
    else:
        cell["source"] = PARAMETERS + rng.choice(
            (
                f"evil = {EXECUTES}\n",
                "s = 'a",
                "x = " + "(" * 500,
                "a b c = = 3\n",
                "\0",
                "x = 1 # " + "a" * 50_000,
                "=\n==\n",
                "é = 1\n",
                "x: 'y = 3' = 2",
                "seed = seed = 1",
                "import os\nx = os.environ\n",
                "$$ \\def\\a{\\a\\a} \\a $$",
                "[" * 2000,
                "> " * 2000 + "x",
                "*" * 5000,
                "- " * 1000 + "x",
            )
        )


SEEDS = (
    Seed(notebook, read, damage),
    Seed(notebook, show, damage),
    Seed(old_notebook, read, damage),
)
