"""Soft actor-critic by Stable-Baselines3, with checkpoints that hold no pickle and a curve of scores."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm.auto import tqdm

from dmh_lib.behaviour.config import BehaviourConfig
from dmh_lib.behaviour.policy import GaussianPolicy, save_policy
from dmh_lib.envs.scores import find_references, normalised_scores
from dmh_lib.errors import CheckpointError, SettingError
from dmh_lib.files import read_json, write_json

CURVE, STATE, POLICIES = "curve.json", "state", "policies"
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
        out: folder: `policies/step-….safetensors`, `curve.json`, and `state/` to resume from.
        resume: go on from what is there; the settings but `steps` must be the same.
        progress: show a bar.

    Returns:
        The curve: `step`, `return` (mean over episodes), `std`, `score` (D4RL's; None where it has none).

    Raises:
        SettingError: no such environment, or its actions have no bounds.
        CheckpointError: the folder is another run's, or broken.
    """
    folder = Path(out)
    begun = (folder / CURVE).exists()
    if begun and not resume:
        raise CheckpointError(f"{folder}: holds a run already; give --resume or another folder")
    model = _model(config)
    curve = list[dict[str, Any]]()
    if begun:
        curve = _take_up(model, config, folder)
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
            _put_down(model, folder)
            write_json(folder / CURVE, {"config": asdict(config), "curve": curve})
            bar.set_postfix({"return": f"{point['return']:.0f}"})
    return pd.DataFrame(curve)


def judge(policy: GaussianPolicy, env_id: str, episodes: int, *, seed: int = 0) -> np.ndarray[Any, Any]:
    """Returns (episodes,) of a policy that takes the mean action."""
    env = gym.make(env_id)
    returns = np.zeros(episodes)
    for episode in range(episodes):
        observation, _ = env.reset(seed=seed + episode)
        ended = False
        while not ended:
            observation, reward, terminated, truncated, _ = env.step(policy.act(observation[None])[0])
            returns[episode] += float(reward)
            ended = terminated or truncated
    env.close()
    return returns


def _point(env: str, returns: np.ndarray[Any, Any]) -> dict[str, Any]:
    known = find_references(env) is not None
    score = float(normalised_scores(env, returns.mean())) if known else None
    return {"return": float(returns.mean()), "std": float(returns.std()), "score": score}


# ---------------------------------------------------------------------- Stable-Baselines3's model


def _model(config: BehaviourConfig) -> Any:
    from stable_baselines3 import SAC  # two seconds to import

    try:
        env = gym.make(config.env_id)
    except gym.error.Error as error:
        raise SettingError(f"environment: {config.env_id} cannot be made ({error}); check its id") from error
    if not isinstance(env.action_space, gym.spaces.Box) or not env.action_space.is_bounded():
        problem = f"has actions {env.action_space}, which have no bounds"
        raise SettingError(f"environment: {config.env_id} {problem}; take one with bounded actions")
    return SAC(
        "MlpPolicy",
        env,
        learning_rate=config.learning_rate,
        buffer_size=config.steps,
        learning_starts=config.random_steps,
        batch_size=config.batch_size,
        policy_kwargs={"net_arch": [config.hidden, config.hidden]},
        seed=config.seed,
        device="cpu",
    )


def _policy(model: Any, config: BehaviourConfig) -> GaussianPolicy:
    """The actor alone."""
    space, actor = model.action_space, model.actor
    policy = GaussianPolicy(model.observation_space.shape[0], space.low, space.high, config.hidden)
    policy.body.load_state_dict(actor.latent_pi.state_dict())
    policy.mu.load_state_dict(actor.mu.state_dict())
    policy.log_std.load_state_dict(actor.log_std.state_dict())
    return policy


def _moments(model: Any) -> Iterator[tuple[str, torch.optim.Optimizer, Tensor]]:
    """Every learned tensor with its optimizer and a name."""
    optimizers = {"actor": model.actor, "critic": model.critic}
    for name, part in optimizers.items():
        for number, tensor in enumerate(part.optimizer.param_groups[0]["params"]):
            yield f"{name}:{number}", part.optimizer, tensor
    yield "entropy:0", model.ent_coef_optimizer, model.log_ent_coef


def _put_down(model: Any, folder: Path) -> None:
    """Write all that is needed to go on, in place of what was there."""
    fresh, place = folder / f".{STATE}", folder / STATE
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    tensors = {f"policy:{name}": value.contiguous() for name, value in model.policy.state_dict().items()}
    tensors["entropy:value"] = model.log_ent_coef.detach()
    for name, optimizer, tensor in _moments(model):
        tensors |= {f"{name}:{key}": value for key, value in optimizer.state[tensor].items()}
    save_file({name: value.clone() for name, value in tensors.items()}, fresh / "learner.safetensors")
    memory = model.replay_buffer
    have = memory.buffer_size if memory.full else memory.pos
    save_file(
        {name: torch.from_numpy(getattr(memory, name)[:have]) for name in _REPLAY},
        fresh / "replay.safetensors",
    )
    write_json(fresh / "counters.json", {name: int(getattr(model, name)) for name in _COUNTERS})
    shutil.rmtree(place, ignore_errors=True)
    fresh.rename(place)


def _take_up(model: Any, config: BehaviourConfig, folder: Path) -> list[dict[str, Any]]:
    """Put back what `_put_down` wrote; the curve so far."""
    try:
        known = read_json(folder / CURVE)
        if asdict(config) | {"steps": 0} != known["config"] | {"steps": 0}:
            problem = "field 'config': other settings; take those, or another folder"
            raise CheckpointError(f"{folder / CURVE}: {problem}")
        place = folder / STATE
        tensors, replay = (load_file(place / f"{name}.safetensors") for name in ("learner", "replay"))
        model.policy.load_state_dict(
            {name[7:]: value for name, value in tensors.items() if name.startswith("policy:")}
        )
        model.log_ent_coef.data.copy_(tensors["entropy:value"])
        for name, optimizer, tensor in _moments(model):
            optimizer.state[tensor] = {
                key: tensors[f"{name}:{key}"]
                for key in ("step", "exp_avg", "exp_avg_sq")
                if f"{name}:{key}" in tensors  # none before the first update
            }
        memory, have = model.replay_buffer, len(replay["rewards"])
        for name in _REPLAY:
            getattr(memory, name)[:have] = replay[name].numpy()
        memory.pos, memory.full = have % memory.buffer_size, have == memory.buffer_size
        counters = read_json(place / "counters.json")
        for name in _COUNTERS:
            setattr(model, name, int(counters[name]))
    except (OSError, SafetensorError, RuntimeError, KeyError, ValueError, TypeError, IndexError) as error:
        raise CheckpointError(f"{folder}: broken ({error!r}); begin again in another folder") from error
    model.set_random_seed(config.seed + model.num_timesteps)
    return list(known["curve"])
