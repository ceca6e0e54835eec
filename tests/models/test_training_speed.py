"""What makes training fast changes nothing but the time: slices, groups, dropout, outputs read in part."""

import dataclasses

import numpy as np
import pytest
import torch
from test_dmh import VARIANTS, build
from torch.nn import functional as F

from dmh_lib.data.contexts import ContextBatch, ContextConfig
from dmh_lib.models import CausalTransformer
from dmh_lib.models.dropout import add_dropped, dropout
from dmh_lib.models.slices import sliced_errors


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("supervise", ["all", "last+random"])
def test_slices_give_the_losses_and_gradients_of_all_at_once(name: str, supervise: str) -> None:
    contexts = ContextConfig(4, draw="task", supervise=supervise, goal_share=0.5)
    model, sampler = build(VARIANTS[name], contexts)
    model.eval().double()  # in float32 rounding may switch a unit on or off
    parts = vars(sampler.sample(6)).items()
    batch = ContextBatch(**{name: x.double() if x.is_floating_point() else x for name, x in parts})
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    results = []
    for size in (None, 1, 10_000):  # all at once, a chunk at a time, a few
        model.slice_bytes = size
        torch.manual_seed(1)
        loss = model(batch)
        results.append([part.detach() for part in loss] + list(torch.autograd.grad(loss.total, learned)))
    for other in results[1:]:
        for found, expected in zip(other, results[0], strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["small", "paper", "official"])
def test_training_in_slices_repeats_itself(name: str) -> None:
    """float32, with dropout and the fused kernels."""
    model, sampler = build(VARIANTS[name], ContextConfig(4, draw="task", supervise="all"))
    model.train()
    model.slice_bytes = 10_000
    batch, results = sampler.sample(6), []
    for _ in range(2):
        torch.manual_seed(1)
        model.zero_grad()
        loss = model(batch)
        loss.total.backward()
        results.append(
            [*torch.stack(loss).detach(), *(p.grad.clone() for p in model.parameters() if p.grad is not None)]
        )
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


def test_slices_in_mixed_precision_and_with_frozen_parameters() -> None:
    model, sampler = build(VARIANTS["paper"], ContextConfig(4, draw="task", supervise="all"))
    model.eval()
    model.actor.embed_reward.requires_grad_(False)
    batch, losses = sampler.sample(6), []
    for size in (None, 10_000):
        model.slice_bytes = size
        torch.manual_seed(1)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = model(batch)
        assert {part.dtype for part in loss} == {torch.float32}
        model.zero_grad()
        loss.total.backward()
        assert model.actor.embed_reward.weight.grad is None
        assert model.actor.head.weight.grad is not None
        losses.append(torch.stack(loss).detach())
    torch.testing.assert_close(losses[0], losses[1], rtol=2e-3, atol=2e-3)  # the products are bfloat16


def test_slices_pass_on_the_gradient_from_above() -> None:
    inputs, weight = torch.randn(7, 2, requires_grad=True), torch.randn(2, 3, requires_grad=True)
    weights = torch.rand(7, 3)
    total, errors = sliced_errors(lambda part, rows: (part @ weight) ** 2, inputs, weights, [weight], 3)
    expected = (weights * (inputs @ weight) ** 2).sum()
    torch.testing.assert_close(total, expected)
    torch.testing.assert_close(errors, ((inputs @ weight) ** 2).detach())
    assert not errors.requires_grad
    assert sliced_errors(lambda part, rows: part @ weight, inputs, weights, [weight], 7)[1].requires_grad
    found = torch.autograd.grad(3 * total, [inputs, weight])
    torch.testing.assert_close(found, torch.autograd.grad(3 * expected, [inputs, weight]))


@pytest.mark.parametrize("name", ["small", "paper, continuous, return-to-go"])
def test_contexts_read_in_groups_of_like_length(name: str) -> None:
    model, sampler = build(VARIANTS[name])
    episodes = np.array([[0, 1, 2, 3], [4, 4, 4, 4], [5, 6, 6, 6], [7, 8, 9, 9], [1, 2, 2, 2], [3, 0, 5, 7]])
    batch = sampler.build(episodes, np.array([4, 1, 2, 3, 2, 4]))
    for found, whole in zip(model._learned_subgoals(batch), model.subgoals(batch), strict=True):
        torch.testing.assert_close(found, whole.flatten(0, 1)[batch.rows], rtol=1e-5, atol=1e-6)
    padded = dataclasses.replace(
        batch, states=torch.where(batch.done[..., None] == 2, torch.nan, batch.states)
    )
    assert not model._learned_subgoals(padded)[0].isnan().any()


@pytest.mark.parametrize("every", [slice(1, None, 4), slice(2, None), slice(None, None, 3)])
def test_a_transformer_read_in_part(every: slice) -> None:
    torch.manual_seed(0)
    model = CausalTransformer(32, layers=2, heads=2)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    hidden = torch.randn(3, 21, 32, requires_grad=True)
    whole, part = model(hidden)[:, every], model(hidden, every)
    torch.testing.assert_close(part, whole, rtol=1e-5, atol=1e-5)
    cotangent = torch.randn_like(part)
    parameters = [hidden, *model.parameters()]
    for found, expected in zip(
        torch.autograd.grad(part, parameters, cotangent),
        torch.autograd.grad(whole, parameters, cotangent),
        strict=True,
    ):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("heads", [1, 4])
def test_attention_with_dropout_is_attention_on_average(heads: int) -> None:
    torch.manual_seed(0)
    (block,) = CausalTransformer(16, layers=1, heads=heads, dropout=0.3).blocks
    query, key, value = torch.randn(3, 2, heads, 9, 16 // heads)
    expected = F.scaled_dot_product_attention(query, key, value, is_causal=True)
    block.train()
    draws = torch.stack([block._attend(query, key, value, seen=None) for _ in range(3000)])
    error = (draws.mean(0) - expected).abs() / (draws.std(0) / 3000**0.5 + 1e-6)
    assert error.max() < 5.5  # standard errors, over 288 numbers
    assert draws.std(0)[:, :, 1:].min() > 0
    block.eval()
    torch.testing.assert_close(block._attend(query, key, value, seen=None), expected)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("shape", [(70_001,), (3, 400, 77)])
def test_dropout_drops_its_share_and_scales_the_rest(shape: tuple[int, ...], share: float) -> None:
    torch.manual_seed(0)
    x = torch.rand(shape) + 0.5
    out = dropout(x, share, training=True)
    kept = out != 0
    assert abs(kept.float().mean() - (1 - share)) < 5 * (share * (1 - share) / x.numel()) ** 0.5
    torch.testing.assert_close(out[kept], x[kept] / (1 - share))
    assert not torch.equal(kept, dropout(x, share, training=True) != 0)  # another draw each time
    torch.manual_seed(0)
    torch.rand(shape)
    torch.testing.assert_close(dropout(x, share, training=True), out)  # and the same with the same seed


def test_neighbours_are_dropped_independently() -> None:
    torch.manual_seed(0)
    kept = (dropout(torch.ones(2000, 128), 0.5, training=True) != 0).float()
    correlation = torch.corrcoef(kept.T) - torch.eye(128)
    assert correlation.abs().max() < 5.5 / 2000**0.5
    assert abs(torch.corrcoef(torch.stack([kept[:-1].flatten(), kept[1:].flatten()]))[0, 1]) < 0.01


@pytest.mark.parametrize("layout", ["contiguous", "transposed"])
def test_gradients_of_dropout(layout: str) -> None:
    torch.manual_seed(0)
    x, residual = torch.randn(2, 30, 40).requires_grad_(), torch.randn(2, 30, 40).requires_grad_()
    source = x.transpose(0, 1) if layout == "transposed" else x
    added = residual.transpose(0, 1) if layout == "transposed" else residual
    out = add_dropped(added, source, 0.25, training=True)
    kept = (out - added).detach().abs() > 0
    torch.testing.assert_close(out, added + torch.where(kept, source / 0.75, 0.0))
    cotangent = torch.randn_like(out)
    dx, dresidual = torch.autograd.grad((out * cotangent).sum(), [x, residual])
    back = (lambda part: part.transpose(0, 1)) if layout == "transposed" else (lambda part: part)
    torch.testing.assert_close(dx, back(torch.where(kept, cotangent / 0.75, 0.0)))
    torch.testing.assert_close(dresidual, back(cotangent))


def test_no_dropout() -> None:
    x = torch.randn(3)
    assert dropout(x, 0.5, training=False) is x
    assert dropout(x, 0.0, training=True) is x
    torch.testing.assert_close(add_dropped(x, x, 0.5, training=False), 2 * x)


def test_other_kinds_of_numbers_take_pytorchs_dropout() -> None:
    x = torch.ones(1000, dtype=torch.float64)
    assert set(dropout(x, 0.5, training=True).tolist()) == {0.0, 2.0}
    assert set(add_dropped(x, x, 0.5, training=True).tolist()) == {1.0, 3.0}
