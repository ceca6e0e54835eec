"""Windows of learning histories: consecutive steps of one run, in the order lived, across its episodes."""

from dataclasses import dataclass
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
    """`any`: at any episode of a run whose window still fits into the run. `first`: at the run's first."""

    def __post_init__(self) -> None:
        require_choice("start", self.start, get_args(Start))


@dataclass  # not frozen: Fabric copies batches field by field in mixed precision
class WindowBatch(Batch):
    """What one update needs: B windows of up to L steps, padded on the right."""

    observations: torch.Tensor  # (B, L, obs_dim)
    actions: torch.Tensor  # (B, L) int64 or (B, L, act_dim)
    rewards: torch.Tensor  # (B, L)
    ended: torch.Tensor  # (B, L) bool, true on the last step of an episode that ended
    mask: torch.Tensor  # (B, L) bool, false on padding


class WindowSampler(SeededDraws):
    """Draws batches of windows from trajectories, reproducibly.

    A window has `context_len` steps and begins with an episode. All places where one fits are equally likely;
    a run that is too short for any gives one, all of it.

    Args:
        trajectories: the data.
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
        self.trajectories = trajectories
        offsets, runs = trajectories.offsets, trajectories.run_offsets
        stops = np.repeat(offsets[runs[1:]], np.diff(runs))  # (E,) where each episode's run ends
        possible = offsets[:-1] + context_len <= stops  # (E,)
        if config.start == "first":
            possible[:] = False
        possible[runs[:-1]] = True
        self.starts = offsets[:-1][possible]  # (P,) first steps of the windows that there are
        self.lengths = np.minimum(stops[possible] - self.starts, context_len)  # (P,)

    def sample(self, batch_size: int) -> WindowBatch:
        """Draw a batch of windows."""
        return self.build(self._rng.integers(len(self.starts), size=batch_size))

    def build(self, windows: Ints) -> WindowBatch:
        """The batch of given windows (B,), counted among `starts`."""
        data, starts, lengths = self.trajectories, self.starts[windows], self.lengths[windows]  # (B,)
        columns = np.arange(lengths.max())
        steps = starts[:, None] + np.minimum(columns, lengths[:, None] - 1)  # (B, L)
        return WindowBatch(
            observations=torch.from_numpy(data.observations[steps]),
            actions=torch.from_numpy(data.actions[steps]),
            rewards=torch.from_numpy(data.rewards[steps]),
            ended=torch.from_numpy(data.terminations[steps] | data.truncations[steps]),
            mask=torch.from_numpy(columns < lengths[:, None]),
        )
