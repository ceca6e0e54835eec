"""Decision Mamba-Hybrid (Huang et al. 2024): Mamba sets a sub-goal per chunk, a transformer acts on it."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dmh_lib.data.contexts import ContextBatch, ContextPart
from dmh_lib.models.action_transformer import ActionTransformer
from dmh_lib.models.base import ActionModel, mean_over_processes
from dmh_lib.models.config import DMHConfig
from dmh_lib.models.planner import NOTHING_BEFORE, Planner, SubgoalAttention, SubgoalMamba
from dmh_lib.models.slices import sliced_errors

LENGTH_GROUPS = 4  # in which contexts of like length are read together
SLICE_BYTES = 5 * 2**20  # of the transformer's widest activation, worked on at a time


class DMHLoss(NamedTuple):
    """The loss of a batch and its parts, all scalars."""

    total: Tensor
    """action + λ · goal."""
    action: Tensor
    """Action loss under Mamba's sub-goals; has a gradient of its own only where `slice_bytes` is None."""
    goal: Tensor
    """Action loss under valuable sub-goals f(goal_state), likewise."""


class DMH(ActionModel):
    """The whole model.

    `goal_map` (f in the paper) is frozen at an orthogonal initialisation: nothing is learned in it, and it
    can be inverted exactly when the sub-goal is as wide as the state.
    """

    loss_names = DMHLoss._fields
    config: DMHConfig

    def __init__(self, config: DMHConfig) -> None:
        super().__init__(config)
        self.slice_bytes: int | None = SLICE_BYTES  # None takes all of the actor's work at once
        kind = SubgoalMamba if config.memory == "mamba" else SubgoalAttention
        self.planner: Planner = kind(config)
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
        self,
        mean: Tensor,
        log_variance: Tensor,
        generator: torch.Generator | None = None,
        here: Tensor | None = None,
    ) -> Tensor:
        """One draw per Gaussian, differentiable in both (S, …, G) arguments.

        Where these are only some of all processes' chunks, `here` (all of them,) says which, and their noise
        is what one process with all of them would draw.
        """
        drawn = len(mean) if here is None else len(here)
        noise = mean.new_empty(drawn, *mean.shape[1:]).normal_(generator=generator)
        return mean + (0.5 * log_variance).exp() * (noise if here is None else noise[here])

    def subgoals(
        self, batch: ContextBatch, rows: Tensor | slice = slice(None), length: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the sub-goal of every chunk, (B, K, G) each.

        Of the contexts `rows` only, and of their first `length` chunks, where told.
        """
        at = (rows, slice(length))
        summaries = None
        if self.config.chunk_summary:
            actions = self.scale_actions(batch.inside_actions[at])
            steps = self.see(batch.inside_observations[at]), actions, batch.inside_rewards[at]
            summaries = self.planner.summary(*steps, batch.inside_mask[at])  # (B, K, d)
        tokens = self.see(batch.states[at]), batch.chunk_rewards[at], batch.done[at]
        return self.planner(*tokens, batch.returns_to_go[at], summaries)

    def recurrent_subgoals(self, batch: ContextBatch) -> Iterator[tuple[Tensor, Tensor, Any]]:
        """`subgoals` chunk by chunk, as in play: mean and log-variance, (B, G) each, and the memory then.

        The memory is that of `planner.allocate_cache` when it has just read the chunk's start; it changes in
        place.
        """
        rewards = batch.chunk_rewards.new_zeros(len(batch.states))  # (B,) of the chunk before, as `done` is
        done, summary = torch.full_like(batch.done[:, 0], NOTHING_BEFORE), None
        cache = self.planner.allocate_cache(len(batch.states))
        states = self.see(batch.states)  # (B, K, seen_dim)
        for chunk in range(states.shape[1]):
            now = states[:, chunk], batch.returns_to_go[:, chunk]
            yield *self.planner.begin_chunk(*now, rewards, done, summary, cache), cache
            rewards, done = batch.chunk_rewards[:, chunk], batch.done[:, chunk]
            if self.config.chunk_summary:
                inside = (batch.inside_observations, batch.inside_actions, batch.inside_rewards)
                observations, actions, gained = (part[:, chunk] for part in inside)
                steps = self.see(observations), self.scale_actions(actions), gained
                summary = self.planner.summary(*steps, batch.inside_mask[:, chunk])
            self.planner.end_chunk(rewards, done, summary, cache)

    def predict(self, subgoals: Tensor, observations: Tensor, actions: Tensor, rewards: Tensor) -> Tensor:
        """Logits or continuous actions (S, c, action_dim) for chunks in raw units; see ActionTransformer."""
        scaled = self.scale_actions(actions)
        return self.finish(self.actor(subgoals, self.see(observations), scaled, rewards))

    def forward(self, batch: ContextBatch) -> DMHLoss:
        """The loss of a batch: L = L(actions | z) + λ · L(actions | f(goal_state)).

        Only the learned chunks reach the transformer, both passes in one, on CPUs in slices that fit its
        cache.
        """
        mean, log_variance = self._learned_subgoals(batch)  # (S, G) each
        if self.config.resample_subgoal:
            per_step = (*batch.weights.shape, self.config.goal_dim)  # (S, c, G)
            mean, log_variance = (part[:, None].expand(per_step) for part in (mean, log_variance))
        if isinstance(batch, ContextPart):
            subgoals = self.sample_subgoals(mean, log_variance, self.noise, batch.here)
        else:
            subgoals = self.sample_subgoals(mean, log_variance)
        num_learned, num_goals = len(subgoals), len(batch.goal_states)
        if num_goals:
            goals = self.goal_subgoals(batch.goal_states)  # (G, goal_dim)
            goals = goals if subgoals.ndim == 2 else goals[:, None].expand(-1, subgoals.shape[1], -1)
            subgoals = torch.cat([subgoals, goals])
        observations, actions, rewards, counted = (
            torch.cat([part, part[:num_goals]])
            for part in (batch.observations, batch.actions, batch.rewards, batch.weights)
        )
        counted = counted.to(self.obs_mean.dtype)  # (S + G, c), full precision under autocast too
        parts = counted[:num_learned], counted[num_learned:]
        steps = [mean_over_processes(part.sum()).clamp(min=1e-6) for part in parts]  # there may be no goals
        weights = counted / steps[0]
        weights[num_learned:] = self.config.goal_loss_weight * counted[num_learned:] / steps[1]

        def errors_of(part: Tensor, rows: slice) -> Tensor:
            predicted = self.predict(part, observations[rows], actions[rows], rewards[rows])
            return self.errors(predicted, actions[rows])  # (s, c)

        learned = [parameter for parameter in self.actor.parameters() if parameter.requires_grad]
        total, errors = sliced_errors(errors_of, subgoals, weights, learned, self._slice_size(len(subgoals)))
        errors = errors * counted
        return DMHLoss(total, errors[:num_learned].sum() / steps[0], errors[num_learned:].sum() / steps[1])

    def _learned_subgoals(self, batch: ContextBatch) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the learned chunks' sub-goals, (S, G) each, with little padding read.

        On CPUs contexts of like length are read together, each group no further than its longest.
        """
        num_contexts, num_chunks = batch.states.shape[:2]
        groups = 1 if batch.states.device.type != "cpu" else min(LENGTH_GROUPS, num_contexts)
        lengths = (batch.done != NOTHING_BEFORE).sum(1)  # (B,) chunks
        order = lengths.argsort(stable=True)
        parts = order.tensor_split(groups)
        longest = [int(lengths[rows].max()) for rows in parts]
        if groups == 1 or longest[0] == longest[-1]:
            return tuple(part.flatten(0, 1)[batch.rows] for part in self.subgoals(batch))  # type: ignore[return-value]
        places = torch.empty(num_contexts, num_chunks, dtype=torch.long)  # in what the groups give
        found, held = [], 0
        for rows, length in zip(parts, longest, strict=True):
            mean, log_variance = self.subgoals(batch, rows, length)  # (b, length, G) each
            count = len(rows) * length
            places[rows, :length] = torch.arange(held, held + count).view(len(rows), length)
            found.append((mean.flatten(0, 1), log_variance.flatten(0, 1)))
            held += count
        chosen = places.flatten()[batch.rows]  # (S,)
        mean, log_variance = (torch.cat(parts)[chosen] for parts in zip(*found, strict=True))
        return mean, log_variance

    def _slice_size(self, rows: int) -> int:
        """Chunks per slice of the actor's work: on CPUs what stays in the cache, elsewhere all."""
        if self.obs_mean.device.type != "cpu" or self.slice_bytes is None:
            return rows
        per_chunk = 4 * 4 * self.config.d_model * self.actor.tokens_per_chunk  # float32, 4 d wide
        most = max(1, self.slice_bytes // per_chunk)
        return -(-rows // -(-rows // most))  # slices of equal size
