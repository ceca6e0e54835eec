"""Sub-goals in state space: what DM-H set at each chunk, and what would have been worth setting."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from dmh_lib.explore.lives import Decision, Episode, as_trajectories
from dmh_lib.models import DMH
from dmh_lib.rollouts import GoalProbe
from dmh_lib.subgoals import select_goals


@dataclass(frozen=True)
class StateSubgoals:
    """The sub-goals of an episode's K chunks, in units of observations."""

    means: NDArray[np.float64]  # (K, obs_dim)
    covariances: NDArray[np.float64]  # (K, obs_dim, obs_dim)


@dataclass(frozen=True)
class Reading:
    """A linear map of sub-goals z into state space."""

    weights: NDArray[np.float64]  # (G, obs_dim)
    offset: NDArray[np.float64]  # (obs_dim,)

    @classmethod
    @torch.inference_mode()
    def by_inverse(cls, model: DMH) -> "Reading":
        """The pseudo-inverse of f; see `DMH.decode_subgoals` for what that can say and what not."""
        zero = torch.zeros(1 + model.config.goal_dim, model.config.goal_dim, device=model.obs_mean.device)
        zero[1:].fill_diagonal_(1)
        decoded = model.decode_subgoals(zero).double().cpu().numpy()  # (1 + G, obs_dim)
        return cls(decoded[1:] - decoded[0], decoded[0])

    @classmethod
    def by_probe(cls, probe: GoalProbe) -> "Reading":
        """Where a read-out that was fitted to hidden cells sees them."""
        return cls(probe.weights[:-1], probe.weights[-1])

    def read(self, decisions: Sequence[Decision], chunk_len: int) -> StateSubgoals:
        """The sub-goals in force at decisions of one episode that begin a chunk, the first of them one."""
        in_force = [said.subgoal_in_force for said in decisions[::chunk_len]]
        means, deviations = (np.stack(part).astype(np.float64) for part in zip(*in_force, strict=True))
        spread = deviations[..., None] * self.weights  # (K, G, obs_dim)
        return StateSubgoals(means @ self.weights + self.offset, spread.swapaxes(1, 2) @ spread)

    def distances(self, life: Sequence[Episode], chunk_len: int, goal: NDArray[Any]) -> NDArray[np.float64]:
        """Mean distance of each episode's sub-goals from a place (obs_dim,), (E,)."""
        read = [self.read(episode.decisions, chunk_len).means for episode in life]
        return np.array([np.linalg.norm(means - goal, axis=-1).mean() for means in read])


def valuable_goals(episode: Episode, chunk_len: int) -> NDArray[np.float32]:
    """The states (K, obs_dim) worth heading for at the start of each chunk, by the rule `mean_reward`."""
    goals = select_goals(as_trajectories([episode]))[::chunk_len]  # (K,)
    return episode.observations[goals]


def rank_correlation(distances: NDArray[np.floating], returns: NDArray[np.floating]) -> float:
    """Spearman's, over the episodes of one lifetime; NaN where one of the two never changes."""
    if len(np.unique(distances)) < 2 or len(np.unique(returns)) < 2:
        return float("nan")
    ranks = [pd.Series(values).rank() for values in (distances, returns)]
    return float(ranks[0].corr(ranks[1]))  # and not corr(method="spearman"), which imports SciPy for a second
