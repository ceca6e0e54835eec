"""JSON: settings, training states, orders and states of sweeps, tables of runs, curves, reports, records."""

import hashlib
import json
import shutil
from pathlib import Path
from random import Random

import h5py
from fuzz_checkpoints import play, resume, run
from fuzz_hdf5 import MINARI_ID, minari, read_of_minari
from fuzz_parquet import SPEC
from fuzz_safetensors import policy
from fuzz_seed import Seed
from fuzz_values import damaged_json

from dmh_lib.behaviour.collect import read_run
from dmh_lib.bench.common import Check, Report, format_report
from dmh_lib.bench.results import load_reports, series
from dmh_lib.benchmark import Places, load_table, write_table
from dmh_lib.benchmark.store import has_weights
from dmh_lib.data.d4rl import fetch_d4rl
from dmh_lib.files import write_json
from dmh_lib.sweep.gather import overview, read_lives
from dmh_lib.sweep.orders import NotebookTarget, Order, TrainingTarget, read_order
from dmh_lib.sweep.store import STATE, State, folder_of, write_state

NOTEBOOK = Order(
    "seed-1_abcdef01", NotebookTarget(Path("a.ipynb")), {"seed": 1}, {"seed": 1}, "abcdef0123456789"
)
TRAINING = Order(
    "training_01", TrainingTarget(Path("a.hdf5"), seeds=(1, 2)), {}, {"model.d_model": 8}, "0123456789"
)
D4RL_FILE = "hopper_medium-v2.hdf5"


def damage(rng: Random, path: Path) -> None:
    path.write_bytes(damaged_json(rng, path.read_text(encoding="utf-8")))


# ---------------------------------------------------------------------- valid files


def settings(folder: Path) -> Path:
    return run(folder) / "checkpoint.json"


def progress(folder: Path) -> Path:
    return run(folder) / "training.json"


def order_of_a_notebook(folder: Path) -> Path:
    write_json(folder / "order.json", {**NOTEBOOK.to_json(), "target": {"path": "/a.ipynb"}})
    return folder / "order.json"


def order_of_a_training(folder: Path) -> Path:
    told = TRAINING.to_json()
    write_json(folder / "order.json", {**told, "target": {**told["target"], "data": "/a.hdf5"}})
    return folder / "order.json"


def state_of_a_run(folder: Path) -> Path:
    place = folder_of(NOTEBOOK, folder)
    write_state(place, State(NOTEBOOK.digest, "ValueError", 1.5, {"numpy": "2"}))
    return place / STATE


def curve(folder: Path) -> Path:
    (folder / "policies").mkdir()
    policy(folder / "policies")
    write_json(
        folder / "curve.json",
        {"config": {}, "curve": [{"step": 10, "score": 45.0}, {"step": 20, "score": 1}]},
    )
    return folder / "curve.json"


def table(folder: Path) -> Path:
    write_table([SPEC], folder / "table.json")
    return folder / "table.json"


def report(folder: Path) -> Path:
    rows = [{"kind": "a", "length": 1, "ms": 1.5}, {"kind": "b", "length": 2, "ms": None}]
    found = Report(
        "scan",
        "How fast?",
        {"lengths": (1, 2)},
        [Check("same", 1e-7, 1e-5)],
        {"kind": "", "length": "", "ms": "ms"},
        rows,
    )
    write_json(folder / "scan.json", found.to_dict() | {"machine": {"cpu": "x", "cores": 2}})
    return folder / "scan.json"


def record(folder: Path) -> Path:
    with h5py.File(folder / D4RL_FILE, "w") as file:
        file["rewards"] = [1.0]
    contents = (folder / D4RL_FILE).read_bytes()
    about = {
        "sha256": hashlib.sha256(contents).hexdigest(),
        "bytes": len(contents),
        "address": "http://localhost/",
    }
    write_json(folder / f"{D4RL_FILE}.json", about)
    return folder / f"{D4RL_FILE}.json"


def of_minari(folder: Path) -> Path:
    return minari(folder).with_name("metadata.json")


def kept(folder: Path) -> Path:
    """Weights that a benchmark kept."""
    place = Places(folder, folder, folder).kept(SPEC)
    write_json(place / "checkpoint.json", {"hash": SPEC.hash})
    result = Places(folder, folder, folder).result(SPEC)
    from fuzz_parquet import of_the_benchmark

    of_the_benchmark(folder)
    assert result.is_file()
    return place / "checkpoint.json"


# ---------------------------------------------------------------------- readers


def read_an_order(path: Path, out: Path) -> None:
    """As a worker does; what it would write to stays in the sweep's folder."""
    found = read_order(path)
    assert folder_of(found, out).resolve().parent == (out / "runs").resolve()
    json.dumps(found.to_json())


def read_a_state(path: Path, out: Path) -> None:
    sweep = path.parents[2]
    overview([NOTEBOOK, TRAINING], sweep, read_lives([NOTEBOOK, TRAINING], sweep)).to_string()


def read_curve(path: Path, _: Path) -> None:
    found = read_run(path.parent)
    for kind in ("medium", "expert", "medium-expert", "medium-replay"):
        json.dumps(found.sources(kind))
    assert all(file.parent == path.parent / "policies" for file in found.files)


def read_table(path: Path, out: Path) -> None:
    places = Places(out, out, out)
    for spec in load_table(str(path)):
        for place in (places.result(spec), places.run(spec), places.kept(spec), places.log(spec)):
            assert out.resolve() in place.resolve().parents
        assert spec.label
        assert spec.hash


def read_report(path: Path, _: Path) -> None:
    for found in load_reports(path.parent).values():
        format_report(found)
        series(found, "kind", "length", "ms")


def read_record(path: Path, out: Path) -> None:
    shutil.copytree(path.parent, out / "data")  # where a lock is taken
    fetch_d4rl("hopper-medium-v2", out / "data", server="http://localhost:9")


def read_kept(path: Path, _: Path) -> None:
    root = path.parents[len(SPEC.name.split("/")) + 1]
    has_weights(SPEC, Places(root, root, root))


SEEDS = (
    Seed(settings, play, damage, ("model.safetensors",)),
    Seed(progress, resume, damage, ("training.safetensors",)),
    Seed(order_of_a_notebook, read_an_order, damage),
    Seed(order_of_a_training, read_an_order, damage),
    Seed(state_of_a_run, read_a_state, damage),
    Seed(curve, read_curve, damage),
    Seed(table, read_table, damage),
    Seed(report, read_report, damage),
    Seed(record, read_record, damage, (D4RL_FILE,)),
    Seed(of_minari, read_of_minari, damage, (MINARI_ID,)),
    Seed(kept, read_kept, damage),
)
