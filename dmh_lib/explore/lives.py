"""Lifetimes kept step by step, and agents led through episodes that someone else lived or changed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from dmh_lib.agents import Agent, DMHAgent
from dmh_lib.data.trajectories import Trajectories
from dmh_lib.errors import SettingError

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Decision:
    """What an agent said before a step."""

    output: Floats  # (A,) logits, or a continuous action
    subgoal: Floats | None = None  # (G,) the sub-goal in force, of agents that have one
    spread: Floats | None = None  # (G,) its standard deviation

    @property
    def subgoal_in_force(self) -> tuple[Floats, Floats]:
        """Mean and standard deviation of the sub-goal, (G,) each; SettingError from agents without one."""
        if self.subgoal is None or self.spread is None:
            raise SettingError("sub-goal: this agent sets none; take a checkpoint of DM-H or IDT")
        return self.subgoal, self.spread

    @property
    def probabilities(self) -> Floats:
        """The chances of discrete actions at temperature 1, (A,)."""
        raised = np.exp(self.output - self.output.max())
        chances: Floats = raised / raised.sum()
        return chances


@dataclass(frozen=True)
class Episode:
    """T steps that someone lived; an agent can be led through them as if they were its own.

    Raises SettingError for parts of other lengths.
    """

    observations: Floats  # (T + 1, obs_dim), the last one is where the last step led
    actions: NDArray[Any]  # (T,) int64, or (T, act_dim) float32
    rewards: Floats  # (T,)
    terminated: bool = False  # else its time was up, or it is still going on
    decisions: tuple[Decision, ...] = ()  # of the agent that lived it, T; none of an episode that was made up

    def __post_init__(self) -> None:
        found = len(self.observations) - 1, len(self.actions), len(self.rewards)
        if len(set(found)) > 1 or found[0] < 0:
            parts = "observations {} + 1, actions {}, rewards {}".format(*found)
            raise SettingError(f"episode: its parts differ in length ({parts}); give T + 1, T and T")

    def __len__(self) -> int:
        return len(self.rewards)

    @property
    def value(self) -> float:
        """Its return."""
        return float(self.rewards.sum())

    def shortened(self, steps: int) -> "Episode":
        """Its first steps; raises SettingError for none, or more than there are."""
        if not 1 <= steps <= len(self):
            raise SettingError(f"steps: an episode of {len(self)} has 1 … {len(self)}, got {steps}")
        if steps == len(self):
            return self
        return Episode(
            self.observations[: steps + 1],
            self.actions[:steps],
            self.rewards[:steps],
            decisions=self.decisions[:steps],
        )

    def relabelled(self, rewards: NDArray[Any]) -> "Episode":
        """The same steps with other rewards (T,)."""
        return replace(self, rewards=np.asarray(rewards, dtype=np.float32))


def live(
    agent: Agent, env: gym.vector.VectorEnv[Any, Any, Any], seed: int = 0, past: Sequence[Episode] = ()
) -> Iterator[Episode]:
    """One lifetime, episode after episode without end, beginning with an empty context.

    Args:
        agent: plays.
        env: one environment, reset in the step in which an episode ends, such as `rules.make_vec([task])`.
        seed: of the environment and of the agent's draws.
        past: episodes that the agent is led through before, whoever acted in them.

    Raises:
        SettingError: more than one environment.
    """
    if env.num_envs != 1:
        raise SettingError(f"environment: one is needed to look at, got {env.num_envs} side by side")
    observation, _ = env.reset(seed=seed)  # (1, obs_dim)
    relive(agent, past, seed)
    while True:
        seen, actions, rewards, decisions = [observation[0]], [], [], []
        ended = terminated = False
        while not ended:
            chosen = agent.act(observation)
            decisions.append(decision_of(agent))
            observation, gained, terminations, truncations, info = env.step(chosen)
            agent.observe(gained, terminations, truncations)
            ended, terminated = bool((terminations | truncations)[0]), bool(terminations[0])
            seen.append(info["final_obs"][0] if ended else observation[0])
            actions.append(chosen[0])
            rewards.append(gained[0])
        yield Episode(
            np.stack(seen).astype(np.float32),
            np.stack(actions),
            np.asarray(rewards, dtype=np.float32),
            terminated,
            tuple(decisions),
        )


def decide(agent: Agent, past: Sequence[Episode], now: Episode, seed: int = 0) -> Decision:
    """What an agent would do next, had it lived through `past` and through `now`, which goes on.

    The agent begins with an empty context and is led through all steps; who acted in them does not matter.
    """
    relive(agent, past, seed)
    for step in range(len(now)):
        agent.act(now.observations[step][None])
        agent.observe(now.rewards[step][None], *_ends(ended=False), now.actions[step][None])
    agent.act(now.observations[-1][None])
    return decision_of(agent)


def relive(agent: Agent, past: Sequence[Episode], seed: int = 0) -> tuple[Episode, ...]:
    """Lead an agent, from an empty context, through episodes: these, with what it says before each step."""
    agent.begin(1, seed=seed)
    lived = []
    for episode in past:
        decisions = []
        for step in range(len(episode)):
            agent.act(episode.observations[step][None])
            decisions.append(decision_of(agent))
            ends = _ends(step == len(episode) - 1, episode.terminated)
            agent.observe(episode.rewards[step][None], *ends, episode.actions[step][None])
        lived.append(replace(episode, decisions=tuple(decisions)))
    return tuple(lived)


def _ends(ended: bool, terminated: bool = False) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Terminations and truncations, (1,) each."""
    return np.array([ended and terminated]), np.array([ended and not terminated])


def decision_of(agent: Any) -> Decision:
    """What an agent of one environment said at its last `act`."""
    output = np.array(agent.logits[0], dtype=np.float32)
    if not isinstance(agent, DMHAgent):
        return Decision(output)
    return Decision(output, agent.subgoals[0].copy(), np.exp(0.5 * agent.log_variances[0]))


def as_trajectories(
    episodes: Sequence[Episode], num_actions: int | None = None, *, goes_on: bool = False
) -> Trajectories:
    """Episodes of one lifetime as data; what the last step of each led to is not on record there.

    Args:
        episodes: at least one, none of them empty.
        num_actions: of a discrete action space; None: as many as there are.
        goes_on: the last episode has not ended.
    """
    lengths = np.array([len(episode) for episode in episodes])
    last = np.zeros(lengths.sum(), dtype=bool)
    last[lengths.cumsum() - 1] = True
    ends = np.repeat([episode.terminated for episode in episodes], lengths)
    last[-1] = not goes_on
    return Trajectories(
        observations=np.concatenate([episode.observations[:-1] for episode in episodes]),
        actions=np.concatenate([episode.actions for episode in episodes]),
        rewards=np.concatenate([episode.rewards for episode in episodes]),
        terminations=last & ends,
        truncations=last & ~ends,
        offsets=np.concatenate([[0], lengths.cumsum()]),
        task_ids=np.zeros(len(episodes), dtype=np.int64),
        run_ids=np.zeros(len(episodes), dtype=np.int64),
        metadata={} if num_actions is None else {"num_actions": num_actions},
    )
