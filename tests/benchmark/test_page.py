"""The page of results: numbers against made-up ones, on results that are complete, partial or not there."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_up import DATA, store, tiny

from dmh_lib import statistics
from dmh_lib.benchmark import Places, RunSpec, load_done
from dmh_lib.benchmark.overview import sentence
from dmh_lib.benchmark.page import PAGE, render
from dmh_lib.benchmark.pictures import learning_curves, training_curves
from dmh_lib.benchmark.published import FILE, read_published
from dmh_lib.benchmark.store import expected_minutes
from dmh_lib.benchmark.summary import Group, at_equal, compare, group_curves, group_runs, progress
from dmh_lib.cli import main
from dmh_lib.errors import DataError
from dmh_lib.figures import METHOD_COLORS, colors_of

PUBLISHED = Path(__file__).parents[2] / "docs" / FILE
ROOM = replace(DATA, num_test=10)  # enough tasks for intervals to mean something


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics.estimate, "__defaults__", (100, 0))


def run(method: str, seed: int, variant: str = "") -> RunSpec:
    preset = {"dm-h": "small"}.get(method, method)
    return replace(tiny(method, preset, seed, variant, training__updates=8), data=ROOM)


TABLE = [run("dm-h", 0), run("dm-h", 1), run("ad", 0), run("ad", 1), run("ad-mamba", 0)]


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """DM-H whole, AD better and quicker but with one seed of two, AD-Mamba missing."""
    found = Places(tmp_path)
    store(TABLE[0], found, final=80, minutes=4)
    store(TABLE[1], found, final=84, minutes=4)
    store(TABLE[2], found, final=95, minutes=2)
    return found


def group_of(places: Places) -> Group:
    (group,) = group_runs(TABLE, load_done(TABLE, places))
    return group


def test_scores(places: Places) -> None:
    group = group_of(places)
    ours, ad, mamba = group.series
    assert (ours.missing, ad.missing, mamba.missing) == ([], [1], [0])
    assert mamba.scores is None
    assert group.reference is ours
    assert group.others == [ad]
    tables = [stored.table for stored in ours.runs]
    last = [t[(t["updates"] == 8) & (t["line"] == "memory") & (t["episode"] == 3)] for t in tables]
    means = [t["percent_of_optimum"].mean() for t in last]
    scores = ours.scores
    assert scores is not None
    assert scores.by_seed == pytest.approx(means)
    assert scores.percent.value == pytest.approx(np.mean(means))
    assert scores.percent.low < scores.percent.value < scores.percent.high
    assert scores.area.value == pytest.approx(np.mean(means) / 100 * (1 / 3 + 2 / 3 + 1) / 3)
    assert scores.no_memory.value == pytest.approx(0.15 * np.mean(means))
    assert scores.best == scores.percent.value  # each checkpoint is better than the one before
    assert (scores.updates, scores.minutes) == (8, 4)


def test_equal_time_and_equal_updates(places: Places) -> None:
    ours, ad, _ = group_of(places).series
    assert ours.scores is not None
    assert ad.scores is not None
    time = at_equal(ad, ours, "train_seconds")
    assert time.budget == 120  # AD's two minutes, at which DM-H stands at half of its four
    assert time.theirs == pytest.approx(ad.scores.percent.value)
    assert time.ours == pytest.approx(ours.scores.percent.value * 0.7)  # second of four checkpoints
    updates = at_equal(ad, ours, "updates")
    assert (updates.budget, updates.ours) == (8, pytest.approx(ours.scores.percent.value))
    assert compare(ad, ours).low > 0


def test_only_a_cpu_is_timed(places: Places, drawn: list[Path]) -> None:
    """What a GPU trained counts for scores alone."""
    gpu = {"device": "NVIDIA H100", "minutes": math.nan, "seconds": {"total": 30.0}}
    store(TABLE[3], places, final=95, **gpu)
    _, ad, _ = group_of(places).series
    assert ad.scores is not None
    assert (len(ad.runs), ad.scores.minutes) == (2, 2)
    store(TABLE[2], places, final=95, **gpu)
    ours, ad, _ = group_of(places).series
    assert ad.scores is not None
    assert ad.scores.minutes is None
    time, updates = (at_equal(ad, ours, budget) for budget in ("train_seconds", "updates"))
    assert math.isnan(time.budget)
    assert time.difference is None
    assert updates.difference is not None
    assert expected_minutes(TABLE[3], places) is None
    page = render({"mine": TABLE}, places).read_text()
    assert "not timed" in page
    assert f"on NVIDIA H100: `{TABLE[2].name}`, `{TABLE[3].name}`" in page
    assert "1 thread on cpu: 2 runs" in page


def test_equal_time_is_that_of_whole_methods(places: Places) -> None:
    """Trainings of one method never take the very same time; none is cut short for it."""
    for seed, minutes in enumerate((3.9, 4.1)):
        store(TABLE[seed], places, final=90, minutes=minutes)
    ours, ad, _ = group_of(places).series
    assert ours.scores is not None
    found = at_equal(ours, ours, "train_seconds")
    assert (found.budget, found.theirs) == (pytest.approx(240), pytest.approx(ours.scores.percent.value))
    found = at_equal(ad, ours, "train_seconds")
    assert found.ours == pytest.approx(ours.scores.percent.value * 0.7)


def test_no_checkpoint_that_early(places: Places) -> None:
    store(TABLE[2], places, final=95, minutes=0.5)
    ours, ad, _ = group_of(places).series
    found = at_equal(ad, ours, "train_seconds")
    assert (found.ours, found.difference) == (None, None)


def test_who_wins(places: Places) -> None:
    ours, ad, _ = group_of(places).series
    assert sentence("AD", "DM-H", compare(ad, ours), seeds=2).startswith("**AD beats DM-H: +")
    assert sentence("AD", "DM-H", compare(ad, ours), seeds=1).endswith("(one training seed).")
    assert sentence("DM-H", "AD", compare(ours, ad), seeds=2).startswith("DM-H loses to AD: -")
    store(TABLE[2], places, final=80)
    group = group_of(places)
    ((_, lead),) = group.leads
    assert "no clear difference: -2.2" in sentence("AD", "DM-H", lead, seeds=1)  # 80 against 80 and 84


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Pictures that a page would have drawn, without a browser."""
    paths: list[Path] = []
    monkeypatch.setattr("dmh_lib.benchmark.pictures.save_png", lambda figure, path: not paths.append(path))
    return paths


def test_the_page_of_partial_results(places: Places, drawn: list[Path]) -> None:
    places.out.joinpath(FILE).write_bytes(PUBLISHED.read_bytes())
    text = render({"mine": TABLE}, places).read_text()
    assert "| `mine` | 3 of 5 | 2 | – |" in text
    assert "- `darkroom/searcher`, seed 1: ad\n- `darkroom/searcher`, seed 0: ad-mamba" in text
    assert "(1 of 2 seeds)" in text
    assert "| AD-Mamba | *missing* |" in text
    assert "**AD beats DM-H: +" in text
    assert (
        "**Better than DM-H here:** AD (one training seed). No clear difference: none. Worse: none." in text
    )
    assert "## The paper's claims" in text
    assert "| AD | 2.0 min |" in text
    assert "| Darkroom | DM-H | 13.5 | return at episode 20, read off the figure by eye | 1" in text
    assert "| Darkroom | AMAGO | 13.5 | return at episode 20, read off the figure by eye | – |" in text
    assert "`training.batch_size` 2 (paper: 128)" in text
    assert [path.name for path in drawn] == ["darkroom-searcher.png", "darkroom-searcher-training.png"]
    assert "](figures/darkroom-searcher.png)" in text
    assert render({"mine": TABLE}, places).read_text() == text  # nothing but data in it


def test_the_page_leaves_out_results_of_other_settings(places: Places, drawn: list[Path]) -> None:
    store(replace(TABLE[2], overrides={**TABLE[2].overrides, "training.batch_size": 9}), places, final=95)
    places.result(TABLE[1]).unlink()
    text = render({"mine": TABLE}, places).read_text()
    assert "| `mine` | 1 of 5 | 3 | 1 |" in text
    assert "left out (`--again` does them again):**\n\n- `darkroom/searcher`, seed 0: ad" in text
    assert "beats" not in text


def test_pages_without_dm_h_or_without_anything(places: Places, drawn: list[Path]) -> None:
    for spec in TABLE[:2]:
        places.result(spec).unlink()
    text = render({"mine": TABLE}, places).read_text()
    assert "no run of DM-H yet" in text
    places.result(TABLE[2]).unlink()
    text = render({"mine": TABLE}, places).read_text()
    assert "0 of 5" in text
    assert "## All at once" not in text


def test_runs_on_different_data_are_noticed(places: Places, drawn: list[Path]) -> None:
    store(TABLE[2], places, final=95, data_hash="f" * 64)
    assert (
        "**Not comparable:** these runs learned from 2 different" in render({"a": TABLE}, places).read_text()
    )


def test_the_command_renders(
    places: Places, drawn: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("dmh_lib.benchmark.command.TABLES", {"quick": TABLE[:3], "paper": TABLE[4:]})
    monkeypatch.setattr("dmh_lib.benchmark.tables.TABLES", {"quick": TABLE[:3], "paper": TABLE[4:]})
    main(["benchmark", "quick", "--render", "--out", str(places.out)])
    assert f"wrote {places.out / PAGE}" in capsys.readouterr().out
    text = (places.out / PAGE).read_text()
    assert "| `quick` | 3 of 3 | – | – |" in text
    assert "`paper`" not in text.partition("## All at once")[0]  # nothing of it is there


def test_figures(places: Places) -> None:
    group = group_of(places)
    figure = learning_curves(group_curves(group), group_curves(group, "no memory"), "a room")
    lines = [trace for trace in figure.data if trace.mode == "lines"]
    named = {trace.name: trace for trace in lines if trace.name}
    assert list(named) == ["DM-H", "AD", "oracle", "without memory"]
    assert list(named["oracle"].y) == [100, 100, 100]
    assert named["DM-H"].y[-1] == pytest.approx(group.series[0].scores.percent.value)  # type: ignore[union-attr]
    dots = [trace for trace in lines if trace.line.dash == "dot" and not trace.name]
    assert [trace.line.color for trace in dots] == [METHOD_COLORS["DM-H"], METHOD_COLORS["AD"]]
    by_time = training_curves(progress(group), "a room")
    assert list(by_time.data[1].x) == [0.5, 1.0, 1.5, 2.0]


def test_every_line_has_its_own_colour() -> None:
    names = ["DM-H", "DM-H (c-1)", "AD", "DM-H (c-10)"]
    assert len(set(colors_of(names).values())) == 4
    assert colors_of(names)["AD"] == METHOD_COLORS["AD"]


def test_published_figures(tmp_path: Path) -> None:
    table = read_published(PUBLISHED)
    assert {"DM-H", "AD", "AD-Mamba", "DM-H (c-10)", "DM-H (no-goals)"} <= set(table["label"])
    assert read_published(tmp_path / "none.csv").empty
    broken = tmp_path / "broken.csv"
    pd.DataFrame({"task": ["Darkroom"]}).to_csv(broken)
    with pytest.raises(DataError, match="field 'table' is missing"):
        read_published(broken)


def test_expected_minutes(places: Places) -> None:
    assert expected_minutes(TABLE[3], places) == 2.5  # as the other seed took
    assert expected_minutes(TABLE[4], places) is None
    assert expected_minutes(replace(TABLE[4], minutes=7), places) == 7
