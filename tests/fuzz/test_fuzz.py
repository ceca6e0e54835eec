"""Damaged files of every format, the same ones each time; `python tests/fuzz/fuzz.py` reads many more."""

import sys
from collections.abc import Iterator
from pathlib import Path

import fuzz_flawed
import pytest
from fuzz import Reader
from fuzz_child import FORMATS
from fuzz_seed import Corpus

INPUTS = {"hdf5": 60, "parquet": 60, "safetensors": 30, "json": 40, "yaml": 60, "notebooks": 30}


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    with Reader(tmp_path_factory.mktemp("fuzz")) as found:
        yield found


@pytest.mark.parametrize("name", FORMATS)
def test_a_damaged_file_is_read_or_refused(reader: Reader, name: str) -> None:
    found = {number: reader.read(name, number) for number in range(INPUTS[name])}
    assert {number: said for number, (verdict, said) in found.items() if verdict == "failed"} == {}
    verdicts = [verdict for verdict, _ in found.values()]
    assert {"read", "refused"} == set(verdicts)


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux alone")
def test_the_fuzzer_notices(tmp_path: Path) -> None:
    """What readers must not do, one after the other."""
    corpus = Corpus("flawed", fuzz_flawed.SEEDS, tmp_path / "corpus")
    ways: dict[str, int] = {}
    for number in range(200):
        place = tmp_path / str(number)
        place.mkdir()
        ways.setdefault(corpus.damaged(number, place).path.read_bytes().decode(errors="ignore"), number)
    said = {
        "unclear": "KeyError",
        "nameless": "does not name the file",
        "outside": "changed|wrote",
        "system": "os.system",
        "memory": "needs too much memory",
        "dies": "the process died with 9",
        "hangs": "hangs",
    }
    with Reader(tmp_path / "reader", seconds=1) as reader:
        assert reader.read("flawed", ways["refused"])[0] == "refused"
        for way, words in said.items():
            verdict, message = reader.read("flawed", ways[way])
            assert verdict == "failed"
            assert any(word in message for word in words.split("|")), message
