"""TD3+BC and IQL through d3rlpy, on a dataset of the workbench, judged as the table `mujoco` judges its runs.

    python benchmarks/d3rlpy/train.py data/benchmark-hopper-medium-*.hdf5 --method td3-bc --seed 0

Writes a JSON file of settings, versions and the return of every episode of the final weights: ten lifetimes
of ten episodes each. Needs the environment of `environment.yml` beside it, and nothing of dmh_lib.
"""

import argparse
import hashlib
import json
import logging
import os
import sys
import time
from importlib.metadata import version
from pathlib import Path

import d3rlpy
import gymnasium as gym
import h5py
import numpy as np
import structlog
import torch
from d3rlpy.algos import IQLConfig, QLearningAlgoBase, TD3PlusBCConfig
from d3rlpy.dataset import MDPDataset
from d3rlpy.logging import NoopAdapterFactory
from d3rlpy.preprocessing import StandardObservationScaler

# each paper's settings for locomotion, but for the number of updates
METHODS = {
    "td3-bc": TD3PlusBCConfig(alpha=2.5, observation_scaler=StandardObservationScaler()),
    "iql": IQLConfig(expectile=0.7, weight_temp=3.0),
}
LABELS = {"td3-bc": "TD3+BC", "iql": "IQL"}
LIFETIMES, EPISODES = 10, 10


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "data", type=Path, help="HDF5 file as `dmh data collect` and `dmh benchmark mujoco` make it"
    )
    parser.add_argument("--method", choices=METHODS, default="td3-bc")
    parser.add_argument(
        "--updates", type=int, default=20_000, help="the papers take a million (default: 20000)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("docs/results/d3rlpy"), help="folder of the results")
    args = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    d3rlpy.seed(args.seed)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    dataset, about = read(args.data)
    agent = METHODS[args.method].create(device="cuda:0" if torch.cuda.is_available() else False)
    began = time.process_time()
    agent.fit(
        dataset,
        n_steps=args.updates,
        n_steps_per_epoch=args.updates,
        logger_adapter=NoopAdapterFactory(),
        save_interval=args.updates + 1,  # weights are not kept
        show_progress=sys.stderr.isatty(),
    )
    trained = time.process_time() - began
    result = {
        **about,
        "method": LABELS[args.method],
        "seed": args.seed,
        "updates": args.updates,
        "settings": agent.config.serialize_to_dict(),
        "returns": play(agent, about["env_id"]).tolist(),
        "train_seconds": round(trained, 1),
        "versions": {name: version(name) for name in ("d3rlpy", "torch", "gymnasium", "mujoco", "numpy")},
    }
    target = args.out / about["env"] / about["kind"] / args.method / f"seed-{args.seed}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    whole = target.with_suffix(".part")
    whole.write_text(json.dumps(result, indent=1) + "\n")
    whole.rename(target)
    print(
        f"{target}: mean return of the last episodes {np.mean([life[-1] for life in result['returns']]):.0f}"
    )


def read(path: Path) -> tuple[MDPDataset, dict[str, object]]:
    """The episodes of a file, and where they are from."""
    with h5py.File(path) as file:
        metadata = json.loads(file["dmh"].attrs["metadata"])
        arrays = {
            name: file[name][:] for name in ("observations", "actions", "rewards", "terminals", "timeouts")
        }
    arrays["terminals"], arrays["timeouts"] = (
        arrays[name].astype(np.float32) for name in ("terminals", "timeouts")
    )
    arrays["timeouts"] *= 1 - arrays["terminals"]  # d3rlpy takes an end for one of the two
    about = {
        "env": metadata["env_id"].split("-")[0].lower(),
        "env_id": metadata["env_id"],
        "kind": metadata["kind"],
        "data": path.name,
        "data_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    return MDPDataset(**arrays), about


def play(agent: QLearningAlgoBase, env_id: str) -> np.ndarray:
    """Returns (lifetimes, episodes); each lifetime is a copy that is seeded once, with its number."""
    copies = [gym.make(env_id) for _ in range(LIFETIMES)]
    seen = np.stack([env.reset(seed=seed)[0] for seed, env in enumerate(copies)])
    returns, episode = np.zeros((LIFETIMES, EPISODES)), np.zeros(LIFETIMES, dtype=int)
    while (playing := np.flatnonzero(episode < EPISODES)).size:
        actions = agent.predict(seen[playing].astype(np.float32))
        for life, action in zip(playing, actions, strict=True):
            seen[life], reward, terminated, truncated, _ = copies[life].step(action)
            returns[life, episode[life]] += reward
            if terminated or truncated:
                episode[life] += 1
                seen[life] = copies[life].reset()[0]
    return returns


if __name__ == "__main__":
    main()
