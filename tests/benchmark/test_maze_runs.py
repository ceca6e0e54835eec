"""Runs on mazes: tiny ones from end to end, and the page's section on results that are made up or lack."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_up import TINY, tiny

from dmh_lib import statistics
from dmh_lib.benchmark import (
    TABLES,
    Judging,
    MazeJudging,
    MazeSpec,
    Order,
    Places,
    RunSpec,
    load,
    load_done,
    state_of,
    todo,
)
from dmh_lib.benchmark.maze_page import published_lengths
from dmh_lib.benchmark.maze_summary import maze_series
from dmh_lib.benchmark.mazes import ALONG_PATH, CLOSED_LOOP
from dmh_lib.benchmark.page import PAGE, render
from dmh_lib.benchmark.pictures import length_curves
from dmh_lib.benchmark.published import FILE, read_published
from dmh_lib.benchmark.single import run_one
from dmh_lib.benchmark.store import typed
from dmh_lib.checkpoints import load_checkpoint
from dmh_lib.cli import main
from dmh_lib.errors import BenchmarkError, SettingError
from dmh_lib.mazes import maze_set
from dmh_lib.results import COLUMNS, write_results
from dmh_lib.versions import versions

PUBLISHED = Path(__file__).parents[2] / "docs" / FILE
MAZE = MazeSpec("tmaze", settings={"length": 10, "episodes": 4})
SMALL = {**TINY, "contexts.longest": 60, "contexts.shortest": 30, "contexts.first_cap": 30}
BOTH = MazeJudging(played=((30, 4), (60, 2)), along_path=((30, 6), (60, 2), (90, 2)))


def maze(method: str, preset: str, seed: int = 0, judging: MazeJudging = BOTH, **more: object) -> RunSpec:
    changes = {name.replace("__", "."): value for name, value in more.items()}
    return RunSpec(MAZE, method, preset, overrides={**SMALL, **changes}, seed=seed, judging=judging)


OURS = maze("dm-h", "tmaze", model__chunk_len=5)
DT = maze("dt", "tmaze-dt", judging=MazeJudging(((30, 4),), ((30, 4), (60, 4))), model__context_len=61)
DM = maze("dm", "tmaze-dm", judging=MazeJudging(((30, 4), (60, 4))), model__context_len=61)
RUNS = [OURS, DT, DM]


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    root = tmp_path_factory.mktemp("mazes")
    return Places(root / "docs", root / "data", root / "scratch")


@pytest.fixture(scope="module")
def done(places: Places) -> list[RunSpec]:
    for spec in RUNS:
        assert "closed loop" in run_one(spec, places, keep=spec is OURS)
    return RUNS


def test_what_maze_runs_leave(done: list[RunSpec], places: Places) -> None:
    for spec in done:
        assert state_of(spec, places) == ("done", [])
        run = load(spec, places.result(spec))
        assert [*run.table.columns[: len(COLUMNS)]] == list(COLUMNS)
        assert isinstance(spec.judging, MazeJudging)
        count = run.table.groupby(["line", "corridor"]).size().to_dict()
        lines = ((CLOSED_LOOP, spec.judging.played), (ALONG_PATH, spec.judging.along_path))
        assert count == {(line, length): mazes for line, entries in lines for length, mazes in entries}
        assert set(run.table["updates"]) == {2}
        played = run.table["line"] == CLOSED_LOOP
        assert run.table.loc[played, "margin"].isna().all()
        assert run.table.loc[~played, ["margin", "way_margin"]].notna().all(axis=None)
        path = run.table[~played]
        assert set(path["return"]) <= {0.0, 1.0}
        right = (path["margin"] > 0) & (path["way_margin"] > 0)
        assert (path["return"] == right).all()
        assert np.allclose(run.table["percent_of_optimum"], 100 * run.table["return"])
        assert run.about["settings"] == spec.resolved()
        assert RunSpec.from_dict(run.about["spec"]) == spec
        assert run.about["temperature"] == 0
        assert run.about["subgoals"] is None
        parts = {"data", "training", "temperature", "playing", "subgoals"}
        assert set(run.about["seconds"]) == {*parts, "total"}
        assert not places.run(spec).exists()
    hashes = {load(spec, places.result(spec)).about["data_hash"] for spec in done}
    assert len(hashes) == 1
    assert load(DT, places.result(DT)).about["target_return"] == 1
    assert [path.name for path in places.data.iterdir()] == [places.histories(MAZE).name]
    assert todo(done, places, Order()) == []


def test_kept_weights_play_as_the_file_says(done: list[RunSpec], places: Places) -> None:
    checkpoint = load_checkpoint(places.kept(OURS))
    assert checkpoint.play.temperature == 0
    table = load(OURS, places.result(OURS)).table
    scores = checkpoint.about["scores"]
    assert set(scores) == {CLOSED_LOOP, ALONG_PATH}
    first = table[(table["line"] == CLOSED_LOOP) & (table["corridor"] == 30)]
    assert scores[CLOSED_LOOP]["30"] == pytest.approx(first["return"].mean(), abs=1e-4)


def test_a_repeated_maze_run_gives_the_stored_numbers(done: list[RunSpec], places: Places) -> None:
    before = places.result(OURS).read_bytes()
    assert "every return as stored" in run_one(OURS, places, repeat=True)
    assert places.result(OURS).read_bytes() == before
    store(OURS, places, 0.3)
    with pytest.raises(BenchmarkError, match="stored are"):
        run_one(OURS, places, repeat=True)
    places.result(OURS).write_bytes(before)


def test_an_interrupted_maze_run_goes_on(
    done: list[RunSpec], places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = replace(places, out=tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("dmh_lib.benchmark.single.judge_mazes", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run_one(OURS, elsewhere)
    run_one(OURS, elsewhere)
    whole, resumed = (load(OURS, where.result(OURS)).table for where in (places, elsewhere))
    assert resumed.drop(columns="train_seconds").equals(whole.drop(columns="train_seconds"))


def test_maze_runs_are_named_hashed_and_stored() -> None:
    assert OURS.name == "tmaze/expert/dm-h/seed-0"
    assert [spec.label for spec in RUNS] == ["DM-H", "DT", "DM"]
    changed = [
        replace(OURS, seed=1),
        replace(OURS, data=MazeSpec("tmaze")),
        replace(OURS, data=replace(MAZE, env="tmazeactive")),
        replace(OURS, judging=MazeJudging(played=((30, 4),))),
        replace(OURS, overrides={**OURS.overrides, "contexts.longest": 90}),
    ]
    assert len({OURS.hash, *(other.hash for other in changed)}) == len(changed) + 1
    assert replace(MAZE, settings={"coin_flips": 0.5}).name == "tmaze/mixed"
    stored = {**OURS.resolved(), "contexts.longest": 90}
    assert OURS.differences(stored) == ["contexts.longest was 90, is 60"]


@pytest.mark.parametrize(
    ("judging", "words"),
    [
        ({}, "at least one length"),
        ({"played": ((30, 4), (30, 2))}, r"judging\.played: each length once"),
        ({"along_path": ((2, 5),)}, "mazes: 1 to 4 differ"),
    ],
)
def test_bad_maze_judging_is_refused(judging: dict[str, object], words: str) -> None:
    with pytest.raises(SettingError, match=words):
        MazeJudging(**judging)  # type: ignore[arg-type]


def test_rooms_and_mazes_are_judged_by_their_own() -> None:
    with pytest.raises(SettingError, match="runs on tmaze need MazeJudging"):
        replace(OURS, judging=Judging())
    with pytest.raises(SettingError, match="runs on darkroom need Judging"):
        replace(tiny(), judging=BOTH)
    with pytest.raises(SettingError, match="'attic' is not known"):
        MazeSpec("attic")


def test_the_table_of_mazes() -> None:
    table = TABLES["tmaze"]
    assert {spec.label for spec in table} == {"DM-H", "DM", "DT", "DM-H (up-to-1k)", "DM-H (up-to-100k)"}
    assert {spec.name for spec in table} <= {spec.name for spec in TABLES["standard"]}
    for spec in table:
        config = spec.config()
        assert spec.minutes
        if spec.label in ("DM", "DT"):
            assert config.model.context_len == config.contexts.longest + 1


# ---------------------------------------------------------------------- made-up results


def store(spec: RunSpec, places: Places, share: float) -> None:
    """Write a made-up result in which a share of the turns is right."""
    assert isinstance(spec.judging, MazeJudging)
    rows = []
    for line, entries in ((CLOSED_LOOP, spec.judging.played), (ALONG_PATH, spec.judging.along_path)):
        for corridor, mazes in entries:
            lengths, tasks = maze_set(corridor, mazes)
            right = np.arange(mazes) < round(share * mazes)
            rows.append(
                pd.DataFrame(
                    {
                        "method": spec.label,
                        "env_id": spec.data.env_id,
                        "task": tasks,
                        "seed": 0,
                        "episode": 1,
                        "return": right.astype(float),
                        "length": lengths + 1,
                        "optimum": 1.0,
                        "percent_of_optimum": 100.0 * right,
                        "line": line,
                        "corridor": corridor,
                        "margin": np.where(right, 5.0, -2.5) if line == ALONG_PATH else np.nan,
                        "way_margin": 7.0 if line == ALONG_PATH else np.nan,
                        "updates": spec.config().training.updates,
                        "train_seconds": 90.0,
                        "run": spec.name,
                        "training_seed": spec.seed,
                    }
                )
            )
    notes = {
        "run": spec.name,
        "hash": spec.hash,
        "spec": spec.to_dict(),
        "settings": spec.resolved(),
        "data_hash": "abc" * 20,
        "temperature": 0.0,
        "parameters": 123_456,
        "seconds": {"training": 90.0, "total": 150.0},
        "device": "cpu",
        "threads": 1,
        "versions": versions(),
    }
    write_results(typed(pd.concat(rows, ignore_index=True)), places.result(spec), notes)


LONG = MazeJudging(((1000, 20), (2000, 20)), ((1000, 20), (4000, 20)))
TABLE = [
    maze("dm-h", "tmaze", 0, LONG, contexts__longest=2000),
    maze("dm-h", "tmaze", 1, LONG, contexts__longest=2000),
    maze("dt", "tmaze-dt", 0, MazeJudging(((1000, 20),), ((1000, 20), (2000, 20))), contexts__longest=2000),
    maze("dt", "tmaze-dt", 1, MazeJudging(((1000, 20),), ((1000, 20), (2000, 20))), contexts__longest=2000),
    maze("dm", "tmaze-dm", 0, MazeJudging(((1000, 20), (2000, 20))), contexts__longest=2000),
]


@pytest.fixture
def partial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    """DM-H whole, DT with one seed of two, DM missing."""
    monkeypatch.setattr(statistics.estimate, "__defaults__", (100, 0))
    found = Places(tmp_path)
    for spec, share in zip(TABLE, (1.0, 1.0, 0.75), strict=False):
        store(spec, found, share)
    found.out.joinpath(FILE).write_bytes(PUBLISHED.read_bytes())
    return found


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Pictures that a page would have drawn, without a browser."""
    paths: list[Path] = []
    monkeypatch.setattr("dmh_lib.benchmark.pictures.save_png", lambda figure, path: not paths.append(path))
    return paths


def test_what_partial_maze_results_say(partial: Places) -> None:
    (series,) = maze_series([*TABLE, tiny()], load_done(TABLE, partial)).values()
    ours, dt, dm = series
    assert ours.returns(CLOSED_LOOP)[2000].value == 1
    assert ours.by_seed(CLOSED_LOOP) == {1000: [1, 1], 2000: [1, 1]}
    assert ours.lowest_margins() == {1000: 5, 4000: 5}
    found = dt.returns(CLOSED_LOOP)[1000]
    assert found == (0.75, 0.75, 0.75)  # one training says nothing of others, however many mazes it played
    assert {length: line for length, (line, _) in dt.best_known().items()} == {
        1000: CLOSED_LOOP,
        2000: ALONG_PATH,
    }
    assert (dm.runs, dm.best_known(), dm.longest) == ([], {}, 2000)
    assert maze_series(TABLE, []) == {}


def test_the_page_of_partial_maze_results(partial: Places, drawn: list[Path]) -> None:
    text = render({"tmaze": TABLE}, partial).read_text()
    assert "| `tmaze` | 3 of 5 | 2 | – |" in text
    assert "## T-maze against memory length\n" in text
    assert "](figures/tmaze-expert.png)" in text
    assert [path.name for path in drawn] == ["tmaze-expert.png"]
    ours = next(line for line in text.splitlines() if line.startswith("| DM-H |"))
    assert ours.startswith("| DM-H | 1.00 [1.00, 1.00] | 1.00 [1.00, 1.00] | – |")
    assert ours.endswith("| 1.00, 1.00 |")
    assert "| *DM-H, published* | 1 | 1 | 1 | 0.98 | 1 |  |" in text
    dt = next(line for line in text.splitlines() if line.startswith("| DT \\* |"))
    assert dt.count("0.75 [") == 2
    assert dt.count("†") == 1
    assert "| DM | *missing* |" in text
    assert "out of memory" in text
    assert "| DM-H | 2,000 | 1.00 [1.00, 1.00] | **1.00 [1.00, 1.00]** |" in text
    assert "| *lowest margin* |  | 5.0 | 5.0 |" in text
    assert "20 up to 2,000 played, 20 up to 4,000 along the path" in text
    assert "| 123,456 | 1.5 | 2.5 |" in text
    for word in ("Greedy play", "One training for all lengths", "L − 1", "All at once", "percent of"):
        assert (word in text) == (word not in ("All at once", "percent of"))
    assert render({"tmaze": TABLE}, partial).read_text() == text


def test_a_page_of_rooms_and_mazes(partial: Places, drawn: list[Path]) -> None:
    import made_up

    made_up.store(tiny(), partial, final=80)
    text = render({"mixed": [*TABLE, tiny()]}, partial).read_text()
    assert "percent of the optimum" in text
    assert text.index("## Darkroom") < text.index("## T-maze against") < text.index("## How it was measured")
    for spec in TABLE:
        partial.result(spec).unlink(missing_ok=True)
    assert "T-maze against" not in render({"mixed": [*TABLE, tiny()]}, partial).read_text()


def test_the_command_lists_and_renders_mazes(
    partial: Places, drawn: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    main(["benchmark", "tmaze", "--list", "--out", str(partial.out)])
    shown = capsys.readouterr().out
    assert "tmaze/expert/dt/seed-0" in shown
    assert "nobody has timed" not in shown
    main(["benchmark", "tmaze", "--render", "--out", str(partial.out)])
    assert (partial.out / PAGE).is_file()


def test_the_figure_of_lengths(partial: Places) -> None:
    (series,) = maze_series(TABLE, load_done(TABLE, partial)).values()
    published = published_lengths(read_published(PUBLISHED))
    figure = length_curves(series, published, "mazes")
    traces = {trace.name: trace for trace in figure.data}
    assert set(traces) == {"DM-H", "DM-H, published", "DT", "DT, published"}
    assert list(traces["DM-H"].x) == [1000, 2000, 4000]
    assert list(traces["DM-H"].marker.symbol) == ["circle", "circle", "circle-open"]
    assert list(traces["DT"].y) == [0.75, 0.75]
    assert list(traces["DT, published"].x) == [1000, 2000, 5000, 10000]  # and then out of memory
    assert list(traces["DT"].error_y.array) == [0, 0]  # one training
