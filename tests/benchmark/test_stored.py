"""Stored results as tables for notebooks: all of them there, some, or none."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_up import DATA, results, store, tiny

from dmh_lib import statistics, stored
from dmh_lib.benchmark import TABLES, Places, RunSpec, load_done
from dmh_lib.benchmark.store import has_weights, typed
from dmh_lib.benchmark.summary import group_curves
from dmh_lib.errors import DataError
from dmh_lib.results import read_about, read_results, write_results

ROOM = replace(DATA, num_test=10)  # enough tasks for intervals to mean something
SPECS = [
    *(replace(tiny("dm-h", "small", seed), data=ROOM) for seed in (0, 1)),
    replace(tiny("dm-h", "small", variant="c-2", model__chunk_len=2), data=ROOM),
    replace(tiny("dm-h", "small", variant="no-goals", contexts__goal_share=0.0), data=ROOM),
    replace(tiny("bc", "bc"), data=ROOM, overrides={"training.updates": 4}),
]
FINALS = [90.0, 80.0, 40.0, 85.0, 10.0]


@pytest.fixture(autouse=True)
def _made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics.estimate, "__defaults__", (100, 0))
    monkeypatch.setitem(TABLES, "mine", SPECS[:2])
    monkeypatch.setitem(TABLES, "variants", SPECS)


def leave(docs: Path, count: int) -> None:
    for spec, final in list(zip(SPECS, FINALS, strict=True))[:count]:
        store(spec, Places(docs), final, minutes=2)


def test_none_are_there(tmp_path: Path) -> None:
    assert stored.read_groups(["mine", "variants"], tmp_path) == []
    assert stored.maze_table(tmp_path).empty
    table = stored.what_is_there(["mine", "variants", "later"], tmp_path)
    assert table["runs here"].tolist() == [0, 0, 0]
    assert table["of"].tolist() == [2, 5, 0]
    assert table["makes the rest"].tolist()[0] == "dmh benchmark mine"


def test_some_are_there(tmp_path: Path) -> None:
    leave(tmp_path, 1)
    (group,) = stored.read_groups(["mine", "variants"], tmp_path)
    assert stored.what_is_there(["mine"], tmp_path)["runs here"].tolist() == [1]
    scores = stored.score_table(group, group_curves(group))
    assert scores[["method", "room", "seeds"]].to_numpy().tolist() == [["DM-H", "Darkroom", "1 of 2"]]
    assert stored.difference_table(group).empty


def test_without_dmh_there_is_nothing_to_compare_with(tmp_path: Path) -> None:
    store(SPECS[-1], Places(tmp_path), FINALS[-1])
    (group,) = stored.read_groups(["variants"], tmp_path)
    assert stored.difference_table(group).empty
    assert stored.chunk_table(group, group_curves(group)).empty


def test_all_are_there(tmp_path: Path) -> None:
    leave(tmp_path, 5)
    assert (stored.what_is_there(["mine"], tmp_path)["makes the rest"] == "").all()
    (group,) = stored.read_groups(["mine", "variants"], tmp_path)
    curves = group_curves(group)
    scores = stored.score_table(group, curves).set_index("method")
    assert scores.index.tolist() == ["DM-H", "DM-H (c-2)", "DM-H (no-goals)", "BC"]
    assert scores.loc["DM-H", "seeds"] == "2 of 2"
    np.testing.assert_allclose(scores["minutes"], 2)
    np.testing.assert_allclose(scores["mean"], [85, 40, 85, 10], atol=5)
    np.testing.assert_allclose(scores["without_memory"], 0.15 * scores["mean"], rtol=0.01)
    assert (scores["low"] <= scores["mean"]).all()
    assert (scores["mean"] <= scores["high"]).all()
    versus = stored.difference_table(group).set_index("method")
    assert versus.loc["BC", "verdict"] == "loses"
    assert versus.loc["DM-H (c-2)", "mean"] == pytest.approx(40 - 90, abs=5)  # seed 0 beside seed 0
    chunks = stored.chunk_table(group, curves)
    assert chunks["chunk_len"].tolist() == [2, 5]
    assert chunks["mean"].tolist() == scores.loc[["DM-H (c-2)", "DM-H"], "mean"].tolist()
    (unswept,) = stored.read_groups(["mine"], tmp_path)
    assert stored.chunk_table(unswept, group_curves(unswept)).empty


def test_two_datasets_of_a_room_have_two_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hasty = [replace(spec, data=replace(ROOM, variant="hasty")) for spec in SPECS]
    monkeypatch.setitem(TABLES, "variants", SPECS + hasty)
    leave(tmp_path, 5)
    for spec in hasty:
        store(spec, Places(tmp_path), 50)
    names = ["Darkroom", "Darkroom (hasty)"]
    groups = stored.read_groups(["variants"], tmp_path)
    assert [stored.difference_table(group)["room"][0] for group in groups] == names
    assert [stored.chunk_table(group, group_curves(group))["room"][0] for group in groups] == names


def test_runs_of_some_methods(tmp_path: Path) -> None:
    leave(tmp_path, 5)
    (group,) = stored.read_groups(["variants"], tmp_path, methods=["bc"])
    assert [series.label for series in group.series] == ["BC"]


def test_mazes_by_length(tmp_path: Path) -> None:
    """A run's mazes in closed loop and along the path, of two training seeds."""
    for seed, share in ((0, 1.0), (1, 0.5)):
        as_mazes(SPECS[seed], Places(tmp_path), share)
    table = stored.maze_table(tmp_path, ["mine"])
    assert table["line"].tolist() == ["closed loop", "along the path"]
    assert table["method"].tolist() == ["DM-H", "DM-H"]
    assert table["mean"].tolist() == [0.75, 1.0]
    assert table["low"][0] < 0.75 < table["high"][0]


def as_mazes(spec: RunSpec, places: Places, share: float) -> None:
    """Leave a run of ten mazes, a share of which is solved in closed loop, and all along the path."""
    store(spec, places, 50)
    path = places.result(spec)
    notes, rows = read_about(path), read_results(path).head(10)
    solved = rows.index < share * len(rows)
    walked = rows.assign(line="closed loop", updates=2, corridor=100, **{"return": solved.astype(float)})
    along = walked.assign(line="along the path", **{"return": 1.0})
    early = walked.assign(updates=1, **{"return": 0.0})
    write_results(pd.concat([early, walked, along], ignore_index=True), path, notes)


def test_results_that_are_none(tmp_path: Path) -> None:
    """Of a stranger: notes and columns of other kinds name the file."""
    spec, places = tiny(), Places(tmp_path, tmp_path, tmp_path)
    path, table = places.result(spec), typed(results(spec, 50))
    write_results(table, path, {"hash": "of others", "settings": [1]})
    with pytest.raises(DataError, match=r"seed-0\.parquet: field 'settings': holds no names and values"):
        load_done([spec], places)
    for change, message in (
        ({"updates": "many"}, "field 'updates' holds object, not numbers"),
        ({"line": [[1]] * len(table)}, "field 'line' holds more than texts"),
    ):
        write_results(table.assign(**change), path, {"hash": spec.hash})
        with pytest.raises(DataError, match=rf"seed-0\.parquet: {message}"):
            load_done([spec], places)
    write_results(table.assign(train_seconds=float("nan")), path, {"hash": spec.hash})  # a GPU trained it
    assert not load_done([spec], places)[0].on_cpu
    (places.kept(spec)).mkdir(parents=True)
    (places.kept(spec) / "checkpoint.json").write_text("[]")
    with pytest.raises(DataError, match=r"checkpoint\.json: holds no names and values"):
        has_weights(spec, places)
