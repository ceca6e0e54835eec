"""The one record of experience: flat arrays of steps, cut into episodes by offsets and grouped into runs."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dmh_lib.data.validation import ARRAYS, BLOCK, STEP_ARRAYS, check, converted, fail, plain_metadata
from dmh_lib.errors import DataError


@dataclass(frozen=True, eq=False)
class Episode:
    """A view of one episode of T steps; the arrays share memory with the trajectories they come from."""

    observations: NDArray[np.float32]  # (T, obs_dim)
    actions: NDArray[Any]  # (T,) int64 or (T, act_dim) float32
    rewards: NDArray[np.float32]  # (T,)
    terminated: bool  # the task itself ended here
    truncated: bool  # a time limit ended it; neither: the data were cut off
    task_id: int
    run_id: int

    def __len__(self) -> int:
        return len(self.rewards)

    @property
    def total_reward(self) -> float:
        """The return, undiscounted."""
        return float(self.rewards.sum(dtype=np.float64))


@dataclass(frozen=True, eq=False)
class Trajectories:
    """E episodes of N steps in all, validated once, when made.

    Episode `i` holds the steps `offsets[i]` to `offsets[i + 1] - 1`. Episodes of one run (one learner's
    lifetime, one file) are consecutive, in the order in which they were lived, and share their task. The
    flags `terminations` and `truncations` may be set on the last step of an episode only; an episode with
    neither was cut off by the end of the data.

    Numbers of another width are converted (float64 to float32, int32 to int64); arrays that already have
    the right type, memory maps among them, are kept as they are. `metadata` is copied by way of JSON, so it
    reads the same before and after a file: keys become strings, tuples become lists. Two keys have a meaning
    here: "num_actions", the size of a discrete action space, and "path", which error messages name.

    Raises DataError, naming the source, the field, the episode and the remedy, when anything above fails,
    when observations, actions or rewards are not finite, or when there is no episode or one without steps.
    """

    observations: NDArray[np.float32]  # (N, obs_dim)
    actions: NDArray[Any]  # (N,) int64, or (N, act_dim) float32
    rewards: NDArray[np.float32]  # (N,)
    terminations: NDArray[np.bool_]  # (N,)
    truncations: NDArray[np.bool_]  # (N,)
    offsets: NDArray[np.int64]  # (E + 1,)
    task_ids: NDArray[np.int64]  # (E,)
    run_ids: NDArray[np.int64]  # (E,)
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "metadata", plain_metadata(self.metadata))
        for name in ARRAYS:
            object.__setattr__(self, name, converted(name, getattr(self, name), self.metadata))
        check(self)

    # ------------------------------------------------------------------ sizes and sums

    def __len__(self) -> int:
        return self.num_episodes

    @property
    def num_episodes(self) -> int:
        """E."""
        return len(self.offsets) - 1

    @property
    def num_steps(self) -> int:
        """N, of all episodes together."""
        return len(self.rewards)

    @property
    def obs_dim(self) -> int:
        """Numbers in an observation."""
        return int(self.observations.shape[1])

    @property
    def discrete(self) -> bool:
        """Whether an action is a number of a list, not a vector."""
        return self.actions.ndim == 1

    @cached_property
    def action_dim(self) -> int:
        """Size of the action space: number of actions when discrete, act_dim when continuous.

        Without metadata["num_actions"], the number of discrete actions is the largest one seen plus 1.
        """
        if not self.discrete:
            return int(self.actions.shape[1])
        known = self.metadata.get("num_actions")
        return int(self.actions.max()) + 1 if known is None else int(known)

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Steps of each episode, (E,)."""
        return np.diff(self.offsets)

    @cached_property
    def returns(self) -> NDArray[np.float64]:
        """Total reward of each episode, (E,), summed in double precision."""
        return np.add.reduceat(self.rewards, self.offsets[:-1], dtype=np.float64)

    @cached_property
    def run_offsets(self) -> NDArray[np.int64]:
        """Episode at which each run starts, closed by E: (R + 1,)."""
        starts = np.flatnonzero(np.diff(self.run_ids)) + 1
        return np.concatenate([[0], starts, [self.num_episodes]]).astype(np.int64)

    # ------------------------------------------------------------------ parts

    def episode(self, index: int) -> Episode:
        """The episode at `index` (negative counts from the end); raises IndexError beyond the last."""
        index = range(self.num_episodes)[index]
        start, stop = self.offsets[index], self.offsets[index + 1]
        return Episode(
            observations=self.observations[start:stop],
            actions=self.actions[start:stop],
            rewards=self.rewards[start:stop],
            terminated=bool(self.terminations[stop - 1]),
            truncated=bool(self.truncations[stop - 1]),
            task_id=int(self.task_ids[index]),
            run_id=int(self.run_ids[index]),
        )

    def __iter__(self) -> Iterator[Episode]:
        return (self.episode(index) for index in range(self.num_episodes))

    def select(self, episode_indices: ArrayLike) -> "Trajectories":
        """A copy of some episodes: indices, or a mask (E,), in an order that keeps each run together.

        The action space stays that of the whole. Raises DataError when nothing is selected or when the order
        tears a run apart, IndexError when an index is out of range.
        """
        wanted = np.asarray(episode_indices)
        if wanted.size == 0:
            fail(self.metadata, "offsets", "no episode selected", "choose at least one")
        chosen = np.arange(self.num_episodes)[wanted]  # (K,)
        lengths = self.lengths[chosen]  # (K,)
        offsets = np.concatenate([[0], np.cumsum(lengths)])  # (K + 1,)
        # step k of the result lies as far behind its episode's start as it does in the source
        steps = np.arange(offsets[-1]) + np.repeat(self.offsets[chosen] - offsets[:-1], lengths)
        space = {"num_actions": self.action_dim} if self.discrete else {}
        return replace(
            self,
            **{name: getattr(self, name)[steps] for name in STEP_ARRAYS},
            offsets=offsets,
            task_ids=self.task_ids[chosen],
            run_ids=self.run_ids[chosen],
            metadata={**self.metadata, **space},
        )

    # ------------------------------------------------------------------ identity

    def data_hash(self) -> str:
        """SHA-256 (hex) of every array and of the metadata but its "path": equal data, equal hash."""
        about = {key: value for key, value in self.metadata.items() if key != "path"}
        digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
        for name in ARRAYS:
            array = getattr(self, name)
            digest.update(f"{name} {array.dtype.name} {array.shape}".encode())
            little_endian = array.dtype.newbyteorder("<")  # the same on every machine
            for start in range(0, len(array), BLOCK):
                digest.update(array[start : start + BLOCK].astype(little_endian).tobytes())
        return digest.hexdigest()

    def summary(self) -> dict[str, Any]:
        """What there is to know at a glance, as plain JSON values."""
        return {
            "episodes": self.num_episodes,
            "steps": self.num_steps,
            "runs": len(self.run_offsets) - 1,
            "tasks": len(np.unique(self.task_ids)),
            "obs_dim": self.obs_dim,
            "action_kind": "discrete" if self.discrete else "continuous",
            "action_dim": self.action_dim,
            "return_min": float(self.returns.min()),
            "return_mean": float(self.returns.mean()),
            "return_max": float(self.returns.max()),
            "length_min": int(self.lengths.min()),
            "length_max": int(self.lengths.max()),
            "terminations": int(np.count_nonzero(self.terminations)),
            "truncations": int(np.count_nonzero(self.truncations)),
            "hash": self.data_hash(),
        }


def concatenate(parts: Sequence[Trajectories]) -> Trajectories:
    """All episodes of `parts`, in order. Runs are numbered afresh from 0, so none of two parts become one.

    Task ids are kept: the same id means the same task in every part. Metadata that all parts agree on is
    kept, and a discrete action space is the largest of theirs. Raises DataError when there is no part, when
    observations or continuous actions differ in width, or actions in kind.
    """
    if not parts:
        raise DataError("trajectories: nothing to concatenate; give at least one dataset")
    first = parts[0]
    for index, part in enumerate(parts):
        for name in ("observations", "actions"):
            width, expected = getattr(part, name).shape[1:], getattr(first, name).shape[1:]
            if width != expected:
                source = part.metadata.get("path", "trajectories")
                problem = f"steps of shape {width} in part {index}, {expected} in the first"
                raise DataError(f"{source}: field {name!r}: {problem}; join datasets of one environment")
    lengths = np.concatenate([part.lengths for part in parts])
    run_lengths = np.concatenate([np.diff(part.run_offsets) for part in parts])
    agreed = {
        key: value
        for key, value in first.metadata.items()
        if all(key in part.metadata and part.metadata[key] == value for part in parts)
    }
    if first.discrete:
        agreed["num_actions"] = max(part.action_dim for part in parts)
    return Trajectories(
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in STEP_ARRAYS},
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        task_ids=np.concatenate([part.task_ids for part in parts]),
        run_ids=np.repeat(np.arange(len(run_lengths)), run_lengths),
        metadata=agreed,
    )
