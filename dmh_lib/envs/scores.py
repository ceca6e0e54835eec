"""D4RL's normalised scores: 0 is a random policy, 100 the reference expert."""

import re

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dmh_lib.errors import SettingError

REFERENCE_RETURNS: dict[str, tuple[float, float]] = {  # of a random policy and of the expert
    "hopper": (-20.272305, 3234.3),
    "halfcheetah": (-280.178953, 12135.0),
    "walker2d": (1.629008, 4592.3),
    "ant": (-325.6, 3879.7),
    "antmaze": (0.0, 1.0),
    "kitchen": (0.0, 4.0),
    "maze2d-umaze": (23.85, 161.86),
    "maze2d-medium": (13.13, 277.39),
    "maze2d-large": (6.7, 273.99),
}

PAPER_TARGETS = {"hopper": 3600.0, "halfcheetah": 12_000.0, "walker2d": 5000.0}
"""Returns that DM-H's paper aims at."""


def find_references(name: str) -> tuple[float, float] | None:
    """D4RL's reference returns, lowest and highest, of a dataset (hopper-medium-v2) or environment."""
    plain = re.sub(r"-v\d+$", "", name.lower())
    found = (known for known in REFERENCE_RETURNS if plain == known or plain.startswith(f"{known}-"))
    return REFERENCE_RETURNS.get(next(found, ""))


def reference_returns(name: str) -> tuple[float, float]:
    """What `find_references` finds; raises SettingError where D4RL gives none."""
    found = find_references(name)
    if found is None:
        known = ", ".join(REFERENCE_RETURNS)
        raise SettingError(f"score: D4RL has no reference returns for '{name}'; it has them for {known}")
    return found


def normalised_scores(name: str, returns: ArrayLike) -> NDArray[np.float64]:
    """100 · (return − lowest) / (highest − lowest), of any shape; see `reference_returns` for names."""
    low, high = reference_returns(name)
    return 100.0 * (np.asarray(returns, dtype=np.float64) - low) / (high - low)
