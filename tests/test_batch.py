"""Notebooks run headless: parameters checked first, failures named, nothing half-written."""

from pathlib import Path

import nbformat
import pytest

from dmh_lib.batch import notebook_parameters, run_notebook
from dmh_lib.errors import NotebookError
from dmh_lib.headless import is_headless


def make_notebook(path: Path, *cells: str, tagged: bool = True) -> Path:
    nodes = [nbformat.v4.new_code_cell(source) for source in cells]
    if tagged:
        nodes[0].metadata["tags"] = ["parameters"]
    notebook = nbformat.v4.new_notebook(cells=nodes)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, path)
    return path


def test_a_run_takes_parameters_and_leaves_the_source_alone(tmp_path: Path) -> None:
    body = (
        "from pathlib import Path\nfrom dmh_lib.headless import is_headless\n"
        'Path("made").write_text(f"{a} {b} {is_headless()}")'
    )
    path = make_notebook(tmp_path / "sum.ipynb", "a = 1\nb = 'x'", body)
    before = path.read_bytes()
    assert notebook_parameters(path) == {"a": "1", "b": "'x'"}
    output = run_notebook(path, tmp_path / "out" / "sum.ipynb", {"a": 41})
    assert (tmp_path / "made").read_text() == "41 x True"  # beside the notebook: it runs in its own folder
    assert path.read_bytes() == before
    assert not is_headless()
    executed = nbformat.read(output, as_version=4)
    assert any("injected-parameters" in cell.metadata.get("tags", []) for cell in executed.cells)
    assert sorted(entry.name for entry in output.parent.iterdir()) == ["sum.ipynb"]


def test_a_kernel_is_spoken_to_in_secret(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """It would warn otherwise, once for each notebook."""
    body = "import json, ipykernel\njson.load(open(ipykernel.get_connection_file()))['curve_publickey'][:0]"
    run_notebook(make_notebook(tmp_path / "n.ipynb", "seed = 0", body), tmp_path / "out.ipynb")
    assert "encryption" not in capfd.readouterr().err


def test_an_unknown_parameter_runs_nothing(tmp_path: Path) -> None:
    path = make_notebook(tmp_path / "n.ipynb", "seed = 0", "open('made', 'w')")
    with pytest.raises(NotebookError, match="parameter 'sed' is not in its parameters cell; it has seed"):
        run_notebook(path, tmp_path / "out.ipynb", {"sed": 1})
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["n.ipynb"]


def test_a_failing_cell_is_named_and_its_notebook_kept(tmp_path: Path) -> None:
    path = make_notebook(tmp_path / "n.ipynb", "seed = 0", "1 / seed")
    with pytest.raises(
        NotebookError, match=r"n.ipynb: ZeroDivisionError in cell 2: division by zero; see .*out.ipynb"
    ):
        run_notebook(path, tmp_path / "out.ipynb")
    outputs = [
        output
        for cell in nbformat.read(tmp_path / "out.ipynb", 4).cells
        for output in cell.get("outputs", [])
    ]
    assert any(output.output_type == "error" for output in outputs)


def test_a_cell_over_its_time_is_a_failure(tmp_path: Path) -> None:
    path = make_notebook(tmp_path / "n.ipynb", "seed = 0", "import time; time.sleep(60)")
    with pytest.raises(NotebookError, match=r"n\.ipynb: .*2 seconds"):
        run_notebook(path, tmp_path / "out.ipynb", timeout=2)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"not json",
        b'{"cells": 3, "nbformat": 4, "nbformat_minor": 5}',
        b"[" * 100_000,
        b'{"cells": [{"cell_type": "x"}], "metadata": {}, "nbformat": 4, "nbformat_minor": 4}',
        b'{"cells": [{"cell_type": "raw", "source": 3}], "metadata": {}, "nbformat": 4, "nbformat_minor": 4}',
        b'{"cells": [], "metadata": {"x": "\\ud800"}, "nbformat": 4, "nbformat_minor": 4}',
        b'{"cells": [], "metadata": {"' + 100_000 * b"x" + b'": 1}, "nbformat": 4, "nbformat_minor": 4}',
        b'{"worksheets": [3], "metadata": {}, "nbformat": 3, "nbformat_minor": 0}',
    ],
)
def test_what_is_no_notebook(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "n.ipynb"
    path.write_bytes(content)
    with pytest.raises(NotebookError, match=r"n\.ipynb: not a notebook"):
        run_notebook(path, tmp_path / "out.ipynb")
    assert not (tmp_path / "out.ipynb").exists()


def test_a_notebook_of_another_language(tmp_path: Path) -> None:
    path = make_notebook(tmp_path / "n.ipynb", "seed = 0")
    nodes = nbformat.read(path, 4)
    nodes.metadata["kernelspec"] = {"name": "cobol", "display_name": "COBOL", "language": "cobol"}
    nbformat.write(nodes, path)
    with pytest.raises(NotebookError, match=r"n\.ipynb: its parameters cannot be read .*'cobol'"):
        run_notebook(path, tmp_path / "out.ipynb", {"seed": 1})


def test_a_missing_notebook_and_one_without_parameters(tmp_path: Path) -> None:
    with pytest.raises(NotebookError, match="does not exist"):
        run_notebook(tmp_path / "n.ipynb", tmp_path / "out.ipynb")
    path = make_notebook(tmp_path / "n.ipynb", "seed = 0", tagged=False)
    with pytest.raises(NotebookError, match="no cell is tagged 'parameters'"):
        run_notebook(path, tmp_path / "out.ipynb")


def test_the_notebook_itself_is_never_the_output(tmp_path: Path) -> None:
    path = make_notebook(tmp_path / "n.ipynb", "seed = 0")
    before = path.read_bytes()
    with pytest.raises(NotebookError, match="would replace the notebook"):
        run_notebook(path, tmp_path / "." / "n.ipynb")
    assert path.read_bytes() == before
