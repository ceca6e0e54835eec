"""A plane through a state space of many numbers, to draw states and sub-goals on."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dmh_lib.data.trajectories import Trajectories

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class StatePlane:
    """The two directions in which normalised states differ most, their principal components."""

    mean: Floats  # (O,)
    spread: Floats  # (O,) standard deviations
    axes: Floats  # (2, O) orthonormal, of normalised states
    share: Floats  # (2,) of the variance that each axis shows

    @classmethod
    def fit(cls, trajectories: Trajectories) -> "StatePlane":
        """The plane of a dataset's states; where they have one number, the second axis is 0."""
        states = trajectories.observations.astype(np.float64)
        mean, spread = states.mean(0), np.maximum(states.std(0), 1e-3)
        scaled = (states - mean) / spread
        values, vectors = np.linalg.eigh(scaled.T @ scaled / len(scaled))  # ascending
        axes, found = np.zeros((2, len(mean))), min(2, len(mean))
        axes[:found] = vectors.T[::-1][:found]
        largest = np.abs(axes).argmax(1)
        axes *= np.where(axes[np.arange(2), largest] < 0, -1.0, 1.0)[:, None]  # else the sign is any
        share = np.zeros(2)
        share[:found] = values[::-1][:found] / values.sum()
        return cls(mean, spread, axes, share)

    def project(self, states: ArrayLike) -> Floats:
        """Places (…, 2) of states (…, O)."""
        places: Floats = (np.asarray(states, dtype=np.float64) - self.mean) / self.spread @ self.axes.T
        return places
