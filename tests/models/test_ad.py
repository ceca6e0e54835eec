"""Algorithm Distillation's model: all of it learns, it sees the past only, and settings are checked."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from lifetimes import random_trajectories
from torch.nn import functional as F

from dmh_lib.data import Trajectories
from dmh_lib.data.windows import WindowBatch, WindowConfig, WindowSampler
from dmh_lib.errors import SettingError
from dmh_lib.models import AD, ADConfig, CausalTransformer, MambaStack


def random_runs(discrete: bool) -> Trajectories:
    """Three runs, two of them longer than the windows below, of unequal episodes."""
    return random_trajectories(discrete, runs=(6, 6, 2), longest=7)


def tiny(preset: str = "small", discrete: bool = True, **changes: Any) -> ADConfig:
    settings = {"d_model": 16, "d_state": 4, "layers": 2, "context_len": 12} | changes
    return getattr(ADConfig, preset)(3, 4 if discrete else 2, discrete=discrete, **settings)


VARIANTS = {
    f"{backbone}, {preset}, {'discrete' if discrete else 'continuous'}": tiny(
        preset, discrete, backbone=backbone
    )
    for backbone in ("transformer", "mamba")
    for preset in ("small", "paper")
    for discrete in (True, False)
}
EVERY = pytest.mark.parametrize("name", VARIANTS)


def build(config: ADConfig) -> tuple[AD, WindowSampler]:
    torch.manual_seed(0)
    data = random_runs(config.discrete)
    model = AD(config)
    model.fit_normalisation(data)
    return model, WindowSampler(data, WindowConfig(), config.context_len)


def predict(model: AD, batch: WindowBatch) -> torch.Tensor:
    return model.predict(batch.observations, batch.actions, batch.rewards, batch.ended)


@EVERY
def test_every_parameter_gets_a_gradient(name: str) -> None:
    model, sampler = build(VARIANTS[name])
    model.train()
    model(sampler.sample(8)).total.backward()
    without = [
        key
        for key, parameter in model.named_parameters()
        if parameter.grad is None or not parameter.grad.any()
    ]
    assert without == []


@EVERY
def test_training_lowers_the_loss(name: str) -> None:
    model, sampler = build(VARIANTS[name])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    batch = sampler.sample(8)
    losses = []
    for _ in range(40):
        loss = model(batch).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


@torch.inference_mode()
@EVERY
def test_the_loss_is_the_mean_over_real_steps(name: str) -> None:
    """Each window alone and without padding, in units of the action range."""
    config = VARIANTS[name]
    model, sampler = build(config)
    model.eval()
    every = np.arange(len(sampler.starts))
    found = model(sampler.build(every))
    errors = []
    for window in every:
        batch = sampler.build(np.array([window]))
        assert batch.mask.all()
        predicted, actions = predict(model, batch)[0], batch.actions[0]
        if config.discrete:
            errors.append(F.cross_entropy(predicted, actions, reduction="none"))
        else:
            errors.append((((predicted - actions) / model.action_scale) ** 2).mean(-1))
    assert len({len(part) for part in errors}) > 1  # so that padding plays a part
    torch.testing.assert_close(found.action, torch.cat(errors).mean(), rtol=1e-5, atol=1e-6)
    assert found.total == found.action


@torch.inference_mode()
@EVERY
def test_an_action_sees_the_past_only(name: str) -> None:
    """It knows its state and the steps before, all parts of them, and nothing later."""
    model, sampler = build(VARIANTS[name])
    model.eval()
    batch = sampler.build(np.array([0]))
    before, t = predict(model, batch), 5

    def changed(part: str, first: int) -> torch.Tensor:
        values = getattr(batch, part).clone()
        match values.dtype:
            case torch.int64:
                values[:, first:] = (values[:, first:] + 1) % 4
            case torch.bool:
                values[:, first:] = ~values[:, first:]
            case _:
                values[:, first:] += 0.5
        return predict(model, dataclasses.replace(batch, **{part: values}))

    for part, first in (("observations", t + 1), ("actions", t), ("rewards", t), ("ended", t)):
        after = changed(part, first)
        torch.testing.assert_close(before[:, : t + 1], after[:, : t + 1])
        if part == "ended" and model.config.tokens == "paper":
            assert torch.equal(before, after)  # the paper's tokens have no end of episode
        else:
            for later in range(t + 1, before.shape[1]):
                assert not torch.allclose(before[:, later], after[:, later], atol=1e-6)


@EVERY
def test_the_whole_window_is_seen(name: str) -> None:
    model, sampler = build(VARIANTS[name])
    model.eval()
    batch = sampler.build(np.array([0]))
    batch.rewards.requires_grad_()
    predict(model, batch)[:, -1].sum().backward()
    assert batch.rewards.grad[0, :-1].all()
    assert batch.rewards.grad[0, -1] == 0


def test_only_the_transformer_counts_steps() -> None:
    for backbone, counts in (("transformer", True), ("mamba", False)):
        names = [name for name, _ in AD(tiny(backbone=backbone)).named_parameters()]
        assert ("embed_step.weight" in names) is counts


@torch.inference_mode()
@pytest.mark.parametrize("pieces", [[1] * 12, [1, 3, 2, 1, 5], [12]])
def test_extending_a_cache_equals_the_parallel_transformer(pieces: list[int]) -> None:
    torch.manual_seed(0)
    transformer = CausalTransformer(16, 3, 4).eval()
    tokens = torch.randn(5, 12, 16)
    cache, held, outputs = transformer.allocate_cache(5, 14), 0, []
    for part in tokens.split(pieces, dim=1):
        outputs.append(transformer.extend(part, cache, held))
        held += part.shape[1]
        assert cache.positions.tolist() == [held] * 5
    torch.testing.assert_close(torch.cat(outputs, 1), transformer(tokens), rtol=1e-5, atol=1e-5)


@torch.inference_mode()
def test_a_cache_extended_in_step_goes_on_row_by_row() -> None:
    """Rows that held equally many tokens and then do not: `extend`, then `step` on the filled places."""
    torch.manual_seed(0)
    transformer = CausalTransformer(16, 2, 2).eval()
    tokens, fresh = torch.randn(2, 6, 16), torch.randn(2, 3, 16)
    cache = transformer.allocate_cache(2, 9)
    transformer.extend(tokens[:, :3], cache, 0)
    cache.positions[1] = 0
    mixed = torch.stack([tokens[0, 3:6], fresh[1]])
    found = transformer.step(mixed, cache.first_places(6))
    assert cache.positions.tolist() == [6, 3]
    torch.testing.assert_close(found[0], transformer(tokens[:1])[0, 3:], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found[1], transformer(fresh[1:])[0], rtol=1e-5, atol=1e-5)


@torch.inference_mode()
def test_a_mamba_stack_steps_as_it_reads() -> None:
    torch.manual_seed(0)
    stack = MambaStack(16, 3, d_state=4, d_conv=4, expand=2).eval()
    tokens = torch.randn(3, 10, 16)
    cache = stack.allocate_cache(3)
    stepped = torch.stack([stack.step(token, cache) for token in tokens.unbind(1)], dim=1)
    torch.testing.assert_close(stepped, stack(tokens), rtol=1e-5, atol=1e-5)


def test_presets() -> None:
    small, paper = ADConfig.small(2, 5), ADConfig.paper(17, 6, discrete=False, backbone="mamba")
    assert (small.backbone, small.tokens, small.context_len, small.d_model) == (
        "transformer",
        "fused",
        400,
        64,
    )
    assert (paper.backbone, paper.tokens, paper.d_model, paper.dropout) == ("mamba", "paper", 128, 0.1)
    for config in (small, paper):
        assert ADConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"heads": 3}, "heads"),
        ({"heads": 0}, "heads"),
        ({"context_len": 1}, "context_len"),
        ({"layers": 0}, "layers"),
        ({"layers": 1000}, "layers"),
        ({"tokens": "other"}, "tokens"),
        ({"backbone": "lstm"}, "backbone"),
        ({"dropout": 1.0}, "dropout"),
        ({"reward_scale": 0.0}, "reward_scale"),
        ({"d_state": 0}, "d_state"),
    ],
)
def test_settings_that_cannot_work(changes: dict[str, Any], word: str) -> None:
    with pytest.raises(SettingError, match=word):
        ADConfig.small(2, 5, **changes)


def test_unknown_settings_in_a_file() -> None:
    with pytest.raises(SettingError, match=r"colour.*ADConfig"):
        ADConfig.from_dict({**ADConfig.small(2, 5).to_dict(), "colour": 1})
