"""What happened inside a chunk, as one vector: this project's addition to the paper's tokens."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dmh_lib.models.base import action_embedding
from dmh_lib.models.config import DMHConfig


class ChunkSummary(nn.Module):
    """Σ over a chunk's steps of ReLU(state + action + reward + place in the chunk), through a linear layer.

    The memory of the paper sees the state at each chunk's start and the chunk's reward, so that it knows that
    something paid and not where. Here each step is first embedded as a whole, so that a reward stays with the
    state and the action that earned it. In play the sum is kept step by step.
    """

    def __init__(self, config: DMHConfig) -> None:
        super().__init__()
        self.config = config
        width = config.d_model
        self.embed_state = nn.Linear(config.seen_dim, width)
        self.embed_action = action_embedding(config, width)
        self.embed_reward = nn.Linear(1, width)
        self.embed_step = nn.Embedding(config.chunk_len, width)
        self.project = nn.Linear(width, width)

    def step(self, observations: Tensor, actions: Tensor, rewards: Tensor, steps: Tensor) -> Tensor:
        """One step's term of the sum, (…, d).

        Args:
            observations: (…, seen_dim), as `see` gives them, before the step.
            actions: (…) or (…, act_dim), scaled.
            rewards: (…).
            steps: (…) places within the chunk.
        """
        known = self.embed_state(observations) + self.embed_action(actions) + self.embed_step(steps)
        return F.relu(known + self.embed_reward(rewards[..., None] / self.config.reward_scale))

    def forward(self, observations: Tensor, actions: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
        """Summaries (…, d) of whole chunks (…, c, …); `mask` (…, c) is false where there is no step."""
        steps = torch.arange(mask.shape[-1], device=mask.device)  # (c,)
        terms = self.step(observations, actions, rewards, steps)  # (…, c, d)
        return self.project((terms * mask[..., None]).sum(-2))
