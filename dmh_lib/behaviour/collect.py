"""Datasets from policies, mixed as D4RL mixes them."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm.auto import tqdm

from dmh_lib.behaviour.config import Kind, Mixture
from dmh_lib.behaviour.learn import CURVE, POLICIES
from dmh_lib.behaviour.play import COPIES, play
from dmh_lib.behaviour.policy import GaussianPolicy, load_policy
from dmh_lib.data.trajectories import Trajectories, concatenate
from dmh_lib.errors import CheckpointError
from dmh_lib.files import read_object

MEDIUM = 40.0
"""D4RL's score that a medium policy comes nearest to."""


def collect(
    policies: Sequence[GaussianPolicy], env_id: str, steps: int, *, seed: int = 0, progress: bool = False
) -> Trajectories:
    """Whole episodes of each policy, as many steps of each; actions are drawn, as while learning.

    Args:
        policies: in the order in which their episodes are to stand.
        env_id: of Gymnasium.
        steps: in all, at least; an episode that has begun is brought to its end.
        seed: of the environment and of the draws.
        progress: show a bar.
    """
    generator = torch.Generator().manual_seed(seed)
    share = -(-steps // len(policies))
    with tqdm(total=share * len(policies), desc="steps", disable=not progress) as bar:
        parts = [
            play(policy, env_id, share, seed=seed + COPIES * number, generator=generator, on_step=bar.update)
            for number, policy in enumerate(policies)
        ]
    joined = concatenate(parts)
    return replace(joined, run_ids=np.zeros_like(joined.run_ids))  # one run: a learner's, if they are


@dataclass(frozen=True)
class Kept:
    """A run's policies whose files are there, in the order in which they were learned."""

    files: list[Path]
    scores: NDArray[np.float64]  # (P,) D4RL's, with drawn actions

    @property
    def expert(self) -> int:
        """Place of the best one."""
        return int(np.nanargmax(self.scores))

    @property
    def medium(self) -> int:
        """Place of the one whose score is nearest to 40, among all up to the first that reaches it."""
        reached = np.flatnonzero(self.scores >= MEDIUM)
        last = int(reached[0]) if len(reached) else self.expert
        return int(np.nanargmin(np.abs(self.scores[: last + 1] - MEDIUM)))

    def chosen(self, kind: Kind) -> list[int]:
        """Places of the policies that a dataset is from."""
        medium, expert = self.medium, self.expert
        places: dict[Kind, list[int]] = {
            "medium": [medium],
            "medium-replay": list(range(medium + 1)),
            "medium-expert": [medium, expert],
            "expert": [expert],
        }
        return places[kind]

    def sources(self, kind: Kind) -> list[dict[str, Any]]:
        """File and score of each of them, for a dataset's metadata."""
        return [
            {"file": self.files[place].name, "score": float(self.scores[place])}
            for place in self.chosen(kind)
        ]


def read_run(run: str | os.PathLike[str]) -> Kept:
    """The policies of a run of `learn`, or of what `keep` kept of one; raises CheckpointError."""
    folder = Path(run)
    if not (folder / CURVE).is_file():
        raise CheckpointError(f"{folder}: no run here ({CURVE} is missing); `dmh data behaviour` makes one")
    try:
        known = read_object(folder / CURVE)
        scores = {
            folder / POLICIES / f"step-{int(point['step']):08d}.safetensors": point["score"]
            for point in known["curve"]
        }
        kept = Kept(
            [file for file in scores if file.is_file()],
            np.array([score for file, score in scores.items() if file.is_file()], dtype=np.float64),
        )
        kept.chosen("medium-expert")  # raises where there is no policy, or none with a score
    except (KeyError, TypeError, ValueError, OverflowError, OSError) as error:
        problem = f"broken, or without policies that have scores ({error!r})"
        raise CheckpointError(f"{folder / CURVE}: {problem}") from error
    return kept


def keep(run: str | os.PathLike[str], out: str | os.PathLike[str], replay: int = 6) -> Kept:
    """Copy what datasets need of a run, a few megabytes: its curve, the medium and the best policy, and
    `replay` of those before the medium one, evenly spread from the first on.

    What was kept there before goes. Raises CheckpointError where that would be the run itself.
    """
    found, target = read_run(run), Path(out)
    if target.resolve() == Path(run).resolve():
        raise CheckpointError(f"{target}: is the run itself; give another folder to keep policies in")
    early = np.linspace(0, found.medium, replay + 1).astype(int)
    (target / POLICIES).mkdir(parents=True, exist_ok=True)
    for old in (target / POLICIES).glob("step-*.safetensors"):
        old.unlink()
    for place in {*early.tolist(), *found.chosen("medium-expert")}:
        shutil.copy2(found.files[place], target / POLICIES)
    shutil.copy2(Path(run) / CURVE, target)
    return read_run(target)


def make_dataset(
    run: str | os.PathLike[str], mixture: Mixture | None = None, *, progress: bool = False
) -> Trajectories:
    """A dataset in D4RL's manner from a run of `learn`; its metadata say which policies it is from.

    `medium` is the policy whose score is nearest to 40 when that is first reached, `expert` the best one,
    `medium-expert` half of each, `medium-replay` all policies up to the medium one, from the first on.

    Raises CheckpointError if the run is missing or broken.
    """
    kept, mixture = read_run(run), mixture or Mixture()
    loaded = [load_policy(kept.files[place]) for place in kept.chosen(mixture.kind)]
    env_id, policies = str(loaded[0][1].get("env_id")), [policy for policy, _ in loaded]
    trajectories = collect(policies, env_id, mixture.steps, seed=mixture.seed, progress=progress)
    about = {**asdict(mixture), "policies": kept.sources(mixture.kind)}
    return replace(trajectories, metadata={**trajectories.metadata, **about})
