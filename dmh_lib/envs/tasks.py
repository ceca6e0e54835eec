"""Seeded splits of an environment's hidden tasks into those to learn from and those to be tested on."""

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from dmh_lib.envs.registry import full_env_id, rules_of
from dmh_lib.errors import SettingError, require_choice

SplitName = Literal["train", "test"]


@dataclass(frozen=True)
class TaskSplit:
    """A manifest: which task ids may be seen in training, and which are held out."""

    env_id: str
    seed: int
    train: tuple[int, ...]
    test: tuple[int, ...]

    def __post_init__(self) -> None:
        both = set(self.train) & set(self.test)
        if both:
            raise SettingError(
                f"split: task {min(both)} of {self.env_id} is in train and in test; make a new split"
            )

    def tasks(self, name: SplitName) -> NDArray[np.int64]:
        """Task ids of one side of the split."""
        require_choice("split", name, get_args(SplitName))
        return np.array(self.train if name == "train" else self.test, dtype=np.int64)

    def to_dict(self) -> dict[str, Any]:
        """The manifest as it is stored in JSON."""
        return {**asdict(self), "train": list(self.train), "test": list(self.test)}

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> "TaskSplit":
        """A manifest read back from JSON; raises SettingError if a field is missing or of the wrong kind."""
        try:
            env_id, seed = full_env_id(str(stored["env_id"])), int(stored["seed"])
            train, test = (tuple(int(task) for task in stored[side]) for side in ("train", "test"))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise SettingError(f"split: field {error} is missing or wrong; make the split again") from error
        total = rules_of(env_id).num_tasks
        if not all(0 <= task < total for task in train + test):
            raise SettingError(f"split: a task that {env_id} does not have; make the split again")
        return cls(env_id, seed, train, test)


def make_split(
    env_id: str, seed: int = 0, num_test: int | None = None, num_train: int | None = None
) -> TaskSplit:
    """Draw a split of all tasks of an environment.

    Args:
        env_id: for example `dmh/Darkroom-v0`, or short `darkroom`.
        seed: of the draw.
        num_test: tasks held out; by default a fifth, at most 100.
        num_train: tasks to train on; by default all the others, at most 5000.

    Raises:
        SettingError: there are not that many tasks.
    """
    env_id = full_env_id(env_id)
    total = rules_of(env_id).num_tasks
    held_out = min(100, total // 5) if num_test is None else num_test
    kept = min(5000, total - held_out) if num_train is None else num_train
    if seed < 0:
        raise SettingError(f"seed: must be 0 or more, got {seed}")
    if held_out < 1 or kept < 1 or held_out + kept > total:
        raise SettingError(
            f"split: {kept} train and {held_out} test tasks do not fit the {total} of {env_id}"
        )
    order = np.random.default_rng(seed).permutation(total)
    test, train = order[:held_out], order[held_out : held_out + kept]
    return TaskSplit(env_id, seed, tuple(np.sort(train).tolist()), tuple(np.sort(test).tolist()))
