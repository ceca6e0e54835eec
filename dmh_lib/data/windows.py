"""Windows of consecutive steps: of one run, across its episodes in the order lived, or of one episode."""

from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from dmh_lib.data.sampling import Batch, SeededDraws
from dmh_lib.data.trajectories import Trajectories
from dmh_lib.errors import SettingError, require_choice

Ints = NDArray[np.int64]

Start = Literal["any", "first"]


@dataclass(frozen=True)
class WindowConfig:
    """Where windows begin."""

    start: Start = "any"
    """`any`: at any episode of a run whose window still fits into the run; for models that remember no other
    episode, at any step of one, likewise. `first`: at the first of the run, or of the episode."""
    stride: int = 1
    """Windows across episodes take each so-manieth of a run: of a slow learner's hundreds of episodes, a few
    in a row hardly show that it learns."""

    def __post_init__(self) -> None:
        require_choice("start", self.start, get_args(Start))
        if self.stride < 1:
            raise SettingError(f"stride: must be at least 1, got {self.stride}")


@dataclass  # not frozen: Fabric copies batches field by field in mixed precision
class WindowBatch(Batch):
    """What one update needs: B windows of up to L steps, padded on the right."""

    observations: torch.Tensor  # (B, L, obs_dim)
    actions: torch.Tensor  # (B, L) int64 or (B, L, act_dim)
    rewards: torch.Tensor  # (B, L)
    ended: torch.Tensor  # (B, L) bool, true on the last step of an episode that ended
    mask: torch.Tensor  # (B, L) bool, false on padding


@dataclass
class TargetBatch(WindowBatch):
    """Windows of models that are told how much reward is still to come."""

    returns_to_go: torch.Tensor  # (B, L) what the step's episode aims at, less what it has collected before


def window_parts(trajectories: Trajectories, steps: Ints, mask: NDArray[np.bool_]) -> dict[str, torch.Tensor]:
    """The fields of a `WindowBatch` of given steps (B, L), any valid ones where `mask` (B, L) is false."""
    data = trajectories
    return {
        "observations": torch.from_numpy(data.observations[steps]),
        "actions": torch.from_numpy(data.actions[steps]),
        "rewards": torch.from_numpy(data.rewards[steps]),
        "ended": torch.from_numpy(data.terminations[steps] | data.truncations[steps]),
        "mask": torch.from_numpy(mask),
    }


def collected_before(trajectories: Trajectories) -> NDArray[np.float64]:
    """What each step's episode has collected before the step, (N,)."""
    sums = np.cumsum(trajectories.rewards, dtype=np.float64)
    before = sums - trajectories.rewards
    return before - np.repeat(before[trajectories.offsets[:-1]], trajectories.lengths)


def thinned(trajectories: Trajectories, stride: int) -> Trajectories:
    """Each run as k = `stride` runs, which take turns with its episodes: 0, k, 2k, … and 1, k + 1, … etc."""
    if stride == 1:
        return trajectories
    runs = trajectories.run_offsets
    run = np.repeat(np.arange(len(runs) - 1), np.diff(runs))  # (E,)
    turn = (np.arange(trajectories.num_episodes) - runs[run]) % stride  # (E,)
    order = np.lexsort([turn, run])  # stable, so that each part stays in the order lived
    return replace(trajectories.select(order), run_ids=(run * stride + turn)[order])


class WindowSampler(SeededDraws):
    """Draws batches of windows across episodes from trajectories, reproducibly.

    A window has `context_len` steps and begins with an episode. All places where one fits are equally likely;
    a run that is too short for any gives one, all of it.

    Args:
        trajectories: the data, which `config.stride` splits into more and shorter runs.
        config: where windows begin.
        context_len: most steps in a window.
        seed: of all draws.
    """

    def __init__(
        self, trajectories: Trajectories, config: WindowConfig, context_len: int, seed: int = 0
    ) -> None:
        if context_len < 1:
            raise SettingError(f"context_len: must be at least 1, got {context_len}")
        super().__init__(seed)
        self.trajectories = thinned(trajectories, config.stride)
        # (P,) first steps of the windows that there are, and how long these are
        self.starts, self.lengths = self._places(config, context_len)

    def _places(self, config: WindowConfig, context_len: int) -> tuple[Ints, Ints]:
        offsets, runs = self.trajectories.offsets, self.trajectories.run_offsets
        stops = np.repeat(offsets[runs[1:]], np.diff(runs))  # (E,) where each episode's run ends
        possible = offsets[:-1] + context_len <= stops  # (E,)
        if config.start == "first":
            possible[:] = False
        possible[runs[:-1]] = True
        starts = offsets[:-1][possible]
        return starts, np.minimum(stops[possible] - starts, context_len)

    def sample(self, batch_size: int) -> WindowBatch:
        """Draw a batch of windows."""
        return self.build(self._rng.integers(len(self.starts), size=batch_size))

    def build(self, windows: Ints) -> WindowBatch:
        """The batch of given windows (B,), counted among `starts`."""
        steps, mask = self._steps(windows)
        return WindowBatch(**window_parts(self.trajectories, steps, mask))

    def _steps(self, windows: Ints) -> tuple[Ints, NDArray[np.bool_]]:
        """Steps (B, L) of windows (B,), the last one repeated where the mask (B, L) is false."""
        starts, lengths = self.starts[windows], self.lengths[windows]  # (B,)
        columns = np.arange(lengths.max())
        mask = columns < lengths[:, None]
        return starts[:, None] + np.minimum(columns, lengths[:, None] - 1), mask


class EpisodeWindowSampler(WindowSampler):
    """Draws batches of windows within episodes, with the return-to-go that each episode really had.

    An episode of up to `context_len` steps is one window; a longer one has a window at each of its steps from
    which one fits. All windows are equally likely. Arguments as for `WindowSampler`.
    """

    def __init__(
        self, trajectories: Trajectories, config: WindowConfig, context_len: int, seed: int = 0
    ) -> None:
        if config.stride != 1:
            raise SettingError("stride: windows within an episode have none; leave it at 1")
        super().__init__(trajectories, config, context_len, seed)
        whole = np.repeat(trajectories.returns, trajectories.lengths)
        self._returns_to_go = (whole - collected_before(trajectories)).astype(np.float32)  # (N,)

    def _places(self, config: WindowConfig, context_len: int) -> tuple[Ints, Ints]:
        lengths = self.trajectories.lengths
        count = np.maximum(lengths - context_len, 0) + 1  # (E,) windows of each episode
        if config.start == "first":
            count[:] = 1
        within = np.arange(count.sum()) - np.repeat(count.cumsum() - count, count)  # (P,)
        starts = np.repeat(self.trajectories.offsets[:-1], count) + within
        return starts, np.repeat(np.minimum(lengths, context_len), count)

    def build(self, windows: Ints) -> TargetBatch:
        """The batch of given windows (B,), counted among `starts`."""
        steps, mask = self._steps(windows)
        return TargetBatch(
            **window_parts(self.trajectories, steps, mask),
            returns_to_go=torch.from_numpy(self._returns_to_go[steps]),
        )
