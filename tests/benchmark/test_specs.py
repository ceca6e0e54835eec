"""What a run is: its name, its hash, and what counts as a change."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from made_up import DATA, tiny

from dmh_lib.benchmark import TABLES, DataSpec, Judging, RunSpec, load_table, write_table
from dmh_lib.benchmark.tables import PAPER_METHODS
from dmh_lib.errors import DataError, SettingError
from dmh_lib.files import write_json
from dmh_lib.models import ADConfig
from dmh_lib.train_config import TrainConfig

EVERY = [spec for specs in TABLES.values() for spec in specs]


def test_names() -> None:
    assert tiny().name == "darkroom/searcher/dm-h/seed-0"
    other = tiny(variant="c-10", seed=2, model__chunk_len=10)
    assert (other.name, other.label) == ("darkroom/searcher/dm-h.c-10/seed-2", "DM-H (c-10)")
    assert replace(other, data=replace(DATA, variant="linger")).series == "darkroom/searcher.linger/dm-h.c-10"


def test_tables_are_json_and_a_name_means_one_thing() -> None:
    hashes: dict[str, str] = {}
    for spec in EVERY:
        assert RunSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
        assert hashes.setdefault(spec.name, spec.hash) == spec.hash
    assert {spec.name for spec in TABLES["quick"]} <= {spec.name for spec in TABLES["standard"]}
    assert {spec.label for spec in TABLES["quick"]} == {"DM-H", "AD", "AD-Mamba"}
    assert len({spec.seed for spec in TABLES["paper"]}) == 10


def test_a_hash_is_of_all_that_matters_and_of_nothing_else() -> None:
    spec = tiny()
    changed = [
        replace(spec, seed=1),
        tiny(training__updates=3),
        replace(spec, preset="ad", overrides={}),
        replace(spec, judging=replace(spec.judging, episodes=4)),
        replace(spec, data=replace(DATA, seed=1)),
        replace(spec, data=replace(DATA, split_seed=1)),
        replace(spec, data=replace(DATA, num_train=4)),
        replace(spec, data=replace(DATA, settings={**DATA.settings, "noise": 0.1})),
    ]
    assert len({spec.hash, *(other.hash for other in changed)}) == len(changed) + 1
    assert replace(spec, minutes=5.0).hash == spec.hash
    assert tiny(model__chunk_len=5).hash == spec.hash  # the preset's own value


def test_a_change_is_named_and_a_new_setting_is_none() -> None:
    spec = tiny()
    stored = tiny(training__updates=3).resolved()
    assert "training.updates was 3, is 2" in spec.differences(stored)
    stored = spec.resolved()
    del stored["contexts.goal_share"]  # as if the setting were new: its default is what was done before
    assert spec.differences(stored) == []
    assert replace(spec, overrides={**spec.overrides, "contexts.goal_share": 1.0}).differences(stored) == [
        "contexts.goal_share was 0.25, is 1.0"
    ]
    assert spec.differences({**spec.resolved(), "model.gone": 1}) == ["model.gone was 1, is gone"]


def test_checkpoints_come_at_quarters() -> None:
    for updates, every in ((2000, 500), (10, 3), (2, 1)):
        assert tiny(training__updates=updates).config().training.checkpoint_every == every


def test_the_papers_sizes() -> None:
    for row in PAPER_METHODS[1:]:
        config = RunSpec(DATA, **row).config()
        wanted = ADConfig.paper(1, 1, backbone=config.model.backbone)
        assert config.model == wanted
        training = {**asdict(config.training), "checkpoint_every": 5000}
        assert training == asdict(TrainConfig.paper())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"overrides": {"model.color": 1}}, "model.color: is no setting"),
        ({"overrides": {"updates": 1}}, "they are model"),
        ({"overrides": {"training.updates": 0}}, "updates: must be at least 1"),
        ({"preset": "huge"}, "preset: 'huge'"),
        ({"method": "a/b"}, "method: letters, digits"),
        ({"variant": "x/../../y"}, "variant: letters, digits"),
    ],
)
def test_bad_runs_are_refused(change: dict[str, object], words: str) -> None:
    with pytest.raises(SettingError, match=words):
        replace(tiny(), **change)


def test_bad_data_and_judging_are_refused() -> None:
    with pytest.raises(SettingError, match="environment: 'attic'"):
        DataSpec("attic")
    with pytest.raises(SettingError, match="behaviour: 'cat'"):
        DataSpec("darkroom", "cat")
    with pytest.raises(SettingError, match=r"judging\.seeds: at least one"):
        Judging(seeds=())
    with pytest.raises(SettingError, match=r"judging\.episodes"):
        Judging(episodes=0)


def test_tables_from_files(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    specs = [tiny(), tiny(seed=1)]
    write_table(specs, path)
    assert load_table(str(path)) == specs
    write_table([tiny(), tiny()], path)
    with pytest.raises(SettingError, match="two runs are called darkroom/searcher/dm-h/seed-0"):
        load_table(str(path))
    path.write_text('[{"method": "dm-h"}]')
    with pytest.raises(SettingError, match=r"mine\.json: run: 'data'"):
        load_table(str(path))
    write_json(path, [{**tiny().to_dict(), "preset": None}])
    with pytest.raises(SettingError, match=r"mine\.json: preset: 'None' is not known"):
        load_table(str(path))
    path.write_text("{}")
    with pytest.raises(SettingError, match="not a list of runs"):
        load_table(str(path))
    with pytest.raises(DataError, match="nowhere"):
        load_table("nowhere.json")
    with pytest.raises(SettingError, match="table: 'fast' is not known; choose one of quick"):
        load_table("fast")
