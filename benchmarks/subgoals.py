"""How long does it take to choose valuable sub-goals? Both rules, beside plain loops over all pairs of steps.

python benchmarks/subgoals.py --json subgoals.json
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import get_args

import numpy as np

from dmh_lib.data import Trajectories
from dmh_lib.subgoals import Indices, Rule, select_goals

EPISODES, HORIZON, SLICE = 1000, 1000, 20  # the plain loops get a slice of the episodes


def make_data() -> Trajectories:
    """One task, one step in a hundred rewarded with a whole number, so that ties are exact."""
    rng, steps = np.random.default_rng(0), EPISODES * HORIZON
    flags = np.zeros(steps, dtype=bool)
    return Trajectories(
        observations=np.zeros((steps, 2), dtype=np.float32),
        actions=np.zeros(steps, dtype=np.int64),
        rewards=np.where(rng.random(steps) < 0.01, rng.integers(1, 4, steps), 0).astype(np.float32),
        terminations=flags,
        truncations=flags,
        offsets=np.arange(0, steps + 1, HORIZON),
        task_ids=np.zeros(EPISODES, dtype=np.int64),
        run_ids=np.arange(EPISODES),
    )


def plain(data: Trajectories, rule: Rule) -> Indices:
    """The same by definition: for every step, all later steps (or all of the worse episode). O(T²)."""
    goals = np.empty(data.num_steps, dtype=np.int64)
    sums = [np.append(0.0, episode.rewards.cumsum(dtype=np.float64)) for episode in data]  # E of (T + 1,)
    ranking = data.returns.argsort(kind="stable").tolist()
    for worse, index in zip([-1, *ranking], ranking, strict=False):
        for i in range(HORIZON):
            means = (sums[index][i + 1 :] - sums[index][i]) / np.arange(1, HORIZON - i + 1)
            goal, of = HORIZON - int(means[::-1].argmax()), index  # the last of the largest
            if rule == "overtake" and worse >= 0 and (above := sums[worse] > sums[index][i]).any():
                goal, of = int(above.argmax()), worse
            goals[index * HORIZON + i] = of * HORIZON + min(goal, HORIZON - 1)
    return goals


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--json", type=Path, help="file for the results")
    args, data, rows = parser.parse_args(), make_data(), []
    part = data.select(np.arange(SLICE))
    print(f"{data.num_steps:,} transitions, episodes of {HORIZON} steps; medians of {args.runs} runs")
    print(f"{'rule':<14}{'first call s':>13}{'seconds':>10}{'plain loops s':>15}{'ratio':>8}")
    for rule in get_args(Rule):
        clock = [time.perf_counter()]
        goals = select_goals(part, rule)  # compiles, or loads what was compiled before
        clock.append(time.perf_counter())
        if (goals != plain(part, rule)).any():
            raise SystemExit(f"{rule}: differs from the plain loops; its times would mean nothing")
        first, slow = np.diff([*clock, time.perf_counter()]).tolist()
        clock = [time.perf_counter()]
        for _ in range(args.runs):
            select_goals(data, rule)
            clock.append(time.perf_counter())
        fast, slow = statistics.median(np.diff(clock)), slow * EPISODES / SLICE
        rows.append({"rule": rule, "first_call_s": first, "seconds": fast, "plain_s_from_slice": slow})
        print(f"{rule:<14}{first:>13.2f}{fast:>10.4f}{slow:>15.1f}{slow / fast:>8.0f}")
    if args.json:
        about = {"transitions": data.num_steps, "horizon": HORIZON, "runs": args.runs, "results": rows}
        args.json.write_text(json.dumps(about, indent=2) + "\n")


if __name__ == "__main__":
    main()
