"""DPT's model: all of it learns, an answer sees the past only and in no order, and settings are checked."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from dmh_lib.data import Trajectories
from dmh_lib.data.histories import make_histories
from dmh_lib.data.queries import QueryBatch, QueryConfig, QuerySampler
from dmh_lib.data.searcher import SearcherConfig
from dmh_lib.envs import make_split
from dmh_lib.errors import SettingError
from dmh_lib.models import DPT, DPTConfig
from dmh_lib.models.dpt import Steps

ENVS = pytest.mark.parametrize("env_id", ["darkroom", "darkroomhard", "darkkeytodoor"])


def histories(env_id: str) -> Trajectories:
    return make_histories(make_split(env_id, num_train=6), SearcherConfig(runs_per_task=2, episodes=4))


def tiny(preset: str = "small", **changes: Any) -> DPTConfig:
    return getattr(DPTConfig, preset)(2, 5, **({"d_model": 16, "layers": 2, "context_len": 60} | changes))


def build(env_id: str, config: DPTConfig) -> tuple[DPT, QuerySampler]:
    torch.manual_seed(0)
    data = histories(env_id)
    model = DPT(config)
    model.fit_normalisation(data)
    return model, QuerySampler(data, QueryConfig("any"), config.context_len)


def answers(model: DPT, batch: QueryBatch) -> torch.Tensor:
    states = model.see(batch.observations)
    return model.outputs(Steps(states, batch.collected, batch.actions, batch.rewards, batch.ended))


@ENVS
@pytest.mark.parametrize(("preset", "waves"), [("small", 0), ("small", 2), ("paper", 0)])
def test_every_parameter_gets_a_gradient(env_id: str, preset: str, waves: int) -> None:
    model, sampler = build(env_id, tiny(preset, state_waves=waves))
    model.train()
    model(sampler.sample(8)).total.backward()
    assert [name for name, part in model.named_parameters() if not part.grad.any()] == []


@ENVS
def test_training_lowers_the_loss(env_id: str) -> None:
    model, sampler = build(env_id, tiny())
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    batch, losses = sampler.sample(8), []
    for _ in range(40):
        loss = model(batch).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


@torch.inference_mode()
@ENVS
def test_the_loss_is_the_mean_over_what_is_asked(env_id: str) -> None:
    model, sampler = build(env_id, tiny())
    batch = sampler.sample(8)
    found, logits = model(batch), answers(model, batch)
    errors = []
    for row, column in batch.asked.nonzero().tolist():
        chances = logits[row, column].log_softmax(-1)
        errors.append(-chances[batch.optimal[row, column]].mean())  # uniform over the optimal actions
    torch.testing.assert_close(found.total, torch.stack(errors).mean())
    assert found.action == found.total


def changed(batch: QueryBatch, part: str, where: Any) -> QueryBatch:
    values = getattr(batch, part).clone()
    match values.dtype:
        case torch.int64:
            values[where] = (values[where] + 1) % 5
        case torch.bool:
            values[where] = ~values[where]
        case _:
            values[where] += 1
    return dataclasses.replace(batch, **{part: values})


@torch.inference_mode()
def test_an_answer_knows_its_state_and_the_steps_before() -> None:
    """All parts of them, back to the first, and nothing later."""
    model, sampler = build("darkroom", tiny())
    batch, t = sampler.sample(1), 5
    before = answers(model, batch)
    for part, first in (("observations", t), ("collected", t), ("actions", t - 1), ("rewards", t - 1),
                        ("ended", t - 1)):  # fmt: skip
        later = answers(model, changed(batch, part, np.s_[:, first + 1 :]))
        torch.testing.assert_close(before[:, : t + 1], later[:, : t + 1])
        for step in (0, first):
            after = answers(model, changed(batch, part, np.s_[:, step]))
            assert not torch.allclose(before[:, t], after[:, t], atol=1e-6)


@torch.inference_mode()
def test_transitions_have_no_positions() -> None:
    """With one layer an answer depends on the set of tokens; in more, tokens differ by what each has seen."""
    model = DPT(tiny(layers=1))
    tokens = torch.randn(3, 20, 16)
    order = torch.cat([torch.randperm(19), torch.tensor([19])])
    one, other = model.transformer(tokens)[:, -1], model.transformer(tokens[:, order])[:, -1]
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
    assert not any("step" in name or "position" in name for name, _ in model.named_parameters())


def test_presets() -> None:
    small, paper = DPTConfig.small(2, 5), DPTConfig.paper(2, 5)
    assert (small.context_len, small.d_model, small.dropout) == (400, 64, 0.0)
    assert (paper.context_len, paper.d_model, paper.dropout) == (400, 128, 0.1)
    for config in (small, paper):
        assert DPTConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"discrete": False}, "discrete"),
        ({"context_len": 1}, "context_len"),
        ({"heads": 3}, "heads"),
        ({"layers": 0}, "layers"),
        ({"dropout": 1.0}, "dropout"),
        ({"d_model": 0}, "d_model"),
    ],
)
def test_settings_that_cannot_work(changes: dict[str, Any], word: str) -> None:
    with pytest.raises(SettingError, match=word):
        tiny(**changes)
