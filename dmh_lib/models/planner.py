"""The module with the long memory: it reads past episodes chunk by chunk and emits a sub-goal per chunk."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from dmh_lib.errors import SettingError
from dmh_lib.models.chunk_summary import ChunkSummary
from dmh_lib.models.config import DMHConfig
from dmh_lib.models.mamba_layers import MambaLayers
from dmh_lib.models.transformer import CausalTransformer, KeyValueCache

NOTHING_BEFORE = 2  # the done token where no chunk came before


class Planner(nn.Module, ABC):
    """Chunks → mean and log-variance of a diagonal Gaussian sub-goal at each chunk's start.

    With the paper's tokens a chunk is [return-to-go,] state, reward, done, and the sub-goal is read at the
    state token, which has not seen the chunk's own reward. Fused, a chunk is one token: its state and
    return-to-go together with the reward and done of the chunk before. A summary of the chunk's steps, where
    the model has one, comes with the reward.

    Subclasses remember: `read` takes whole sequences of tokens, `advance` one token at a time.
    """

    summary: ChunkSummary

    def __init__(self, config: DMHConfig) -> None:
        super().__init__()
        self.config = config
        width = config.d_model
        self.embed_state = nn.Linear(config.seen_dim, width)
        self.embed_reward = nn.Linear(1, width)
        self.embed_done = nn.Embedding(3, width)
        if config.use_return_to_go:
            self.embed_return = nn.Linear(1, width)
        self.embed_norm = nn.LayerNorm(width)
        self.make_memory()
        self.head_norm = nn.RMSNorm(width)
        self.head = nn.Linear(width, 2 * config.goal_dim)
        if config.chunk_summary:
            self.summary = ChunkSummary(config)

    @abstractmethod
    def make_memory(self) -> None:
        """Make the modules that remember."""

    @abstractmethod
    def read(self, hidden: Tensor) -> Tensor:
        """Whole sequences of tokens (B, L, d) → (B, L, d), causal."""

    @abstractmethod
    def advance(self, hidden: Tensor, cache: Any) -> Tensor:
        """One token (B, d) → (B, d); `cache` changes in place."""

    @abstractmethod
    def allocate_cache(self, batch_size: int) -> Any:
        """An empty memory of B sequences for `advance`."""

    # ------------------------------------------------------------------ tokens

    def _start_tokens(self, states: Tensor, returns_to_go: Tensor) -> list[Tensor]:
        """Tokens known at a chunk's start, each (…, d), the one that the sub-goal is read at last."""
        state = self.embed_state(states)
        if not self.config.use_return_to_go:
            return [state]
        return [self.embed_return(returns_to_go[..., None] / self.config.reward_scale), state]

    def _end_tokens(self, chunk_rewards: Tensor, done: Tensor, summaries: Tensor | None) -> list[Tensor]:
        """Tokens known at a chunk's end, each (…, d)."""
        reward = self.embed_reward(chunk_rewards[..., None] / self.config.reward_scale)
        return [reward if summaries is None else reward + summaries, self.embed_done(done)]

    def _gaussian(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        return self.gaussian(self.head(self.head_norm(hidden)))

    def gaussian(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """The head's outputs (…, 2 G) as mean and log-variance, (…, G) each."""
        mean, log_variance = outputs.chunk(2, dim=-1)
        if self.config.squash_log_variance:
            return mean, log_variance.tanh()
        # sigma starts near 0.05, small beside the room, and may shrink or grow as the action loss asks
        return mean, (log_variance - 6.0).clamp(-12.0, 4.0)

    # ------------------------------------------------------------------ parallel, for training

    def forward(
        self,
        states: Tensor,
        chunk_rewards: Tensor,
        done: Tensor,
        returns_to_go: Tensor,
        summaries: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Sub-goals of whole contexts.

        Args:
            states: (B, K, seen_dim) states at the chunks' starts.
            chunk_rewards: (B, K).
            done: (B, K) int64, 0 running, 1 ended, 2 padding.
            returns_to_go: (B, K), ignored unless the model uses it.
            summaries: (B, K, d) of the chunks' steps, for a model that has them.

        Returns:
            mean and log-variance, (B, K, G) each.
        """
        starts = self._start_tokens(states, returns_to_go)
        ends = self._end_tokens(chunk_rewards, done, summaries)
        if self.config.tokens == "fused":
            nothing = self.embed_done.weight[NOTHING_BEFORE].expand_as(starts[0][:, :1])  # (B, 1, d)
            before = torch.cat([nothing, sum(ends, torch.zeros(()))[:, :-1]], dim=1)  # (B, K, d) chunk before
            return self._gaussian(self.read(self.embed_norm(sum(starts, before))))
        tokens = torch.stack(starts + ends, dim=2)  # (B, K, 3 or 4, d)
        hidden = self.read(self.embed_norm(tokens.flatten(1, 2))).unflatten(1, tokens.shape[1:3])
        return self._gaussian(hidden[:, :, len(starts) - 1])

    # ------------------------------------------------------------------ recurrent, for play

    def end_chunk(self, chunk_rewards: Tensor, done: Tensor, summaries: Tensor | None, cache: Any) -> None:
        """Read the end of a chunk, (B,) each, in the paper's tokens; fused ones wait for the next start."""
        if self.config.tokens == "paper":
            for token in self._end_tokens(chunk_rewards, done, summaries):
                self.advance(self.embed_norm(token), cache)

    def begin_chunk(
        self,
        states: Tensor,
        returns_to_go: Tensor,
        chunk_rewards: Tensor,
        done: Tensor,
        summaries: Tensor | None,
        cache: Any,
    ) -> tuple[Tensor, Tensor]:
        """Read the start of a chunk and emit its sub-goal: mean and log-variance, (B, G) each.

        `chunk_rewards`, `done` (B,) and `summaries` (B, d) are of the chunk before; where there is none, 0,
        NOTHING_BEFORE and anything.
        """
        starts = self._start_tokens(states, returns_to_go)
        if self.config.tokens == "fused":
            reward, ended = self._end_tokens(chunk_rewards, done, summaries)
            before = torch.where((done == NOTHING_BEFORE)[:, None], ended, reward + ended)
            starts = [sum(starts, before)]
        for token in starts:
            hidden = self.advance(self.embed_norm(token), cache)
        return self._gaussian(hidden)


class SubgoalMamba(MambaLayers, Planner):
    """The paper's: Mamba remembers, in a state whose size does not depend on how much is read."""

    def make_memory(self) -> None:
        """Make the blocks."""
        config = self.config
        self.make_layers(config.d_model, config.mamba_layers, config.d_state, config.d_conv, config.expand)


class SubgoalAttention(Planner):
    """Mamba replaced by full attention over every token so far, which `most_chunks` bounds."""

    def make_memory(self) -> None:
        """Make the blocks and the places of the chunks."""
        config = self.config
        self.embed_chunk = nn.Embedding(config.most_chunks, config.d_model)
        nn.init.normal_(self.embed_chunk.weight, std=0.02)  # as large as a token they would drown it for long
        self.memory = CausalTransformer(config.d_model, config.mamba_layers, config.heads, config.dropout)

    @property
    def tokens_per_chunk(self) -> int:
        """Tokens that a chunk takes."""
        return 1 if self.config.tokens == "fused" else 3 + self.config.use_return_to_go

    def read(self, hidden: Tensor) -> Tensor:
        """See `Planner`; raises SettingError for more than `most_chunks` chunks."""
        chunks = torch.arange(hidden.shape[1], device=hidden.device) // self.tokens_per_chunk  # (L,)
        self._require_room(hidden.shape[1])
        return self.memory(hidden + self.embed_chunk(chunks))

    def advance(self, hidden: Tensor, cache: KeyValueCache) -> Tensor:
        """See `Planner`; raises SettingError for more than `most_chunks` chunks."""
        self._require_room(int(cache.positions.max()) + 1)
        token = hidden + self.embed_chunk(cache.positions // self.tokens_per_chunk)  # (B, d)
        return self.memory.step(token[:, None], cache)[:, 0]

    def allocate_cache(self, batch_size: int) -> KeyValueCache:
        """An empty cache for B sequences."""
        return self.memory.allocate_cache(batch_size, self.config.most_chunks * self.tokens_per_chunk)

    def _require_room(self, tokens: int) -> None:
        if tokens > self.config.most_chunks * self.tokens_per_chunk:
            raise SettingError(
                f"most_chunks: attention was made for {self.config.most_chunks} chunks and is asked to read "
                f"more; play fewer or shorter episodes, or train a model with a larger most_chunks"
            )
