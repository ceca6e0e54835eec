"""Decision Mamba-Hybrid (Huang et al. 2024): Mamba sets a sub-goal per chunk, a transformer acts on it."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from dmh_lib.data.contexts import ContextBatch
from dmh_lib.models.action_transformer import ActionTransformer
from dmh_lib.models.base import ActionModel
from dmh_lib.models.config import DMHConfig
from dmh_lib.models.subgoal_mamba import SubgoalMamba


class DMHLoss(NamedTuple):
    """The loss of a batch and its parts, all scalars."""

    total: Tensor
    """action + λ · goal."""
    action: Tensor
    """Action loss under Mamba's sub-goals."""
    goal: Tensor
    """Action loss under valuable sub-goals f(goal_state)."""


class DMH(ActionModel):
    """The whole model.

    `goal_map` (f in the paper) is frozen at an orthogonal initialisation: nothing is learned in it, and it
    can be inverted exactly when the sub-goal is as wide as the state.
    """

    loss_names = DMHLoss._fields
    config: DMHConfig

    def __init__(self, config: DMHConfig) -> None:
        super().__init__(config)
        self.planner = SubgoalMamba(config)
        self.actor = ActionTransformer(config)
        self.goal_map = nn.Linear(config.obs_dim, config.goal_dim)
        nn.init.orthogonal_(self.goal_map.weight)
        nn.init.zeros_(self.goal_map.bias)
        self.goal_map.requires_grad_(False)

    def goal_subgoals(self, goal_states: Tensor) -> Tensor:
        """f: states (…, obs_dim) → sub-goals (…, G)."""
        return self.goal_map(self.normalise(goal_states))

    def decode_subgoals(self, subgoals: Tensor) -> Tensor:
        """Sub-goals (…, G) drawn in state space (…, obs_dim) by the pseudo-inverse of f.

        Nothing in the loss pulls a generated z onto f(s) except the action loss that both share, so a
        decoded sub-goal is where z would point if it were the image of a state, and no more.
        """
        inverse = torch.linalg.pinv(self.goal_map.weight)  # (obs_dim, G)
        return (subgoals - self.goal_map.bias) @ inverse.T * self.obs_std + self.obs_mean

    def sample_subgoals(
        self, mean: Tensor, log_variance: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """One draw per Gaussian, differentiable in both (…, G) arguments."""
        noise = torch.empty_like(mean).normal_(generator=generator)
        return mean + (0.5 * log_variance).exp() * noise

    def subgoals(self, batch: ContextBatch) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the sub-goal of every chunk, (B, K, G) each."""
        return self.planner(
            self.normalise(batch.states), batch.chunk_rewards, batch.done, batch.returns_to_go
        )

    def predict(self, subgoals: Tensor, observations: Tensor, actions: Tensor, rewards: Tensor) -> Tensor:
        """Logits or continuous actions (S, c, action_dim) for chunks in raw units; see ActionTransformer."""
        scaled = self.scale_actions(actions)
        return self.finish(self.actor(subgoals, self.normalise(observations), scaled, rewards))

    def forward(self, batch: ContextBatch) -> DMHLoss:
        """The loss of a batch: L = L(actions | z) + λ · L(actions | f(goal_state)).

        Only the learned chunks reach the transformer, both passes in one.
        """
        mean, log_variance = (part.flatten(0, 1)[batch.rows] for part in self.subgoals(batch))  # (S, G)
        if self.config.resample_subgoal:
            per_step = (*batch.mask.shape, self.config.goal_dim)  # (S, c, G)
            mean, log_variance = (part[:, None].expand(per_step) for part in (mean, log_variance))
        subgoals = self.sample_subgoals(mean, log_variance)
        num_learned, num_goals = len(subgoals), len(batch.goal_states)
        if num_goals:
            goals = self.goal_subgoals(batch.goal_states)  # (G, goal_dim)
            goals = goals if subgoals.ndim == 2 else goals[:, None].expand(-1, subgoals.shape[1], -1)
            subgoals = torch.cat([subgoals, goals])
        steps = [
            torch.cat([part, part[:num_goals]])
            for part in (batch.observations, batch.actions, batch.rewards, batch.mask)
        ]
        errors = self.errors(self.predict(subgoals, *steps[:3]), steps[1])  # (S + G, c)
        errors = errors * steps[3]
        action = errors[:num_learned].sum() / steps[3][:num_learned].sum()
        if num_goals:
            goal = errors[num_learned:].sum() / steps[3][num_learned:].sum()
        else:
            goal = torch.zeros_like(action)
        return DMHLoss(action + self.config.goal_loss_weight * goal, action, goal)
