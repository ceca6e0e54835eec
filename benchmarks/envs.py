"""How fast are the dark rooms, many at once and one at a time, and how long do quick histories take?

python benchmarks/envs.py --json envs.json
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import gymnasium as gym
import numpy as np

from dmh_lib.data.histories import make_histories
from dmh_lib.data.q_learning import QLearningConfig
from dmh_lib.data.searcher import SearcherConfig
from dmh_lib.envs import RULES, make_split


def batched(env_id: str, copies: int, steps: int) -> tuple[float, float]:
    """Steps per second of all copies together, and the reward of the first copy."""
    tasks = [RULES[env_id].num_tasks // 2] * copies
    rooms = gym.make_vec(env_id, copies, vectorization_mode="vector_entry_point", tasks=tasks)
    actions = np.random.default_rng(0).integers(5, size=(copies, steps)).T
    rooms.reset()
    start = time.perf_counter()
    total = sum(rooms.step(row)[1][0] for row in actions)
    return copies * steps / (time.perf_counter() - start), float(total)


def single(env_id: str, steps: int) -> tuple[float, float]:
    """Steps per second of one room without the wrappers of `gym.make`, and its reward."""
    room = gym.make(env_id, task=RULES[env_id].num_tasks // 2).unwrapped
    actions = np.random.default_rng(0).integers(5, size=steps)
    room.reset()
    total, start = 0.0, time.perf_counter()
    for action in actions:
        _, reward, _, truncated, _ = room.step(action)
        total += float(reward)
        if truncated:
            room.reset()
    return steps / (time.perf_counter() - start), total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--copies", type=int, default=4096)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=Path, help="file for the results")
    args = parser.parse_args()
    print(f"steps per second, medians of {args.runs} runs")
    print(f"{'environment':<24}{f'{args.copies} copies':>14}{'single':>10}{'ratio':>8}")
    rates, histories = [], []
    for env_id in RULES:
        if batched(env_id, 2, 2000)[1] != single(env_id, 2000)[1]:
            raise SystemExit(f"{env_id}: the batched room differs from the single one")
        many = statistics.median(batched(env_id, args.copies, 200)[0] for _ in range(args.runs))
        one = statistics.median(single(env_id, 5000)[0] for _ in range(args.runs))
        rates.append({"env_id": env_id, "batched_per_s": many, "single_per_s": one})
        print(f"{env_id:<24}{many:>14,.0f}{one:>10,.0f}{many / one:>8.0f}")
    split = make_split("dmh/Darkroom-v0")
    print(f"\nhistories of {len(split.train)} Darkroom tasks, default settings, timed once")
    print(f"{'learner':<24}{'steps':>14}{'seconds':>10}")
    for config in (SearcherConfig(), QLearningConfig()):
        start = time.perf_counter()
        made = make_histories(split, config)
        seconds, name = time.perf_counter() - start, made.metadata["behaviour"]
        histories.append({"learner": name, "steps": made.num_steps, "seconds": seconds})
        print(f"{name:<24}{made.num_steps:>14,}{seconds:>10.2f}")
    if args.json:
        about = {"copies": args.copies, "runs": args.runs}
        args.json.write_text(json.dumps(about | {"rates": rates, "histories": histories}, indent=2) + "\n")


if __name__ == "__main__":
    main()
