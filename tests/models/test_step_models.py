"""The models over single steps: all of them learns, it sees the past only, and settings are checked."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from lifetimes import random_trajectories
from torch.nn import functional as F

from dmh_lib.data import Trajectories
from dmh_lib.data.sampling import Sampler
from dmh_lib.data.windows import TargetBatch, WindowBatch
from dmh_lib.errors import SettingError
from dmh_lib.methods import method_of
from dmh_lib.models import (
    AD,
    ADConfig,
    ATConfig,
    CausalTransformer,
    DTConfig,
    MambaStack,
    StepConfig,
    StepModel,
    transformer,
)

KINDS: dict[str, type[StepConfig]] = {"AD": ADConfig, "DT": DTConfig, "AT": ATConfig}


def random_runs(discrete: bool) -> Trajectories:
    """Three runs, two of them longer than the windows below, of unequal episodes."""
    return random_trajectories(discrete, runs=(6, 6, 2), longest=7)


def tiny(kind: str = "AD", preset: str = "small", discrete: bool = True, **changes: Any) -> StepConfig:
    # within episodes windows must be shorter, so that some episodes do not fit
    context_len = 4 if kind == "DT" else 12
    settings = {"d_model": 16, "d_state": 4, "layers": 2, "context_len": context_len} | changes
    return getattr(KINDS[kind], preset)(3, 4 if discrete else 2, discrete=discrete, **settings)


VARIANTS = {
    f"{kind}, {backbone}, {preset}, {'discrete' if discrete else 'continuous'}": tiny(
        kind, preset, discrete, backbone=backbone
    )
    for kind in KINDS
    for backbone in ("transformer", "mamba")
    for preset in ("small", "paper")
    for discrete in (True, False)
}
VARIANTS |= {f"{kind}, waves": tiny(kind, state_waves=2) for kind in KINDS}
EVERY = pytest.mark.parametrize("name", VARIANTS)


def build(config: StepConfig) -> tuple[StepModel, Sampler]:
    torch.manual_seed(0)
    data, method = random_runs(config.discrete), method_of(config)
    model = method.model(config)
    assert isinstance(model, StepModel)
    model.fit_normalisation(data)
    return model, method.sampler(data, method.draws(), config, 0)


def draw(sampler: Sampler, size: int = 8) -> WindowBatch:
    batch = sampler.sample(size)
    assert isinstance(batch, WindowBatch)
    return batch


def full(sampler: Sampler) -> WindowBatch:
    """A batch of one window of the greatest length."""
    batch = draw(sampler, 64)
    row = int(batch.mask.sum(1).argmax())
    longest = int(batch.mask[row].sum())
    return type(batch)(**{name: part[row : row + 1, :longest].clone() for name, part in vars(batch).items()})


def predict(model: StepModel, batch: WindowBatch) -> torch.Tensor:
    target = (batch.returns_to_go,) if isinstance(batch, TargetBatch) else ()
    return model.predict(batch.observations, batch.actions, batch.rewards, batch.ended, *target)


@EVERY
def test_every_parameter_gets_a_gradient(name: str) -> None:
    model, sampler = build(VARIANTS[name])
    model.train()
    model(draw(sampler)).total.backward()
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
    batch = draw(sampler)
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
    together = draw(sampler, 16)
    found = model(together)
    errors = []
    for row, length in enumerate(together.mask.sum(1).tolist()):
        batch = type(together)(
            **{name: part[row : row + 1, :length] for name, part in vars(together).items()}
        )
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
    """It knows its state, its return-to-go, what it is told of the steps before, and nothing later."""
    model, sampler = build(VARIANTS[name])
    model.eval()
    batch = full(sampler)
    before, t = predict(model, batch), batch.mask.shape[1] // 2

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

    told = {"actions": "action", "rewards": "reward", "ended": "ended"}
    for part in vars(batch).keys() - {"mask"}:
        after = changed(part, t if part in told else t + 1)
        torch.testing.assert_close(before[:, : t + 1], after[:, : t + 1])
        if part in told and told[part] not in model.config.told:
            assert torch.equal(before, after)
        else:
            for later in range(t + 1, before.shape[1]):
                assert not torch.allclose(before[:, later], after[:, later], atol=1e-6)


@torch.inference_mode()
@EVERY
def test_an_action_sees_its_own_state_and_target(name: str) -> None:
    model, sampler = build(VARIANTS[name])
    model.eval()
    batch = full(sampler)
    before = predict(model, batch)
    parts = ("observations", "returns_to_go") if model.config.wants_target else ("observations",)
    for part in parts:
        values = getattr(batch, part).clone()
        values[:, 0] += 0.5
        after = predict(model, dataclasses.replace(batch, **{part: values}))
        assert not torch.allclose(before[:, 0], after[:, 0], atol=1e-6)


@EVERY
def test_the_whole_window_is_seen(name: str) -> None:
    model, sampler = build(VARIANTS[name])
    model.eval()
    batch = full(sampler)
    batch.observations.requires_grad_()
    predict(model, batch)[:, -1].sum().backward()
    seen = batch.observations.grad.abs().sum(-1)[0]
    assert len(seen) > model.config.context_len // 2
    assert seen.all()


def test_what_is_told_and_in_which_tokens() -> None:
    sizes = {
        name: [tiny(name, tokens=tokens).tokens_per_step for tokens in ("fused", "paper")] for name in KINDS
    }
    assert sizes == {"AD": [1, 3], "DT": [1, 3], "AT": [1, 5]}


@torch.inference_mode()
@pytest.mark.parametrize("kind", ["DT", "AT"])
def test_returns_are_in_units_of_the_data(kind: str) -> None:
    """Rewards a thousand times as large, targets among them, change nothing that the model says of a step."""
    data = random_runs(discrete=True)
    config = tiny(kind, **({"reward_scale": 1000.0} if kind == "AT" else {}))
    said = []
    for scale in (1.0, 1000.0):
        torch.manual_seed(0)
        method = method_of(config)
        model = method.model(dataclasses.replace(config, reward_scale=scale) if kind == "AT" else config)
        scaled = dataclasses.replace(data, rewards=data.rewards * np.float32(scale))
        model.fit_normalisation(scaled)
        said.append(predict(model.eval(), full(method.sampler(scaled, method.draws(), config, 0))))
    torch.testing.assert_close(*said, rtol=1e-4, atol=1e-4)


def test_only_the_transformer_counts_steps() -> None:
    for backbone, counts in (("transformer", True), ("mamba", False)):
        names = [name for name, _ in build(tiny(backbone=backbone))[0].named_parameters()]
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


@torch.inference_mode()
def test_long_sequences_need_no_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outputs of some positions are those of all, however many there are."""
    torch.manual_seed(0)
    model, tokens = CausalTransformer(16, 2, 2).eval(), torch.randn(2, 12, 16)
    some = slice(1, None, 3)
    short = model(tokens, some)
    monkeypatch.setattr(transformer, "MASK_SIZE", 47)
    torch.testing.assert_close(model(tokens, some), short, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(short, model(tokens)[:, some], rtol=1e-5, atol=1e-5)


def test_names_of_stored_weights() -> None:
    """Checkpoints of AD outlive changes of the code."""
    embeddings = {"embed_state", "embed_action", "embed_reward", "embed_step"}
    for preset, also in (("small", {"embed_ended"}), ("paper", set())):
        names = {name.split(".")[0] for name in AD(tiny("AD", preset)).state_dict()}
        buffers = {"obs_mean", "obs_std", "action_scale"}
        assert names == embeddings | also | buffers | {"backbone", "head"}


def test_presets() -> None:
    for kind, context_len in ((ADConfig, 400), (DTConfig, 50), (ATConfig, 400)):
        small, paper = kind.small(2, 5), kind.paper(17, 6, discrete=False, backbone="mamba")
        assert (small.backbone, small.tokens, small.d_model) == ("transformer", "fused", 64)
        assert small.context_len == context_len
        assert (paper.backbone, paper.tokens, paper.d_model, paper.dropout) == ("mamba", "paper", 128, 0.1)
        assert [config.wants_target for config in (small, paper)] == [kind is not ADConfig] * 2
        for config in (small, paper):
            assert kind.from_dict(config.to_dict()) == config


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
    kinds = (ADConfig, ATConfig) if "reward_scale" in changes else (ADConfig, DTConfig, ATConfig)
    for kind in kinds:
        with pytest.raises(SettingError, match=word):
            kind.small(2, 5, **changes)


def test_unknown_settings_in_a_file() -> None:
    with pytest.raises(SettingError, match=r"colour.*ADConfig"):
        ADConfig.from_dict({**ADConfig.small(2, 5).to_dict(), "colour": 1})
