"""The methods that there are, each of parts that fit together; one entry makes a method known everywhere.

A method is found by its name, as it stands in checkpoints, or by the kind of its settings.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dmh_lib.agents import (
    ADAgent,
    Agent,
    ATAgent,
    BCAgent,
    DMHAgent,
    DPTAgent,
    DTAgent,
    PlayConfig,
)
from dmh_lib.data.chains import ChainConfig, ChainSampler
from dmh_lib.data.contexts import ContextConfig, ContextSampler
from dmh_lib.data.maze_sampling import MazeConfig, MazeSampler, MazeWindowSampler
from dmh_lib.data.pairs import PairConfig, PairSampler
from dmh_lib.data.queries import QueryConfig, QuerySampler
from dmh_lib.data.sampling import Sampler
from dmh_lib.data.trajectories import Trajectories
from dmh_lib.data.windows import EpisodeWindowSampler, WindowConfig, WindowSampler
from dmh_lib.errors import SettingError, require_choice
from dmh_lib.models import (
    AD,
    AT,
    BC,
    DMH,
    DPT,
    DT,
    ActionModel,
    ADConfig,
    ATConfig,
    BCConfig,
    DMHConfig,
    DPTConfig,
    DTConfig,
    IDTConfig,
    ModelConfig,
)
from dmh_lib.models.step_model import StepConfig

DrawConfig = ContextConfig | WindowConfig | ChainConfig | QueryConfig | PairConfig | MazeConfig
Factory = Callable[[Trajectories, Any, Any, int], Sampler]


@dataclass(frozen=True)
class Method:
    """What a method is made of."""

    config: type[ModelConfig]
    """Settings of the model; the kind that tells the method."""
    model: Callable[[Any], ActionModel]
    """Makes the model from its settings."""
    samplers: Mapping[type[Any], Factory]
    """What draws batches, by the kind of its settings: from data, those settings, settings of the model, and
    a seed. The first kind is taken by default, and its defaults must be good ones."""
    agent: Callable[[Any, PlayConfig | None], Agent]
    """Plays the model."""
    label: Callable[[Any], str]
    """What tables and figures call a model with these settings."""
    across_episodes: bool = True
    """Whether its agents remember earlier episodes. Others play the same lifetime with memory and without."""

    @property
    def draws(self) -> type[DrawConfig]:
        """The kind of settings of the draws that is taken by default."""
        return next(iter(self.samplers))

    def sampler(self, data: Trajectories, draws: DrawConfig, model: ModelConfig, seed: int) -> Sampler:
        """What draws batches from data; raises SettingError where the draws are another method's."""
        if type(draws) not in self.samplers:
            wanted = " or ".join(kind.__name__ for kind in self.samplers)
            raise SettingError(
                f"contexts: {self.label(model)} is trained with {wanted}, not {type(draws).__name__}"
            )
        return self.samplers[type(draws)](data, draws, model, seed)


def _contexts(data: Trajectories, draws: ContextConfig, model: DMHConfig, seed: int) -> Sampler:
    return ContextSampler(data, draws, model.chunk_len, seed, inside=model.chunk_summary)


def _maze_contexts(data: Trajectories, draws: MazeConfig, model: DMHConfig, seed: int) -> Sampler:
    return MazeSampler(draws.require_maze(data), model.chunk_len, seed, inside=model.chunk_summary)


def _reading(sampler: Callable[[Trajectories, Any, int, int], Sampler]) -> Factory:
    """Draws for models of single steps, which read `context_len` of them."""
    return lambda data, draws, model, seed: sampler(data, draws, model.context_len, seed)


def _maze_windows(data: Trajectories, draws: MazeConfig, model: StepConfig, seed: int) -> Sampler:
    return MazeWindowSampler(draws.require_maze(data), model.context_len, seed, targets=model.wants_target)


CHUNKS: Mapping[type[Any], Factory] = {ContextConfig: _contexts, MazeConfig: _maze_contexts}

METHODS = {
    "dm-h": Method(DMHConfig, DMH, CHUNKS, DMHAgent, lambda model: "DM-H"),
    "idt": Method(IDTConfig, DMH, CHUNKS, DMHAgent, lambda model: "IDT"),
    "ad": Method(
        ADConfig,
        AD,
        {WindowConfig: _reading(WindowSampler), MazeConfig: _maze_windows},
        ADAgent,
        lambda model: "AD-Mamba" if model.backbone == "mamba" else "AD",
    ),
    "dt": Method(
        DTConfig,
        DT,
        {WindowConfig: _reading(EpisodeWindowSampler), MazeConfig: _maze_windows},
        DTAgent,
        lambda model: "DM" if model.backbone == "mamba" else "DT",
        across_episodes=False,
    ),
    "at": Method(
        ATConfig,
        AT,
        {ChainConfig: _reading(ChainSampler)},
        ATAgent,
        lambda model: "AT-Mamba" if model.backbone == "mamba" else "AT",
    ),
    "dpt": Method(DPTConfig, DPT, {QueryConfig: _reading(QuerySampler)}, DPTAgent, lambda model: "DPT"),
    "bc": Method(
        BCConfig,
        BC,
        {PairConfig: lambda data, draws, model, seed: PairSampler(data, model.best_share, seed)},
        BCAgent,
        lambda model: model.label,
        across_episodes=False,
    ),
}


def method_named(name: str) -> Method:
    """The method of a name; raises SettingError if there is none."""
    require_choice("method", name, METHODS)
    return METHODS[name]


def name_of(config: ModelConfig) -> str:
    """Name of the method that model settings belong to."""
    for name, method in METHODS.items():
        if type(config) is method.config:
            return name
    raise SettingError(f"model: settings of kind {type(config).__name__} belong to no method")


def method_of(config: ModelConfig) -> Method:
    """The method that model settings belong to."""
    return METHODS[name_of(config)]


def label_of(config: ModelConfig) -> str:
    """What tables and figures call a model with these settings."""
    return method_of(config).label(config)
