"""Lifetimes kept step by step, to look at what the sub-goals do."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dmh_lib.agents import DMHAgent, PlayConfig
from dmh_lib.envs import GridVectorEnv, rules_of
from dmh_lib.models import DMH

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Rollout:
    """One lifetime in a dark room: E episodes of T steps, K chunks each."""

    task: int
    goal: NDArray[np.int64]  # (num_targets, 2) the hidden cells
    size: int
    paths: Floats  # (E, T + 1, 2) cells, the last one included
    rewards: Floats  # (E, T)
    latents: Floats  # (E, K, G) generated sub-goals z
    subgoals: Floats  # (E, K, 2) decoded into the room

    @property
    def returns(self) -> Floats:
        """Return of each episode, (E,)."""
        return self.rewards.sum(1)

    @property
    def goal_distances(self) -> Floats:
        """Mean distance of an episode's decoded sub-goals from the last hidden cell, in cells, (E,)."""
        distances: Floats = np.linalg.norm(self.subgoals - self.goal[-1], axis=-1).mean(1)
        return distances


def roll_out(
    model: DMH,
    env_id: str,
    tasks: NDArray[np.int64],
    episodes: int = 20,
    play: PlayConfig | None = None,
    seed: int = 0,
) -> list[Rollout]:
    """Play a lifetime on each task, beginning with an empty context, and keep all of it."""
    rules, chunk_len = rules_of(env_id), model.config.chunk_len
    env = GridVectorEnv(len(tasks), rules=rules, tasks=tasks)
    agent = DMHAgent(model, play)
    num_chunks = -(-rules.horizon // chunk_len)
    paths = np.zeros((len(tasks), episodes, rules.horizon + 1, 2), dtype=np.float32)
    rewards = np.zeros((len(tasks), episodes, rules.horizon), dtype=np.float32)
    latents = np.zeros((len(tasks), episodes, num_chunks, model.config.goal_dim), dtype=np.float32)
    subgoals = np.zeros((len(tasks), episodes, num_chunks, 2), dtype=np.float32)
    observations, _ = env.reset(seed=seed)
    agent.begin(len(tasks), seed=seed)
    for episode in range(episodes):
        for step in range(rules.horizon):
            paths[:, episode, step] = observations
            observations, gained, terminations, truncations, info = env.step(agent.act(observations))
            if step % chunk_len == 0:
                latents[:, episode, step // chunk_len] = agent.subgoals.cpu()
                subgoals[:, episode, step // chunk_len] = model.decode_subgoals(agent.subgoals).cpu()
            rewards[:, episode, step] = gained
            agent.observe(gained, terminations, truncations)
        paths[:, episode, -1] = info["final_obs"]
    return [
        Rollout(int(task), goal, rules.size, *parts)
        for task, goal, *parts in zip(tasks, env.targets, paths, rewards, latents, subgoals, strict=True)
    ]


def subgoal_table(rollouts: list[Rollout]) -> pd.DataFrame:
    """One row per task and episode: `task`, `episode`, `return`, `goal_distance` (cells)."""
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "task": rollout.task,
                    "episode": np.arange(1, len(rollout.returns) + 1),
                    "return": rollout.returns,
                    "goal_distance": rollout.goal_distances,
                }
            )
            for rollout in rollouts
        ],
        ignore_index=True,
    )


def probe_goals(
    fit_on: list[Rollout], tested_on: list[Rollout], from_episode: int = 10
) -> NDArray[np.float64]:
    """How well the hidden cell can be read off z by a linear map, as R² per coordinate, (2,).

    The map is fitted by least squares on the sub-goals of `fit_on`, from episode `from_episode` on, and
    scored on those of `tested_on`: 1 is exact, 0 no better than the mean.
    """

    def pairs(rollouts: list[Rollout]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        latents = np.concatenate(
            [r.latents[from_episode - 1 :].reshape(-1, r.latents.shape[-1]) for r in rollouts]
        )
        goals = np.concatenate(
            [np.tile(r.goal[-1], (r.latents[from_episode - 1 :, :, 0].size, 1)) for r in rollouts]
        )
        return np.column_stack([latents, np.ones(len(latents))]).astype(np.float64), goals.astype(np.float64)

    inputs, goals = pairs(fit_on)
    weights, *_ = np.linalg.lstsq(inputs, goals, rcond=None)
    inputs, goals = pairs(tested_on)
    residual = ((goals - inputs @ weights) ** 2).sum(0)
    return 1 - residual / ((goals - goals.mean(0)) ** 2).sum(0)
