"""Decision-Pretrained Transformer (Lee et al. 2023): the optimal action here, from what was seen of the task.

It sees a query state and transitions (s, a, r, s') of one task, in no order, and predicts the action that an
optimal policy of the task would take. In play the transitions are those that it has lived through.

Departs from the paper:

- One token is a transition and, by its s', a query too: the state that the next action is asked for. So one
  causal pass answers all moments of a history, each from what came before it, and play can keep keys and
  values. The paper's query is a token of its own, any state of the task, ahead of transitions.
- Contexts are histories of a learner, as they were lived; the paper's are the steps of a random policy.
- The label is uniform over all optimal actions; the paper draws one. Moments at which nothing is left to
  gain, so that every action is optimal, are left out.
- A state is completed by what its episode has paid so far. With two targets to reach in turn the cell alone
  does not say which is sought, and without an order no transition shows whether it is of this episode.
- A transition says whether the episode ended with it; its s' is then the next episode's first state.
- The temperature of the sampled actions is chosen on training tasks; a full context is halved in play.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from dmh_lib.data.queries import QueryBatch
from dmh_lib.errors import SettingError
from dmh_lib.models.base import ActionModel, ModelConfig, mean_over_processes, require_transformer
from dmh_lib.models.transformer import CausalTransformer


@dataclass(frozen=True)
class DPTConfig(ModelConfig):
    """What DPT is built from: `small` trains in minutes, `paper` has the sizes of DM-H's paper."""

    context_len: int = 400
    """Steps in a training window, and the most that are seen in play."""
    d_model: int = 64
    """Width."""
    layers: int = 3
    """Blocks of the transformer."""
    heads: int = 4
    """Attention heads."""
    dropout: float = 0.0
    """Dropout in the transformer."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_at_least(1, "d_model")
        self._require_at_least(2, "context_len")  # half a context must still hold a step
        self._require_layers("layers")
        require_transformer(self.d_model, self.heads, self.dropout)
        if not self.discrete:
            raise SettingError("discrete: DPT learns which choices are optimal; it needs discrete actions")

    @classmethod
    def small(cls, obs_dim: int, action_dim: int, **changes: Any) -> "DPTConfig":
        """What a laptop trains in minutes: the width of DM-H's `small`, no dropout."""
        return cls(obs_dim, action_dim, **changes)

    @classmethod
    def paper(cls, obs_dim: int, action_dim: int, **changes: Any) -> "DPTConfig":
        """The sizes of DM-H's paper."""
        return cls(obs_dim, action_dim, **({"d_model": 128, "dropout": 0.1} | changes))


class Steps(NamedTuple):
    """Steps (…) of lifetimes: the states and what was done in them."""

    states: Tensor  # (…, seen_dim), as `see` gives them
    collected: Tensor  # (…) sum of the episode's rewards before the step
    actions: Tensor  # (…) int64
    rewards: Tensor  # (…)
    ended: Tensor  # (…) bool, whether the episode ended with the step

    def at(self, where: Any) -> "Steps":
        """Some of the steps."""
        return Steps(*(part[where] for part in self))


class DPTLoss(NamedTuple):
    """The loss of a batch, scalars."""

    total: Tensor
    """The action loss; nothing else is learned."""
    action: Tensor
    """Cross-entropy against the optimal actions, mean over the moments that are asked about."""


class DPT(ActionModel):
    """Predicts optimal actions from transitions that have no positions."""

    loss_names = DPTLoss._fields
    config: DPTConfig

    def __init__(self, config: DPTConfig) -> None:
        super().__init__(config)
        width = config.d_model
        self.embed_query, self.embed_state = (
            nn.Linear(config.seen_dim, width),
            nn.Linear(config.seen_dim, width),
        )
        self.embed_collected, self.embed_reward = nn.Linear(1, width), nn.Linear(1, width)
        self.embed_action, self.embed_ended = nn.Embedding(config.action_dim, width), nn.Embedding(2, width)
        self.transformer = CausalTransformer(width, config.layers, config.heads, config.dropout)
        self.head = nn.Linear(width, config.action_dim)

    def query(self, states: Tensor, collected: Tensor) -> Tensor:
        """What is asked about: states (…, seen_dim) and collected (…) → (…, d)."""
        # softsign tells one reward from none and from two, and does not grow with hundreds of them
        return self.embed_query(states) + self.embed_collected(F.softsign(collected)[..., None])

    def transition(self, before: Steps) -> Tensor:
        """What the step before the one asked about did, (…) → (…, d); its s' is the query's state."""
        done = self.embed_action(before.actions) + self.embed_reward(before.rewards[..., None])
        return self.embed_state(before.states) + done + self.embed_ended(before.ended.long())

    def tokens(self, steps: Steps) -> Tensor:
        """The tokens (B, L, d) of steps (B, L); the first has no transition behind it."""
        behind = self.transition(steps.at((slice(None), slice(None, -1))))  # (B, L - 1, d)
        return self.query(steps.states, steps.collected) + F.pad(behind, (0, 0, 1, 0))

    def outputs(self, steps: Steps) -> Tensor:
        """Logits (B, L, A) at every step of steps (B, L), each from the steps before it and its own state."""
        return self.head(self.transformer(self.tokens(steps)))

    def forward(self, batch: QueryBatch) -> DPTLoss:
        """The loss of a batch."""
        states = self.see(batch.observations)
        logits = self.outputs(Steps(states, batch.collected, batch.actions, batch.rewards, batch.ended))
        label = batch.optimal / batch.optimal.sum(-1, keepdim=True)  # (B, L, A)
        errors = F.cross_entropy(logits[batch.asked], label[batch.asked], reduction="sum")
        action = errors / mean_over_processes(batch.asked.sum())
        return DPTLoss(action, action)
