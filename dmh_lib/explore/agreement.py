"""Whether a model that reads everything at once says what its agent says step by step."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from dmh_lib.agents import DTAgent, PlayConfig
from dmh_lib.data.contexts import ContextSampler
from dmh_lib.data.trajectories import Trajectories
from dmh_lib.data.windows import collected_before
from dmh_lib.explore.inside import AS_LIVED
from dmh_lib.explore.lives import Episode, as_trajectories, relive
from dmh_lib.methods import method_of
from dmh_lib.models import BC, DMH, DPT, ActionModel
from dmh_lib.models.dpt import Steps
from dmh_lib.models.step_model import StepModel

TOLERANCE = 1e-3  # of the largest number: float32 summed in another order, through a few layers

Compared = tuple[NDArray[np.int64], torch.Tensor]  # steps (S,) and what is said at them (S, …)


@torch.inference_mode()
def parity(model: ActionModel, episodes: Sequence[Episode], play: PlayConfig | None = None) -> pd.DataFrame:
    """Read a lifetime in parallel, as in training, and step by step, as in play, and compare.

    Models with a window are compared on the steps that it holds from its first on.

    Args:
        model: of any method.
        episodes: a lifetime, whoever acted in it.
        play: the target return.

    Returns:
        A row for `output` (logits or continuous actions) and one for the `sub-goal` of DM-H: `what`, `steps`
        compared, the `largest` number, the largest `difference`, and whether the two `agree`.
    """
    play = play or PlayConfig()
    config = model.eval().config
    lived = relive(method_of(config).agent(model, play), episodes)
    decisions = [said for episode in lived for said in episode.decisions]
    data = as_trajectories(episodes, config.action_dim if config.discrete else None)
    rows = []
    for what, (steps, parallel) in _at_once(model, data, play).items():
        chosen = [decisions[step] for step in steps]
        said = np.stack([one.output if what == "output" else one.subgoal for one in chosen])
        expected = parallel.cpu().numpy()
        difference, largest = float(abs(said - expected).max()), float(abs(expected).max())
        rows.append((what, len(steps), largest, difference, difference <= TOLERANCE * max(largest, 1.0)))
    return pd.DataFrame(rows, columns=["what", "steps", "largest", "difference", "agree"])


def _at_once(model: ActionModel, data: Trajectories, play: PlayConfig) -> dict[str, Compared]:
    """What the parallel model says of a lifetime."""
    if isinstance(model, DMH):
        return _contexts(model, data, play)
    device = model.obs_mean.device
    observations, actions, rewards = (
        torch.from_numpy(np.array(part)).to(device)
        for part in (data.observations, data.actions, data.rewards)
    )
    ended = torch.from_numpy(data.terminations | data.truncations).to(device)
    collected = torch.from_numpy(collected_before(data)).float().to(device)  # (N,)
    if isinstance(model, BC):
        return {"output": (np.arange(data.num_steps), model.predict(observations))}
    if isinstance(model, DPT):
        first = slice(model.config.context_len)
        steps = Steps(model.see(observations), collected, actions, rewards, ended).at(first)
        return {"output": (np.arange(len(steps.rewards)), model.outputs(steps.at(None))[0])}
    assert isinstance(model, StepModel)  # all others
    left = play.target_return - collected if model.config.wants_target else None  # (N,)
    across = method_of(model.config).agent is not DTAgent  # which starts again with every episode
    begins = data.offsets[:1] if across else data.offsets[:-1]
    stops = data.offsets[-1:] if across else data.offsets[1:]
    numbers, said = [], []
    for begin, stop in zip(begins, stops, strict=True):
        if model.config.backbone == "transformer":
            stop = min(stop, begin + model.config.context_len)
        window = (observations, actions, rewards, ended) + (() if left is None else (left,))
        said.append(model.predict(*(part[None, begin:stop] for part in window))[0])  # (L, A)
        numbers.append(np.arange(begin, stop))
    return {"output": (np.concatenate(numbers), torch.cat(said))}


def _contexts(model: DMH, data: Trajectories, play: PlayConfig) -> dict[str, Compared]:
    config = model.config
    sampler = ContextSampler(data, AS_LIVED, config.chunk_len, inside=config.chunk_summary)
    episodes = np.arange(data.num_episodes)
    batch = sampler.build(episodes[None], np.array([len(episodes)])).to(model.obs_mean.device)
    batch.returns_to_go += play.target_return - float(data.returns.max())
    subgoals = model.subgoals(batch)[0][0]  # (K, G)
    outputs = model.predict(subgoals[batch.rows], batch.observations, batch.actions, batch.rewards)
    chunks = np.arange(len(subgoals))
    starts, lengths = sampler.table.starts[chunks], sampler.table.lengths[chunks]
    mask = batch.mask.cpu().numpy()  # (S, c)
    steps = starts[batch.rows.cpu().numpy()][:, None] + np.arange(config.chunk_len)  # (S, c)
    return {
        "sub-goal": (np.arange(data.num_steps), subgoals[np.repeat(chunks, lengths)]),
        "output": (steps[mask], outputs[batch.mask]),
    }
