"""Notebooks without a browser: run one through papermill, with its parameters checked first."""

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
import papermill
from papermill.exceptions import PapermillException, PapermillExecutionError
from traitlets.config import Config

from dmh_lib.errors import NotebookError
from dmh_lib.files import atomic_path
from dmh_lib.headless import HEADLESS

LONGEST_NAME = 1000  # letters of a name in the JSON of a notebook
# what a kernel is told and says back passes through sockets that others on the machine might listen at
ENCRYPTED = Config({"KernelManager": {"transport_encryption": "auto"}})


def read_notebook(notebook: str | os.PathLike[str]) -> nbformat.NotebookNode:
    """A notebook of any version as one of version 4, with all that the format asks for.

    Raises NotebookError when the file is missing or is no notebook.
    """
    path = Path(notebook)
    if not path.is_file():
        raise NotebookError(f"{path}: does not exist; give the path of a notebook")
    try:
        text = path.read_text(encoding="utf-8")
        json.loads(text, object_pairs_hook=_require_short_names)
        nodes = nbformat.reads(text, as_version=4)
        nbformat.validate(nodes)  # reading alone only logs what is wrong
        nbformat.writes(nodes).encode()  # half a character can be read, but not written again
    except Exception as error:  # old versions are brought up to date by code that trusts them
        said = str(error).partition("\n")[0] or repr(error)
        raise NotebookError(f"{path}: not a notebook ({said}); save it again from JupyterLab") from error
    return nodes


def _require_short_names(pairs: list[tuple[str, Any]]) -> None:
    """The format's own check compares names with patterns, which takes minutes for one of 100,000 letters."""
    if any(len(name) > LONGEST_NAME for name, _ in pairs):
        raise ValueError(f"a name has more than {LONGEST_NAME:,} letters")


def notebook_parameters(notebook: str | os.PathLike[str]) -> dict[str, str]:
    """Names in a notebook's parameters cell and their defaults, as Python source.

    Raises NotebookError when the file is missing, is no notebook, or has no parameters cell.
    """
    path = Path(notebook)
    nodes = read_notebook(path)
    if not any("parameters" in cell.metadata.get("tags", []) for cell in nodes.cells):
        raise NotebookError(f"{path}: no cell is tagged 'parameters'; tag the cell that sets the defaults")
    try:
        found = papermill.inspect_notebook(str(path))
    except (PapermillException, ValueError, TypeError, AttributeError, KeyError) as error:
        raise NotebookError(
            f"{path}: its parameters cannot be read ({error}); save it again from JupyterLab"
        ) from error
    return {name: entry["default"] for name, entry in found.items()}


def run_notebook(
    notebook: str | os.PathLike[str],
    output: str | os.PathLike[str],
    parameters: Mapping[str, Any] | None = None,
    *,
    timeout: int | None = 3600,
    progress: bool = False,
) -> Path:
    """Execute a notebook from its own folder and write the executed copy, or a page.

    Args:
        notebook: what to run; never changed.
        output: the executed notebook, or where its name ends in .html one page with all pictures inside;
            written even if a cell fails, so that the error can be read in it.
        parameters: values for names in its parameters cell.
        timeout: seconds that one cell may take; None for any time.
        progress: show a bar over cells.

    Raises:
        NotebookError: a parameter that the notebook does not have or an output in its place (nothing is run),
            or a cell that failed.
    """
    path, target, values = Path(notebook), Path(output), dict(parameters or {})
    known = notebook_parameters(path)
    if target.resolve() == path.resolve():
        raise NotebookError(f"{target}: the executed copy would replace the notebook; give another output")
    unknown = sorted(set(values) - set(known))
    if unknown:
        names = ", ".join(known) or "none"
        raise NotebookError(f"{path}: parameter '{unknown[0]}' is not in its parameters cell; it has {names}")
    with tempfile.TemporaryDirectory() as folder, atomic_path(target) as temporary:
        page = target.suffix.lower() == ".html"
        copy = Path(folder) / "executed.ipynb" if page else temporary
        failure: NotebookError | None = None
        try:
            with _headless():
                executed = papermill.execute_notebook(
                    str(path.resolve()),
                    str(copy.resolve()),
                    values,
                    cwd=str(path.resolve().parent),
                    progress_bar=progress,
                    execution_timeout=timeout,
                    kernel_name="python3",
                    config=ENCRYPTED,
                )
            failure = _stalled(path, target, executed, timeout)
        except PapermillExecutionError as error:
            failure = NotebookError(
                f"{path}: {error.ename} in cell {error.exec_count}: {error.evalue}; see {target}"
            )
        except (RuntimeError, TimeoutError) as error:  # a dead kernel, a cell over its time
            failure = NotebookError(f"{path}: {error}; see {target}")
            if not copy.exists():
                raise failure from error
        if page:
            from dmh_lib.pages import write_page  # slow to import, and every notebook imports this module

            write_page(copy, temporary)
    if failure is not None:
        raise failure
    return target


@contextmanager
def _headless() -> Iterator[None]:
    """Tell the kernels that are started meanwhile that nobody watches."""
    before = os.environ.get(HEADLESS)
    os.environ[HEADLESS] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[HEADLESS]
        else:
            os.environ[HEADLESS] = before


def _stalled(
    path: Path, target: Path, executed: nbformat.NotebookNode, timeout: int | None
) -> NotebookError | None:
    """An error if a cell lasted as long as it may: papermill counts some stalled cells as completed."""
    if timeout is None:
        return None
    for number, cell in enumerate(executed.cells, 1):
        if (cell.metadata.get("papermill", {}).get("duration") or 0) >= timeout:
            return NotebookError(f"{path}: cell {number} stalled for {timeout} seconds; see {target}")
    return None
