"""Whole episodes of a policy, several copies of its environment side by side."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dmh_lib.behaviour.policy import GaussianPolicy
from dmh_lib.data.trajectories import Trajectories
from dmh_lib.envs.copies import make_copies

COPIES = 10


def play(
    policy: GaussianPolicy,
    env_id: str,
    steps: int,
    *,
    copies: int = COPIES,
    seed: int = 0,
    generator: torch.Generator | None = None,
    on_step: Callable[[int], Any] = lambda taken: None,
) -> Trajectories:
    """As many steps in each copy as make `steps` in all, and on to the ends of the episodes that they are in.

    So each copy's last episode is over, and no episode counts for being short or long.

    Args:
        policy: acts, by the mean without a generator.
        env_id: of Gymnasium.
        steps: in all, at least.
        copies: of the environment, at most one per step.
        seed: of the first copy; each other has the next one.
        generator: of the actions.
        on_step: told how many steps are new.

    Returns:
        The episodes, copy by copy.
    """
    copies = min(copies, steps)
    env = make_copies(env_id, copies)
    observations, _ = env.reset(seed=seed)
    share = -(-steps // copies)
    rows, playing = list[tuple[NDArray[Any], ...]](), np.ones(copies, dtype=bool)
    while playing.any():
        actions = policy.act(observations, generator)  # (C, A)
        seen, (observations, rewards, terminated, truncated, _) = observations, env.step(actions)
        rows.append((seen.astype(np.float32), actions, rewards, terminated, truncated & ~terminated))
        on_step(int(playing.sum()) if len(rows) <= share else 0)
        playing &= ~((terminated | truncated) & (len(rows) >= share))
    env.close()
    columns = [np.stack(column, axis=1) for column in zip(*rows, strict=True)]  # (C, T, …)
    ends = [np.flatnonzero(row) + 1 for row in columns[3] | columns[4]]  # of each copy
    # the first that is late enough is a copy's last
    ends = [row[: 1 + np.searchsorted(row, share)] for row in ends]
    kept = [
        np.concatenate([part[: row[-1]] for part, row in zip(column, ends, strict=True)])
        for column in columns
    ]
    lengths = np.concatenate([np.diff(row, prepend=0) for row in ends])
    zeros = np.zeros(len(lengths), dtype=np.int64)
    return Trajectories(
        kept[0],
        kept[1],
        kept[2].astype(np.float32),
        kept[3],
        kept[4],
        np.cumsum([0, *lengths]),
        zeros,
        zeros,
        {"env_id": env_id},
    )
