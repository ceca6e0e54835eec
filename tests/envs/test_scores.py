"""D4RL's normalised scores."""

import numpy as np
import pytest

from dmh_lib.envs.scores import normalised_scores, reference_returns
from dmh_lib.errors import SettingError


@pytest.mark.parametrize(
    ("name", "returns"),
    [
        ("hopper", (-20.272305, 3234.3)),
        ("Hopper-v5", (-20.272305, 3234.3)),
        ("hopper-medium-replay-v2", (-20.272305, 3234.3)),
        ("HalfCheetah-v5", (-280.178953, 12135.0)),
        ("walker2d-expert-v2", (1.629008, 4592.3)),
        ("ant-medium-v2", (-325.6, 3879.7)),
        ("antmaze-umaze-v2", (0.0, 1.0)),  # and not the ant's
        ("kitchen-complete-v0", (0.0, 4.0)),
        ("maze2d-umaze-v1", (23.85, 161.86)),
        ("maze2d-medium-v1", (13.13, 277.39)),
        ("maze2d-large-v1", (6.7, 273.99)),
    ],
)
def test_references(name: str, returns: tuple[float, float]) -> None:
    assert reference_returns(name) == returns
    np.testing.assert_allclose(normalised_scores(name, returns), [0, 100], atol=1e-12)


def test_scores_keep_their_shape() -> None:
    scores = normalised_scores("hopper", [[1000.0, 2000.0], [3000.0, 3600.0]])
    assert scores.shape == (2, 2)
    assert scores[1, 1] == pytest.approx(100 * 3620.272305 / 3254.572305)  # above the expert


@pytest.mark.parametrize("name", ["pen-human-v1", "hopperlike-v0", "", "maze2d"])
def test_names_without_references(name: str) -> None:
    with pytest.raises(SettingError, match="no reference returns"):
        reference_returns(name)
