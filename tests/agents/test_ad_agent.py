"""Algorithm Distillation at play: cached, read again and recurrent, it says what the parallel model says."""

from typing import Any

import numpy as np
import pytest
import torch
from lifetimes import OBS, ROWS, STEPS, as_trajectories, lifetimes

from dmh_lib.agents import ADAgent, PlayConfig
from dmh_lib.data.windows import WindowConfig, WindowSampler
from dmh_lib.errors import SettingError
from dmh_lib.models import AD, ADConfig

LAYOUTS = [(backbone, tokens) for backbone in ("transformer", "mamba") for tokens in ("fused", "paper")]
# Mamba has nothing to read again
WAYS = [(*layout, True) for layout in LAYOUTS] + [
    ("transformer", tokens, False) for tokens in ("fused", "paper")
]
NEAR = {"rtol": 1e-5, "atol": 2e-5}


def make_model(backbone: str, tokens: str, discrete: bool = True, **changes: Any) -> AD:
    torch.manual_seed(0)
    settings = {"d_model": 32, "d_state": 4, "reward_scale": 3.0, "discrete": discrete} | changes
    config = ADConfig.small(OBS, 5 if discrete else 2, backbone=backbone, tokens=tokens, **settings)
    model = AD(config).eval()
    model.obs_mean.normal_()
    model.obs_std.uniform_(0.5, 2)
    model.action_scale.uniform_(0.5, 2)
    return model


def play(
    agent: ADAgent, life: tuple[np.ndarray, ...], forgets: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Actions and logits (T, B, …); after step t the rows marked in `forgets` (T, B) forget."""
    observations, rewards, terminations, truncations = life
    agent.begin(observations.shape[1], seed=0)
    kept: dict[str, list[np.ndarray]] = {"actions": [], "logits": []}
    for step in range(len(observations)):
        kept["actions"].append(agent.act(observations[step]))
        kept["logits"].append(agent.logits.clone().numpy())
        agent.observe(rewards[step], terminations[step], truncations[step])
        if forgets is not None and forgets[step].any():
            agent.forget(forgets[step])
    return {name: np.stack(values) for name, values in kept.items()}


def window_starts(context_len: int, forgets: np.ndarray | None = None, row: int = 0) -> list[int]:
    """The step at which the window of each step begins, for one row."""
    starts, start = [], 0
    for step in range(STEPS):
        if step - start == context_len:
            start = step - context_len // 2
        starts.append(start)
        if forgets is not None and forgets[step, row]:
            start = step + 1
    return starts


def seen_in_windows(
    model: AD, life: tuple[np.ndarray, ...], actions: np.ndarray, starts: list[int], row: int
) -> torch.Tensor:
    """What the parallel model says at the end of each step's own window, (T, A)."""
    observations, rewards, terminations, truncations = life
    parts = [torch.from_numpy(part) for part in (observations, actions, rewards, terminations | truncations)]
    said = []
    for step, start in enumerate(starts):
        window = (part[start : step + 1, row][None] for part in parts)
        said.append(model.predict(*window)[0, -1])
    return torch.stack(said)


@torch.inference_mode()
@pytest.mark.parametrize("discrete", [True, False])
@pytest.mark.parametrize("equal", [True, False])
@pytest.mark.parametrize(("backbone", "tokens"), LAYOUTS)
def test_play_equals_the_parallel_model(backbone: str, tokens: str, equal: bool, discrete: bool) -> None:
    model = make_model(backbone, tokens, discrete)
    life = lifetimes(equal)
    for cached in (True, False) if backbone == "transformer" else (True,):
        played = play(ADAgent(model, cached=cached), life)
        for row in range(ROWS):
            data = as_trajectories(life, played["actions"], row)
            batch = WindowSampler(data, WindowConfig(), model.config.context_len).build(np.array([0]))
            said = model.predict(batch.observations, batch.actions, batch.rewards, batch.ended)[0]
            torch.testing.assert_close(said, torch.from_numpy(played["logits"][:, row]), **NEAR)


@torch.inference_mode()
@pytest.mark.parametrize("context_len", [2, 7, 16])
@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("tokens", ["fused", "paper"])
def test_a_full_window_goes_on_from_its_newest_half(tokens: str, cached: bool, context_len: int) -> None:
    model = make_model("transformer", tokens, context_len=context_len)
    life = lifetimes(equal=False)
    played = play(ADAgent(model, cached=cached), life)
    said = seen_in_windows(model, life, played["actions"], window_starts(context_len), row=1)
    torch.testing.assert_close(said, torch.from_numpy(played["logits"][:, 1]), **NEAR)


@pytest.mark.parametrize("discrete", [True, False])
@pytest.mark.parametrize("forgetting", [False, True])
@pytest.mark.parametrize("tokens", ["fused", "paper"])
def test_the_cache_changes_nothing(tokens: str, forgetting: bool, discrete: bool) -> None:
    model = make_model("transformer", tokens, discrete, context_len=16)
    life = lifetimes(equal=False)
    forgets = life[2] | life[3] if forgetting else None
    cached, again = (play(ADAgent(model, cached=how), life, forgets) for how in (True, False))
    np.testing.assert_allclose(cached["logits"], again["logits"], **NEAR)
    np.testing.assert_allclose(cached["actions"], again["actions"], **NEAR)


@torch.inference_mode()
@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("tokens", ["fused", "paper"])
def test_rows_that_forgot_roll_over_on_their_own(tokens: str, cached: bool) -> None:
    """Rows forget at steps of their own, so their windows fill up at different times."""
    model = make_model("transformer", tokens, context_len=16)
    life = lifetimes(equal=False)
    forgets = np.zeros((STEPS, ROWS), dtype=bool)
    for row, steps in enumerate(([], [4], [4, 30, 31], [20, 55])):
        forgets[steps, row] = True
    played = play(ADAgent(model, cached=cached), life, forgets)
    for row in range(ROWS):
        starts = window_starts(16, forgets, row)
        said = seen_in_windows(model, life, played["actions"], starts, row)
        torch.testing.assert_close(said, torch.from_numpy(played["logits"][:, row]), **NEAR)


@pytest.mark.parametrize(("backbone", "tokens"), LAYOUTS)
def test_batched_play_equals_single_play(backbone: str, tokens: str) -> None:
    model = make_model(backbone, tokens, discrete=False, context_len=16)
    life = lifetimes(equal=False)
    together = play(ADAgent(model), life)["actions"]
    for row in range(ROWS):
        alone = play(ADAgent(model), tuple(part[:, row : row + 1] for part in life))["actions"]
        np.testing.assert_allclose(alone[:, 0], together[:, row], **NEAR)


@pytest.mark.parametrize(("backbone", "tokens", "cached"), WAYS)
def test_forgetting_is_a_fresh_start_for_the_marked_rows_alone(
    backbone: str, tokens: str, cached: bool
) -> None:
    model = make_model(backbone, tokens, discrete=False, context_len=16)
    life = lifetimes(equal=True)
    forgets = np.zeros((STEPS, ROWS), dtype=bool)
    forgets[9::10, :2] = True
    mixed = play(ADAgent(model, cached=cached), life, forgets)["actions"]
    remembering = play(ADAgent(model, cached=cached), life)["actions"]
    np.testing.assert_allclose(mixed[:, 2:], remembering[:, 2:], **NEAR)
    for start in range(0, STEPS, 10):
        part = tuple(values[start : start + 10] for values in life)
        fresh = play(ADAgent(model, cached=cached), part)["actions"]
        np.testing.assert_allclose(mixed[start : start + 10, :2], fresh[:, :2], **NEAR)
    assert not np.allclose(mixed[10:, :2], remembering[10:, :2], atol=1e-4)


@pytest.mark.parametrize(("backbone", "tokens", "cached"), WAYS)
def test_memory_does_not_grow(backbone: str, tokens: str, cached: bool) -> None:
    agent = ADAgent(make_model(backbone, tokens, context_len=16), cached=cached)

    def size() -> int:
        """Numbers held in all tensors that can be reached from the memory."""
        total, left = 0, [value for value in vars(agent._memory).values() if value is not agent.model]
        while left:
            value = left.pop()
            if isinstance(value, torch.Tensor):
                total += value.numel()
            elif isinstance(value, list | tuple):
                left.extend(value)
            elif hasattr(value, "positions"):
                left.extend(vars(value).values())
        return total

    agent.begin(ROWS)
    before = size()
    play(agent, lifetimes(equal=True))
    assert size() == before > 0


def test_mamba_reads_nothing_again() -> None:
    with pytest.raises(SettingError, match="cached"):
        ADAgent(make_model("mamba", "fused"), cached=False)


@pytest.mark.parametrize("backbone", ["transformer", "mamba"])
def test_seed_and_temperature(backbone: str) -> None:
    model = make_model(backbone, "fused")
    life = lifetimes(equal=True)
    one, other = (play(ADAgent(model), life)["actions"] for _ in range(2))
    np.testing.assert_array_equal(one, other)
    greedy = play(ADAgent(model, PlayConfig(temperature=0.0)), life)
    np.testing.assert_array_equal(greedy["actions"], greedy["logits"].argmax(-1))
    cold = play(ADAgent(model, PlayConfig(temperature=1e-4)), life)["actions"]
    np.testing.assert_array_equal(cold, greedy["actions"])
    assert (one != greedy["actions"]).any()


@pytest.mark.parametrize("length", [7, 16, 17, 40, 55])
@pytest.mark.parametrize(("backbone", "tokens"), LAYOUTS)
def test_reading_a_history_is_as_good_as_living_it(backbone: str, tokens: str, length: int) -> None:
    """Shorter than the window, as long, just rolled over, and rolled over more than once."""
    model = make_model(backbone, tokens, context_len=16)
    life = lifetimes(equal=False)
    lived = ADAgent(model)
    played = play(lived, life)
    observations, rewards, terminations, truncations = life
    for cached in (True, False) if backbone == "transformer" else (True,):
        agent = ADAgent(model, cached=cached)
        agent.begin(ROWS)
        history = observations, played["actions"], rewards, terminations | truncations
        agent.read(*(part[:length] for part in history))
        for step in range(length, STEPS):
            agent.act(observations[step])
            np.testing.assert_allclose(agent.logits.numpy(), played["logits"][step], **NEAR)
            agent._last_action = torch.from_numpy(played["actions"][step])
            agent.observe(rewards[step], terminations[step], truncations[step])
