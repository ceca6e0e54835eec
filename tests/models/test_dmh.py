"""The model: every parameter learns, its parts agree with each other, and its presets are what they say."""

import dataclasses

import numpy as np
import pytest
import torch
from lifetimes import random_trajectories
from torch.nn import functional as F

from dmh_lib.data.contexts import ContextConfig, ContextSampler
from dmh_lib.errors import SettingError
from dmh_lib.models import DMH, CausalTransformer, DMHConfig


def tiny(preset: str = "small", discrete: bool = True, **changes: object) -> DMHConfig:
    make = getattr(DMHConfig, preset)
    return make(3, 4 if discrete else 2, discrete=discrete, d_model=16, d_state=4, chunk_len=3, **changes)


VARIANTS = {
    "small": tiny(),
    "continuous": tiny(discrete=False),
    "wide sub-goal": tiny(subgoal_dim=7),
    "return-to-go": tiny(use_return_to_go=True),
    "paper": tiny("paper"),
    "paper, continuous, return-to-go": tiny("paper", discrete=False, use_return_to_go=True),
    "official": tiny("official"),
    "summary": tiny(chunk_summary=True),
    "attention": tiny(memory="attention"),
    "paper, attention, summary": tiny("paper", memory="attention", chunk_summary=True),
    "continuous, summary": tiny(discrete=False, chunk_summary=True),
    "waves, summary": tiny(chunk_summary=True, state_waves=2),
}


def build(config: DMHConfig, contexts: ContextConfig | None = None) -> tuple[DMH, ContextSampler]:
    torch.manual_seed(0)
    data = random_trajectories(config.discrete)
    model = DMH(config)
    model.fit_normalisation(data)
    contexts = contexts or ContextConfig(4, draw="task")
    return model, ContextSampler(data, contexts, config.chunk_len, inside=config.chunk_summary)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_parameter_but_the_frozen_map_gets_a_gradient(name: str) -> None:
    model, sampler = build(VARIANTS[name])
    model.train()
    model(sampler.sample(8)).total.backward()
    without = [
        key
        for key, parameter in model.named_parameters()
        if parameter.grad is None or not parameter.grad.any()
    ]
    assert without == ["goal_map.weight", "goal_map.bias"]


@pytest.mark.parametrize("name", VARIANTS)
def test_training_lowers_the_loss(name: str) -> None:
    model, sampler = build(VARIANTS[name])
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    batch = sampler.sample(8)
    losses = []
    for _ in range(30):
        loss = model(batch).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("name", ["small", "continuous", "paper"])
def test_the_loss_is_its_definition(name: str) -> None:
    """L = L(a | z) + λ L(a | f(s_g)), means over real steps, with the noise of z switched off."""
    config = VARIANTS[name]
    model, sampler = build(config, ContextConfig(4, draw="task", supervise="all", goal_share=0.5))
    model.eval()
    model.sample_subgoals = lambda mean, log_variance, generator=None: mean  # type: ignore[method-assign]
    batch = sampler.sample(5)
    found = model(batch)
    mean, _ = model.subgoals(batch)

    def mean_error(subgoals: torch.Tensor, count: int) -> torch.Tensor:
        errors = []
        for chunk in range(count):
            length = int(batch.mask[chunk].sum())
            steps = [
                part[chunk : chunk + 1, :length]
                for part in (batch.observations, batch.actions, batch.rewards)
            ]
            predicted = model.predict(subgoals[chunk : chunk + 1], *steps)[0]
            actions = steps[1][0]
            if config.discrete:
                errors.append(F.cross_entropy(predicted, actions, reduction="none"))
            else:
                errors.append((((predicted - actions) / model.action_scale) ** 2).mean(-1))
        return torch.cat(errors).mean()

    action = mean_error(mean.flatten(0, 1)[batch.rows], len(batch.rows))
    goal = mean_error(model.goal_subgoals(batch.goal_states), len(batch.goal_states))
    assert len(batch.goal_states) == int(np.ceil(0.5 * len(batch.rows)))
    torch.testing.assert_close(found.action, action, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.goal, goal, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.total, action + config.goal_loss_weight * goal, rtol=1e-4, atol=1e-5)


def test_without_goals_only_the_action_loss_counts() -> None:
    model, sampler = build(VARIANTS["small"], ContextConfig(4, draw="task", goal_share=0.0))
    loss = model(sampler.sample(4))
    assert loss.goal == 0
    torch.testing.assert_close(loss.total, loss.action)


@pytest.mark.parametrize("name", ["small", "paper, continuous, return-to-go"])
def test_a_subgoal_sees_the_past_only(name: str) -> None:
    """The sub-goal of chunk k knows its state, not its reward, and nothing later; padding changes nothing."""
    model, sampler = build(VARIANTS[name])
    batch = sampler.build(np.array([[0, 3, 5]]), np.array([3]))
    before, _ = model.subgoals(batch)
    k = batch.states.shape[1] // 2
    later = dataclasses.replace(
        batch,
        states=torch.cat([batch.states[:, : k + 1], torch.randn_like(batch.states[:, k + 1 :])], 1),
        chunk_rewards=torch.cat(
            [batch.chunk_rewards[:, :k], torch.randn_like(batch.chunk_rewards[:, k:])], 1
        ),
    )
    after, _ = model.subgoals(later)
    torch.testing.assert_close(before[:, : k + 1], after[:, : k + 1])
    assert not torch.allclose(before[:, k + 1 :], after[:, k + 1 :])
    padded = sampler.build(np.array([[0, 3, 5, 5], [1, 2, 6, 7]]), np.array([3, 4]))
    long, _ = model.subgoals(padded)
    torch.testing.assert_close(before[0], long[0, : before.shape[1]])


@pytest.mark.parametrize("name", ["small", "paper", "continuous"])
def test_an_action_sees_the_chunk_so_far_only(name: str) -> None:
    config = VARIANTS[name]
    model, sampler = build(config)
    model.eval()
    batch = sampler.build(np.array([[0, 3, 5]]), np.array([3]))
    chunk = int(batch.mask.sum(1).argmax())
    z = torch.randn(1, config.goal_dim)
    states, actions, rewards = (
        part[chunk : chunk + 1] for part in (batch.observations, batch.actions, batch.rewards)
    )
    before = model.predict(z, states, actions, rewards)
    t = 1
    states, actions, rewards = states.clone(), actions.clone(), rewards.clone()
    states[:, t + 1 :] += 1
    actions[:, t:] = 0
    rewards[:, t:] += 1
    after = model.predict(z, states, actions, rewards)
    torch.testing.assert_close(before[:, : t + 1], after[:, : t + 1])
    assert not torch.allclose(before[:, t + 1 :], after[:, t + 1 :])


@torch.inference_mode()
@pytest.mark.parametrize("heads", [1, 4])
def test_cached_steps_equal_the_parallel_transformer(heads: int) -> None:
    torch.manual_seed(0)
    transformer = CausalTransformer(16, 3, heads).eval()
    tokens = torch.randn(5, 12, 16)
    cache = transformer.allocate_cache(5, 12)
    pieces = [transformer.step(part, cache) for part in tokens.split([1, 3, 2, 1, 5], dim=1)]
    torch.testing.assert_close(torch.cat(pieces, 1), transformer(tokens), rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_rows_of_a_cache_move_on_their_own() -> None:
    torch.manual_seed(0)
    transformer = CausalTransformer(16, 2, 2).eval()
    tokens = torch.randn(3, 4, 16)
    cache = transformer.allocate_cache(3, 8)
    rows = torch.tensor([0, 2])
    part = cache.rows(rows)
    transformer.step(tokens[rows, :2], part)
    cache.put(rows, part)
    assert cache.positions.tolist() == [2, 0, 2]
    ends = transformer.step(torch.stack([tokens[0, 2:3], tokens[1, :1], tokens[2, 2:3]]), cache)[:, 0]
    whole = transformer(tokens)
    torch.testing.assert_close(
        ends, torch.stack([whole[0, 2], whole[1, 0], whole[2, 2]]), rtol=1e-4, atol=1e-5
    )


def test_a_square_goal_map_is_inverted_exactly() -> None:
    model, sampler = build(VARIANTS["small"])
    states = torch.from_numpy(sampler.trajectories.observations[:10])
    torch.testing.assert_close(
        model.decode_subgoals(model.goal_subgoals(states)), states, rtol=1e-4, atol=1e-4
    )


def test_presets() -> None:
    paper, official = DMHConfig.paper(17, 6, discrete=False), DMHConfig.official(17, 6, discrete=False)
    assert (paper.d_model, paper.mamba_layers, paper.transformer_layers, paper.dropout) == (128, 2, 3, 0.1)
    assert not any((paper.squash_log_variance, paper.resample_subgoal, paper.sliding_window))
    assert official.squash_log_variance
    assert official.resample_subgoal
    assert official.sliding_window
    assert official.goal_dim == 17
    for config in (paper, official, DMHConfig.small(2, 5)):
        assert DMHConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"heads": 3}, "heads"),
        ({"chunk_len": 0}, "chunk_len"),
        ({"tokens": "other"}, "tokens"),
        ({"sliding_window": True}, "tokens"),
        ({"reward_scale": 0.0}, "reward_scale"),
    ],
)
def test_settings_that_cannot_work(changes: dict[str, object], word: str) -> None:
    with pytest.raises(SettingError, match=word):
        DMHConfig.small(2, 5, **changes)


def test_unknown_and_missing_settings_in_a_file() -> None:
    stored = DMHConfig.small(2, 5).to_dict()
    with pytest.raises(SettingError, match="colour"):
        DMHConfig.from_dict({**stored, "colour": 1})
    del stored["obs_dim"]
    with pytest.raises(SettingError, match="obs_dim"):
        DMHConfig.from_dict(stored)
