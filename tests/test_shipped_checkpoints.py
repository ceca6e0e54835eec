"""The checkpoints in the repository: small, whole, and as good as the stored results say."""

from pathlib import Path

import pytest

from dmh_lib.benchmark.command import checkpoint_name
from dmh_lib.benchmark.store import Places, load
from dmh_lib.benchmark.tables import load_table
from dmh_lib.checkpoints import WEIGHTS, load_checkpoint
from dmh_lib.evaluation import evaluate_on_tasks
from dmh_lib.methods import method_of

ROOT = Path(__file__).parents[1]
SPECS = load_table("quick")


def test_there_is_one_for_each_run_of_the_quick_table():
    assert {path.name for path in (ROOT / "checkpoints").iterdir() if path.is_dir()} == {
        checkpoint_name(spec) for spec in SPECS
    }


@pytest.mark.parametrize("spec", SPECS, ids=checkpoint_name)
def test_it_plays_as_its_file_and_the_stored_result_say(spec):
    folder = ROOT / "checkpoints" / checkpoint_name(spec)
    checkpoint, stored = load_checkpoint(folder), load(spec, Places(ROOT / "docs").result(spec))
    assert (folder / WEIGHTS).stat().st_size < 3e6
    assert checkpoint.about["data_hash"] == stored.about["data_hash"]
    assert checkpoint.about["hash"] == stored.about["hash"]
    agent = method_of(checkpoint.model.config).agent(checkpoint.model, checkpoint.play)
    tasks = checkpoint.split.tasks("test")
    played = evaluate_on_tasks(agent, checkpoint.env_id, tasks, spec.judging.episodes, [0])
    last = played[played["episode"] == spec.judging.episodes]["return"].mean()
    # one lifetime a task here, three there; another processor may draw another action now and then
    assert last == pytest.approx(checkpoint.about["scores"]["return_by_episode"][-1], rel=0.1)
