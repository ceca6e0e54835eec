"""The two modules of DM-H at play, step by step, by the fastest way that serves: arrays in, arrays out."""

from typing import Literal, Protocol, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from dmh_lib.decode.eager import EagerActor, EagerPlanner, WindowActor
from dmh_lib.decode.fused import FusedActor, FusedPlanner, can_fuse
from dmh_lib.decode.graph import GraphActor
from dmh_lib.errors import SettingError, require_choice
from dmh_lib.models import DMH, DMHConfig

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Backend = Literal["fused", "graph", "eager"]


class Planner(Protocol):
    """The long memory over B environments. `rows` (b,) are those concerned; other arguments are theirs."""

    @property
    def state_bytes(self) -> int:
        """Bytes of what is remembered."""

    def begin_chunk(
        self, states: Floats, returns_to_go: Floats, chunk_rewards: Floats, done: Ints, rows: Ints
    ) -> tuple[Floats, Floats]:
        """Mean and log-variance (b, G) of the sub-goals of chunks that begin at seen states (b, O), after
        chunks with `chunk_rewards` and `done` (b,); 0 and NOTHING_BEFORE where there was none."""

    def end_step(self, states: Floats, actions: NDArray, rewards: Floats, steps: Ints) -> None:
        """What step `steps` (B,) of every environment's chunk did, at seen states (B, O)."""

    def end_chunk(self, chunk_rewards: Floats, done: Ints, rows: Ints) -> None:
        """A chunk is over."""

    def forget(self, rows: Ints) -> None:
        """Empty the memory of `rows`."""


class Actor(Protocol):
    """The action transformer over B environments, each at a step of its own within its chunk."""

    @property
    def state_bytes(self) -> int:
        """Bytes of what is remembered."""

    def begin_chunk(self, subgoals: Floats, rows: Ints) -> None:
        """Forget the chunk before and take in the next one's sub-goals (b, G)."""

    def act(
        self, subgoals: Floats, states: Floats, last_actions: NDArray, last_rewards: Floats, steps: Ints
    ) -> Floats:
        """Outputs (B, action_dim) at step numbers `steps` (B,), from seen states (B, O) and what the
        step before did; may be overwritten by the next call."""

    def end_step(self, actions: NDArray, rewards: Floats, steps: Ints, ended: NDArray[np.bool_]) -> None:
        """What step `steps` did, and whether it ended its episode."""


def choose_backend(config: DMHConfig, device: torch.device) -> Backend:
    """The fastest backend for a float32 model of these sizes on this device."""
    if device.type == "cpu" and can_fuse(config):
        return "fused"
    return "graph" if device.type == "cuda" else "eager"


def make_decoder(model: DMH, num_envs: int, backend: Backend | None = None) -> tuple[Planner, Actor]:
    """What plays `num_envs` environments, from an empty memory.

    Args:
        model: DM-H in float32, in evaluation mode; weights that change later may or may not be heeded.
        num_envs: B.
        backend: "fused" (one compiled call per step, CPU), "graph" (a recorded CUDA graph per step) or
            "eager" (plain PyTorch, any device); None takes the fastest.

    Raises:
        SettingError: the model is not float32, or the backend is unknown or cannot serve it.
    """
    weight, config = model.actor.head.weight, model.config
    if weight.dtype != torch.float32:
        raise SettingError(f"model: its weights are {weight.dtype}; call model.float() before playing")
    best = choose_backend(config, weight.device)
    if backend is not None:
        require_choice("backend", backend, get_args(Backend))
        if backend not in (best, "eager"):
            fused = "the CPU and d_model / heads a multiple of 16"
            needs = "a CUDA device" if backend == "graph" else fused
            raise SettingError(f"backend: {backend!r} needs {needs}; leave it out for {best!r}")
    chosen = backend or best
    if chosen == "fused" and config.memory == "mamba":
        planner: Planner = FusedPlanner(model, num_envs)
    else:
        planner = EagerPlanner(model, num_envs)
    if config.sliding_window:
        return planner, WindowActor(model, num_envs)
    actors: dict[str, type[Actor]] = {"fused": FusedActor, "graph": GraphActor, "eager": EagerActor}
    return planner, actors[chosen](model, num_envs)  # type: ignore[call-arg]


__all__ = ["Actor", "Backend", "Planner", "choose_backend", "make_decoder"]
