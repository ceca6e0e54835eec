"""Soft actor-critic by SBX, with checkpoints that hold no pickle and a curve of scores."""

import os
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from tqdm.auto import tqdm

from dmh_lib.behaviour.config import BehaviourConfig
from dmh_lib.behaviour.play import play
from dmh_lib.behaviour.policy import GaussianPolicy, save_policy
from dmh_lib.envs.scores import find_references, normalised_scores
from dmh_lib.errors import CheckpointError, SettingError
from dmh_lib.files import read_json, write_json

CURVE, STATE, POLICIES = "curve.json", "state-", "policies"
_COUNTERS = ("num_timesteps", "_n_updates")
_REPLAY = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")


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
    model = _model(config, int(states[-1].name.removeprefix(STATE)) if states else 0)
    curve = _take_up(model, config, folder) if states else []
    folder.mkdir(parents=True, exist_ok=True)
    bar = tqdm(total=config.steps, initial=model.num_timesteps, desc=config.env, disable=not progress)
    with bar:
        while model.num_timesteps < config.steps:
            wanted = min(config.save_every, config.steps - model.num_timesteps)
            model.learn(wanted, reset_num_timesteps=False, log_interval=None)
            bar.update(wanted)
            policy = _policy(model, config)
            returns = judge(policy, config.env_id, config.judged_episodes, seed=1000 + config.seed)
            point = {"step": model.num_timesteps, **_point(config.env, returns)}
            curve.append(point)
            name = f"step-{model.num_timesteps:08d}.safetensors"
            save_policy(policy, folder / POLICIES / name, {"env_id": config.env_id, **point})
            write_json(folder / CURVE, {"config": asdict(config), "curve": curve})
            _put_down(model, folder)
            bar.set_postfix({"return": f"{point['return']:.0f}"})
    return pd.DataFrame(curve)


def judge(policy: GaussianPolicy, env_id: str, episodes: int, *, seed: int = 0) -> NDArray[Any]:
    """Returns (episodes,) of a policy that takes the mean action."""
    returns: NDArray[Any] = play(policy, env_id, episodes, copies=episodes, seed=seed).returns
    return returns


def _point(env: str, returns: NDArray[Any]) -> dict[str, Any]:
    known = find_references(env) is not None
    score = float(normalised_scores(env, returns.mean())) if known else None
    return {"return": float(returns.mean()), "std": float(returns.std()), "score": score}


# ---------------------------------------------------------------------- SBX's model


def _model(config: BehaviourConfig, kept: int = 0) -> Any:
    """A learner whose memory holds all steps, or those `kept` from before where they are more."""
    try:
        env = gym.make(config.env_id)
    except gym.error.Error as error:
        raise SettingError(f"environment: {config.env_id} cannot be made ({error}); check its id") from error
    if not isinstance(env.action_space, gym.spaces.Box) or not env.action_space.is_bounded():
        problem = f"has actions {env.action_space}, which have no bounds"
        raise SettingError(f"environment: {config.env_id} {problem}; take one with bounded actions")
    try:  # six seconds to import
        from sbx import SAC
        from stable_baselines3.common.vec_env import DummyVecEnv
    except ImportError as error:
        raise SettingError("to learn policies: pip install -e '.[behaviour]'") from error
    return SAC(
        "MlpPolicy",
        DummyVecEnv([lambda: gym.make(config.env_id)] * config.copies),
        learning_rate=config.learning_rate,
        qf_learning_rate=config.critic_learning_rate,
        policy_delay=config.actor_every,
        buffer_size=max(config.steps, kept),
        learning_starts=config.random_steps,
        batch_size=config.batch_size,
        gradient_steps=config.updates,
        policy_kwargs={"net_arch": [config.hidden, config.hidden]},
        seed=config.seed,
    )


def _policy(model: Any, config: BehaviourConfig) -> GaussianPolicy:
    """The actor alone."""
    space = model.action_space
    policy = GaussianPolicy(model.observation_space.shape[0], space.low, space.high, config.hidden)
    layers = (policy.body[0], policy.body[2], policy.mu, policy.log_std)
    for number, layer in enumerate(layers):
        theirs = model.policy.actor_state.params["params"][f"Dense_{number}"]
        layer.weight.data = torch.tensor(np.asarray(theirs["kernel"]).T).contiguous()  # JAX has (in, out)
        layer.bias.data = torch.tensor(np.asarray(theirs["bias"]))
    return policy


def _learned(model: Any) -> dict[str, Any]:
    """Weights and moments, JAX's trees."""
    return {
        "actor": model.policy.actor_state,
        "critic": model.policy.qf_state,
        "entropy": model.ent_coef_state,
    }


def _states(folder: Path) -> list[Path]:
    """What there is to go on from, the newest last."""
    return sorted(folder.glob(f"{STATE}*"))


def _put_down(model: Any, folder: Path) -> None:
    """Write all that is needed to go on; what was there before goes once that is done."""
    from jax.tree_util import keystr, tree_leaves_with_path

    fresh, before = folder / ".state", _states(folder)
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    leaves = {keystr(path): np.asarray(leaf) for path, leaf in tree_leaves_with_path(_learned(model))}
    save_file(leaves, fresh / "learner.safetensors")
    memory = model.replay_buffer
    have = memory.buffer_size if memory.full else memory.pos
    # each (rounds, copies, …)
    save_file({name: getattr(memory, name)[:have] for name in _REPLAY}, fresh / "replay.safetensors")
    write_json(fresh / "counters.json", {name: int(getattr(model, name)) for name in _COUNTERS})
    fresh.rename(folder / f"{STATE}{model.num_timesteps:08d}")
    for old in before:
        shutil.rmtree(old, ignore_errors=True)


def _take_up(model: Any, config: BehaviourConfig, folder: Path) -> list[dict[str, Any]]:
    """Put back what `_put_down` wrote; the curve so far."""
    from jax.tree_util import keystr, tree_map_with_path

    try:
        known = read_json(folder / CURVE)
        if asdict(config) | {"steps": 0} != known["config"] | {"steps": 0}:
            problem = "field 'config': other settings; take those, or another folder"
            raise CheckpointError(f"{folder / CURVE}: {problem}")
        place = _states(folder)[-1]
        leaves, replay = (load_file(place / f"{name}.safetensors") for name in ("learner", "replay"))

        def put_back(path: Any, leaf: Any) -> NDArray[Any]:
            value = leaves[keystr(path)]
            if value.shape != np.shape(leaf):
                raise ValueError(f"{keystr(path)} has the shape {value.shape}, not {np.shape(leaf)}")
            return value

        learned = tree_map_with_path(put_back, _learned(model))
        model.policy.actor_state, model.policy.qf_state = learned["actor"], learned["critic"]
        model.ent_coef_state = learned["entropy"]
        memory, have = model.replay_buffer, len(replay["rewards"])
        for name in _REPLAY:
            getattr(memory, name)[:have] = replay[name]
        memory.pos, memory.full = have % memory.buffer_size, have == memory.buffer_size
        counters = read_json(place / "counters.json")
        for name in _COUNTERS:
            setattr(model, name, int(counters[name]))
    except (OSError, SafetensorError, RuntimeError, KeyError, ValueError, TypeError, IndexError) as error:
        raise CheckpointError(f"{folder}: broken ({error!r}); begin again in another folder") from error
    model.set_random_seed(config.seed + model.num_timesteps)
    return [point for point in known["curve"] if point["step"] <= model.num_timesteps]
