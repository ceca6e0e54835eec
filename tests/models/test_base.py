"""What every model sees: sines and cosines beside the state, against plain loops."""

import math

import pytest
import torch

from dmh_lib.errors import SettingError
from dmh_lib.methods import METHODS
from dmh_lib.models.base import LONGEST_WAVE, with_waves

EVERY = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)


@pytest.mark.parametrize("count", [0, 1, 4])
@pytest.mark.parametrize("shape", [(2,), (3, 5), (2, 1, 3)])
def test_waves_are_those_of_plain_loops(shape: tuple[int, ...], count: int) -> None:
    torch.manual_seed(0)
    states = torch.randn(shape)
    seen = with_waves(states, count)
    assert seen.shape == (*shape[:-1], shape[-1] * (1 + 2 * count))
    rows = zip(states.reshape(-1, shape[-1]), seen.reshape(-1, seen.shape[-1]), strict=True)
    for state, found in rows:
        lengths = [LONGEST_WAVE / 2**i for i in range(count)]
        angles = [2 * math.pi * float(x) / length for x in state for length in lengths]
        expected = [*state.tolist(), *map(math.sin, angles), *map(math.cos, angles)]
        torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-4, atol=1e-5)


def test_the_longest_wave_is_twice_as_wide_as_evenly_spread_data() -> None:
    even = torch.linspace(0, 1, 10_001)
    even = (even - even.mean()) / even.std()
    assert float(even.max() - even.min()) == pytest.approx(LONGEST_WAVE / 2, rel=1e-3)


@EVERY
def test_a_model_sees_the_waves_of_what_it_normalised(method) -> None:
    model = method.model(method.config.small(3, 5, state_waves=2))
    model.obs_mean.fill_(1.0)
    model.obs_std.fill_(2.0)
    states = torch.randn(4, 3)
    torch.testing.assert_close(model.see(states), with_waves((states - 1) / 2, 2))
    assert model.config.seen_dim == 15


@EVERY
@pytest.mark.parametrize("waves", [-1, 17])
def test_waves_are_bounded(method, waves: int) -> None:
    with pytest.raises(SettingError, match=f"state_waves: must be 0 to 16, got {waves}"):
        method.config.small(3, 5, state_waves=waves)
