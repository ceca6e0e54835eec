"""The module with the long memory: it reads past episodes chunk by chunk and emits a sub-goal per chunk."""

import torch
from torch import Tensor, nn

from dmh_lib.models.config import DMHConfig
from dmh_lib.models.mamba_layers import MambaCache, MambaLayers

NOTHING_BEFORE = 2  # the done token where no chunk came before


class SubgoalMamba(MambaLayers):
    """Mamba over chunks → mean and log-variance of a diagonal Gaussian sub-goal at each chunk's start.

    With the paper's tokens a chunk is [return-to-go,] state, reward, done, and the sub-goal is read at the
    state token, which has not seen the chunk's own reward. Fused, a chunk is one token: its state and
    return-to-go together with the reward and done of the chunk before.
    """

    def __init__(self, config: DMHConfig) -> None:
        super().__init__()
        self.config = config
        width = config.d_model
        self.embed_state = nn.Linear(config.obs_dim, width)
        self.embed_reward = nn.Linear(1, width)
        self.embed_done = nn.Embedding(3, width)
        if config.use_return_to_go:
            self.embed_return = nn.Linear(1, width)
        self.embed_norm = nn.LayerNorm(width)
        self.make_layers(width, config.mamba_layers, config.d_state, config.d_conv, config.expand)
        self.head_norm = nn.RMSNorm(width)
        self.head = nn.Linear(width, 2 * config.goal_dim)

    # ------------------------------------------------------------------ tokens

    def _start_tokens(self, states: Tensor, returns_to_go: Tensor) -> list[Tensor]:
        """Tokens known at a chunk's start, each (…, d), the one that the sub-goal is read at last."""
        state = self.embed_state(states)
        if not self.config.use_return_to_go:
            return [state]
        return [self.embed_return(returns_to_go[..., None] / self.config.reward_scale), state]

    def _end_tokens(self, chunk_rewards: Tensor, done: Tensor) -> list[Tensor]:
        """Tokens known at a chunk's end, each (…, d)."""
        return [self.embed_reward(chunk_rewards[..., None] / self.config.reward_scale), self.embed_done(done)]

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
        self, states: Tensor, chunk_rewards: Tensor, done: Tensor, returns_to_go: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Sub-goals of whole contexts.

        Args:
            states: (B, K, obs_dim) normalised states at the chunks' starts.
            chunk_rewards: (B, K).
            done: (B, K) int64, 0 running, 1 ended, 2 padding.
            returns_to_go: (B, K), ignored unless the model uses it.

        Returns:
            mean and log-variance, (B, K, G) each.
        """
        starts, ends = self._start_tokens(states, returns_to_go), self._end_tokens(chunk_rewards, done)
        if self.config.tokens == "fused":
            nothing = self.embed_done.weight[NOTHING_BEFORE].expand_as(starts[0][:, :1])  # (B, 1, d)
            before = torch.cat([nothing, sum(ends, torch.zeros(()))[:, :-1]], dim=1)  # (B, K, d) chunk before
            return self._gaussian(self.read(self.embed_norm(sum(starts, before))))
        tokens = torch.stack(starts + ends, dim=2)  # (B, K, 3 or 4, d)
        hidden = self.read(self.embed_norm(tokens.flatten(1, 2))).unflatten(1, tokens.shape[1:3])
        return self._gaussian(hidden[:, :, len(starts) - 1])

    # ------------------------------------------------------------------ recurrent, for play

    def _advance(self, token: Tensor, cache: MambaCache) -> Tensor:
        return self.advance(self.embed_norm(token), cache)

    def end_chunk(self, chunk_rewards: Tensor, done: Tensor, cache: MambaCache) -> None:
        """Read the end of a chunk, (B,) each, in the paper's tokens; fused ones wait for the next start."""
        if self.config.tokens == "paper":
            for token in self._end_tokens(chunk_rewards, done):
                self._advance(token, cache)

    def begin_chunk(
        self, states: Tensor, returns_to_go: Tensor, chunk_rewards: Tensor, done: Tensor, cache: MambaCache
    ) -> tuple[Tensor, Tensor]:
        """Read the start of a chunk and emit its sub-goal: mean and log-variance, (B, G) each.

        `chunk_rewards` and `done` (B,) are of the chunk before; where there is none, 0 and NOTHING_BEFORE.
        """
        starts = self._start_tokens(states, returns_to_go)
        if self.config.tokens == "fused":
            reward, ended = self._end_tokens(chunk_rewards, done)
            before = torch.where((done == NOTHING_BEFORE)[:, None], ended, reward + ended)
            starts = [sum(starts, before)]
        for token in starts:
            hidden = self._advance(token, cache)
        return self._gaussian(hidden)
