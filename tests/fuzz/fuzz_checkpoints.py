"""A tiny run of training with one checkpoint, whose files are damaged, and what is done with such a run."""

import json
import shutil
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
from fuzz_hdf5 import made_up

from dmh_lib.checkpoints import export_checkpoint, load_checkpoint, set_play
from dmh_lib.data.contexts import ContextConfig
from dmh_lib.errors import CheckpointError, SettingError
from dmh_lib.files import read_json, write_json
from dmh_lib.methods import label_of, method_of
from dmh_lib.models import DMHConfig
from dmh_lib.run_folders import all_checkpoints, best_checkpoint
from dmh_lib.train_config import TrainConfig
from dmh_lib.training import train

DATA = made_up(discrete=True)
MODEL = DMHConfig.small(
    2, 5, d_model=8, d_state=2, mamba_layers=1, transformer_layers=1, heads=1, subgoal_dim=2
)
CONTEXTS = ContextConfig(2)
TRAINING = TrainConfig(updates=3, batch_size=2, warmup=1, log_every=1, checkpoint_every=2)


@cache
def trained() -> tempfile.TemporaryDirectory[str]:
    """A folder with a run that was cut off, trained once."""
    holder = tempfile.TemporaryDirectory()
    folder = Path(holder.name) / "run"
    train(DATA, MODEL, folder, CONTEXTS, TRAINING)
    last, first = sorted(all_checkpoints(folder), reverse=True)
    shutil.rmtree(last)
    shutil.rmtree(folder / "logs")
    progress = read_json(first / "training.json")
    write_json(first / "training.json", {**progress, "seconds": 1.0})  # the same bytes each time
    return holder


def run(folder: Path) -> Path:
    """A run that was cut off; gives the folder of its checkpoint."""
    shutil.copytree(trained().name, folder, dirs_exist_ok=True)
    return all_checkpoints(folder / "run")[0]


def play(path: Path, out: Path) -> None:
    """Load the checkpoint that a file is of, and let it act."""
    loaded = load_checkpoint(path.parent)
    label_of(loaded.model.config)
    agent = method_of(loaded.model.config).agent(loaded.model, loaded.play)
    agent.begin(2, seed=0)
    ends = np.zeros(2, dtype=np.bool_)
    try:
        for _ in range(3):
            actions = agent.act(np.zeros((2, loaded.model.config.obs_dim), dtype=np.float32))
            assert np.isfinite(actions).all()
            agent.observe(np.zeros(2, dtype=np.float32), ends, ends)
    except CheckpointError as error:  # weights so large that only play shows it
        assert "its outputs are no chances" in str(error)
    try:
        loaded.require_env("darkroom")
        assert len(loaded.split.train)
    except CheckpointError as error:  # another environment's, or none that is known
        assert str(path.parent) in str(error)
    copy = export_checkpoint(path.parent, out / "exported", {"note": 1})
    set_play(copy, loaded.play)
    load_checkpoint(copy)
    best_checkpoint(path.parents[1])


def resume(path: Path, out: Path) -> None:
    """Go on from the checkpoint that a file is of, in a copy of its run."""
    copy = out / "run"
    shutil.copytree(path.parents[1], copy)
    try:
        found = train(DATA, MODEL, copy, CONTEXTS, TRAINING, resume=True)
    except SettingError as error:  # moments so large that only an update shows it
        assert "the loss is not finite" in str(error)
        return
    assert np.isfinite(found.history["loss"]).all()
    json.dumps(found.history.to_dict("records"), allow_nan=False)
