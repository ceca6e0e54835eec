"""What goes on inside DM-H: how its memory takes chunks in, and what its transformer looks at."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from dmh_lib.agents import PlayConfig
from dmh_lib.data.contexts import ContextBatch, ContextConfig, ContextSampler
from dmh_lib.errors import SettingError
from dmh_lib.explore.lives import Episode, as_trajectories
from dmh_lib.mamba import Mamba
from dmh_lib.models import DMH
from dmh_lib.models.planner import SubgoalMamba

AS_LIVED = ContextConfig(order="lived", supervise="all", vary_length=False, goal_share=0.0)


def context_of(
    model: DMH, past: Sequence[Episode], now: Episode, play: PlayConfig | None = None
) -> ContextBatch:
    """A context (B = 1) that ends at the last state of `now`, an episode that still goes on.

    All of its chunks count as learned, in random order as always. What follows the last state is not known
    and stands there as action 0 and reward 0, which no earlier token sees.
    """
    nothing = np.zeros_like(now.actions, shape=(1, *now.actions.shape[1:]))
    begun = Episode(
        np.concatenate([now.observations, now.observations[-1:]]),
        np.concatenate([now.actions, nothing]),
        np.concatenate([now.rewards, np.zeros(1, dtype=np.float32)]),
    )
    config = model.config
    data = as_trajectories([*past, begun], config.action_dim if config.discrete else None, goes_on=True)
    sampler = ContextSampler(data, AS_LIVED, config.chunk_len, inside=config.chunk_summary)
    episodes = np.arange(data.num_episodes)
    batch = sampler.build(episodes[None], np.array([len(episodes)]))
    target = 0.0 if play is None else play.target_return
    batch.returns_to_go += target - float(data.returns.max())  # in play the target is what is aimed at
    return batch.to(model.obs_mean.device)


@torch.inference_mode()
def memory_trace(model: DMH, context: ContextBatch) -> pd.DataFrame:
    """How each layer of Mamba takes in the chunks of one context.

    Returns:
        Rows of `chunk` (from 1), `layer` (from 1), `step_size` (mean of Δ over the channels when the chunk's
        start is read) and `state_norm` (Euclidean, of the scan's state then).

    Raises:
        SettingError: the model remembers by attention.
    """
    planner = model.planner
    if not isinstance(planner, SubgoalMamba):
        raise SettingError("memory: only Mamba has a step size and a state; take a model with memory mamba")
    rows = []
    for chunk, (_, _, cache) in enumerate(model.recurrent_subgoals(context), 1):
        for layer, (block, (window, scan)) in enumerate(zip(planner.blocks, cache, strict=True), 1):
            assert isinstance(block, Mamba)  # a module list does not know
            step_size, norm = float(block.step_sizes(window).mean()), float(scan.norm())
            rows.append({"chunk": chunk, "layer": layer, "step_size": step_size, "state_norm": norm})
    return pd.DataFrame(rows)


@torch.inference_mode()
def chunk_attention(
    model: DMH, subgoal: NDArray[np.float32], now: Episode
) -> tuple[NDArray[np.float32], list[str]]:
    """What the action transformer attends to in the chunk that `now` is in, before its next action.

    Args:
        model: DM-H.
        subgoal: (G,) in force.
        now: an episode that goes on.

    Returns:
        weights (layers, heads, L, L), rows attending to columns, and the names of the L tokens, with
            steps counted from 0 in the episode.
    """
    c, device = model.config.chunk_len, model.obs_mean.device
    start = len(now) // c * c
    steps = len(now) - start + 1  # of the chunk, the one that begins included
    observations = torch.from_numpy(now.observations[start:])[None].to(device)  # (1, t, obs_dim)
    nothing = np.zeros_like(now.actions, shape=(1, *now.actions.shape[1:]))
    actions = torch.from_numpy(np.concatenate([now.actions[start:], nothing]))[None].to(device)  # (1, t, …)
    rewards = torch.from_numpy(np.append(now.rewards[start:], np.float32(0)))[None].to(device)  # (1, t)
    tokens = model.actor.tokens(
        torch.from_numpy(subgoal)[None].to(device),
        model.see(observations),
        model.scale_actions(actions),
        rewards,
    )
    numbers = range(start, start + steps)  # in the episode, from 0
    names = ["sub-goal", *(f"step {step}" for step in numbers)]
    if model.config.tokens == "paper":
        parts = ("sub-goal", "state", "action", "reward")
        names = [f"{part} {step}" for step in numbers for part in parts]
        tokens, names = tokens[:, :-2], names[:-2]  # what the step that begins will do is not there yet
    weights = model.actor.transformer.attention(tokens)[:, 0]  # (layers, H, L, L)
    return weights.cpu().numpy(), names
