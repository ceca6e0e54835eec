"""The plane that states of many numbers are drawn on."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmh_lib.data.trajectories import Trajectories
from dmh_lib.state_plane import StatePlane


def data_of(states: np.ndarray) -> Trajectories:
    count = len(states)
    ends = np.arange(count) == count - 1
    return Trajectories(
        states.astype(np.float32),
        np.zeros((count, 1), dtype=np.float32),
        np.zeros(count, dtype=np.float32),
        ends,
        np.zeros(count, dtype=bool),
        np.array([0, count]),
        np.zeros(1, dtype=np.int64),
        np.zeros(1, dtype=np.int64),
    )


def test_states_that_lie_on_a_plane() -> None:
    rng = np.random.default_rng(0)
    inside = rng.normal(size=(400, 2)) * [3.0, 1.0]
    states = inside @ rng.normal(size=(2, 5)) + 7
    plane = StatePlane.fit(data_of(states))
    assert plane.share.sum() == pytest.approx(1, abs=1e-6)
    places = plane.project(states)
    np.testing.assert_allclose(places.mean(0), 0, atol=1e-4)
    back = places @ plane.axes * plane.spread + plane.mean
    np.testing.assert_allclose(back, states, atol=1e-3)


@given(st.integers(1, 6), st.integers(2, 30), st.integers(0, 2**16))
def test_any_states(width: int, count: int, seed: int) -> None:
    states = np.random.default_rng(seed).normal(size=(count, width)) * 10.0 ** np.arange(-2, width - 2)
    plane = StatePlane.fit(data_of(states))
    assert plane.project(states).shape == (count, 2)
    assert plane.share[0] >= plane.share[1] >= -1e-9
    axes = plane.axes[: min(2, width)]
    np.testing.assert_allclose(axes @ axes.T, np.eye(len(axes)), atol=1e-6)
    assert (axes[np.arange(len(axes)), np.abs(axes).argmax(1)] > 0).all()
    if width == 1:
        assert (plane.project(states)[:, 1] == 0).all()
