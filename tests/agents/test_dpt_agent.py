"""DPT at play: cached and read again, together and alone, it says what the parallel model says."""

from typing import Any

import numpy as np
import pytest
import torch
from lifetimes import OBS, ROWS, STEPS, lifetimes

from dmh_lib.agents import DPTAgent, PlayConfig
from dmh_lib.models import DPT, DPTConfig
from dmh_lib.models.dpt import Steps

NEAR = {"rtol": 1e-5, "atol": 2e-5}
WAYS = pytest.mark.parametrize("cached", [True, False])
Life = tuple[np.ndarray, ...]


def make_model(**changes: Any) -> DPT:
    torch.manual_seed(0)
    model = DPT(DPTConfig.small(OBS, 5, **({"d_model": 32, "state_waves": 1} | changes))).eval()
    model.obs_mean.normal_()
    model.obs_std.uniform_(0.5, 2)
    return model


def play(agent: DPTAgent, life: Life, forgets: np.ndarray | None = None) -> dict[str, np.ndarray]:
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


def said_in_parallel(
    model: DPT, life: Life, actions: np.ndarray, row: int, forgets: np.ndarray | None = None
) -> np.ndarray:
    """What the model says at the end of each step's own context, (T, A), for one row."""
    observations, rewards, terminations, truncations = (part[:, row] for part in life)
    ended = terminations | truncations
    context_len, start, sums, said = model.config.context_len, 0, 0.0, []
    collected = []
    for step in range(STEPS):
        if step - start == context_len:
            start = step - context_len // 2
        collected.append(sums)
        parts = observations, np.float32(collected), actions[:, row], rewards, ended
        states, *rest = (torch.from_numpy(part[start : step + 1])[None] for part in parts)
        said.append(model.outputs(Steps(model.see(states), *rest))[0, -1].numpy())
        sums = 0.0 if ended[step] else sums + rewards[step]
        if forgets is not None and forgets[step, row]:
            start, sums = step + 1, 0.0
    return np.stack(said)


@torch.inference_mode()
@WAYS
@pytest.mark.parametrize("equal", [True, False])
@pytest.mark.parametrize("context_len", [2, 7, 16, STEPS])
def test_play_equals_the_parallel_model(context_len: int, equal: bool, cached: bool) -> None:
    """Also where contexts fill up and are halved."""
    model, life = make_model(context_len=context_len), lifetimes(equal)
    played = play(DPTAgent(model, cached=cached), life)
    for row in range(ROWS):
        said = said_in_parallel(model, life, played["actions"], row)
        np.testing.assert_allclose(played["logits"][:, row], said, **NEAR)


@torch.inference_mode()
@WAYS
def test_rows_that_forgot_go_on_by_themselves(cached: bool) -> None:
    """In mid-episode too, and with contexts that then fill up at different times."""
    model, life = make_model(context_len=16), lifetimes(equal=False)
    forgets = np.zeros((STEPS, ROWS), dtype=bool)
    for row, steps in enumerate(([], [4], [4, 30, 31], [20, 55])):
        forgets[steps, row] = True
    played = play(DPTAgent(model, cached=cached), life, forgets)
    for row in range(ROWS):
        said = said_in_parallel(model, life, played["actions"], row, forgets)
        np.testing.assert_allclose(played["logits"][:, row], said, **NEAR)


@pytest.mark.parametrize("forgetting", [False, True])
def test_the_cache_changes_nothing(forgetting: bool) -> None:
    model, life = make_model(context_len=16), lifetimes(equal=False)
    forgets = life[2] | life[3] if forgetting else None
    one, other = (play(DPTAgent(model, cached=how), life, forgets) for how in (True, False))
    np.testing.assert_allclose(one["logits"], other["logits"], **NEAR)
    np.testing.assert_array_equal(one["actions"], other["actions"])


@WAYS
def test_batched_play_equals_single_play(cached: bool) -> None:
    model, life = make_model(context_len=16), lifetimes(equal=False)
    cold = PlayConfig(temperature=0.0)
    together = play(DPTAgent(model, cold, cached), life)
    for row in range(ROWS):
        alone = play(DPTAgent(model, cold, cached), tuple(part[:, row : row + 1] for part in life))
        np.testing.assert_allclose(together["logits"][:, row], alone["logits"][:, 0], **NEAR)


@WAYS
def test_forgetting_each_episode_is_a_fresh_start(cached: bool) -> None:
    model, life = make_model(), lifetimes(equal=True)
    forgets = np.zeros((STEPS, ROWS), dtype=bool)
    forgets[9::10, :2] = True
    cold = PlayConfig(temperature=0.0)
    mixed = play(DPTAgent(model, cold, cached), life, forgets)["logits"]
    remembering = play(DPTAgent(model, cold, cached), life)["logits"]
    np.testing.assert_allclose(mixed[:, 2:], remembering[:, 2:], **NEAR)
    for start in range(0, STEPS, 10):
        part = tuple(values[start : start + 10] for values in life)
        fresh = play(DPTAgent(model, cold, cached), part)["logits"]
        np.testing.assert_allclose(mixed[start : start + 10, :2], fresh[:, :2], **NEAR)
    assert not np.allclose(mixed[10:, :2], remembering[10:, :2], atol=1e-4)


@WAYS
def test_beginning_again_is_a_fresh_start(cached: bool) -> None:
    agent, life = DPTAgent(make_model(context_len=16), cached=cached), lifetimes(equal=False)
    first = play(agent, life)
    size = agent.state_bytes
    np.testing.assert_array_equal(play(agent, life)["logits"], first["logits"])
    assert agent.state_bytes == size > 0


def test_seed_and_temperature() -> None:
    model, life = make_model(), lifetimes(equal=True)
    one, other = (play(DPTAgent(model), life)["actions"] for _ in range(2))
    np.testing.assert_array_equal(one, other)
    greedy = play(DPTAgent(model, PlayConfig(temperature=0.0)), life)
    np.testing.assert_array_equal(greedy["actions"], greedy["logits"].argmax(-1))
    assert (one != greedy["actions"]).any()
