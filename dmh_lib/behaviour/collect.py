"""Datasets from policies, mixed as D4RL mixes them."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

import gymnasium as gym
import numpy as np
import torch
from tqdm.auto import tqdm

from dmh_lib.behaviour.config import Kind
from dmh_lib.behaviour.learn import CURVE, POLICIES
from dmh_lib.behaviour.policy import GaussianPolicy, load_policy
from dmh_lib.data.trajectories import Trajectories
from dmh_lib.errors import CheckpointError, require_choice
from dmh_lib.files import read_json

MEDIUM = 40.0
"""D4RL's score that a medium policy comes nearest to."""


def collect(
    policies: Sequence[GaussianPolicy], env_id: str, steps: int, *, seed: int = 0, progress: bool = False
) -> Trajectories:
    """Whole episodes of each policy, as many steps of each; actions are drawn, as while learning.

    Args:
        policies: in the order in which their episodes are to stand.
        env_id: of Gymnasium.
        steps: in all, at least; an episode that has begun is brought to its end.
        seed: of the environment and of the draws.
        progress: show a bar.
    """
    env = gym.make(env_id)
    generator = torch.Generator().manual_seed(seed)
    seen, acted, gained, ends, lengths = [], [], [], [], list[int]()
    share = -(-steps // len(policies))
    with tqdm(total=share * len(policies), desc="steps", disable=not progress) as bar:
        for number, policy in enumerate(policies):
            have = 0
            while have < share:
                observation, _ = env.reset(seed=None if lengths else seed)
                ended, length = [False, False], 0
                while not any(ended):
                    action = policy.act(observation[None], generator)[0]
                    seen.append(observation)
                    acted.append(action)
                    observation, reward, *ended, _ = env.step(action)
                    gained.append(reward)
                    ends.append(ended)
                    length += 1
                lengths.append(length)
                have += length
                bar.update(min(length, share * (number + 1) - bar.n))
    env.close()
    terminations, truncations = np.array(ends).T  # (N,) each
    zeros = np.zeros(len(lengths), dtype=np.int64)
    return Trajectories(
        np.array(seen, dtype=np.float32),
        np.array(acted, dtype=np.float32),
        np.array(gained, dtype=np.float32),
        terminations,
        truncations & ~terminations,
        np.cumsum([0, *lengths]),
        zeros,
        zeros,
        {"env_id": env_id},
    )


def make_dataset(
    run: str | os.PathLike[str], kind: str, steps: int = 1_000_000, *, seed: int = 0, progress: bool = False
) -> Trajectories:
    """A dataset in D4RL's manner from a run of `learn`; its metadata say which policies it is from.

    `medium` is the policy whose score is nearest to 40, `expert` the best one, `medium-expert` half of each,
    `medium-replay` all policies up to the medium one, from the first on.

    Raises:
        CheckpointError: the run is missing or broken.
        SettingError: there is no such kind.
    """
    require_choice("kind", kind, get_args(Kind))
    folder = Path(run)
    if not (folder / CURVE).is_file():
        raise CheckpointError(f"{folder}: no run here ({CURVE} is missing); `dmh data behaviour` makes one")
    known = read_json(folder / CURVE)
    try:
        scores = np.array([point["score"] for point in known["curve"]], dtype=np.float64)
        files = [folder / POLICIES / f"step-{int(point['step']):08d}.safetensors" for point in known["curve"]]
        expert = int(np.nanargmax(scores))
        medium = int(np.nanargmin(np.abs(scores[: expert + 1] - MEDIUM)))
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{folder / CURVE}: broken, or without scores ({error!r})") from error
    chosen = {
        "medium": [medium],
        "medium-replay": list(range(medium + 1)),
        "medium-expert": [medium, expert],
        "expert": [expert],
    }[kind]
    loaded = [load_policy(files[index]) for index in chosen]
    env_id = str(loaded[0][1].get("env_id"))
    trajectories = collect([policy for policy, _ in loaded], env_id, steps, seed=seed, progress=progress)
    sources = [{"file": files[index].name, "score": float(scores[index])} for index in chosen]
    about = {"kind": kind, "policies": sources, "seed": seed}
    return replace(trajectories, metadata={**trajectories.metadata, **about})
