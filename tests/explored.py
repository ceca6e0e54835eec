"""Untrained agents and the lifetimes that they live, to look at."""

import torch

from dmh_lib.agents import PlayConfig
from dmh_lib.envs import rules_of
from dmh_lib.explore import Episode, live
from dmh_lib.methods import method_named


def agent_of(name: str = "dm-h", **changes):
    torch.manual_seed(0)
    method = method_named(name)
    model = method.model(method.config.small(2, 5, **({"d_model": 32} | changes))).eval()
    model.obs_mean.fill_(4.0)
    model.obs_std.fill_(2.5)
    return method.agent(model, PlayConfig())


def lifetime(agent, env_id: str = "darkroom", episodes: int = 4, seed: int = 5) -> list[Episode]:
    """A lifetime on task 3."""
    lived = live(agent, rules_of(env_id).make_vec([3]), seed)
    return [next(lived) for _ in range(episodes)]


def begun(episode: Episode, steps: int) -> Episode:
    """The episode after so many steps, as it goes on."""
    return Episode(episode.observations[: steps + 1], episode.actions[:steps], episode.rewards[:steps])
