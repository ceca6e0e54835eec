"""Runs on tiny settings, end to end: what they leave, how they resume, and what happens when one fails."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_up import DATA, store, tiny

from dmh_lib.benchmark import (
    Order,
    Places,
    RunSpec,
    do_all,
    lifetimes,
    load,
    select,
    state_of,
    todo,
    write_table,
)
from dmh_lib.benchmark.single import SCORES, run_one
from dmh_lib.benchmark.store import has_weights
from dmh_lib.checkpoints import load_checkpoint
from dmh_lib.cli import main
from dmh_lib.errors import BenchmarkError, SettingError
from dmh_lib.files import read_json, write_json
from dmh_lib.results import COLUMNS
from dmh_lib.rollouts import DISTANCES

BROKEN = replace(
    tiny("ad", "ad"), data=replace(DATA, variant="endless", settings={"runs_per_task": 10**6})
)  # refused before a step is played


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    root = tmp_path_factory.mktemp("benchmark")
    return Places(root / "docs", root / "data", root / "scratch")


@pytest.fixture(scope="module")
def done(places: Places) -> RunSpec:
    spec = tiny()
    assert "% of optimum" in run_one(spec, places, keep=True)
    return spec


def test_what_a_run_leaves(done: RunSpec, places: Places) -> None:
    assert state_of(done, places) == ("done", [])
    run = load(done, places.result(done))
    table, about = run.table, run.about
    assert set(COLUMNS) | {"run", "training_seed", "updates", "train_seconds", "line"} == set(table.columns)
    count = table.groupby(["updates", "line"]).size().to_dict()
    # 2 tasks × 3 episodes, with 1 lifetime early and 2 at the end
    assert count == {(1, "memory"): 6, (2, "memory"): 12, (2, "no memory"): 12}
    assert table["train_seconds"].is_monotonic_increasing
    assert set(table["task"]) == set(done.data.split().test)
    assert about["settings"] == done.resolved()
    assert RunSpec.from_dict(about["spec"]) == done
    assert about["temperature"] in (1.0, 0.7, 0.5, 0.35)
    assert set(about["seconds"]) == {"data", "training", "temperature", "playing", "subgoals", "total"}
    said = about["subgoals"]
    assert (said["cell"], said["training_tasks"], said["from_episode"]) == ("goal", 2, 2)
    assert said["tasks"] == done.data.split().tasks("test").tolist()
    assert said["mean"]["r2"]["value"] == pytest.approx(np.mean(said["by_task"]["r2"]), abs=1e-4)
    assert set(said["by_task"]) == {"r2", *DISTANCES}
    assert not places.run(done).exists()
    assert [path.name for path in places.data.iterdir()] == [places.histories(DATA).name]


def test_kept_weights_load_and_know_their_scores(done: RunSpec, places: Places) -> None:
    checkpoint = load_checkpoint(places.kept(done))
    about = load(done, places.result(done)).about
    assert {path.name for path in places.kept(done).iterdir()} == {"checkpoint.json", "model.safetensors"}
    assert checkpoint.play.temperature == about["temperature"]
    assert checkpoint.about["data_hash"] == about["data_hash"]
    assert checkpoint.about["run"] == done.name
    assert checkpoint.about["scores"]["episodes"] == 3
    assert todo([done], places, Order(keep=True)) == []


def test_weights_of_another_result_do_not_count(done: RunSpec, places: Places, tmp_path: Path) -> None:
    elsewhere = Places(tmp_path, places.data, tmp_path)
    assert not has_weights(done, elsewhere)
    shutil.copytree(places.kept(done), elsewhere.kept(done))
    assert not has_weights(done, elsewhere)  # no result
    elsewhere.result(done).parent.mkdir(parents=True)
    shutil.copyfile(places.result(done), elsewhere.result(done))
    assert has_weights(done, elsewhere)
    about = read_json(elsewhere.kept(done) / "checkpoint.json")
    write_json(elsewhere.kept(done) / "checkpoint.json", {**about, "hash": "of another"})
    assert todo([done], elsewhere, Order(keep=True)) == [done]


def test_a_repeated_run_gives_the_stored_numbers(done: RunSpec, places: Places) -> None:
    before = places.result(done).read_bytes()
    assert "every return as stored" in run_one(done, places, repeat=True)
    store(done, places, final=50.0)
    with pytest.raises(BenchmarkError, match=r"stored are \d"):
        run_one(done, places, repeat=True)
    places.result(done).write_bytes(before)


def test_an_interrupted_run_goes_on(
    done: RunSpec, places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = replace(places, out=tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(lifetimes, "choose_play", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run_one(done, elsewhere)
    assert not elsewhere.result(done).exists()
    assert len(list(places.run(done).glob("checkpoint-*"))) == 2
    run_one(done, elsewhere)
    whole, resumed = (load(done, where.result(done)).table for where in (places, elsewhere))
    assert resumed[SCORES].equals(whole[SCORES])


def test_a_result_of_other_settings_is_in_the_way(tmp_path: Path) -> None:
    places = Places(tmp_path)
    store(tiny(training__updates=8), places, final=50)
    spec, other = tiny(), tiny("ad", "ad")
    state, different = state_of(spec, places)
    assert state == "stale"
    assert "training.updates was 8, is 2" in different
    with pytest.raises(BenchmarkError, match=r"dm-h/seed-0 \(.*training\.updates was 8, is 2.*--again"):
        todo([spec, other], places, Order())
    assert todo([spec, other], places, Order(again=True)) == [spec, other]
    store(spec, places, final=50)
    assert todo([spec, other], places, Order()) == [other]
    assert todo([spec, other], places, Order(repeat=True)) == [spec]
    assert todo([spec], places, Order(keep=True)) == [spec]  # its weights are not there


def test_a_failed_run_leaves_the_others_alone(done: RunSpec, places: Places, tmp_path: Path) -> None:
    elsewhere = replace(places, out=tmp_path)
    outcomes = list(do_all("", [BROKEN, done], elsewhere, Order(jobs=0)))
    assert [outcome.ok for outcome in outcomes] == [False, True]
    assert "runs_per_task" in outcomes[0].said
    assert state_of(done, elsewhere)[0] == "done"
    assert state_of(BROKEN, elsewhere)[0] == "missing"


def test_runs_are_chosen_by_name() -> None:
    specs = [tiny(), tiny(seed=1), tiny("ad", "ad")]
    assert select(specs, None) == specs
    assert select(specs, "*/dm-h/*") == specs[:2]
    with pytest.raises(SettingError, match="no run of the table matches"):
        select(specs, "*/dt/*")
    with pytest.raises(SettingError, match="jobs"):
        Order(jobs=-1)


def test_the_command_with_workers(places: Places, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Two workers: one does its run, one fails; the command says both and exits with 1."""
    table, exported = tmp_path / "mine.json", tmp_path / "checkpoints"
    write_table([tiny(), BROKEN], table)
    where = ["--data", str(places.data), "--scratch", str(tmp_path / "scratch")]
    with pytest.raises(SystemExit) as caught:
        main(["benchmark", str(table), "--no-page", "--checkpoints", str(exported), *where])
    assert caught.value.code == 1
    shown = capfd.readouterr()
    assert "darkroom/searcher/dm-h/seed-0: " in shown.out
    assert "darkroom/searcher.endless/ad/seed-0: failed: SettingError: runs_per_task" in shown.out
    assert "1 of 2 runs failed" in shown.err
    assert "runs:" not in shown.err  # bars only where somebody looks
    assert load_checkpoint(exported / "darkroom-dm-h").about["run"] == tiny().name
    main(["benchmark", str(table), "--list", *where])
    listed = capfd.readouterr().out.splitlines()
    assert [line.split()[1] for line in listed[:2]] == ["done", "missing"]
    assert "and 1 that nobody has timed" in listed[-1]


def test_bad_tables_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps([{"data": {"env": "attic"}, "method": "ad", "preset": "ad"}]))
    for table in (str(path), "slow"):
        with pytest.raises(SystemExit) as caught:
            main(["benchmark", table])
        assert caught.value.code == 2
        assert capsys.readouterr().err.count("\n") == 1
