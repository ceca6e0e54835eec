"""Decision-Pretrained Transformer at play: its context is what it has lived through, across episodes."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dmh_lib.agents.protocol import PlayConfig, as_actions, sample_actions
from dmh_lib.models import DPT
from dmh_lib.models.dpt import Steps


class DPTAgent:
    """Decision-Pretrained Transformer at play.

    The context grows to `context_len` steps and then goes on from its newest half. Environments hold equally
    many steps unless some were made to forget; only then is anything masked.

    Args:
        model: what plays.
        play: how.
        cached: keep the keys and values of the context; False reads all of it again at every step, the naive
            way, with the same results.

    Attributes:
        logits: (B, action_dim) of the last `act`.
    """

    def __init__(self, model: DPT, play: PlayConfig | None = None, cached: bool = True) -> None:
        self.model, self.cached = model, cached
        self.play = play or PlayConfig()
        self._device = model.obs_mean.device
        self._generator = torch.Generator(self._device)

    @torch.inference_mode()
    def begin(self, num_envs: int, seed: int | None = None) -> None:
        """Start `num_envs` lifetimes with an empty context."""
        if seed is not None:
            self._generator.manual_seed(seed)
        self.model.eval()
        context_len, zeros = self.model.config.context_len, self.model.obs_mean.new_zeros
        shape = (num_envs, context_len)
        self._steps = Steps(
            states=zeros(*shape, self.model.config.seen_dim),
            collected=zeros(shape),
            actions=zeros(shape, dtype=torch.long),
            rewards=zeros(shape),
            ended=zeros(shape, dtype=torch.bool),
        )
        self._collected = zeros(num_envs)  # (B,) in this episode so far
        # (B,) whole steps held; on the host, so that choosing a slice waits for no device
        self._held = np.zeros(num_envs, dtype=np.int64)
        self._rows = torch.arange(num_envs, device=self._device)
        self._cache = self.model.transformer.allocate_cache(num_envs, context_len) if self.cached else None

    @property
    def state_bytes(self) -> int:
        """Bytes of all that the agent remembers of its environments, a full context's."""
        cache = 0 if self._cache is None else self._cache.tensor.nbytes
        return cache + sum(part.nbytes for part in (*self._steps, self._collected))

    @torch.inference_mode()
    def act(self, observations: NDArray[Any]) -> NDArray[Any]:
        """Choose an action in every environment."""
        raw = torch.as_tensor(np.asarray(observations, dtype=np.float32), device=self._device)  # (B, obs_dim)
        self._make_room()
        now = self._rows, torch.from_numpy(self._held).to(self._device)
        self._steps.states[now] = self.model.see(raw)
        self._steps.collected[now] = self._collected
        if self._cache is None:
            window = self._steps.at(np.s_[:, : int(self._held.max()) + 1])
            self.logits = self.model.outputs(window)[now]  # (B, A)
        else:
            self.logits = self.model.head(self._append(now))
        self._last_action = sample_actions(self.logits, self.play.temperature, self._generator)
        return self._last_action.cpu().numpy()

    @torch.inference_mode()
    def observe(
        self,
        rewards: NDArray[Any],
        terminations: NDArray[np.bool_],
        truncations: NDArray[np.bool_],
        actions: NDArray[Any] | None = None,
    ) -> None:
        """Take in rewards and ends; `actions` (B,) where others were taken than `act` chose."""
        if actions is not None:
            self._last_action = as_actions(actions, self._last_action)
        gained = torch.as_tensor(np.asarray(rewards, dtype=np.float32), device=self._device)  # (B,)
        ended = torch.as_tensor(np.asarray(terminations) | np.asarray(truncations), device=self._device)
        now = self._rows, torch.from_numpy(self._held).to(self._device)
        self._steps.actions[now], self._steps.rewards[now] = self._last_action, gained
        self._steps.ended[now] = ended
        self._collected = torch.where(ended, 0.0, self._collected + gained)
        self._held += 1

    @torch.inference_mode()
    def forget(self, rows: NDArray[np.bool_]) -> None:
        """Empty the context of the marked environments."""
        marked = np.asarray(rows)
        self._held[marked] = 0
        on_device = torch.from_numpy(marked).to(self._device)
        self._collected[on_device] = 0
        if self._cache is not None:
            self._cache.positions[on_device] = 0

    def _append(self, now: tuple[Tensor, Tensor]) -> Tensor:
        """Read the token of the step `now` into the cache; its output (B, d)."""
        assert self._cache is not None
        model, (rows, place) = self.model, now
        here, before = self._steps.at(now), self._steps.at((rows, (place - 1).clamp(min=0)))
        token = model.query(here.states, here.collected) + model.transition(before) * (place > 0)[:, None]
        most = int(self._held.max())
        if self._held.min() == most:
            return model.transformer.extend(token[:, None], self._cache, most)[:, 0]
        return model.transformer.step(token[:, None], self._cache.first_places(most + 1))[:, 0]

    def _make_room(self) -> None:
        """Where the context is full, go on from its newest half, as if nothing had come before it."""
        context_len = self.model.config.context_len
        full, keep = self._held == context_len, context_len // 2
        if not full.any():
            return
        rows = torch.from_numpy(np.flatnonzero(full)).to(self._device)
        newest = self._steps.at((rows, slice(context_len - keep, None)))  # (R, keep), copies
        for part, new in zip(self._steps, newest, strict=True):
            part[rows, :keep] = new
        self._held[full] = keep
        if self._cache is not None:
            cache = self._cache.rows(rows)
            self.model.transformer.extend(self.model.tokens(newest), cache, 0)
            self._cache.put(rows, cache)
