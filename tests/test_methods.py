"""The registry: every method is found by its name and by its settings, and its parts fit together."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dmh_lib.agents import PlayConfig
from dmh_lib.data.histories import make_histories
from dmh_lib.data.searcher import SearcherConfig
from dmh_lib.envs import GridVectorEnv, make_split, rules_of
from dmh_lib.errors import SettingError
from dmh_lib.methods import METHODS, label_of, method_named, method_of, name_of
from dmh_lib.models import ADConfig, ATConfig, BCConfig, DMHConfig, DPTConfig, DTConfig, ModelConfig
from dmh_lib.train_config import TrainConfig
from dmh_lib.training import train


@pytest.mark.parametrize("name", METHODS)
def test_parts_fit_together(name: str, tmp_path: Path) -> None:
    method = method_named(name)
    config = method.config(2, 5)
    assert name_of(config) == name
    assert method_of(config) is method
    assert method.config.from_dict(config.to_dict()) == config
    data = make_histories(make_split("darkroom", num_train=2), SearcherConfig(runs_per_task=1, episodes=3))
    model = train(data, config, tmp_path, config=TrainConfig(updates=1, batch_size=2)).model
    assert type(model.config) is method.config
    assert model.loss_names[0] == "total"
    agent = method.agent(model, None)
    agent.begin(3, seed=0)
    env = GridVectorEnv(3, rules=rules_of("darkroom"), tasks=np.arange(3))
    actions = agent.act(env.reset(seed=0)[0])
    assert (actions.shape, actions.dtype) == ((3,), np.int64)


@pytest.mark.parametrize("name", METHODS)
def test_memory_across_episodes(name: str) -> None:
    """Wiping the memory between episodes changes what comes after just where a method says it remembers."""
    torch.manual_seed(0)
    method = method_named(name)
    model = method.model(method.config(2, 5))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    rng = np.random.default_rng(0)
    observations, rewards = rng.normal(size=(15, 3, 2)), rng.normal(size=(15, 3))

    def play(memory: bool) -> NDArray[np.float64]:
        """What the agent thinks of its actions, (15, 3, 5), in three episodes of five steps."""
        agent, logits = method.agent(model, PlayConfig(target_return=1.0)), []
        agent.begin(3, seed=0)
        for step in range(15):
            agent.act(observations[step])
            logits.append(np.array(agent.logits))
            ended = np.full(3, step % 5 == 4)
            agent.observe(rewards[step], ended, np.zeros(3, dtype=bool))
            if ended.all() and not memory:
                agent.forget(ended)
        return np.stack(logits)

    remembered, forgotten = play(True), play(False)
    np.testing.assert_array_equal(remembered[:5], forgotten[:5])
    assert (remembered[5:] != forgotten[5:]).any() == method.across_episodes


def test_labels() -> None:
    configs = {
        "DM-H": DMHConfig(2, 5),
        "AD": ADConfig(2, 5),
        "AD-Mamba": ADConfig(2, 5, backbone="mamba"),
        "DT": DTConfig(2, 5),
        "DM": DTConfig(2, 5, backbone="mamba"),
        "AT": ATConfig(2, 5),
        "AT-Mamba": ATConfig(2, 5, backbone="mamba"),
        "DPT": DPTConfig(2, 5),
        "BC": BCConfig(2, 5),
        "BC-10%": BCConfig(2, 5, best_share=0.1),
    }
    assert [label_of(config) for config in configs.values()] == list(configs)


def test_what_belongs_to_no_method() -> None:
    @dataclass(frozen=True)
    class Own(ModelConfig):
        pass

    with pytest.raises(SettingError, match="Own belong to no method"):
        name_of(Own(2, 5))
    with pytest.raises(SettingError, match="'other' is not known; choose one of dm-h, idt, ad"):
        method_named("other")
