"""The presets: named choices of model, contexts and training; one entry makes a preset known everywhere."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Generic, TypeVar

from dmh_lib.data.chains import ChainConfig
from dmh_lib.data.contexts import ContextConfig
from dmh_lib.data.maze_sampling import MazeConfig
from dmh_lib.data.pairs import PairConfig
from dmh_lib.data.queries import QueryConfig
from dmh_lib.data.trajectories import Trajectories
from dmh_lib.data.windows import WindowConfig
from dmh_lib.errors import SettingError, require_choice
from dmh_lib.models import (
    ADConfig,
    ATConfig,
    BCConfig,
    DMHConfig,
    DPTConfig,
    DTConfig,
    IDTConfig,
    ModelConfig,
)
from dmh_lib.train_config import TrainConfig

Model = TypeVar("Model", bound=ModelConfig)
Draws = TypeVar("Draws")


@dataclass(frozen=True)
class Settings(Generic[Model, Draws]):
    """Model, contexts and training."""

    model: Model
    contexts: Draws
    training: TrainConfig

    def model_for(self, data: Trajectories) -> Model:
        """The model's settings with the sizes that a dataset asks for."""
        return replace(self.model, obs_dim=data.obs_dim, action_dim=data.action_dim, discrete=data.discrete)

    def at(self, name: str) -> Any:
        """The value under a dotted name like `training.updates`; raises SettingError where there is none."""
        part, _, setting = name.partition(".")
        parts = [entry.name for entry in fields(self)]
        if part not in parts or setting not in vars(getattr(self, part)):
            wanted = ", ".join(f"{part}.…" for part in parts)
            raise SettingError(f"{name}: is no setting of these; they are {wanted}")
        return getattr(getattr(self, part), setting)

    def changed(self, changes: Mapping[str, Any]) -> "Settings[Model, Draws]":
        """With other values under such names; raises SettingError for what does not fit."""
        grouped = {entry.name: dict[str, Any]() for entry in fields(self)}
        for name, value in changes.items():
            self.at(name)
            part, _, setting = name.partition(".")
            grouped[part][setting] = value
        parts = {part: replace(getattr(self, part), **new) for part, new in grouped.items()}
        return replace(self, **parts)


@dataclass(frozen=True)
class Preset:
    """Settings with a line that says what they are for."""

    settings: Settings[Any, Any]
    """Where every choice starts; the model's sizes are those of no data yet."""
    description: str
    """One line, for the command line's help."""


AD_TRAINING = TrainConfig(updates=500, batch_size=16, warmup=50)  # windows of 400 steps, all learned
DT_TRAINING = TrainConfig(updates=1000)  # windows within an episode are short
BC_TRAINING = TrainConfig(updates=2000, batch_size=256, learning_rate=1e-3)  # single steps
# 600 updates of up to 50,000 chunks solve corridors of a million steps
MAZES = MazeConfig.over(600, longest=1_000_000, most_chunks=25_000)
MAZE_TRAINING = TrainConfig(updates=600, batch_size=32, learning_rate=2e-3)
# step by step, Mamba does not find what it has to remember unless it begins with much shorter ones
MAZES_OF_STEPS = MazeConfig.over(
    MAZE_TRAINING.updates, 20_000, shortest=10, first_cap=100, most_chunks=10_000
)

# the paper's for D4RL: targets, and rewards in thousands
LOCOMOTION: dict[str, Any] = {"chunk_len": 20, "use_return_to_go": True, "reward_scale": 1000.0}

PRESETS: dict[str, Preset] = {
    "small": Preset(
        Settings(DMHConfig.small(1, 1), ContextConfig(), TrainConfig()),
        "A laptop, minutes (default).",
    ),
    "large": Preset(
        Settings(
            DMHConfig.small(1, 1, chunk_len=20, state_waves=5),
            ContextConfig(learned_share=0.33, jumbled=0.5),
            TrainConfig(updates=3000, batch_size=32),
        ),
        "`small` for rooms of 1600 cells, ten minutes of one core.",
    ),
    "paper": Preset(
        Settings(DMHConfig.paper(1, 1), ContextConfig.paper(), TrainConfig.paper()),
        "The paper's sizes and schedule.",
    ),
    "official": Preset(
        Settings(DMHConfig.official(1, 1), ContextConfig.official(), TrainConfig.paper()),
        "The released code's choices.",
    ),
    "summary": Preset(
        Settings(DMHConfig.small(1, 1, chunk_summary=True), ContextConfig(), TrainConfig()),
        "`small`, and beyond the paper: Mamba gets a summary of each chunk's steps.",
    ),
    "tmaze": Preset(
        Settings(DMHConfig.small(1, 1, chunk_len=20), MAZES, MAZE_TRAINING),
        "DM-H in T-mazes of growing length, up to a million steps; the data name the maze and set its scale.",
    ),
    "mujoco": Preset(
        Settings(
            DMHConfig.small(1, 1, **LOCOMOTION),
            # only a context's best episode is worth imitating, and weights that come to rest play as most of
            # the data do, whatever the target: see docs/results.md
            ContextConfig(n_episodes=4, draw="task", by_steps=True, supervise="last", learned_share=0.2),
            TrainConfig(updates=1000, batch_size=16, schedule="constant"),
        ),
        "DM-H on D4RL's locomotion data.",
    ),
    "mujoco-paper": Preset(
        Settings(
            DMHConfig.paper(1, 1, **LOCOMOTION),
            ContextConfig.paper(4),
            TrainConfig.paper(precision="bf16-mixed"),
        ),
        "The same with the paper's sizes and schedule, for a GPU.",
    ),
    "idt": Preset(
        Settings(IDTConfig.small(1, 1), ContextConfig(goal_share=0.0), TrainConfig()),
        "In-context Decision Transformer, DM-H's predecessor.",
    ),
    "ad": Preset(
        Settings(ADConfig.small(1, 1), WindowConfig(), AD_TRAINING),
        "Algorithm Distillation, transformer.",
    ),
    "ad-mamba": Preset(
        Settings(ADConfig.small(1, 1, backbone="mamba"), WindowConfig(), AD_TRAINING),
        "Algorithm Distillation, Mamba.",
    ),
    "dt": Preset(
        Settings(DTConfig.small(1, 1), WindowConfig(), DT_TRAINING),
        "Decision Transformer.",
    ),
    "dm": Preset(
        Settings(DTConfig.small(1, 1, backbone="mamba"), WindowConfig(), DT_TRAINING),
        "Decision Mamba: the same over Mamba.",
    ),
    "at": Preset(
        Settings(ATConfig.small(1, 1), ChainConfig(), AD_TRAINING),
        "Agentic Transformer.",
    ),
    "dpt": Preset(
        Settings(DPTConfig.small(1, 1), QueryConfig(), AD_TRAINING),
        "Decision-Pretrained Transformer.",
    ),
    "bc": Preset(
        Settings(BCConfig.small(1, 1), PairConfig(), BC_TRAINING),
        "Behaviour cloning.",
    ),
    "bc-10": Preset(
        Settings(BCConfig.small(1, 1, best_share=0.1), PairConfig(), BC_TRAINING),
        "The same, best tenth of episodes.",
    ),
    "tmaze-dt": Preset(
        Settings(DTConfig.small(1, 1, context_len=20_001), MAZES_OF_STEPS, MAZE_TRAINING),
        "Decision Transformer in T-mazes of up to 20,000 steps.",
    ),
    "tmaze-dm": Preset(
        Settings(DTConfig.small(1, 1, context_len=20_001, backbone="mamba"), MAZES_OF_STEPS, MAZE_TRAINING),
        "Decision Mamba in the same.",
    ),
}
DEFAULT = "small"


def preset_named(name: str) -> Preset:
    """The preset of a name; raises SettingError if there is none."""
    require_choice("preset", name, PRESETS)
    return PRESETS[name]
