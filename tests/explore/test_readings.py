"""Sub-goals in state space, against the model's own decoding and against samples."""

import numpy as np
import pytest
import torch
from explored import agent_of, lifetime

from dmh_lib.errors import SettingError
from dmh_lib.explore.subgoals import Reading, rank_correlation, valuable_goals
from dmh_lib.figures import ellipse
from dmh_lib.rollouts import GoalProbe, roll_out


def test_means_and_covariances_are_those_of_decoded_samples() -> None:
    agent = agent_of()
    torch.nn.init.orthogonal_(agent.model.goal_map.weight)
    agent.model.obs_std.copy_(torch.tensor([2.0, 0.5]))
    (episode,) = lifetime(agent, episodes=1)
    found = Reading.by_inverse(agent.model).read(episode.decisions, 5)
    assert found.means.shape == (4, 2)
    for chunk in range(4):
        mean, deviation = episode.decisions[5 * chunk].subgoal_in_force
        drawn = torch.from_numpy(mean) + torch.from_numpy(deviation) * torch.randn(20_000, len(mean))
        decoded = agent.model.decode_subgoals(drawn).detach().numpy()
        np.testing.assert_allclose(found.means[chunk], decoded.mean(0), atol=0.02)
        np.testing.assert_allclose(found.covariances[chunk], np.cov(decoded.T), rtol=0.1, atol=1e-3)
        line = ellipse(found.means[chunk], found.covariances[chunk])
        # where a sample lies within the line, it lies nearer than the line in the metric of the covariance
        metric = np.linalg.inv(found.covariances[chunk])
        reach = [gap @ metric @ gap for gap in line - found.means[chunk]]
        assert max(reach) == pytest.approx(min(reach), rel=1e-3)
        gaps = decoded - found.means[chunk]
        assert (((gaps @ metric) * gaps).sum(-1) <= reach[0]).mean() == pytest.approx(0.95, abs=0.01)


def test_they_are_those_of_roll_outs() -> None:
    agent = agent_of()
    life = lifetime(agent, episodes=3, seed=4)
    (rolled,) = roll_out(agent.model, "darkroom", np.array([3]), 3, seed=4)
    probe = GoalProbe(np.random.default_rng(0).normal(size=(17, 2)))
    for reading, expected in (
        (Reading.by_inverse(agent.model), rolled.subgoals),
        (Reading.by_probe(probe), probe.read(rolled.latents)),
    ):
        found = np.stack([reading.read(episode.decisions, 5).means for episode in life])
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
        gaps = np.linalg.norm(expected - rolled.goal[-1], axis=-1).mean(1)
        np.testing.assert_allclose(reading.distances(life, 5, rolled.goal[-1]), gaps, rtol=1e-4)


def test_agents_without_sub_goals() -> None:
    (episode,) = lifetime(agent_of("bc"), episodes=1)
    with pytest.raises(SettingError, match="sub-goal: this agent sets none"):
        Reading.by_inverse(agent_of().model).read(episode.decisions, 5)


def test_a_reward_ahead_is_worth_heading_for() -> None:
    (episode,) = lifetime(agent_of(), episodes=1)
    rewards = np.zeros(20)
    rewards[6] = 1  # collected on the way into the state at 7
    goals = valuable_goals(episode.relabelled(rewards), 5)
    assert goals.shape == (4, 2)
    np.testing.assert_array_equal(goals[0], episode.observations[7])
    np.testing.assert_array_equal(goals[1], episode.observations[7])
    np.testing.assert_array_equal(goals[2], episode.observations[19])  # nothing ahead: the latest


def test_rank_correlation() -> None:
    assert rank_correlation(np.array([3.0, 2.0, 1.0]), np.array([0.0, 1.0, 5.0])) == -1
    assert np.isnan(rank_correlation(np.array([3.0, 2.0, 1.0]), np.zeros(3)))
