"""What agents over single steps remember: a window that a transformer reads, or a state that Mamba keeps."""

from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dmh_lib.models import CausalTransformer, MambaStack
from dmh_lib.models.step_model import Outcome, Start, StepModel

Parts = TypeVar("Parts", Start, Outcome)


class Window:
    """The newest steps of B lifetimes, at most `context_len` each, in arrays that do not grow.

    Rows hold equally many steps unless some were made to forget; only then is anything masked.
    """

    def __init__(self, model: StepModel, num_envs: int, cached: bool) -> None:
        assert isinstance(model.backbone, CausalTransformer)
        config, zeros = model.config, model.obs_mean.new_zeros
        shape = (num_envs, config.context_len)
        self._model, self._transformer = model, model.backbone
        self._start: Start = (zeros(*shape, config.seen_dim),)
        if config.wants_target:
            self._start += (zeros(shape),)
        self._outcome = nothing_done(model, *shape)
        # (B,) whole steps held; on the host, so that choosing a slice waits for no device
        self._held = np.zeros(num_envs, dtype=np.int64)
        self._rows = torch.arange(num_envs, device=zeros(0).device)
        size = config.context_len * config.tokens_per_step
        self._cache = self._transformer.allocate_cache(num_envs, size) if cached else None

    @property
    def state_bytes(self) -> int:
        """Bytes of all that is kept."""
        cache = 0 if self._cache is None else self._cache.tensor.nbytes
        return cache + sum(part.nbytes for part in (*self._start, *self._outcome))

    def act(self, start: Start) -> Tensor:
        """The head's outputs (B, A) for steps that begin, parts (B, …)."""
        model, rows = self._model, self._rows
        self._make_room()
        steps = torch.from_numpy(self._held).to(rows.device)  # (B,)
        for part, new in zip(self._start, start, strict=True):
            part[rows, steps] = new
        if self._cache is None:
            window = np.s_[:, : int(self._held.max()) + 1]
            return model.outputs(at(self._start, window), at(self._outcome, window))[rows, steps]
        before = at(self._outcome, (rows, (steps - 1).clamp(min=0)))
        return model.head(self._append(model.start_tokens(start, before, steps), 0))

    def observe(self, outcome: Outcome) -> None:
        """Take in what the step did."""
        steps = torch.from_numpy(self._held).to(self._rows.device)  # (B,)
        for part, new in zip(self._outcome, outcome, strict=True):
            part[self._rows, steps] = new
        if self._cache is not None and (tokens := self._model.end_tokens(outcome, steps)):
            self._append(tokens, self._model.config.start_size)
        self._held += 1

    def read(self, start: Start, outcome: Outcome) -> None:
        """Hold what would be left of steps (T, B, …) lived one by one."""
        length, room = len(outcome[1]), self._model.config.context_len
        if length > room:
            keep = room // 2
            length = keep + 1 + (length - room - 1) % (room - keep)
        newest = slice(-length, None)
        for mine, new in zip((*self._start, *self._outcome), (*start, *outcome), strict=True):
            mine[:, :length] = new[newest].transpose(0, 1)  # (B, T, …)
        self._held[:] = length
        if self._cache is not None:
            window = np.s_[:, :length]
            tokens = self._model.window_tokens(at(self._start, window), at(self._outcome, window))
            self._transformer.extend(tokens, self._cache, 0)

    def forget(self, rows: NDArray[np.bool_]) -> None:
        """Empty the windows of the marked rows (B,)."""
        self._held[rows] = 0
        if self._cache is not None:
            self._cache.positions[torch.from_numpy(rows).to(self._rows.device)] = 0

    def _append(self, tokens: list[Tensor], within: int) -> Tensor:
        """Read tokens (B, d), the first of them number `within` of its step, into the cache.

        Returns the output (B, d) of the last.
        """
        assert self._cache is not None
        hidden = torch.stack(tokens, dim=1)  # (B, M, d)
        held = self._held * self._model.config.tokens_per_step + within  # (B,) tokens
        most = int(held.max())
        if held.min() == most:
            return self._transformer.extend(hidden, self._cache, most)[:, -1]
        return self._transformer.step(hidden, self._cache.first_places(most + len(tokens)))[:, -1]

    def _make_room(self) -> None:
        """Where the window is full, go on from its newest half, as if nothing had come before it."""
        context_len = self._model.config.context_len
        full, keep = self._held == context_len, context_len // 2
        if not full.any():
            return
        rows = torch.from_numpy(np.flatnonzero(full)).to(self._rows.device)
        newest = (rows, slice(context_len - keep, None))
        start, outcome = at(self._start, newest), at(self._outcome, newest)  # (R, keep, …), copies
        for part, new in zip((*self._start, *self._outcome), (*start, *outcome), strict=True):
            part[rows, :keep] = new
        self._held[full] = keep
        if self._cache is None:
            return
        tokens = self._model.window_tokens(start, outcome)
        if full.all():
            self._transformer.extend(tokens, self._cache, 0)
        else:
            cache = self._cache.rows(rows)
            self._transformer.extend(tokens, cache, 0)
            self._cache.put(rows, cache)


class Recurrence:
    """Mamba's state of B lifetimes."""

    def __init__(self, model: StepModel, num_envs: int) -> None:
        assert isinstance(model.backbone, MambaStack)
        self._model, self._mamba = model, model.backbone
        self._cache = model.backbone.allocate_cache(num_envs)
        # (B,) lived since the memory was empty
        self._steps = model.obs_mean.new_zeros(num_envs, dtype=torch.long)
        self._last = nothing_done(model, num_envs)

    @property
    def state_bytes(self) -> int:
        """Bytes of all that is kept."""
        return sum(state.nbytes for layer in self._cache for state in layer)

    def act(self, start: Start) -> Tensor:
        """The head's outputs (B, A) for steps that begin, parts (B, …)."""
        for token in self._model.start_tokens(start, self._last, self._steps):
            hidden = self._mamba.step(token, self._cache)
        return self._model.head(hidden)

    def observe(self, outcome: Outcome) -> None:
        """Take in what the step did."""
        for token in self._model.end_tokens(outcome, self._steps):
            self._mamba.step(token, self._cache)
        self._last = outcome
        self._steps += 1

    def read(self, start: Start, outcome: Outcome) -> None:
        """Go through steps (T, B, …), one by one."""
        for step in range(len(outcome[1])):
            self.act(at(start, step))
            self.observe(at(outcome, step))

    def forget(self, rows: NDArray[np.bool_]) -> None:
        """Empty the state of the marked rows (B,)."""
        marked = torch.from_numpy(rows).to(self._steps.device)
        for conv_state, scan_state in self._cache:
            conv_state[marked] = 0
            scan_state[marked] = 0
        self._steps[marked] = 0


def nothing_done(model: StepModel, *shape: int) -> Outcome:
    """Room for what steps of this shape do."""
    zeros, config = model.obs_mean.new_zeros, model.config
    return (
        zeros(shape, dtype=torch.long) if config.discrete else zeros(*shape, config.action_dim),
        zeros(shape),
        zeros(shape, dtype=torch.bool),
    )


def at(parts: Parts, where: Any) -> Parts:
    """The same place of each part."""
    return tuple(part[where] for part in parts)  # type: ignore[return-value]
