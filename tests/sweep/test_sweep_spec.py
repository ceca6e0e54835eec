"""Sweeps as files: what they ask for, what is refused, and under which names runs lie."""

import json
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dmh_lib.errors import DataError, DMHError, NotebookError, SettingError
from dmh_lib.sweep.orders import LONGEST_NAME, NotebookTarget, TrainingTarget, order_of, read_order
from dmh_lib.sweep.spec import MOST_RUNS, Sweep, read_sweep
from dmh_lib.sweep.store import STATE, State, folder_of, read_state, write_state
from dmh_lib.sweep.yaml_files import _Loader, read_yaml

CELL = "rate = 1e-3\nseed = 0\nsizes = [1]\nword = 'a'\nquick = True\nsmall = -seed\nrun_dir = 'x'"


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    cell = nbformat.v4.new_code_cell(CELL, metadata={"tags": ["parameters"]})
    path = tmp_path / "small.ipynb"
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata={"kernelspec": kernel}), path)
    return path


def swept(folder: Path, text: str) -> Sweep:
    path = folder / "sweep.yaml"
    path.write_text(text)
    return read_sweep(path)


def test_rows(notebook: Path) -> None:
    sweep = swept(
        notebook.parent,
        """
notebook: small.ipynb
parameters: {quick: false}
product:
  seed: {range: [1, 6, 2]}
  rate: [1e-3, .5]
zip:
  word: [a, b]
  sizes: [[1, 2], []]
""",
    )
    orders = sweep.orders()
    assert len(orders) == len(sweep) == 3 * 2 * 2
    assert orders[0].parameters == {"quick": False, "seed": 1, "rate": 0.001, "word": "a", "sizes": [1, 2]}
    assert orders[1].swept == {"seed": 1, "rate": 0.001, "word": "b", "sizes": []}
    assert orders[-1].swept == {"seed": 5, "rate": 0.5, "word": "b", "sizes": []}
    assert len({order.name for order in orders}) == len({order.digest for order in orders}) == 12
    assert orders[0].name.startswith("seed-1_rate-0.001_word-a_sizes-_1_2")


def test_a_sweep_of_one_run(notebook: Path) -> None:
    (order,) = swept(notebook.parent, "notebook: small.ipynb").orders()
    assert order.parameters == order.swept == {}
    assert order.name == order.digest[:8]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("notebook: small.ipynb\nproduct: {seeds: [1]}", "seeds: is no parameter of"),
        (
            "notebook: small.ipynb\nparameters: {seed: one}",
            "seed: 'one' is a text, and what stands there is a num",
        ),
        ("notebook: small.ipynb\nproduct: {seed: [1, true]}", "seed: True is true or false, and what"),
        (
            "notebook: small.ipynb\nproduct: {sizes: [[1], 2]}",
            "sizes: 2 is a number, and what stands there is a list",
        ),
        ("notebook: small.ipynb\nproduct: {rate: [.nan]}", "must be plain finite values"),
        ("notebook: small.ipynb\nparameters: {word: 2026-01-01}", "word: .* is nothing"),
        ("notebook: small.ipynb\nproduct: {seed: [1, 1]}", "product.seed: 1 stands twice"),
        (
            "notebook: small.ipynb\nproduct: {seed: []}",
            "product.seed: must be a list with at least one value",
        ),
        ("notebook: small.ipynb\nproduct: {seed: 3}", "product.seed: must be a list"),
        ("notebook: small.ipynb\nproduct: {seed: {range: 1.5}}", "range takes one to three whole numbers"),
        ("notebook: small.ipynb\nproduct: {seed: {range: [1, 2, 0]}}", "range needs a step other than 0"),
        ("notebook: small.ipynb\nproduct: {seed: {range: 1000000000000}}", "values are more than"),
        (
            "notebook: small.ipynb\nproduct: {seed: {range: 400}, rate: {range: 400}}",
            "160,000 runs are more than",
        ),
        (
            "notebook: small.ipynb\nzip: {seed: [1], rate: [1, 2]}",
            "zip: its lists must be equally long, got seed 1, r",
        ),
        ("notebook: small.ipynb\nzip: {seed: [1]}\nproduct: {seed: [2]}", "seed: stands in two of"),
        ("notebook: small.ipynb\nproduct: [seed]", "product: must hold names and values"),
        ("notebook: small.ipynb\ngrid: {}", "field: 'grid' is not known"),
        ("notebook: small.ipynb\npreset: small", "preset: is for train"),
        ("notebook: 3", "notebook: must be a text"),
        ("notebook: small.ipynb\ntrain: data.hdf5", "notebook: give that or train"),
        ("product: {}", "notebook: give that or train"),
        ("train: data.hdf5", "data.hdf5 does not exist"),
        ("train: sweep.yaml\npreset: huge", "preset: 'huge' is not known"),
        ("train: sweep.yaml\nepisodes: 0", "episodes: must be a whole number from 1"),
        ("train: sweep.yaml\nseeds: [-1]", "seeds: must be whole numbers from 0"),
        ("train: sweep.yaml\nproduct: {updates: [1]}", "updates: is no setting of these; they are model"),
        ("train: sweep.yaml\nproduct: {training.updates: [1, 0]}", "updates: must be at least 1"),
        ("train: sweep.yaml\nproduct: {model.__class__: [1]}", "is no setting"),
        ("- notebook", "must hold names and values"),
        ("notebook: a\nnotebook: b", "the key 'notebook' stands twice"),
        ("1: a", "the key 1 is no text"),
        ("a: !!python/object/apply:os.system [true]", "not YAML"),
        ("a: [", "not YAML"),
        ("a: " + 5000 * "[", "not YAML"),
        ("a: \x00", "not YAML"),
        (
            "notebook: small.ipynb\nproduct: {seed: [0x" + 5000 * "f" + "]}",
            "a number of more than 1,024 bits",
        ),
        ("notebook: small.ipynb\nproduct: {sizes: [&a [*a]]}", "not YAML .*recursive"),
        (
            "notebook: small.ipynb\nproduct: {word: [&a '" + 9000 * "x" + "'" + 200 * ", *a" + "]}",
            "100,000 values",
        ),
        (
            f"notebook: small.ipynb\nparameters: {{sizes: {9000 * [1]}}}\nproduct: {{seed: {{range: 9999}}}}",
            "9,999 runs of .* characters each are too many",
        ),
        ("notebook: /dev/zero", "/dev/zero: does not exist"),
        ("notebook: nowhere.ipynb", "nowhere.ipynb: does not exist"),
        ("notebook: " + 300 * "x", "File name too long"),
        ('train: "a\\0b"', "does not exist"),
    ],
)
def test_what_is_refused(notebook: Path, text: str, said: str) -> None:
    """Before anything is run, in one line that names the file."""
    with pytest.raises(DMHError, match=said) as error:
        swept(notebook.parent, text).orders()
    assert str(error.value).startswith(str(notebook.parent / "sweep.yaml"))


def test_missing_and_large_files(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="cannot be read"):
        read_sweep(tmp_path / "no.yaml")
    with pytest.raises(NotebookError, match="does not exist"):
        swept(tmp_path, "notebook: no.ipynb\nparameters: {seed: 1}").orders()
    (tmp_path / "large.yaml").write_text("# " + 1_000_000 * "x")
    with pytest.raises(SettingError, match="larger than 100,000 bytes"):
        read_sweep(tmp_path / "large.yaml")


def test_aliases_do_not_grow(tmp_path: Path) -> None:
    """A thousand million entries in a few lines."""
    lines = ["a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"{b}: &{b} [{', '.join(10 * ['*' + a])}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True)]
    (tmp_path / "laughs.yaml").write_text("\n".join(lines))
    with pytest.raises(SettingError, match=r"laughs\.yaml: holds more than 100,000 values where aliases"):
        read_sweep(tmp_path / "laughs.yaml")


def test_settings_of_a_training(tmp_path: Path) -> None:
    (tmp_path / "data.hdf5").write_bytes(b"")
    text = "train: data.hdf5\nproduct: {model.chunk_len: [5, 10], training.seed: {range: 2}}"
    orders = swept(tmp_path, text).orders()
    target = orders[-1].target
    assert isinstance(target, TrainingTarget)
    settings = target.settings(orders[-1].parameters)
    assert (settings.model.chunk_len, settings.training.seed) == (10, 1)


def test_an_order_is_what_was_written(notebook: Path, tmp_path: Path) -> None:
    (tmp_path / "data.hdf5").write_bytes(b"")
    for target in (NotebookTarget(notebook), TrainingTarget(tmp_path / "data.hdf5", seeds=(3,))):
        order = order_of(target, target.fingerprint(), {"seed": 1}, {"rate": 0.5})
        (tmp_path / "order.json").write_text(json.dumps(order.to_json()))
        assert read_order(tmp_path / "order.json") == order


@pytest.mark.parametrize("name", ["..", ".", "", ".hidden", "a/b", "/a", "a\\b", "a\0b", "~", 3, None])
def test_an_order_leads_nowhere_else(notebook: Path, tmp_path: Path, name: object) -> None:
    order = order_of(NotebookTarget(notebook), "", {}, {})
    (tmp_path / "order.json").write_text(json.dumps({**order.to_json(), "name": name}))
    with pytest.raises(DataError, match=r"order\.json: is no order of a sweep"):
        read_order(tmp_path / "order.json")


@pytest.mark.parametrize(
    "target", [{"path": "a\0b"}, {"path": 3}, {"data": "x", "preset": "small", "episodes": 0, "seeds": [1]}]
)
def test_an_order_of_what_cannot_be(notebook: Path, tmp_path: Path, target: dict[str, object]) -> None:
    stored = {**order_of(NotebookTarget(notebook), "", {}, {}).to_json(), "target": target}
    stored["kind"] = "train" if "data" in target else "notebook"
    (tmp_path / "order.json").write_text(json.dumps(stored))
    with pytest.raises(DataError, match=r"order\.json: is no order of a sweep"):
        read_order(tmp_path / "order.json")


@pytest.mark.parametrize("changes", [{"seconds": "long"}, {"seconds": 10**400}, {"why": 3}, {"more": 1}])
def test_what_is_no_state(notebook: Path, tmp_path: Path, changes: dict[str, object]) -> None:
    order = order_of(NotebookTarget(notebook), "", {}, {})
    write_state(folder_of(order, tmp_path), State(order.digest, None, 1.0, {}))
    file = folder_of(order, tmp_path) / STATE
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    with pytest.raises(DataError, match=r"state\.json: is no state of a run"):
        read_state(order, tmp_path)


def test_a_run_is_no_link(notebook: Path, tmp_path: Path) -> None:
    order = order_of(NotebookTarget(notebook), "", {}, {})
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "sweep" / "runs").mkdir(parents=True)
    (tmp_path / "sweep" / "runs" / order.name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="is a link, and runs stay in the sweep's folder; remove it"):
        folder_of(order, tmp_path / "sweep")


HOSTILE = (
    "..",
    "../../x",
    "/etc",
    "a\0b",
    "CON",
    "nul.txt",
    ".hidden",
    "𝒳" * 300,
    "ä" * 300,
    "x" * 5000,
    "a\nb",
    "\u202e",
)


@pytest.mark.parametrize("value", HOSTILE)
def test_a_run_of_any_value_has_a_folder_in_the_sweep(tmp_path: Path, value: str) -> None:
    for name, what in ((value, 1), ("seed", value), (value, value)):
        folder = folder_of(order_of(TrainingTarget(Path("x")), "", {}, {name: what}), tmp_path)
        folder.mkdir(parents=True, exist_ok=True)
        assert folder.resolve().parent == tmp_path.resolve() / "runs"
        assert folder.name.partition(".")[0].upper() not in ("CON", "NUL")  # Windows' devices


@pytest.mark.parametrize("content", ["[]", "{}", '{"kind": "notebook", "target": {}}', '{"kind": "x"}'])
def test_what_is_no_order(tmp_path: Path, content: str) -> None:
    (tmp_path / "order.json").write_text(content)
    with pytest.raises(DMHError, match="is no order of a sweep"):
        read_order(tmp_path / "order.json")


def test_another_notebook_is_another_run(notebook: Path) -> None:
    (before,) = swept(notebook.parent, "notebook: small.ipynb").orders()
    notebook.write_text(notebook.read_text() + " ")
    (after,) = swept(notebook.parent, "notebook: small.ipynb").orders()
    assert before.digest != after.digest
    assert before.name != after.name


@given(st.dictionaries(st.text(max_size=9), st.text(max_size=200) | st.floats(allow_nan=False), max_size=5))
def test_names_are_names(swept: dict[str, Any]) -> None:
    """Whatever is swept, a run's folder is one below the sweep's, and no hidden one."""
    if float("inf") in swept.values() or float("-inf") in swept.values():
        return
    name = order_of(TrainingTarget(Path("x")), "", {}, swept).name
    assert Path(name).name == name
    assert not name.startswith(".")
    assert 8 <= len(name) <= LONGEST_NAME + 9
    assert len(name.encode()) <= 255  # or no folder can have it


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


class Dumper(yaml.SafeDumper):
    """Quotes what the reader would take for numbers, 0E0 for example."""

    yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers


@given(st.dictionaries(st.text(), plain, max_size=5))
def test_plain_values_survive_yaml(tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any]) -> None:
    path = tmp_path_factory.mktemp("yaml") / "x.yaml"
    path.write_text(yaml.dump(values, Dumper=Dumper), encoding="utf-8")
    assert read_yaml(path) == values


def test_limits_are_limits(notebook: Path) -> None:
    assert len(Sweep(NotebookTarget(notebook), product={"seed": list(range(MOST_RUNS))})) == MOST_RUNS
