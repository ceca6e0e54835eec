"""Benchmark of choosing valuable sub-goals, beside plain loops over all pairs of steps."""

import time
from dataclasses import asdict, dataclass
from functools import partial
from typing import ClassVar, Self, get_args

import numpy as np
from tqdm.auto import tqdm

from dmh_lib.data import Trajectories
from dmh_lib.errors import BenchmarkError
from dmh_lib.subgoals import Indices, Rule, select_goals

from .common import Report, timed

COLUMNS = {"rule": "", "first_call": "s", "seconds": "s", "plain_loops": "s", "ratio": "×", "runs": ""}


@dataclass(frozen=True)
class Settings:
    """How long does it take to choose a sub-goal for every step, by each rule?"""

    name: ClassVar[str] = "labels"
    episodes: int = 1000
    """Episodes of the data."""
    horizon: int = 1000
    """Steps of each episode."""
    plain_episodes: int = 20
    """Episodes that the plain loops get; their time is scaled up to all of them."""

    @classmethod
    def quick(cls) -> Self:
        return cls(episodes=20, horizon=30, plain_episodes=5)


def make_data(episodes: int, horizon: int) -> Trajectories:
    """One task, one step in a hundred rewarded with a whole number, so that ties are exact."""
    rng, steps = np.random.default_rng(0), episodes * horizon
    flags = np.zeros(steps, dtype=bool)
    return Trajectories(
        observations=np.zeros((steps, 2), dtype=np.float32),
        actions=np.zeros(steps, dtype=np.int64),
        rewards=np.where(rng.random(steps) < 0.01, rng.integers(1, 4, steps), 0).astype(np.float32),
        terminations=flags,
        truncations=flags,
        offsets=np.arange(0, steps + 1, horizon),
        task_ids=np.zeros(episodes, dtype=np.int64),
        run_ids=np.arange(episodes),
    )


def plain(data: Trajectories, rule: Rule) -> Indices:
    """The same by definition: for every step, all later steps (or all of the worse episode). O(T²)."""
    goals = np.empty(data.num_steps, dtype=np.int64)
    horizon = int(data.lengths[0])
    sums = [np.append(0.0, episode.rewards.cumsum(dtype=np.float64)) for episode in data]  # E of (T + 1,)
    ranking = data.returns.argsort(kind="stable").tolist()
    for worse, index in zip([-1, *ranking], ranking, strict=False):
        for i in range(horizon):
            means = (sums[index][i + 1 :] - sums[index][i]) / np.arange(1, horizon - i + 1)
            goal, of = horizon - int(means[::-1].argmax()), index  # the last of the largest
            if rule == "overtake" and worse >= 0 and (above := sums[worse] > sums[index][i]).any():
                goal, of = int(above.argmax()), worse
            goals[index * horizon + i] = of * horizon + min(goal, horizon - 1)
    return goals


def run(settings: Settings | None = None, *, progress: bool = False) -> Report:
    """Check both rules against the plain loops on a part of the data, then time them on all of it.

    Raises BenchmarkError where a rule differs.
    """
    settings = settings or Settings()
    data = make_data(settings.episodes, settings.horizon)
    part = data.select(np.arange(settings.plain_episodes))
    rows: list[dict[str, object]] = []
    for rule in tqdm(get_args(Rule), desc="labels", disable=not progress):
        clock = [time.perf_counter()]
        goals = select_goals(part, rule)  # compiles, or loads what was compiled before
        clock.append(time.perf_counter())
        expected = plain(part, rule)
        clock.append(time.perf_counter())
        if (goals != expected).any():
            raise BenchmarkError(f"{rule}: differs from the plain loops; its times mean nothing")
        first, slow = np.diff(clock).tolist()
        slow *= settings.episodes / settings.plain_episodes
        fast = timed(partial(select_goals, data, rule))
        rows.append(
            {
                "rule": rule,
                "first_call": first,
                "seconds": fast.seconds,
                "plain_loops": slow,
                "ratio": slow / fast.seconds,
                "runs": fast.runs,
            }
        )
    return Report("labels", str(Settings.__doc__), asdict(settings), [], COLUMNS, rows)
