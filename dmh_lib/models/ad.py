"""Algorithm Distillation (Laskin et al. 2022): one sequence model over a whole learning history."""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from dmh_lib.data.windows import WindowBatch
from dmh_lib.errors import SettingError, require_choice
from dmh_lib.models.base import ActionModel, ModelConfig, Tokens, action_embedding, require_transformer
from dmh_lib.models.mamba_layers import MambaStack
from dmh_lib.models.transformer import CausalTransformer

Backbone = Literal["transformer", "mamba"]
Outcome = tuple[Tensor, Tensor, Tensor]  # what steps did: scaled actions, rewards, ended; (…) or (…, act_dim)


@dataclass(frozen=True)
class ADConfig(ModelConfig):
    """What AD is built from: `small` trains in minutes, `paper` has the sizes of DM-H's paper."""

    backbone: Backbone = "transformer"
    """What reads the history: `transformer` sees a window of it, `mamba` keeps a state of all of it."""
    context_len: int = 400
    """Environment steps in a training window, and the most that the transformer sees in play."""
    d_model: int = 64
    """Width."""
    layers: int = 3
    """Blocks of the backbone."""
    tokens: Tokens = "fused"
    """`paper`: one token per state, action and reward. `fused`: one token per step, its state together with
    the action, the reward and the end of episode of the step before."""
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
    reward_scale: float = 1.0
    """Rewards are divided by this before they are embedded."""

    def __post_init__(self) -> None:
        self._require_at_least(1, "obs_dim", "action_dim", "d_model", "d_state", "d_conv", "expand")
        self._require_at_least(2, "context_len")  # half a window must still hold a step
        self._require_layers("layers")
        require_choice("backbone", self.backbone, get_args(Backbone))
        require_choice("tokens", self.tokens, get_args(Tokens))
        require_transformer(self.d_model, self.heads, self.dropout)
        if self.reward_scale <= 0:
            raise SettingError(f"reward_scale: must be positive, got {self.reward_scale}")

    @property
    def tokens_per_step(self) -> int:
        """Tokens that an environment step takes."""
        return 1 if self.tokens == "fused" else 3

    @classmethod
    def small(cls, obs_dim: int, action_dim: int, **changes: Any) -> "ADConfig":
        """What a laptop trains in minutes: the width of DM-H's `small`, fused tokens, no dropout."""
        return cls(obs_dim, action_dim, **changes)

    @classmethod
    def paper(cls, obs_dim: int, action_dim: int, **changes: Any) -> "ADConfig":
        """The sizes and tokens of DM-H's paper."""
        settings: dict[str, Any] = {"d_model": 128, "tokens": "paper", "dropout": 0.1}
        return cls(obs_dim, action_dim, **(settings | changes))


class ADLoss(NamedTuple):
    """The loss of a batch, scalars."""

    total: Tensor
    """The action loss; nothing else is learned."""
    action: Tensor
    """Mean over all steps of all windows."""


class AD(ActionModel):
    """Predicts the action of every step of a learning history from all that came before in the window.

    The transformer counts steps from the window's start; Mamba needs no positions.
    """

    loss_names = ADLoss._fields
    config: ADConfig

    def __init__(self, config: ADConfig) -> None:
        super().__init__(config)
        width = config.d_model
        self.embed_state = nn.Linear(config.obs_dim, width)
        self.embed_action = action_embedding(config, width)
        self.embed_reward = nn.Linear(1, width)
        if config.tokens == "fused":
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

    # ------------------------------------------------------------------ tokens

    def _place(self, steps: Tensor) -> Tensor | float:
        """Position embeddings (…, d) of step numbers (…) within the window, for the transformer."""
        return self.embed_step(steps) if self.config.backbone == "transformer" else 0.0

    def _embedded(self, outcome: Outcome) -> tuple[Tensor, Tensor]:
        actions, rewards, _ = outcome
        return self.embed_action(actions), self.embed_reward(rewards[..., None] / self.config.reward_scale)

    def start_token(self, states: Tensor, before: Outcome, steps: Tensor) -> Tensor:
        """The token known when step number `steps` of the window begins: the action is read at it.

        Args:
            states: (…, obs_dim), normalised.
            before: of the step before; not used at step 0.
            steps: (…), or what can be broadcast to it.

        Returns:
            (…, d).
        """
        token = self.embed_state(states) + self._place(steps)
        if self.config.tokens == "fused":
            known = sum(self._embedded(before), self.embed_ended(before[2].long()))  # (…, d)
            token = token + known * (steps > 0)[..., None]
        return token

    def end_tokens(self, outcome: Outcome, steps: Tensor) -> list[Tensor]:
        """Tokens known when step number `steps` is over, (…, d) each; fused ones wait for the next start."""
        if self.config.tokens == "fused":
            return []
        return [part + self._place(steps) for part in self._embedded(outcome)]

    def window_tokens(self, states: Tensor, outcome: Outcome) -> Tensor:
        """All tokens of windows of L steps, (B, L · tokens_per_step, d), from parts (B, L, …)."""
        steps = torch.arange(states.shape[1], device=states.device)  # (L,)
        actions, rewards, ended = (part.roll(1, dims=1) for part in outcome)
        start = self.start_token(states, (actions, rewards, ended), steps)
        return torch.stack([start, *self.end_tokens(outcome, steps)], dim=2).flatten(1, 2)

    # ------------------------------------------------------------------ windows at once

    def outputs(self, states: Tensor, outcome: Outcome) -> Tensor:
        """What the head says at every step of windows, (B, L, A), from parts (B, L, …), states normalised."""
        tokens, size = self.window_tokens(states, outcome), self.config.tokens_per_step
        if size > 1 and isinstance(self.backbone, CausalTransformer):
            return self.head(self.backbone(tokens, slice(None, None, size)))
        return self.head(self.backbone(tokens)[:, ::size])

    def predict(self, observations: Tensor, actions: Tensor, rewards: Tensor, ended: Tensor) -> Tensor:
        """Logits or continuous actions (B, L, action_dim) for windows in raw units.

        Args:
            observations: (B, L, obs_dim).
            actions: (B, L) or (B, L, act_dim); step t is seen from step t + 1 on.
            rewards: (B, L), likewise.
            ended: (B, L) bool, likewise: whether the episode ended with the step.
        """
        outcome = self.scale_actions(actions), rewards, ended
        return self.finish(self.outputs(self.normalise(observations), outcome))

    def forward(self, batch: WindowBatch) -> ADLoss:
        """The loss of a batch, over all steps of its windows."""
        predictions = self.predict(batch.observations, batch.actions, batch.rewards, batch.ended)
        errors = self.errors(predictions, batch.actions) * batch.mask  # (B, L)
        action = errors.sum() / batch.mask.sum()
        return ADLoss(action, action)
