"""What the explorer's panels look at: an agent, a task, and the lifetime that the agent lived there."""

import os
from collections.abc import Callable, Sequence
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmh_lib.agents import PlayConfig
from dmh_lib.checkpoints import Checkpoint
from dmh_lib.envs import ROOMS, GridRules, room_of
from dmh_lib.errors import SettingError
from dmh_lib.explore import Decision, Episode, decide, live, read_life, relive, write_life
from dmh_lib.explore.subgoals import Reading, StateSubgoals, valuable_goals
from dmh_lib.methods import label_of, method_of
from dmh_lib.models import DMH
from dmh_lib.rollouts import GoalProbe, has_readable_goal, roll_out

ACTIONS = ("right", "left", "up", "down", "stay")
READ_OUT, DECODED = "read out (fitted on training tasks)", "decoded (f inverted)"
READ_TASKS, READ_EPISODES = 64, 12  # that a read-out is fitted on; the later half of the episodes counts


class Session:
    """A lifetime of a trained agent in a dark room, and what there is to ask about it.

    Args:
        checkpoint: of any method, trained in a dark room.

    Attributes:
        life: the episodes of the last `play` or `load`; empty before.
        source: the name of the file that it comes from, if any.
        task, goal: its task, and the hidden cells (n, 2).
        optimum: largest return there.

    Raises:
        SettingError: the checkpoint was not trained in a dark room whose actions are known.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint, self.model = checkpoint, checkpoint.model
        if checkpoint.env_id not in ROOMS:
            problem = f"field 'env_id': trained for {checkpoint.env_id}, which is no dark room"
            raise SettingError(f"{checkpoint.path}: {problem}; take an agent of one")
        self.rules: GridRules = room_of(checkpoint.env_id)
        if self.rules.permuted:
            problem = f"field 'env_id': {checkpoint.env_id} hides no place to look for"
            raise SettingError(f"{checkpoint.path}: {problem}; take an agent of another room")
        if not (checkpoint.split.test and checkpoint.split.train):
            problem = "field 'split': no tasks are held out, or none were trained on"
            raise SettingError(f"{checkpoint.path}: {problem}; train on data that `dmh data make` made")
        self.label = label_of(self.model.config)
        self.tasks: dict[str, NDArray[np.int64]] = {
            "held out": checkpoint.split.tasks("test"),
            "training": checkpoint.split.tasks("train"),
        }
        self.play_config = checkpoint.play
        self.readings = self._readings()
        self.life: tuple[Episode, ...] = ()
        self.seed, self.source = 0, ""

    def _readings(self) -> dict[str, Reading]:
        """The ways in which sub-goals can be shown in the room, the more telling one first."""
        if not isinstance(self.model, DMH):
            return {}
        decoded, split = {DECODED: Reading.by_inverse(self.model)}, self.checkpoint.split
        if not has_readable_goal(split):
            return decoded
        tasks = split.tasks("train")
        tasks = tasks[np.linspace(0, len(tasks) - 1, min(READ_TASKS, len(tasks))).astype(int)]
        lives = roll_out(self.model, split.env_id, tasks, READ_EPISODES, self.play_config)
        return {READ_OUT: Reading.by_probe(GoalProbe.fit(lives, READ_EPISODES // 2 + 1)), **decoded}

    @property
    def chunk_len(self) -> int | None:
        """Steps of a sub-goal; None for agents without sub-goals."""
        return self.model.config.chunk_len if isinstance(self.model, DMH) else None

    def agent(self, play: PlayConfig | None = None) -> Any:
        """A new agent with the model's weights."""
        return method_of(self.model.config).agent(self.model, play or self.play_config)

    def play(
        self, task: int, episodes: int, seed: int = 0, on_episode: Callable[[int], None] | None = None
    ) -> None:
        """Let the agent live a lifetime, from an empty context.

        Args:
            task: of the room.
            episodes: at least one.
            seed: of the agent's draws.
            on_episode: told after each episode how many there are.

        Raises:
            SettingError: a task that the room does not have, or no episode.
        """
        if episodes < 1:
            raise SettingError(f"episodes: must be at least 1, got {episodes}")
        env, lived = self.rules.make_vec([task]), list[Episode]()
        for number, episode in enumerate(live(self.agent(), env, seed), 1):
            lived.append(episode)
            if on_episode is not None:
                on_episode(number)
            if number == episodes:
                break
        self._look_at(task, seed, lived)

    def load(self, path: str | os.PathLike[str], run: int, most: int) -> None:
        """Lead the agent through a lifetime from a file, whoever lived it; see `read_life`."""
        task, episodes = read_life(path, str(self.checkpoint.env_id), run, most)
        self._look_at(task, 0, relive(self.agent(), episodes), Path(path).name)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the lifetime to a file; see `write_life`."""
        write_life(path, self.life, str(self.checkpoint.env_id), self.task)

    def _look_at(self, task: int, seed: int, life: Sequence[Episode], source: str = "") -> None:
        self.task, self.seed, self.life, self.source = task, seed, tuple(life), source
        self.goal: NDArray[np.int64] = self.rules.targets([task])[0]
        self.optimum = float(self.rules.optimal_returns([task])[0])

    def after(self, life: Sequence[Episode]) -> "Session":
        """A session that has lived these episodes of the same task, and after them one of its agent's own."""
        told = copy(self)
        known = relive(self.agent(), life, self.seed)
        env = self.rules.make_vec([self.task])
        told.life = (*known, next(live(self.agent(), env, self.seed, known)))
        return told

    @property
    def returns(self) -> NDArray[np.float64]:
        """Return of each episode, (E,)."""
        return np.array([episode.value for episode in self.life])

    def distances(self, reading: str) -> NDArray[np.float64]:
        """Mean distance of each episode's sub-goals, so read, from the last hidden cell, (E,)."""
        assert self.chunk_len is not None
        return self.readings[reading].distances(self.life, self.chunk_len, self.goal[-1])

    def in_room(self, decisions: Sequence[Decision], reading: str) -> StateSubgoals:
        """The sub-goals in force at decisions of one episode, from one that begins a chunk on, as places."""
        assert self.chunk_len is not None
        return self.readings[reading].read(decisions, self.chunk_len)

    def valuable(self, episode: int) -> NDArray[np.float32]:
        """Places worth heading for at each chunk of an episode (from 1), (K, 2)."""
        assert self.chunk_len is not None
        return valuable_goals(self.life[episode - 1], self.chunk_len)

    def at(self, episode: int, step: int) -> Episode:
        """An episode (from 1) as far as it had come at a step (from 0)."""
        whole = self.life[episode - 1]
        return Episode(whole.observations[: step + 1], whole.actions[:step], whole.rewards[:step])

    def redecide(self, past: Sequence[Episode], now: Episode, play: PlayConfig | None = None) -> Decision:
        """What the agent would do next after another past."""
        return decide(self.agent(play), past, now, self.seed)
