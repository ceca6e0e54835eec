"""The settings of Decision Mamba-Hybrid, and its three presets."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

from dmh_lib.errors import SettingError, require_choice
from dmh_lib.models.base import ModelConfig, Tokens, require_transformer

Memory = Literal["mamba", "attention"]


@dataclass(frozen=True)
class DMHConfig(ModelConfig):
    """What DM-H is built from.

    The presets differ in size and in faithfulness: `small` is what the walkthrough trains, `paper` the
    method with the paper's sizes, `official` what the released code does, so that the effect of each of
    its departures can be shown.
    """

    chunk_len: int = 5
    """c: environment steps governed by one sub-goal."""
    d_model: int = 64
    """Width of both modules."""
    tokens: Tokens = "fused"
    """`paper`: one token per state, reward, done (Mamba) and per sub-goal, state, action, reward
    (transformer). `fused`: what is known at the same moment shares a token; same information."""
    memory: Memory = "mamba"
    """What remembers past chunks: `mamba`, or `attention` over all of them in its place, for comparison."""
    most_chunks: int = 512
    """Chunks that attention can remember; Mamba has no bound."""
    chunk_summary: bool = False
    """Beyond the paper: give the memory a learned summary of each chunk's steps, at the same number of
    tokens. Without it, what happens inside a chunk has no place in the memory."""
    mamba_layers: int = 2
    """Blocks of the memory."""
    d_state: int = 16
    """State size N of the selective scan."""
    d_conv: int = 4
    """Width of Mamba's causal convolution."""
    expand: int = 2
    """Inner width of Mamba over d_model."""
    transformer_layers: int = 3
    """Transformer blocks."""
    heads: int = 4
    """Attention heads. The paper's table says 3, which does not divide 128; the released code uses 1."""
    dropout: float = 0.0
    """Dropout in the transformer."""
    subgoal_dim: int | None = None
    """Size of the sub-goal z; None for obs_dim, as in the released code, where `goal_map` is invertible."""
    use_return_to_go: bool = False
    """Give Mamba the return still to collect. Off for rooms and mazes: it leaks the goal."""
    reward_scale: float = 1.0
    """Rewards and returns are divided by this before they are embedded."""
    goal_loss_weight: float = 0.5
    """λ: weight of the action loss under the valuable sub-goal."""
    squash_log_variance: bool = False
    """Released code: tanh on the log-variance, which keeps the standard deviation within 0.61 … 1.65."""
    resample_subgoal: bool = False
    """Released code: a fresh z per step, in training and in play, instead of one per chunk."""
    sliding_window: bool = False
    """Released code, in play: the transformer sees the last c steps even across chunks."""

    def __post_init__(self) -> None:
        super().__post_init__()
        sizes = ("chunk_len", "d_model", "d_state", "d_conv", "expand", "goal_dim")
        self._require_at_least(1, *sizes, "most_chunks")
        self._require_layers("mamba_layers", "transformer_layers")
        require_transformer(self.d_model, self.heads, self.dropout)
        require_choice("tokens", self.tokens, get_args(Tokens))
        require_choice("memory", self.memory, get_args(Memory))
        if self.tokens == "fused" and (self.resample_subgoal or self.sliding_window):
            raise SettingError("tokens: a sub-goal per step and a sliding window need the paper's tokens")
        if self.reward_scale <= 0:
            raise SettingError(f"reward_scale: must be positive, got {self.reward_scale}")

    @property
    def wants_target(self) -> bool:
        """Whether the model is told in play which return to aim at."""
        return self.use_return_to_go

    @property
    def goal_dim(self) -> int:
        """Size of the sub-goal."""
        return self.obs_dim if self.subgoal_dim is None else self.subgoal_dim

    @classmethod
    def small(cls, obs_dim: int, action_dim: int, **changes: Any) -> "DMHConfig":
        """What a laptop trains in minutes: half the paper's width, fused tokens, no dropout, z of size 16."""
        return cls(obs_dim, action_dim, **({"subgoal_dim": 16} | changes))

    @classmethod
    def paper(cls, obs_dim: int, action_dim: int, **changes: Any) -> "DMHConfig":
        """The corrected method with the paper's sizes and tokens."""
        settings: dict[str, Any] = {"d_model": 128, "tokens": "paper", "dropout": 0.1}
        return cls(obs_dim, action_dim, **(settings | changes))

    @classmethod
    def official(cls, obs_dim: int, action_dim: int, **changes: Any) -> "DMHConfig":
        """What the released code does; combine with `ContextConfig.official()`."""
        settings: dict[str, Any] = {
            "d_model": 128,
            "tokens": "paper",
            "dropout": 0.1,
            "heads": 1,
            "use_return_to_go": True,
            "squash_log_variance": True,
            "resample_subgoal": True,
            "sliding_window": True,
        }
        return cls(obs_dim, action_dim, **(settings | changes))
