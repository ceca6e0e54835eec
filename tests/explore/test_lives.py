"""Lifetimes step by step, and agents that are led through them."""

from dataclasses import replace

import numpy as np
import pytest
from explored import agent_of, begun, lifetime

from dmh_lib.agents import DMHAgent
from dmh_lib.envs import rules_of
from dmh_lib.errors import SettingError
from dmh_lib.evaluation import evaluate
from dmh_lib.explore import Episode, decide, live, relive
from dmh_lib.explore.lives import as_trajectories
from dmh_lib.methods import METHODS


def same(one: Episode, other: Episode) -> bool:
    parts = ("observations", "actions", "rewards", "terminated")
    return all(np.array_equal(getattr(one, part), getattr(other, part)) for part in parts)


@pytest.mark.parametrize("env_id", ["darkroom", "darkkeytodoor", "darkroomeps"])
def test_a_life_is_what_the_evaluation_plays(env_id: str) -> None:
    agent, env = agent_of(), rules_of(env_id).make_vec([3])
    table = evaluate(agent, env, 4, seed=5)
    life = lifetime(agent, env_id)
    assert [episode.value for episode in life] == table["return"].tolist()
    assert [len(episode) for episode in life] == table["length"].tolist()
    for episode in life:
        assert len(episode.decisions) == len(episode)
        assert episode.terminated == (len(episode) < rules_of(env_id).horizon)
        np.testing.assert_array_equal(episode.observations[0], rules_of(env_id).start)
        moved = np.abs(np.diff(episode.observations, axis=0)).sum(-1)
        assert moved.max() <= 1


@pytest.mark.parametrize("name", METHODS)
def test_led_through_its_own_life_an_agent_says_the_same(name: str) -> None:
    agent = agent_of(name)
    life = lifetime(agent)
    again = relive(agent, life, seed=9)
    for one, other in zip(life, again, strict=True):
        assert same(one, other)
        for said, now in zip(one.decisions, other.decisions, strict=True):
            np.testing.assert_allclose(now.output, said.output, rtol=1e-5, atol=1e-5)
            assert now.probabilities.sum() == pytest.approx(1)
            if isinstance(agent, DMHAgent):
                np.testing.assert_allclose(now.subgoal, said.subgoal, rtol=1e-5, atol=1e-5)
                assert (now.spread > 0).all()
            else:
                assert now.subgoal is None


@pytest.mark.parametrize("name", ["dm-h", "ad"])
def test_decisions_follow_from_past_and_present(name: str) -> None:
    agent = agent_of(name)
    *past, last = lifetime(agent)
    for steps in (0, 1, 5, 11):
        found = decide(agent, past, begun(last, steps))
        np.testing.assert_allclose(found.output, last.decisions[steps].output, rtol=1e-5, atol=1e-5)
    for other in (past[:-1], past[::-1], [], [past[0].relabelled(np.ones(20)), *past[1:]]):
        assert not np.allclose(
            decide(agent, other, begun(last, 0)).output, last.decisions[0].output, atol=1e-6
        )


def test_a_shorter_episode() -> None:
    episode = replace(lifetime(agent_of(), episodes=1)[0], terminated=True)
    short = episode.shortened(7)
    assert (len(short), len(short.observations), len(short.decisions)) == (7, 8, 7)
    assert short.value == episode.rewards[:7].sum()
    assert not short.terminated
    assert episode.shortened(20) is episode
    for steps in (0, 21):
        with pytest.raises(SettingError, match=f"steps: an episode of 20 has 1 … 20, got {steps}"):
            episode.shortened(steps)


def test_parts_must_fit() -> None:
    with pytest.raises(SettingError, match=r"episode: its parts differ in length \(observations 2"):
        Episode(np.zeros((3, 2)), np.zeros(3, dtype=int), np.zeros(2))
    with pytest.raises(SettingError, match="one is needed to look at, got 2"):
        next(live(agent_of(), rules_of("darkroom").make_vec([1, 2])))


def test_as_data() -> None:
    life = [episode.shortened(3 + number) for number, episode in enumerate(lifetime(agent_of()))]
    life[1] = replace(life[1], terminated=True)
    data = as_trajectories(life, 5)
    assert data.lengths.tolist() == [3, 4, 5, 6]
    assert data.returns.tolist() == [episode.value for episode in life]
    assert data.terminations.nonzero()[0].tolist() == [6]
    assert data.truncations.nonzero()[0].tolist() == [2, 11, 17]
    assert as_trajectories(life, 5, goes_on=True).truncations.nonzero()[0].tolist() == [2, 11]
