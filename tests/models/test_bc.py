"""Behaviour cloning: all of it learns, from the current state only, choices and numbers alike."""

from typing import Any

import numpy as np
import pytest
import torch
from lifetimes import random_trajectories
from torch.nn import functional as F

from dmh_lib.agents import BCAgent, PlayConfig
from dmh_lib.data.pairs import PairSampler
from dmh_lib.errors import SettingError
from dmh_lib.methods import label_of
from dmh_lib.models import BC, BCConfig

EVERY = pytest.mark.parametrize("discrete", [True, False])


def build(discrete: bool, **changes: Any) -> tuple[BC, PairSampler]:
    torch.manual_seed(0)
    data = random_trajectories(discrete)
    model = BC(BCConfig.small(3, 4 if discrete else 2, discrete=discrete, d_model=16, **changes))
    model.fit_normalisation(data)
    return model, PairSampler(data, model.config.best_share)


@EVERY
def test_every_parameter_gets_a_gradient(discrete: bool) -> None:
    model, sampler = build(discrete, layers=3, state_waves=2)
    model(sampler.sample(64)).total.backward()
    assert [name for name, part in model.named_parameters() if not part.grad.any()] == []


@EVERY
def test_training_lowers_the_loss(discrete: bool) -> None:
    model, sampler = build(discrete)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    batch, losses = sampler.sample(16), []
    for _ in range(60):
        loss = model(batch).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


@torch.inference_mode()
@EVERY
def test_the_loss_is_the_mean_over_steps(discrete: bool) -> None:
    model, sampler = build(discrete)
    batch = sampler.sample(20)
    said = model.predict(batch.observations)
    if discrete:
        expected = F.cross_entropy(said, batch.actions)
    else:
        expected = (((said - batch.actions) / model.action_scale) ** 2).mean()
    torch.testing.assert_close(model(batch).total, expected)


@torch.inference_mode()
@EVERY
def test_play_is_the_model_row_by_row_whatever_came_before(discrete: bool) -> None:
    model, _ = build(discrete)
    agent, rng = BCAgent(model, PlayConfig(temperature=0.0)), np.random.default_rng(0)
    seen = rng.normal(size=(6, 3)).astype(np.float32)
    said = model.predict(torch.from_numpy(seen))
    expected = said.argmax(-1).numpy() if discrete else said.numpy()
    agent.begin(6)
    for _ in range(3):
        np.testing.assert_array_equal(agent.act(seen), expected)
        agent.observe(rng.normal(size=6), rng.random(6) < 0.5, np.zeros(6, dtype=bool))
        agent.forget(rng.random(6) < 0.5)
    agent.begin(1)
    alone = np.concatenate([agent.act(row[None]) for row in seen])
    np.testing.assert_allclose(alone, expected, rtol=1e-5, atol=1e-6)


def test_the_seed_decides_what_is_sampled() -> None:
    agent, seen = BCAgent(build(discrete=True)[0]), np.zeros((50, 3))
    drawn = []
    for seed in (1, 1, 2):
        agent.begin(50, seed)
        drawn.append(agent.act(seen).tolist())
    assert drawn[0] == drawn[1] != drawn[2]


def test_labels_and_settings() -> None:
    shares = {1.0: "BC", 0.1: "BC-10%", 0.25: "BC-25%"}
    for share, label in shares.items():
        config = BCConfig.small(3, 2, discrete=False, best_share=share)
        assert label_of(config) == label
        assert BCConfig.from_dict(config.to_dict()) == config
    for changes, word in (({"best_share": 0.0}, "best_share"), ({"best_share": 1.1}, "best_share"),
                          ({"layers": 0}, "layers"), ({"d_model": 0}, "d_model")):  # fmt: skip
        with pytest.raises(SettingError, match=word):
            BCConfig.small(3, 2, **changes)
