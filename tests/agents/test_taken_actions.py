"""Actions that others took: an agent that is told of them is where one that chose them itself would be."""

import numpy as np
import pytest
import torch
from lifetimes import OBS, ROWS, STEPS, lifetimes

from dmh_lib.agents import DMHAgent, PlayConfig
from dmh_lib.errors import SettingError
from dmh_lib.methods import METHODS, method_named
from dmh_lib.models import DMH

SIZES = {"dm-h": {"chunk_len": 4, "heads": 2, "chunk_summary": True}}
KINDS = [(name, discrete) for name in METHODS for discrete in (True, False) if discrete or name != "dpt"]


def make_agent(name: str, discrete: bool):
    torch.manual_seed(0)
    method = method_named(name)
    settings = {"discrete": discrete, "d_model": 32} | SIZES.get(name, {})
    model = method.model(method.config.small(OBS, 5 if discrete else 2, **settings)).eval()
    model.obs_mean.normal_()
    model.action_scale.uniform_(0.5, 2)
    return method.agent(model, PlayConfig(target_return=2.0))


def live(agent, seed: int, actions: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """What the agent chose and said at each step, (T, B, …) each, while `actions` were taken, if given."""
    observations, rewards, terminations, truncations = lifetimes(equal=False)
    agent.begin(ROWS, seed=seed)
    chosen, said = [], []
    for step in range(STEPS):
        chosen.append(agent.act(observations[step]))
        said.append(np.array(agent.logits))
        taken = None if actions is None else actions[step]
        agent.observe(rewards[step], terminations[step], truncations[step], taken)
    return np.stack(chosen), np.stack(said)


@pytest.mark.parametrize(("name", "discrete"), KINDS)
def test_taken_actions_count_as_chosen_ones(name: str, discrete: bool) -> None:
    agent = make_agent(name, discrete)
    actions, said = live(agent, seed=0)
    others = np.random.default_rng(1).integers(5, size=actions.shape) if discrete else actions[::-1]
    _, after_others = live(agent, seed=1, actions=others)
    assert name == "bc" or not np.allclose(after_others, said, atol=1e-3)
    _, again = live(agent, seed=1, actions=actions)  # the seed picks other actions, which are not taken
    np.testing.assert_allclose(again, said, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("name", "discrete"), [kind for kind in KINDS if kind[0] != "bc"])
def test_too_few_actions(name: str, discrete: bool) -> None:
    agent = make_agent(name, discrete)
    observations, rewards, terminations, truncations = lifetimes(equal=False)
    agent.begin(ROWS)
    taken = agent.act(observations[0])
    with pytest.raises(SettingError, match="actions: expected shape"):
        agent.observe(rewards[0], terminations[0], truncations[0], taken[:-1])


@pytest.mark.parametrize("backend", ["fused", "eager"])
def test_both_backends_take_them(backend) -> None:
    model = make_agent("dm-h", discrete=True).model
    assert isinstance(model, DMH)
    actions, _ = live(make_agent("dm-h", discrete=True), seed=5)
    _, said = live(DMHAgent(model, backend=backend), seed=0, actions=actions)
    _, eager = live(DMHAgent(model, backend="eager"), seed=1, actions=actions)
    np.testing.assert_allclose(said, eager, rtol=1e-4, atol=1e-4)
