"""Policies learned with SBX, with checkpoints that hold no pickle and a curve of scores."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from tqdm.auto import tqdm

from dmh_lib.behaviour.config import BehaviourConfig
from dmh_lib.behaviour.learners import LEARNERS, PolicyLearner
from dmh_lib.behaviour.play import play
from dmh_lib.behaviour.policy import GaussianPolicy, save_policy
from dmh_lib.envs.scores import find_references, normalised_scores
from dmh_lib.errors import CheckpointError
from dmh_lib.files import read_json, write_json

CURVE, STATE, POLICIES = "curve.json", "state-", "policies"
_COUNTERS = ("num_timesteps", "_n_updates")


def learn(
    config: BehaviourConfig, out: str | os.PathLike[str], *, resume: bool = False, progress: bool = False
) -> pd.DataFrame:
    """Learn a policy and keep one file for each point of its curve.

    A run that is gone on with takes up weights, moments and replay memory, begins a new episode and draws
    other random numbers than one that was not interrupted.

    Args:
        config: what to learn.
        out: folder: `policies/step-….safetensors`, `curve.json`, and `state-…/` to resume from.
        resume: go on from what is there; the settings but `steps` must be the same.
        progress: show a bar.

    Returns:
        The curve: `step`, `return` (mean over episodes), `std`, `score` (D4RL's; None where it has none).

    Raises:
        SettingError: no such environment, or its actions have no bounds.
        CheckpointError: the folder is another run's, or broken.
    """
    folder = Path(out)
    if (folder / CURVE).exists() and not resume:
        raise CheckpointError(f"{folder}: holds a run already; give --resume or another folder")
    states = _states(folder)
    learner = LEARNERS[config.learner](config, int(states[-1].name.removeprefix(STATE)) if states else 0)
    model, curve = learner.model, _take_up(learner, config, folder) if states else []
    folder.mkdir(parents=True, exist_ok=True)
    bar = tqdm(total=config.steps, initial=model.num_timesteps, desc=config.env, disable=not progress)
    with bar:
        while model.num_timesteps < config.steps:
            before = model.num_timesteps
            wanted = min(config.save_every, config.steps - before)
            model.learn(wanted, reset_num_timesteps=False, log_interval=None)
            bar.update(model.num_timesteps - before)
            policy = learner.policy()
            returns = judge(policy, config.env_id, config.judged_episodes, seed=1000 + config.seed)
            point = {"step": model.num_timesteps, **_point(config.env, returns)}
            curve.append(point)
            name = f"step-{model.num_timesteps:08d}.safetensors"
            save_policy(policy, folder / POLICIES / name, {"env_id": config.env_id, **point})
            write_json(folder / CURVE, {"config": config.to_dict(), "curve": curve})
            _put_down(learner, folder)
            bar.set_postfix({"return": f"{point['return']:.0f}"})
    return pd.DataFrame(curve)


def judge(policy: GaussianPolicy, env_id: str, episodes: int, *, seed: int = 0) -> NDArray[Any]:
    """Returns (episodes,) of a policy that draws its actions, as it does in the data."""
    generator = torch.Generator().manual_seed(seed)
    played = play(policy, env_id, episodes, copies=episodes, seed=seed, generator=generator)
    returns: NDArray[Any] = played.returns
    return returns


def _point(env: str, returns: NDArray[Any]) -> dict[str, Any]:
    known = find_references(env) is not None
    score = float(normalised_scores(env, returns.mean())) if known else None
    return {"return": float(returns.mean()), "std": float(returns.std()), "score": score}


# ---------------------------------------------------------------------- what there is to go on from


def _states(folder: Path) -> list[Path]:
    """What there is to go on from, the newest last."""
    return sorted(folder.glob(f"{STATE}*"))


def _put_down(learner: PolicyLearner, folder: Path) -> None:
    """Write all that is needed to go on; what was there before goes once that is done."""
    from jax.tree_util import keystr, tree_leaves_with_path

    fresh, before = folder / ".state", _states(folder)
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    leaves = tree_leaves_with_path(learner.learned())
    save_file({keystr(path): np.asarray(leaf) for path, leaf in leaves}, fresh / "learner.safetensors")
    save_file(learner.memory(), fresh / "memory.safetensors")
    counters = {name: int(getattr(learner.model, name)) for name in _COUNTERS}
    write_json(fresh / "counters.json", counters)
    fresh.rename(folder / f"{STATE}{learner.model.num_timesteps:08d}")
    for old in before:
        shutil.rmtree(old, ignore_errors=True)


def _take_up(learner: PolicyLearner, config: BehaviourConfig, folder: Path) -> list[dict[str, Any]]:
    """Put back what `_put_down` wrote; the curve so far."""
    from jax.tree_util import keystr, tree_map_with_path

    try:
        known = read_json(folder / CURVE)
        if config.to_dict() | {"steps": 0} != known["config"] | {"steps": 0}:
            problem = "field 'config': other settings; take those, or another folder"
            raise CheckpointError(f"{folder / CURVE}: {problem}")
        place = _states(folder)[-1]
        leaves = load_file(place / "learner.safetensors")

        def put_back(path: Any, leaf: Any) -> NDArray[Any]:
            value = leaves[keystr(path)]
            if value.shape != np.shape(leaf):
                raise ValueError(f"{keystr(path)} has the shape {value.shape}, not {np.shape(leaf)}")
            return value

        learner.take_learned(tree_map_with_path(put_back, learner.learned()))
        learner.take_memory(load_file(place / "memory.safetensors"))
        counters = read_json(place / "counters.json")
        for name in _COUNTERS:
            setattr(learner.model, name, int(counters[name]))
    except (OSError, SafetensorError, RuntimeError, KeyError, ValueError, TypeError, IndexError) as error:
        raise CheckpointError(f"{folder}: broken ({error!r}); begin again in another folder") from error
    learner.model.set_random_seed(config.seed + learner.model.num_timesteps)
    return [point for point in known["curve"] if point["step"] <= learner.model.num_timesteps]
