"""Made-up lives for agents to go through, and made-up data to learn from."""

import numpy as np

from dmh_lib.data import Trajectories

ROWS, STEPS, OBS = 4, 60, 3


def lifetimes(equal: bool, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Observations (T, B, o), rewards (T, B), terminations and truncations (T, B) of made-up lives."""
    rng = np.random.default_rng(seed)
    ends = np.zeros((STEPS, ROWS), dtype=bool)
    if equal:
        ends[9::10] = True
    else:
        ends = rng.random((STEPS, ROWS)) < 0.12
    ends[-1] = True
    terminations = ends & (rng.random(ends.shape) < 0.5)
    return (
        rng.normal(size=(STEPS, ROWS, OBS)).astype(np.float32),
        rng.normal(size=(STEPS, ROWS)).astype(np.float32),
        terminations,
        ends & ~terminations,
    )


def as_trajectories(life: tuple[np.ndarray, ...], actions: np.ndarray, row: int) -> Trajectories:
    observations, rewards, terminations, truncations = (part[:, row] for part in life)
    ends = np.flatnonzero(terminations | truncations) + 1
    return Trajectories(
        observations=observations,
        actions=actions[:, row],
        rewards=rewards,
        terminations=terminations,
        truncations=truncations,
        offsets=np.concatenate([[0], ends]),
        task_ids=np.zeros(len(ends), dtype=int),
        run_ids=np.zeros(len(ends), dtype=int),
    )


def random_trajectories(
    discrete: bool, runs: tuple[int, ...] = (12,), longest: int = 13, seed: int = 0
) -> Trajectories:
    """Runs of so many episodes each, of 1 … `longest` steps, all of one task."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, longest + 1, size=sum(runs))
    steps = lengths.sum()
    last = np.zeros(steps, dtype=bool)
    last[lengths.cumsum() - 1] = True
    return Trajectories(
        observations=rng.normal(size=(steps, 3)),
        actions=rng.integers(4, size=steps) if discrete else rng.uniform(-1, 1, size=(steps, 2)),
        rewards=rng.normal(size=steps),
        terminations=last & (rng.random(steps) < 0.5),
        truncations=last,
        offsets=np.concatenate([[0], lengths.cumsum()]),
        task_ids=np.zeros(sum(runs), dtype=int),
        run_ids=np.repeat(np.arange(len(runs)), runs),
        metadata={"num_actions": 4} if discrete else {},
    )
