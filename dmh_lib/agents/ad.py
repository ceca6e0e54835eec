"""Algorithm Distillation at play: a window that the transformer reads, or a state that Mamba keeps."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dmh_lib.agents.protocol import PlayConfig, sample_actions
from dmh_lib.errors import SettingError
from dmh_lib.models import AD, CausalTransformer, MambaStack
from dmh_lib.models.ad import Outcome


class ADAgent:
    """Algorithm Distillation at play.

    The transformer sees a window of the newest steps, across episodes, that grows to `context_len` steps and
    then goes on from its newest half. Mamba has no window: it reads each token once, and its state, which is
    all it keeps, reaches back to the first.

    Args:
        model: what plays.
        play: how.
        cached: keep the keys and values of the window's tokens; False reads the whole window again at every
            step, the naive way, with the same results. Mamba has nothing to read again.

    Attributes:
        logits: (B, action_dim) of the last `act`: logits, or continuous actions.

    Raises:
        SettingError: `cached` is False for Mamba.
    """

    def __init__(self, model: AD, play: PlayConfig | None = None, cached: bool = True) -> None:
        if not cached and model.config.backbone == "mamba":
            raise SettingError("cached: Mamba keeps a state and has no window to read again; leave it True")
        self.model, self.cached = model, cached
        self.play = play or PlayConfig()
        self._device = model.obs_mean.device
        self._generator = torch.Generator(self._device)

    @torch.inference_mode()
    def begin(self, num_envs: int, seed: int | None = None) -> None:
        """Start `num_envs` lifetimes with an empty memory."""
        if seed is not None:
            self._generator.manual_seed(seed)
        self.model.eval()
        self._memory: _Window | _Recurrence
        if self.model.config.backbone == "mamba":
            self._memory = _Recurrence(self.model, num_envs)
        else:
            self._memory = _Window(self.model, num_envs, self.cached)

    @property
    def state_bytes(self) -> int:
        """Bytes of all that the agent remembers of its environments, a full window's."""
        return self._memory.state_bytes

    @torch.inference_mode()
    def act(self, observations: NDArray[Any]) -> NDArray[Any]:
        """Choose an action in every environment."""
        model = self.model
        raw = torch.as_tensor(np.asarray(observations, dtype=np.float32), device=self._device)  # (B, obs_dim)
        self.logits = model.finish(self._memory.act(model.normalise(raw)))  # (B, A)
        if model.config.discrete:
            self._last_action = sample_actions(self.logits, self.play.temperature, self._generator)
            return self._last_action.cpu().numpy()
        self._last_action = model.scale_actions(self.logits)
        return self.logits.cpu().numpy()

    @torch.inference_mode()
    def observe(
        self, rewards: NDArray[Any], terminations: NDArray[np.bool_], truncations: NDArray[np.bool_]
    ) -> None:
        """Take in rewards and ends."""
        gained = torch.as_tensor(np.asarray(rewards, dtype=np.float32), device=self._device)  # (B,)
        ended = torch.as_tensor(np.asarray(terminations) | np.asarray(truncations), device=self._device)
        self._memory.observe((self._last_action, gained, ended))

    @torch.inference_mode()
    def read(
        self,
        observations: NDArray[Any],
        actions: NDArray[Any],
        rewards: NDArray[Any],
        ended: NDArray[np.bool_],
    ) -> None:
        """Take in steps (T, B, …), right after `begin`, as if the agent had lived them."""
        model, device = self.model, self._device
        states = model.normalise(torch.as_tensor(np.asarray(observations, dtype=np.float32), device=device))
        kind = torch.long if model.config.discrete else torch.float32
        outcome = (
            model.scale_actions(torch.as_tensor(actions, dtype=kind, device=device)),
            torch.as_tensor(rewards, dtype=torch.float32, device=device),
            torch.as_tensor(ended, dtype=torch.bool, device=device),
        )
        self._memory.read(states, outcome)

    @torch.inference_mode()
    def forget(self, rows: NDArray[np.bool_]) -> None:
        """Empty the memory of the marked environments."""
        self._memory.forget(np.asarray(rows))


class _Window:
    """The newest steps of B lifetimes, at most `context_len` each, in arrays that do not grow.

    Rows hold equally many steps unless some were made to forget; only then is anything masked.
    """

    def __init__(self, model: AD, num_envs: int, cached: bool) -> None:
        assert isinstance(model.backbone, CausalTransformer)
        config, zeros = model.config, model.obs_mean.new_zeros
        shape = (num_envs, config.context_len)
        self._model, self._transformer = model, model.backbone
        self._states = zeros(*shape, config.obs_dim)
        self._outcome: Outcome = (
            zeros(shape, dtype=torch.long) if config.discrete else zeros(*shape, config.action_dim),
            zeros(shape),
            zeros(shape, dtype=torch.bool),
        )
        # (B,) whole steps held; on the host, so that choosing a slice waits for no device
        self._held = np.zeros(num_envs, dtype=np.int64)
        self._rows = torch.arange(num_envs, device=zeros(0).device)
        size = config.context_len * config.tokens_per_step
        self._cache = self._transformer.allocate_cache(num_envs, size) if cached else None

    @property
    def state_bytes(self) -> int:
        cache = 0 if self._cache is None else self._cache.tensor.nbytes
        return cache + sum(part.nbytes for part in (self._states, *self._outcome))

    def act(self, states: Tensor) -> Tensor:
        """The head's outputs (B, A) for normalised states (B, obs_dim)."""
        model, rows = self._model, self._rows
        self._make_room()
        steps = torch.from_numpy(self._held).to(rows.device)  # (B,)
        self._states[rows, steps] = states
        if self._cache is None:
            window = np.s_[:, : int(self._held.max()) + 1]
            return model.outputs(self._states[window], _at(self._outcome, window))[rows, steps]
        before = _at(self._outcome, (rows, (steps - 1).clamp(min=0)))
        return model.head(self._append([model.start_token(states, before, steps)]))

    def observe(self, outcome: Outcome) -> None:
        """Take in what the step did."""
        steps = torch.from_numpy(self._held).to(self._rows.device)  # (B,)
        for part, new in zip(self._outcome, outcome, strict=True):
            part[self._rows, steps] = new
        if self._cache is not None and (tokens := self._model.end_tokens(outcome, steps)):
            self._append(tokens)
        self._held += 1

    def read(self, states: Tensor, outcome: Outcome) -> None:
        """Hold what would be left of steps (T, B, …) lived one by one."""
        length, room = len(states), self._model.config.context_len
        if length > room:
            keep = room // 2
            length = keep + 1 + (length - room - 1) % (room - keep)
        parts = tuple(part[len(part) - length :].transpose(0, 1) for part in (states, *outcome))  # (B, T, …)
        for mine, new in zip((self._states, *self._outcome), parts, strict=True):
            mine[:, :length] = new
        self._held[:] = length
        if self._cache is not None:
            tokens = self._model.window_tokens(parts[0], (parts[1], parts[2], parts[3]))
            self._transformer.extend(tokens, self._cache, 0)

    def forget(self, rows: NDArray[np.bool_]) -> None:
        """Empty the windows of the marked rows (B,)."""
        self._held[rows] = 0
        if self._cache is not None:
            self._cache.positions[torch.from_numpy(rows).to(self._rows.device)] = 0

    def _append(self, tokens: list[Tensor]) -> Tensor:
        """Read one token after another, (B, d) each, into the cache; the output (B, d) of the last."""
        assert self._cache is not None
        hidden = torch.stack(tokens, dim=1)  # (B, M, d)
        # tokens held: those of whole steps, and the step's state if it is its end that comes now
        held = self._held * self._model.config.tokens_per_step + (len(tokens) > 1)  # (B,)
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
        states, outcome = self._states[newest], _at(self._outcome, newest)  # (R, keep, …), copies
        for part, new in zip((self._states, *self._outcome), (states, *outcome), strict=True):
            part[rows, :keep] = new
        self._held[full] = keep
        if self._cache is None:
            return
        tokens = self._model.window_tokens(states, outcome)
        if full.all():
            self._transformer.extend(tokens, self._cache, 0)
        else:
            cache = self._cache.rows(rows)
            self._transformer.extend(tokens, cache, 0)
            self._cache.put(rows, cache)


def _at(outcome: Outcome, where: Any) -> Outcome:
    actions, rewards, ended = (part[where] for part in outcome)
    return actions, rewards, ended


class _Recurrence:
    """Mamba's state of B lifetimes."""

    def __init__(self, model: AD, num_envs: int) -> None:
        assert isinstance(model.backbone, MambaStack)
        config, zeros = model.config, model.obs_mean.new_zeros
        self._model, self._mamba = model, model.backbone
        self._cache = model.backbone.allocate_cache(num_envs)
        self._steps = zeros(num_envs, dtype=torch.long)  # (B,) lived since the memory was empty
        self._last: Outcome = (
            zeros(num_envs, dtype=torch.long) if config.discrete else zeros(num_envs, config.action_dim),
            zeros(num_envs),
            zeros(num_envs, dtype=torch.bool),
        )

    @property
    def state_bytes(self) -> int:
        return sum(state.nbytes for layer in self._cache for state in layer)

    def act(self, states: Tensor) -> Tensor:
        """The head's outputs (B, A) for normalised states (B, obs_dim)."""
        token = self._model.start_token(states, self._last, self._steps)
        return self._model.head(self._mamba.step(token, self._cache))

    def observe(self, outcome: Outcome) -> None:
        """Take in what the step did."""
        for token in self._model.end_tokens(outcome, self._steps):
            self._mamba.step(token, self._cache)
        self._last = outcome
        self._steps += 1

    def read(self, states: Tensor, outcome: Outcome) -> None:
        """Go through steps (T, B, …), one by one."""
        for step, state in enumerate(states):
            self.act(state)
            self.observe(_at(outcome, step))

    def forget(self, rows: NDArray[np.bool_]) -> None:
        """Empty the state of the marked rows (B,)."""
        marked = torch.from_numpy(rows).to(self._steps.device)
        for conv_state, scan_state in self._cache:
            conv_state[marked] = 0
            scan_state[marked] = 0
        self._steps[marked] = 0
