"""The model's inside, against what it emits."""

import numpy as np
import pytest
import torch
from explored import agent_of, begun, lifetime

from dmh_lib.agents import PlayConfig
from dmh_lib.errors import SettingError
from dmh_lib.explore import chunk_attention, context_of, decide, memory_trace, parity
from dmh_lib.methods import METHODS

CONFIGS = [
    {},
    {"chunk_summary": True, "state_waves": 2},
    {"tokens": "paper", "use_return_to_go": True, "chunk_summary": True},
]


@pytest.mark.parametrize("changes", CONFIGS)
@pytest.mark.parametrize("steps", [0, 4, 5, 18])
def test_a_context_ends_where_the_agent_stands(changes: dict, steps: int) -> None:
    agent = agent_of(**changes)
    agent.play = PlayConfig(target_return=7.0)
    *past, last = lifetime(agent)
    past = [past[0].shortened(8).relabelled(np.arange(8)), *past]  # other lengths, other rewards
    now = begun(last, steps)
    context = context_of(agent.model, past, now, agent.play)
    mean, log_variance = agent.model.subgoals(context)
    said = decide(agent, past, now)
    np.testing.assert_allclose(mean[0, -1].detach(), said.subgoal, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose((0.5 * log_variance[0, -1]).exp().detach(), said.spread, rtol=1e-3)
    assert context.states.shape[1] == 2 + 3 * 4 + steps // 5 + 1


@pytest.mark.parametrize("changes", CONFIGS)
def test_chunk_by_chunk_sub_goals_are_those_of_the_parallel_pass(changes: dict) -> None:
    agent = agent_of(**changes)
    *past, last = lifetime(agent)
    context = context_of(agent.model, past, begun(last, 7))
    with torch.inference_mode():
        expected = torch.stack(agent.model.subgoals(context))  # (2, 1, K, G)
        found = [torch.stack([mean, spread]) for mean, spread, _ in agent.model.recurrent_subgoals(context)]
    torch.testing.assert_close(torch.stack(found, dim=2), expected, rtol=1e-4, atol=1e-4)


def test_the_memory_trace_is_that_of_the_scan() -> None:
    model = agent_of().model
    *past, last = lifetime(agent_of())
    context = context_of(model, past, begun(last, 7))
    table = memory_trace(model, context)
    assert table.groupby("layer").size().tolist() == [14, 14]  # 3 past episodes of 4 chunks, and 2
    assert (table[["step_size", "state_norm"]] > 0).all(axis=None)
    block = model.planner.blocks[0]
    read: list[torch.Tensor] = []
    handle = model.planner.norms[0].register_forward_hook(lambda _, __, out: read.append(out))
    with torch.inference_mode():
        model.subgoals(context)
        handle.remove()
        inner = block.in_proj(read[0])[..., : block.d_inner].mT  # (1, D, K)
        convolved = torch.nn.functional.silu(block.conv1d(inner)[..., : inner.shape[-1]]).mT  # (1, K, D)
        rank = block.x_proj(convolved)[..., : block.dt_rank]
        expected = torch.nn.functional.softplus(block.dt_proj(rank)).mean(-1)[0]  # (K,)
    first = table[table["layer"] == 1]["step_size"].to_numpy()
    np.testing.assert_allclose(first, expected, rtol=1e-4)


def test_attention_has_no_step_size() -> None:
    agent = agent_of(memory="attention")
    (last,) = lifetime(agent, episodes=1)
    with pytest.raises(SettingError, match="memory: only Mamba"):
        memory_trace(agent.model, context_of(agent.model, [], begun(last, 2)))


@pytest.mark.parametrize("tokens", ["fused", "paper"])
@pytest.mark.parametrize("steps", [0, 3, 7])
def test_attention_within_the_chunk_makes_the_decision(tokens: str, steps: int) -> None:
    agent = agent_of(tokens=tokens)
    (last,) = lifetime(agent, episodes=1)
    now = begun(last, steps)
    said = decide(agent, [], now)
    weights, names = chunk_attention(agent.model, said.subgoal, now)
    in_chunk = steps % 5 + 1
    assert names[-1] == (f"step {steps}" if tokens == "fused" else f"state {steps}")
    assert weights.shape == (3, 4, len(names), len(names))
    assert len(names) == (1 + in_chunk if tokens == "fused" else 4 * in_chunk - 2)
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-5)
    assert (np.triu(weights, 1) == 0).all()


def test_attention_weights_are_those_that_the_transformer_uses() -> None:
    transformer = agent_of().model.actor.transformer
    hidden = torch.randn(2, 6, 32)
    with torch.inference_mode():
        weights = transformer.attention(hidden)
        block = transformer.blocks[0]
        _, _, value = block._heads(hidden)
        expected = block._rest(hidden, weights[0] @ value)
        torch.testing.assert_close(block(hidden), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_parallel_and_step_by_step_agree(name: str) -> None:
    agent = agent_of(name, **({"context_len": 30} if name in ("dpt", "ad", "at") else {}))
    agent.play = PlayConfig(target_return=3.0)
    life = lifetime(agent)
    table = parity(agent.model, life, agent.play).set_index("what")
    assert table["agree"].all()
    assert table.loc["output", "steps"] == (30 if name in ("dpt", "ad", "at") else 80)
    assert ("sub-goal" in table.index) == (name in ("dm-h", "idt"))


@pytest.mark.parametrize("changes", [*CONFIGS, {"memory": "attention"}])
def test_parity_of_other_kinds_of_dm_h(changes: dict) -> None:
    agent = agent_of(**changes)
    assert parity(agent.model, lifetime(agent))["agree"].all()


@pytest.mark.parametrize("name", ["ad", "dt", "at"])
def test_parity_of_mamba_backbones(name: str) -> None:
    agent = agent_of(name, backbone="mamba")
    assert parity(agent.model, lifetime(agent))["agree"].all()


def test_parity_finds_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = agent_of()
    life = lifetime(agent)
    wrong = [life[0], *(episode.relabelled(episode.rewards + 1) for episode in life[1:])]
    monkeypatch.setattr("dmh_lib.explore.agreement.relive", lambda agent, episodes: life)
    assert not parity(agent.model, wrong)["agree"].all()
