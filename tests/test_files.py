"""Files appear whole or not at all, and JSON is strict."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmh_lib.errors import LONGEST, DataError
from dmh_lib.files import atomic_path, read_json, read_object, write_json


def test_a_file_appears_when_the_block_ends(tmp_path):
    target = tmp_path / "new" / "folder" / "table.parquet"
    with atomic_path(target) as temporary:
        temporary.write_text("whole")
        assert temporary.parent == target.parent
        assert temporary.suffix == ".parquet"
        assert not target.exists()
    assert target.read_text() == "whole"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, error):
    target = tmp_path / "file.txt"
    target.write_text("old")

    def write_half():
        with atomic_path(target) as temporary:
            temporary.write_text("hal")
            raise error

    with pytest.raises(error):
        write_half()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    for target in (tmp_path / "file" / "below.json", tmp_path):
        with pytest.raises(
            DataError, match=r"cannot be written .*; (choose another place|give the path)"
        ) as caught:
            write_json(target, {})
        assert str(target) in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(value=JSON)
def test_json_round_trip(tmp_path_factory, value):
    path = tmp_path_factory.getbasetemp() / "value.json"
    write_json(path, value)
    assert read_json(path) == value


def circular():
    value = []
    value.append(value)
    return value


@pytest.mark.parametrize("value", [math.nan, {"a": [math.inf]}, {1, 2}, object(), circular()])
def test_what_json_cannot_hold_is_refused(tmp_path, value):
    with pytest.raises(DataError, match=r"value\.json: cannot be written as JSON"):
        write_json(tmp_path / "value.json", value)
    assert list(tmp_path.iterdir()) == []


@given(text=st.text() | st.text(max_size=40).map(lambda text: 50 * text))
def test_an_error_is_one_short_line_that_can_be_printed(text):
    said = str(DataError(f"/a  b/file.json: {text}; write it again"))
    assert said.startswith("/a  b/file.json: ")
    assert said.endswith("; write it again")
    assert said.isprintable()
    assert len(said) <= LONGEST


@pytest.mark.parametrize("text", ["", "{", "NaN", "[Infinity]", "[" * 200_000])
def test_what_is_not_json_is_refused(tmp_path, text):
    path = tmp_path / "broken.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"broken\.json: not a JSON file"):
        read_json(path)


@pytest.mark.parametrize("text", ["[]", "3", "null", '"a"'])
def test_what_holds_no_names_is_refused(tmp_path, text):
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"other\.json: holds no names and values; write it again"):
        read_object(path)


def test_unreadable_files_are_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.json: cannot be read .*; check the path"):
        read_json(tmp_path / "none.json")
    with pytest.raises(DataError, match="cannot be read"):
        read_json(tmp_path)
    (tmp_path / "latin.json").write_bytes(json.dumps("ä", ensure_ascii=False).encode("latin-1"))
    with pytest.raises(DataError, match=r"latin\.json: not a JSON file"):
        read_json(tmp_path / "latin.json")
