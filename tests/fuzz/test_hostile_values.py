"""Files of the right format with any values in them: they are read, or one error names the file."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from fuzz_checkpoints import run
from fuzz_json import NOTEBOOK, TRAINING
from fuzz_yaml import OF_A_NOTEBOOK, of_a_notebook
from hypothesis import given
from hypothesis import strategies as st

from dmh_lib.checkpoints import load_checkpoint, load_training
from dmh_lib.errors import DMHError
from dmh_lib.sweep.orders import Order, read_order
from dmh_lib.sweep.spec import read_sweep

SCALARS = (
    *(st.none(), st.booleans(), st.integers(), st.integers(-(10**400), 10**400), st.text()),
    st.floats(allow_nan=False, allow_infinity=False),
)
VALUES = st.recursive(
    st.one_of(*SCALARS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def changed(valid: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Any value, or the valid ones with some of them replaced."""
    some = st.dictionaries(st.sampled_from(sorted(valid)) | st.text(), VALUES, min_size=1, max_size=3)
    return VALUES | some.map(lambda values: {**valid, **values})


def written(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(tmp_path_factory.mktemp("hostile"))


@pytest.mark.parametrize("name", ["checkpoint.json", "training.json"])
def test_any_values_in_a_checkpoint(checkpoint: Path, name: str) -> None:
    path = checkpoint / name
    before = path.read_text(encoding="utf-8")

    @given(changed(json.loads(before)))
    def holds(value: Any) -> None:
        written(path, value)
        try:
            loaded = load_checkpoint(checkpoint)
            load_training(checkpoint)
            if loaded.about.get("split"):
                _ = loaded.split
        except DMHError as error:
            assert str(checkpoint) in str(error)

    try:
        holds()
    finally:
        path.write_text(before, encoding="utf-8")


@pytest.mark.parametrize("order", [NOTEBOOK, TRAINING], ids=["notebook", "train"])
def test_any_values_in_an_order(tmp_path: Path, order: Order) -> None:
    path = tmp_path / "order.json"

    @given(changed(order.to_json()))
    def holds(value: Any) -> None:
        written(path, value)
        try:
            assert Path(read_order(path).name).name == read_order(path).name
        except DMHError as error:
            assert str(path) in str(error)

    holds()


def test_any_values_in_a_sweep(tmp_path: Path) -> None:
    path = of_a_notebook(tmp_path)
    valid = yaml.safe_load(OF_A_NOTEBOOK)

    @given(changed(valid) | changed(valid["product"]).map(lambda product: {**valid, "product": product}))
    def holds(value: Any) -> None:
        path.write_text(yaml.safe_dump(value), encoding="utf-8")
        try:
            read_sweep(path).orders()
        except DMHError as error:
            assert str(path) in str(error)

    holds()
