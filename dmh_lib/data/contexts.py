"""Across-episode contexts: several episodes of one task, sorted by return, relabelled and cut into chunks.

Everything that does not change from batch to batch stands in a `ChunkTable`, computed once; a batch is then
index arithmetic, with no Python loop over episodes or chunks.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from dmh_lib.data.episodes import EpisodeConfig, EpisodeDraws, Ints
from dmh_lib.data.sampling import Batch, require_rows
from dmh_lib.data.trajectories import Trajectories
from dmh_lib.errors import SettingError, require_choice
from dmh_lib.subgoals import Rule, overtake_goals, select_goals

Supervise = Literal["last", "last+random", "all"]

RUNNING, ENDED, PADDING = 0, 1, 2  # the completion token d


@dataclass(frozen=True)
class ContextConfig(EpisodeConfig):
    """Which episodes make a context, and which of them are learned from."""

    supervise: Supervise = "last+random"
    """Episodes whose actions are learned: the last (best), that and one other unless it did worse than one
    before it, or all."""
    jumbled: float = 0.0
    """Share of contexts whose episodes, but for the last and best, stand in any order. In play a failure may
    follow a success, which sorted contexts never show: the agent then takes up its search again."""
    learned_share: float = 1.0
    """Share of those episodes' chunks that are learned, drawn anew for each batch: with long episodes, fewer
    chunks of more contexts teach more in the same time."""
    goal_share: float = 0.25
    """Share of the learned chunks on which the valuable sub-goal is tried as well."""
    goal_rule: Rule = "mean_reward"
    """How valuable sub-goals are chosen."""
    done_at_time_limit: bool = True
    """Whether an episode that ran out of time counts as ended; the released code says no in training only."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice("supervise", self.supervise, get_args(Supervise))
        require_choice("goal_rule", self.goal_rule, get_args(Rule))
        if not 0 <= self.jumbled <= 1:
            raise SettingError(f"jumbled: a share lies in 0 … 1, got {self.jumbled}")
        if not 0 < self.learned_share <= 1:
            raise SettingError(f"learned_share: a share above 0 and at most 1, got {self.learned_share}")
        if not 0 <= self.goal_share <= 1:
            raise SettingError(f"goal_share: a share lies in 0 … 1, got {self.goal_share}")

    @classmethod
    def paper(cls, n_episodes: int = 10) -> "ContextConfig":
        """The paper's: any n episodes of a task, sorted, all steps learned, every chunk with its goal."""
        return cls(n_episodes, draw="task", vary_length=False, supervise="all", goal_share=1.0)

    @classmethod
    def official(cls, n_episodes: int = 4) -> "ContextConfig":
        """The released code's: near-equal returns, last episode only, its rule and its done token."""
        return cls(
            n_episodes,
            draw="neighbours",
            vary_length=False,
            supervise="last",
            goal_share=1.0,
            goal_rule="overtake",
            done_at_time_limit=False,
        )


@dataclass  # not frozen: Fabric copies batches field by field in mixed precision
class ContextBatch(Batch):
    """What one update needs: B contexts of up to K chunks, S of them to learn actions from, G with a goal.

    Contexts are padded on the right, where a causal model cannot see it. The steps inside all chunks are
    there only for models that summarise them; c is 0 for others.
    """

    states: torch.Tensor  # (B, K, obs_dim) state at each chunk's start
    chunk_rewards: torch.Tensor  # (B, K) sum of the chunk's rewards
    done: torch.Tensor  # (B, K) int64: 0 running, 1 the episode ended in this chunk, 2 padding
    returns_to_go: torch.Tensor  # (B, K) best return of the context less what the episode has collected
    rows: torch.Tensor  # (S,) int64 places of the learned chunks among the B·K, in random order
    observations: torch.Tensor  # (S, c, obs_dim)
    actions: torch.Tensor  # (S, c) int64 or (S, c, act_dim)
    rewards: torch.Tensor  # (S, c)
    weights: torch.Tensor  # (S, c) how much each step counts in the loss, 0 on the padding of short chunks
    goal_states: torch.Tensor  # (G, obs_dim) valuable goals of the first G learned chunks
    inside_observations: torch.Tensor  # (B, K, c, obs_dim)
    inside_actions: torch.Tensor  # (B, K, c) int64 or (B, K, c, act_dim)
    inside_rewards: torch.Tensor  # (B, K, c)
    inside_mask: torch.Tensor  # (B, K, c) bool, false on padding

    @property
    def mask(self) -> torch.Tensor:
        """(S, c) bool, false on the padding of short chunks."""
        return self.weights > 0

    def part(self, number: int, parts: int) -> "ContextPart":
        """Every so-manieth context with the chunks of it that are learned.

        Raises SettingError where one of the parts has nothing to learn.
        """
        batch, num_chunks = self.states.shape[:2]
        context, chunk = self.rows // num_chunks, self.rows % num_chunks  # (S,) each
        require_rows(min(batch, len((context % parts).unique())), parts)
        here = context % parts == number  # (S,)
        whole = {
            name: getattr(self, name)[number::parts]
            for name in (
                *("states", "chunk_rewards", "done", "returns_to_go", "inside_observations"),
                *("inside_actions", "inside_rewards", "inside_mask"),
            )
        }
        learned = {
            name: getattr(self, name)[here] for name in ("observations", "actions", "rewards", "weights")
        }
        return ContextPart(
            **whole,
            **learned,
            rows=(context[here] // parts) * num_chunks + chunk[here],
            goal_states=self.goal_states[here[: len(self.goal_states)]],
            here=here,
        )


@dataclass
class ContextPart(ContextBatch):
    """What one of several processes takes of a batch."""

    here: torch.Tensor  # (all S,) bool: which of the batch's learned chunks


class ChunkTable:
    """All chunks of a dataset, M in number, in the order of its steps."""

    def __init__(self, trajectories: Trajectories, chunk_len: int, config: ContextConfig) -> None:
        if chunk_len < 1:
            raise SettingError(f"chunk_len: must be at least 1, got {chunk_len}")
        lengths = trajectories.lengths
        self.per_episode = -(-lengths // chunk_len)  # (E,) the last chunk may be short
        self.first = self.per_episode.cumsum() - self.per_episode  # (E,)
        within = np.arange(self.per_episode.sum()) - np.repeat(self.first, self.per_episode)  # (M,)
        self.starts = np.repeat(trajectories.offsets[:-1], self.per_episode) + chunk_len * within  # (M,)
        left = np.repeat(lengths, self.per_episode) - chunk_len * within
        self.lengths = np.minimum(left, chunk_len)  # (M,)
        self.rewards = np.add.reduceat(trajectories.rewards, self.starts, dtype=np.float64)  # (M,)
        before = self.rewards.cumsum() - self.rewards
        self.collected = before - np.repeat(
            before[self.first], self.per_episode
        )  # (M,) earlier in the episode
        last = trajectories.offsets[1:] - 1
        ended = trajectories.terminations[last] | (trajectories.truncations[last] & config.done_at_time_limit)
        self.done = np.full(len(self.starts), RUNNING)  # (M,)
        self.done[(self.first + self.per_episode - 1)[ended]] = ENDED
        self.step_goals = select_goals(trajectories)  # (N,)


class ContextSampler(EpisodeDraws):
    """Draws context batches from trajectories, reproducibly.

    Args:
        trajectories: the data.
        config: which contexts.
        chunk_len: c, steps per sub-goal.
        seed: of all draws.
        inside: give the steps inside all chunks as well.
    """

    config: ContextConfig

    def __init__(
        self,
        trajectories: Trajectories,
        config: ContextConfig,
        chunk_len: int,
        seed: int = 0,
        *,
        inside: bool = False,
    ) -> None:
        super().__init__(trajectories, config, seed)
        self.chunk_len, self._inside = chunk_len, inside
        self.table = ChunkTable(trajectories, chunk_len, config)

    def sample(self, batch_size: int) -> ContextBatch:
        """Draw a batch of contexts."""
        episodes, counts = self.draw_episodes(batch_size)  # (B, n), (B,)
        return self.build(self._jumble(self.sort(episodes, counts), counts), counts)

    def _jumble(self, episodes: Ints, counts: Ints) -> Ints:
        """Rows (B, n), some of them with all valid episodes but the last in any order."""
        if not self.config.jumbled:
            return episodes
        columns = np.arange(episodes.shape[1])
        loose = (columns < counts[:, None] - 1) & (self._rng.random((len(counts), 1)) < self.config.jumbled)
        keys = np.where(loose, self._rng.random(episodes.shape) - 1, columns)  # (B, n)
        return np.take_along_axis(episodes, keys.argsort(axis=1), axis=1)

    def _supervised(self, episodes: Ints, counts: Ints) -> NDArray[np.bool_]:
        """Which episodes of rows (B, n) are learned from, (B, n)."""
        columns, last = np.arange(episodes.shape[1]), counts[:, None] - 1
        match self.config.supervise:
            case "all":
                return columns <= last
            case "last":
                return columns == last
            case "last+random":
                other = self._rng.integers(np.maximum(counts - 1, 1))[:, None]
                returns = self.trajectories.returns[episodes]
                no_worse = returns >= np.maximum.accumulate(returns, axis=1)
                return (columns == last) | ((columns == other) & (other < last) & no_worse)

    # ------------------------------------------------------------------ what the model gets

    def build(self, episodes: Ints, counts: Ints) -> ContextBatch:
        """The batch of given contexts: rows of episode ids (B, n), the first counts (B,) of each valid."""
        data, table = self.trajectories, self.table
        batch, width = episodes.shape
        valid = np.arange(width) < counts[:, None]  # (B, n)
        chunks_in = np.where(valid, table.per_episode[episodes], 0)  # (B, n)
        totals = chunks_in.sum(1)  # (B,)
        num_chunks = int(totals.max())
        flat = chunks_in.reshape(-1)  # (B·n,) and below, all chunks of all contexts: (C,)
        within = np.arange(flat.sum()) - np.repeat(flat.cumsum() - flat, flat)
        chunks = np.repeat(table.first[episodes].reshape(-1), flat) + within
        place = np.arange(len(chunks)) - np.repeat(totals.cumsum() - totals, totals)
        rows = np.repeat(np.arange(batch) * num_chunks, totals) + place  # among the B·K

        states = np.zeros((batch * num_chunks, data.obs_dim), dtype=np.float32)
        states[rows] = data.observations[table.starts[chunks]]
        chunk_rewards = np.zeros(batch * num_chunks, dtype=np.float32)
        chunk_rewards[rows] = table.rewards[chunks]
        done = np.full(batch * num_chunks, PADDING)
        done[rows] = table.done[chunks]
        best = np.where(valid, data.returns[episodes], -np.inf).max(1)  # (B,)
        returns_to_go = np.zeros(batch * num_chunks, dtype=np.float32)
        returns_to_go[rows] = np.repeat(best, totals) - table.collected[chunks]

        learned = np.flatnonzero(np.repeat(self._supervised(episodes, counts).reshape(-1), flat))
        learned = self._rng.permutation(learned)  # so that the first are any
        learned = learned[: int(np.ceil(self.config.learned_share * len(learned)))]  # (S,)
        steps, mask = self._steps(chunks[learned], self.chunk_len)  # (S, c) each
        with_goal = learned[: int(np.ceil(self.config.goal_share * len(learned)))]  # (G,)
        goals = table.step_goals[table.starts[chunks[with_goal]]]
        if self.config.goal_rule == "overtake":
            worse = np.full_like(episodes, -1)
            worse[:, 1:] = episodes[:, :-1]  # the episode ranked before
            compared = np.repeat(worse.reshape(-1), flat)[with_goal]
            goals = overtake_goals(data, table.step_goals, table.starts[chunks[with_goal]], compared)

        shape = (batch, num_chunks)
        length = self.chunk_len if self._inside else 0
        inside = np.zeros((*shape, length), dtype=np.int64)  # (B, K, c) steps; what is padding is masked
        inside_mask = np.zeros(inside.shape, dtype=bool)
        at = np.divmod(rows, num_chunks)
        inside[at], inside_mask[at] = self._steps(chunks, length)
        return ContextBatch(
            states=torch.from_numpy(states.reshape(*shape, -1)),
            chunk_rewards=torch.from_numpy(chunk_rewards.reshape(shape)),
            done=torch.from_numpy(done.reshape(shape)),
            returns_to_go=torch.from_numpy(returns_to_go.reshape(shape)),
            rows=torch.from_numpy(rows[learned]),
            observations=torch.from_numpy(data.observations[steps]),
            actions=torch.from_numpy(data.actions[steps]),
            rewards=torch.from_numpy(data.rewards[steps]),
            weights=torch.from_numpy(mask.astype(np.float32)),
            goal_states=torch.from_numpy(data.observations[goals]),
            inside_observations=torch.from_numpy(data.observations[inside]),
            inside_actions=torch.from_numpy(data.actions[inside]),
            inside_rewards=torch.from_numpy(data.rewards[inside]),
            inside_mask=torch.from_numpy(inside_mask),
        )

    def _steps(self, chunks: Ints, length: int) -> tuple[Ints, NDArray[np.bool_]]:
        """The first `length` steps of chunks (C,), (C, length), and which of them there are."""
        columns, lengths = np.arange(length), self.table.lengths[chunks][:, None]
        return self.table.starts[chunks][:, None] + np.minimum(columns, lengths - 1), columns < lengths
