"""What the sequence models over single environment steps share: AD, DT and DM, AT.

They differ in what they are told of a step and in how far their memory reaches.
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Self, get_args

import torch
from torch import Tensor, nn

from dmh_lib.data.trajectories import Trajectories
from dmh_lib.data.windows import TargetBatch, WindowBatch
from dmh_lib.errors import SettingError, require_choice
from dmh_lib.models.base import (
    ActionModel,
    ModelConfig,
    Tokens,
    action_embedding,
    mean_over_processes,
    require_transformer,
)
from dmh_lib.models.mamba_layers import MambaStack
from dmh_lib.models.transformer import CausalTransformer

Backbone = Literal["transformer", "mamba"]
Part = Literal["action", "reward", "ended"]
# what is known when steps begin: states (…, seen_dim) and, where it is used, the return-to-go (…)
Start = tuple[Tensor, ...]
Outcome = tuple[Tensor, Tensor, Tensor]  # what steps did: scaled actions, rewards, ended; (…) or (…, act_dim)


@dataclass(frozen=True)
class StepConfig(ModelConfig):
    """What a model of steps is built from: `small` trains in minutes, `paper` has DM-H's paper's sizes."""

    backbone: Backbone = "transformer"
    """What reads the steps: `transformer` sees a window of them, `mamba` keeps a state of all of them."""
    context_len: int = 400
    """Environment steps in a training window, and the most that the transformer sees in play."""
    d_model: int = 64
    """Width."""
    layers: int = 3
    """Blocks of the backbone."""
    tokens: Tokens = "fused"
    """`paper`: one token per part of a step. `fused`: one token per step, all that is known when it begins
    together with what the step before did."""
    heads: int = 4
    """Attention heads of the transformer."""
    dropout: float = 0.0
    """Dropout in the transformer."""
    d_state: int = 16
    """State size N of Mamba's selective scan."""
    d_conv: int = 4
    """Width of Mamba's causal convolution."""
    expand: int = 2
    """Inner width of Mamba over d_model."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_at_least(1, "d_model", "d_state", "d_conv", "expand")
        self._require_at_least(2, "context_len")  # half a window must still hold a step
        self._require_layers("layers")
        require_choice("backbone", self.backbone, get_args(Backbone))
        require_choice("tokens", self.tokens, get_args(Tokens))
        require_transformer(self.d_model, self.heads, self.dropout)

    @property
    def told(self) -> tuple[Part, ...]:
        """What the model is told of a step that is over, in the order of the paper's tokens."""
        return ("action",)

    @property
    def start_size(self) -> int:
        """Tokens known when a step begins; the last one is the state's, at which the action is read."""
        return 2 if self.tokens == "paper" and self.wants_target else 1

    @property
    def tokens_per_step(self) -> int:
        """Tokens that an environment step takes."""
        return 1 if self.tokens == "fused" else self.start_size + len(self.told)

    @classmethod
    def small(cls, obs_dim: int, action_dim: int, **changes: Any) -> Self:
        """What a laptop trains in minutes: the width of DM-H's `small`, fused tokens, no dropout."""
        return cls(obs_dim, action_dim, **changes)

    @classmethod
    def paper(cls, obs_dim: int, action_dim: int, **changes: Any) -> Self:
        """The sizes of DM-H's paper, and one token per part of a step."""
        settings: dict[str, Any] = {"d_model": 128, "tokens": "paper", "dropout": 0.1}
        return cls(obs_dim, action_dim, **(settings | changes))


@dataclass(frozen=True)
class LifetimeConfig(StepConfig):
    """Settings of a model that remembers across episodes, and so is told of rewards and of ends."""

    reward_scale: float = 1.0
    """Rewards are divided by this before they are embedded."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.reward_scale <= 0:
            raise SettingError(f"reward_scale: must be positive, got {self.reward_scale}")

    @property
    def told(self) -> tuple[Part, ...]:
        """What the model is told of a step that is over, in the order of the paper's tokens."""
        return ("action", "reward", "ended")


class StepLoss(NamedTuple):
    """The loss of a batch, scalars."""

    total: Tensor
    """The action loss; nothing else is learned."""
    action: Tensor
    """Mean over all steps of all windows."""


class StepModel(ActionModel):
    """Predicts the action of every step from all that came before in the window.

    The transformer counts steps from the window's start; Mamba needs no positions. A return-to-go is embedded
    in units of the largest return in the data, whichever its sign.
    """

    loss_names = StepLoss._fields
    config: StepConfig
    return_scale: Tensor

    def __init__(self, config: StepConfig) -> None:
        super().__init__(config)
        width = config.d_model
        if config.wants_target:
            self.register_buffer("return_scale", torch.ones(1))
            self.embed_return = nn.Linear(1, width)
        self.embed_state = nn.Linear(config.seen_dim, width)
        self.embed_action = action_embedding(config, width)
        if isinstance(config, LifetimeConfig):
            self.reward_scale = config.reward_scale
            self.embed_reward = nn.Linear(1, width)
        if "ended" in config.told:
            self.embed_ended = nn.Embedding(2, width)
        self.backbone: CausalTransformer | MambaStack
        if config.backbone == "transformer":
            self.embed_step = nn.Embedding(config.context_len, width)
            # as large as a state's embedding, hundreds of random positions would drown it for long
            nn.init.normal_(self.embed_step.weight, std=0.02)
            self.backbone = CausalTransformer(width, config.layers, config.heads, config.dropout)
        else:
            self.backbone = MambaStack(width, config.layers, config.d_state, config.d_conv, config.expand)
        self.head = nn.Linear(width, config.action_dim)

    def fit_normalisation(self, trajectories: Trajectories) -> None:
        """Take the units of observations, continuous actions and returns from the data."""
        super().fit_normalisation(trajectories)
        if self.config.wants_target:
            self.return_scale.fill_(abs(trajectories.returns).max()).clamp_(min=1e-3)

    # ------------------------------------------------------------------ tokens

    def begun(self, observations: Tensor, returns_to_go: Tensor | None = None) -> Start:
        """What the model takes of steps that begin.

        Args:
            observations: (…, obs_dim), raw.
            returns_to_go: (…), raw; for models that want a target.
        """
        states = self.see(observations)
        if not self.config.wants_target:
            return (states,)
        assert returns_to_go is not None
        return states, returns_to_go

    def _place(self, steps: Tensor) -> Tensor | float:
        """Position embeddings (…, d) of step numbers (…) within the window, for the transformer."""
        return self.embed_step(steps) if self.config.backbone == "transformer" else 0.0

    def _embedded(self, outcome: Outcome) -> list[Tensor]:
        """Embeddings (…, d) of what the model is told of steps that are over."""
        actions, rewards, ended = outcome
        parts = [self.embed_action(actions)]
        if "reward" in self.config.told:
            parts.append(self.embed_reward(rewards[..., None] / self.reward_scale))
        if "ended" in self.config.told:
            parts.append(self.embed_ended(ended.long()))
        return parts

    def start_tokens(self, start: Start, before: Outcome, steps: Tensor) -> list[Tensor]:
        """Tokens known when step number `steps` of the window begins: the action is read at the last one.

        Args:
            start: parts (…) of the step, from `begun`.
            before: of the step before; not used at step 0.
            steps: (…), or what can be broadcast to it.

        Returns:
            `start_size` tokens (…, d).
        """
        place, parts = self._place(steps), [self.embed_state(start[0])]
        if self.config.wants_target:
            parts.insert(0, self.embed_return(start[1][..., None] / self.return_scale))
        if self.config.tokens == "paper":
            return [part + place for part in parts]
        *others, last = self._embedded(before)
        known = sum(others, last)  # (…, d)
        return [sum(parts[:-1], parts[-1] + place) + known * (steps > 0)[..., None]]

    def end_tokens(self, outcome: Outcome, steps: Tensor) -> list[Tensor]:
        """Tokens known when step number `steps` is over, (…, d) each; fused ones wait for the next start."""
        if self.config.tokens == "fused":
            return []
        return [part + self._place(steps) for part in self._embedded(outcome)]

    def window_tokens(self, start: Start, outcome: Outcome) -> Tensor:
        """All tokens of windows of L steps, (B, L · tokens_per_step, d), from parts (B, L, …)."""
        steps = torch.arange(start[0].shape[1], device=start[0].device)  # (L,)
        actions, rewards, ended = (part.roll(1, dims=1) for part in outcome)
        begin = self.start_tokens(start, (actions, rewards, ended), steps)
        return torch.stack([*begin, *self.end_tokens(outcome, steps)], dim=2).flatten(1, 2)

    # ------------------------------------------------------------------ windows at once

    def outputs(self, start: Start, outcome: Outcome) -> Tensor:
        """What the head says at every step of windows, (B, L, A), from parts (B, L, …)."""
        tokens, size = self.window_tokens(start, outcome), self.config.tokens_per_step
        states = slice(self.config.start_size - 1, None, size)
        if size > 1 and isinstance(self.backbone, CausalTransformer):
            return self.head(self.backbone(tokens, states))
        return self.head(self.backbone(tokens)[:, states])

    def predict(
        self,
        observations: Tensor,
        actions: Tensor,
        rewards: Tensor,
        ended: Tensor,
        returns_to_go: Tensor | None = None,
    ) -> Tensor:
        """Logits or continuous actions (B, L, action_dim) for windows in raw units.

        Args:
            observations: (B, L, obs_dim).
            actions: (B, L) or (B, L, act_dim); step t is seen from step t + 1 on.
            rewards: (B, L), likewise.
            ended: (B, L) bool, likewise: whether the episode ended with the step.
            returns_to_go: (B, L), for models that want a target.
        """
        outcome = self.scale_actions(actions), rewards, ended
        return self.finish(self.outputs(self.begun(observations, returns_to_go), outcome))

    def forward(self, batch: WindowBatch) -> StepLoss:
        """The loss of a batch, over all steps of its windows."""
        returns_to_go = batch.returns_to_go if isinstance(batch, TargetBatch) else None
        predictions = self.predict(
            batch.observations, batch.actions, batch.rewards, batch.ended, returns_to_go
        )
        errors = self.errors(predictions, batch.actions) * batch.mask  # (B, L)
        action = errors.sum() / mean_over_processes(batch.mask.sum())
        return StepLoss(action, action)
