"""Made-up lives of a few environments side by side, for agents to go through."""

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
