"""The module with the sharp eye: sub-goal and the chunk's steps so far → the next action."""

import torch
from torch import Tensor, nn

from dmh_lib.models.base import action_embedding
from dmh_lib.models.config import DMHConfig
from dmh_lib.models.transformer import CausalTransformer, KeyValueCache


class ActionTransformer(nn.Module):
    """Causal transformer over one chunk, with positions counted within it.

    With the paper's tokens a step is sub-goal, state, action, reward, and the action is read at the state.
    Fused, the sub-goal is one token in front, and a step is one token: its state with the action and
    reward of the step before.
    """

    def __init__(self, config: DMHConfig) -> None:
        super().__init__()
        self.config = config
        width = config.d_model
        self.embed_subgoal = nn.Linear(config.goal_dim, width)
        self.embed_state = nn.Linear(config.seen_dim, width)
        self.embed_action = action_embedding(config, width)
        self.embed_reward = nn.Linear(1, width)
        self.embed_step = nn.Embedding(config.chunk_len, width)
        self.transformer = CausalTransformer(width, config.transformer_layers, config.heads, config.dropout)
        self.head = nn.Linear(width, config.action_dim)

    @property
    def tokens_per_chunk(self) -> int:
        """Tokens of a whole chunk."""
        c = self.config.chunk_len
        return 1 + c if self.config.tokens == "fused" else 4 * c

    def _outcome(self, actions: Tensor, rewards: Tensor) -> tuple[Tensor, Tensor]:
        return self.embed_action(actions), self.embed_reward(rewards[..., None] / self.config.reward_scale)

    # ------------------------------------------------------------------ parallel, for training

    def tokens(self, subgoals: Tensor, observations: Tensor, actions: Tensor, rewards: Tensor) -> Tensor:
        """Tokens (S, L, d) of chunks, L = 1 + c, or 4 c as in the paper; arguments as in `forward`."""
        states = self.embed_state(observations)  # (S, c, d)
        steps = self.embed_step.weight[: states.shape[1]]  # (c, d)
        action, reward = self._outcome(actions, rewards)
        if self.config.tokens == "fused":
            before = torch.cat([torch.zeros_like(states[:, :1]), (action + reward)[:, :-1]], dim=1)
            return torch.cat([self.embed_subgoal(subgoals)[:, None], states + before + steps], dim=1)
        subgoal = self.embed_subgoal(subgoals if subgoals.ndim == 3 else subgoals[:, None]).expand_as(states)
        tokens = torch.stack([subgoal, states, action, reward], dim=2) + steps[:, None]  # (S, c, 4, d)
        return tokens.flatten(1, 2)

    def forward(self, subgoals: Tensor, observations: Tensor, actions: Tensor, rewards: Tensor) -> Tensor:
        """Predictions for S chunks of c steps.

        Args:
            subgoals: (S, G), or with the paper's tokens (S, c, G) for one per step.
            observations: (S, c, seen_dim), as `see` gives them.
            actions: (S, c) or (S, c, act_dim); step t is seen from step t + 1 on.
            rewards: (S, c), likewise.

        Returns:
            logits or actions (S, c, action_dim).
        """
        states = slice(1, None) if self.config.tokens == "fused" else slice(1, None, 4)
        return self.head(self.transformer(self.tokens(subgoals, observations, actions, rewards), states))

    # ------------------------------------------------------------------ step by step, for play

    def allocate_cache(self, batch_size: int) -> KeyValueCache:
        """An empty cache for one chunk of B environments."""
        return self.transformer.allocate_cache(batch_size, self.tokens_per_chunk)

    def begin_chunk(self, subgoals: Tensor, cache: KeyValueCache) -> None:
        """Forget the chunk before and take in the sub-goal (B, G) of the next one."""
        cache.positions.zero_()
        if self.config.tokens == "fused":
            self.transformer.step(self.embed_subgoal(subgoals)[:, None], cache)

    def act(
        self,
        subgoals: Tensor,
        observations: Tensor,
        last_actions: Tensor,
        last_rewards: Tensor,
        steps: Tensor,
        cache: KeyValueCache,
    ) -> Tensor:
        """Predictions (B, action_dim) at step numbers `steps` (B,) of the current chunks.

        `last_actions` and `last_rewards` (B, …) are those of the step before; at step 0 they are not used.
        """
        place = self.embed_step(steps)  # (B, d)
        state = self.embed_state(observations) + place
        if self.config.tokens == "fused":
            action, reward = self._outcome(last_actions, last_rewards)
            tokens = (state + (action + reward) * (steps > 0)[:, None])[:, None]  # (B, 1, d)
        else:
            tokens = torch.stack([self.embed_subgoal(subgoals) + place, state], dim=1)  # (B, 2, d)
        return self.head(self.transformer.step(tokens, cache)[:, -1])

    def end_step(self, actions: Tensor, rewards: Tensor, steps: Tensor, cache: KeyValueCache) -> None:
        """Take in what step `steps` (B,) did; fused tokens wait for the next state."""
        if self.config.tokens == "paper":
            outcome = torch.stack(self._outcome(actions, rewards), dim=1)  # (B, 2, d)
            self.transformer.step(outcome + self.embed_step(steps)[:, None], cache)
