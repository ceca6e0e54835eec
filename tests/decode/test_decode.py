"""The compiled and the recorded steps say what plain PyTorch says, over a grid of shapes."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from dmh_lib.decode import choose_backend, make_decoder
from dmh_lib.decode.eager import EagerActor, EagerPlanner
from dmh_lib.decode.fused import FusedActor, FusedPlanner
from dmh_lib.decode.graph import GraphActor
from dmh_lib.errors import SettingError
from dmh_lib.models import DMH, DMHConfig

NOTHING_BEFORE = 2
NEAR = {"rtol": 1e-4, "atol": 2e-5}
SHAPES = {
    "one": (1, {}),
    "a few": (3, {"heads": 2}),
    "a block and one more": (17, {}),
    "many blocks": (50, {"heads": 1, "chunk_len": 3}),
    "wide": (5, {"d_model": 128, "transformer_layers": 1, "mamba_layers": 1}),
    "odd sizes": (4, {"d_model": 48, "heads": 3, "chunk_len": 17, "d_state": 5, "d_conv": 2, "expand": 1}),
    "many outputs": (2, {"subgoal_dim": 37}),
    "no memory of inputs": (2, {"d_conv": 1}),
    "waves": (2, {"state_waves": 2}),
}


def make_model(discrete: bool = True, **changes: object) -> DMH:
    torch.manual_seed(0)
    sizes = {"d_model": 64, "chunk_len": 5, "discrete": discrete, "reward_scale": 2.0} | changes
    model = DMH(DMHConfig.small(3, 5 if discrete else 2, **sizes)).eval()
    for parameter in model.parameters():  # norms and biases too, which start as ones and zeros
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model


def run_actor(actor: EagerActor | FusedActor, config: DMHConfig, num_envs: int) -> np.ndarray:
    """Outputs (T, B, A) of a made-up life in which chunks end at different times."""
    rng = np.random.default_rng(0)
    steps, outputs = np.zeros(num_envs, dtype=np.int64), []
    actions = np.zeros(num_envs if config.discrete else (num_envs, config.action_dim))
    actions, rewards = actions.astype(np.int64 if config.discrete else np.float32), np.zeros(num_envs)
    rewards, subgoals = rewards.astype(np.float32), np.zeros((num_envs, config.goal_dim), np.float32)
    for _ in range(3 * config.chunk_len):
        begun = np.flatnonzero(steps == 0)
        if begun.size:
            subgoals[begun] = rng.normal(size=(begun.size, config.goal_dim))
            actor.begin_chunk(subgoals[begun], begun)
        states = rng.normal(size=(num_envs, config.seen_dim)).astype(np.float32)
        outputs.append(actor.act(subgoals, states, actions, rewards, steps).copy())
        if config.discrete:
            actions = rng.integers(config.action_dim, size=num_envs)
        else:
            actions = rng.normal(size=actions.shape).astype(np.float32)
        rewards = rng.normal(size=num_envs).astype(np.float32)
        ended = (rng.random(num_envs) < 0.1) | (steps == config.chunk_len - 1)
        actor.end_step(actions, rewards, steps, ended)
        steps = np.where(ended, 0, steps + 1)
    return np.stack(outputs)


@torch.inference_mode()
@pytest.mark.parametrize("discrete", [True, False])
@pytest.mark.parametrize("tokens", ["fused", "paper"])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_compiled_transformer_step(shape: str, tokens: str, discrete: bool) -> None:
    num_envs, changes = SHAPES[shape]
    model = make_model(discrete, tokens=tokens, **changes)
    expected = run_actor(EagerActor(model, num_envs), model.config, num_envs)
    np.testing.assert_allclose(
        run_actor(FusedActor(model, num_envs), model.config, num_envs), expected, **NEAR
    )


def run_planner(planner: EagerPlanner | FusedPlanner, config: DMHConfig, num_envs: int) -> list[np.ndarray]:
    """Means and log-variances of a made-up life in which only some environments begin a chunk at a time."""
    rng = np.random.default_rng(0)
    done, rewards, found = np.full(num_envs, NOTHING_BEFORE), np.zeros(num_envs, np.float32), []
    for turn in range(12):
        rows = np.flatnonzero(rng.random(num_envs) < 0.7)
        if turn == 6:
            planner.forget(rows)
            done[rows], rewards[rows] = NOTHING_BEFORE, 0
        states, returns = rng.normal(size=(num_envs, config.seen_dim)), rng.normal(size=num_envs)
        found += planner.begin_chunk(
            states[rows].astype(np.float32), returns[rows].astype(np.float32), rewards[rows], done[rows], rows
        )
        found = [part.copy() for part in found]
        done[rows], rewards[rows] = rng.integers(2, size=len(rows)), rng.normal(size=len(rows))
        planner.end_chunk(rewards[rows], done[rows], rows)
    return found


@torch.inference_mode()
@pytest.mark.parametrize("return_to_go", [True, False])
@pytest.mark.parametrize("tokens", ["fused", "paper"])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_compiled_mamba_step(shape: str, tokens: str, return_to_go: bool) -> None:
    num_envs, changes = SHAPES[shape]
    model = make_model(tokens=tokens, use_return_to_go=return_to_go, **changes)
    expected = run_planner(EagerPlanner(model, num_envs), model.config, num_envs)
    found = run_planner(FusedPlanner(model, num_envs), model.config, num_envs)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, **NEAR)


def one_address(work: Callable[[], Tensor], reset: Callable[[], object]) -> Callable[[], Tensor]:
    """Stands in for `record_cuda`: warm-up runs, then replays that write their result to one address."""
    for _ in range(3):
        reset()
        kept = work().clone()
    reset()
    return lambda: kept.copy_(work())


@torch.inference_mode()
@pytest.mark.parametrize("discrete", [True, False])
@pytest.mark.parametrize("tokens", ["fused", "paper"])
def test_the_recorded_step(tokens: str, discrete: bool) -> None:
    model = make_model(discrete, tokens=tokens)
    expected = run_actor(EagerActor(model, 7), model.config, 7)
    recordings: list[str] = []

    def record(work: Callable[[], Tensor], reset: Callable[[], object]) -> Callable[[], Tensor]:
        recordings.append(work.__name__)
        return one_address(work, reset)

    recorded = GraphActor(model, 7, record=record)
    assert len(recordings) == (
        2 if tokens == "paper" else 1
    )  # fused tokens leave nothing to the end of a step
    np.testing.assert_array_equal(run_actor(recorded, model.config, 7), expected)


@pytest.mark.parametrize(
    ("device", "heads", "expected"),
    [
        ("cpu", 4, "fused"),
        ("cpu", 8, "eager"),
        ("cuda", 4, "graph"),
        ("cuda", 8, "graph"),
        ("mps", 4, "eager"),
    ],
)
def test_the_fastest_backend(device: str, heads: int, expected: str) -> None:
    config = DMHConfig.small(3, 5, heads=heads)
    assert choose_backend(config, torch.device(device)) == expected


def test_outputs_too_wide_for_the_compiled_steps() -> None:
    assert choose_backend(DMHConfig.small(3, 300), torch.device("cpu")) == "eager"
    assert choose_backend(DMHConfig.small(3, 5, subgoal_dim=200), torch.device("cpu")) == "eager"


def test_a_backend_that_cannot_serve() -> None:
    with pytest.raises(SettingError, match=r"fused.*multiple of 16.*eager"):
        make_decoder(make_model(heads=8), 1, "fused")
    with pytest.raises(SettingError, match=r"graph.*CUDA"):
        make_decoder(make_model(), 1, "graph")
    with pytest.raises(SettingError, match=r"bfloat16.*float\(\)"):
        make_decoder(make_model().bfloat16(), 1)
    with pytest.raises(SettingError, match="backend"):
        make_decoder(make_model(), 1, "quick")  # type: ignore[arg-type]


@torch.inference_mode()
def test_results_do_not_depend_on_threads() -> None:
    model, before = make_model(), torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            results.append(run_actor(FusedActor(model, 40), model.config, 40))
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(*results)


@torch.inference_mode()
@pytest.mark.parametrize("tokens", ["fused", "paper"])
def test_broken_weights_are_seen(tokens: str) -> None:
    model = make_model(tokens=tokens)
    model.actor.transformer.blocks[1].expand.weight[0, 0] = torch.nan
    assert np.isnan(run_actor(FusedActor(model, 2), model.config, 2)).all()
    model.planner.blocks[0].in_proj.weight[0, 0] = torch.nan
    assert np.isnan(run_planner(FusedPlanner(model, 2), model.config, 2)[-2]).all()
