"""DM-H at play, batched over environments that live at their own pace."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dmh_lib.agents.protocol import PlayConfig, sample_actions
from dmh_lib.models import DMH, KeyValueCache
from dmh_lib.models.subgoal_mamba import NOTHING_BEFORE


class DMHAgent:
    """Decision Mamba-Hybrid at play.

    Mamba's state is all that lasts: it takes one step per chunk and never reads the past again. The
    transformer's cache is wiped at each chunk boundary. Nothing grows with the horizon.

    Attributes:
        subgoals: (B, G) the sub-goals in force; a new one where `began` is true.
        began: (B,) where the last `act` started a chunk.
        logits: (B, action_dim) of the last `act`: logits, or continuous actions.
    """

    def __init__(self, model: DMH, play: PlayConfig | None = None) -> None:
        self.model = model
        self.play = play or PlayConfig()
        self._device = model.obs_mean.device
        self._generator = torch.Generator(self._device)

    @torch.inference_mode()
    def begin(self, num_envs: int, seed: int | None = None) -> None:
        """Start `num_envs` lifetimes with an empty memory."""
        if seed is not None:
            self._generator.manual_seed(seed)
        self.model.eval()
        config, zeros = self.model.config, torch.zeros(num_envs, device=self._device)
        self._memory = self.model.planner.allocate_cache(num_envs)
        self._cache = self.model.actor.allocate_cache(num_envs)
        self._step = zeros.long()  # (B,) within the chunk
        self._chunk_reward, self._last_chunk_reward, self._collected = (
            zeros.clone(),
            zeros.clone(),
            zeros.clone(),
        )
        self._last_done = torch.full_like(self._step, NOTHING_BEFORE)  # of the chunk before
        self._last_reward = zeros.clone()
        action_shape = (num_envs,) if config.discrete else (num_envs, config.action_dim)
        self._last_action = torch.zeros(action_shape, dtype=torch.long if config.discrete else torch.float32)
        self._last_action = self._last_action.to(self._device)
        self.subgoals = torch.zeros(num_envs, config.goal_dim, device=self._device)
        self._spread = torch.zeros_like(self.subgoals)  # log-variance
        self._window = _Window(num_envs, config.chunk_len) if config.sliding_window else None

    @torch.inference_mode()
    def act(self, observations: NDArray[Any]) -> NDArray[Any]:
        """Choose an action in every environment."""
        model = self.model
        raw = torch.as_tensor(np.asarray(observations, dtype=np.float32), device=self._device)  # (B, obs_dim)
        states = model.normalise(raw)
        self.began = self._step == 0
        if self.began.any():
            self._begin_chunks(states, self.began)
        subgoals = self.subgoals
        if model.config.resample_subgoal:
            subgoals = model.sample_subgoals(subgoals, self._spread, self._generator)
        if self._window is not None:
            outputs = self._window.act(model, subgoals, states)
        else:
            outputs = model.actor.act(
                subgoals, states, self._last_action, self._last_reward, self._step, self._cache
            )
        self.logits = model.finish(outputs)  # (B, A)
        if not model.config.discrete:
            self._last_action = self.logits / model.action_scale
            return self.logits.cpu().numpy()
        self._last_action = sample_actions(self.logits, self.play.temperature, self._generator)
        return self._last_action.cpu().numpy()

    def _begin_chunks(self, states: Tensor, rows: Tensor) -> None:
        """Let Mamba read a chunk's start, and the transformer the sub-goal, in the marked rows."""
        model, chosen = self.model, _Rows(rows)
        memory = [(chosen.take(conv), chosen.take(scan)) for conv, scan in self._memory]
        remaining = self.play.target_return - self._collected
        mean, spread = model.planner.begin_chunk(
            chosen.take(states),
            chosen.take(remaining),
            chosen.take(self._last_chunk_reward),
            chosen.take(self._last_done),
            memory,
        )
        chosen.put(self.subgoals, mean)
        chosen.put(self._spread, spread)
        self._put_memory(chosen, memory)
        if chosen.all:
            model.actor.begin_chunk(mean, self._cache)
        else:
            cache: KeyValueCache = self._cache.rows(chosen.index)
            model.actor.begin_chunk(mean, cache)
            self._cache.put(chosen.index, cache)

    def _put_memory(self, chosen: "_Rows", memory: list[tuple[Tensor, Tensor]]) -> None:
        for mine, new in zip(self._memory, memory, strict=True):
            chosen.put(mine[0], new[0])
            chosen.put(mine[1], new[1])

    @torch.inference_mode()
    def observe(
        self, rewards: NDArray[Any], terminations: NDArray[np.bool_], truncations: NDArray[np.bool_]
    ) -> None:
        """Take in rewards and ends; a chunk closes after c steps or with its episode."""
        model = self.model
        gained = torch.as_tensor(np.asarray(rewards, dtype=np.float32), device=self._device)  # (B,)
        ended = torch.as_tensor(np.asarray(terminations) | np.asarray(truncations), device=self._device)
        self._last_reward = gained
        self._chunk_reward += gained
        self._collected += gained
        if self._window is not None:
            self._window.observe(self._last_action, gained, ended)
        else:
            model.actor.end_step(self._last_action, gained, self._step, self._cache)
        self._step += 1
        closed = ended | (self._step == model.config.chunk_len)
        self._last_chunk_reward = torch.where(closed, self._chunk_reward, self._last_chunk_reward)
        self._last_done = torch.where(closed, ended.long(), self._last_done)
        self._chunk_reward[closed] = 0
        self._step[closed] = 0
        self._collected[ended] = 0
        if closed.any() and model.config.tokens == "paper":
            chosen = _Rows(closed)
            memory = [(chosen.take(conv), chosen.take(scan)) for conv, scan in self._memory]
            model.planner.end_chunk(
                chosen.take(self._last_chunk_reward), chosen.take(self._last_done), memory
            )
            self._put_memory(chosen, memory)

    @torch.inference_mode()
    def forget(self, rows: NDArray[np.bool_]) -> None:
        """Empty the memory of the marked environments."""
        marked = torch.as_tensor(rows, device=self._device)
        for conv_state, scan_state in self._memory:
            conv_state[marked] = 0
            scan_state[marked] = 0
        self._last_chunk_reward[marked] = 0
        self._last_done[marked] = NOTHING_BEFORE


class _Rows:
    """Some rows of a batch; when it is all of them, without a copy."""

    def __init__(self, marked: Tensor) -> None:
        self.all = bool(marked.all())
        self.index = marked.nonzero()[:, 0]

    def take(self, tensor: Tensor) -> Tensor:
        return tensor if self.all else tensor[self.index]

    def put(self, tensor: Tensor, part: Tensor) -> None:
        if part is not tensor:
            tensor[slice(None) if self.all else self.index] = part


class _Window:
    """The released code's view in play: the last c steps of the episode, whatever chunk they belong to."""

    def __init__(self, num_envs: int, chunk_len: int) -> None:
        self._filled = torch.zeros(num_envs, dtype=torch.long)  # (B,) earlier steps held
        self._chunk_len = chunk_len
        self._parts: list[Tensor] = []  # sub-goals, states, actions, rewards: (B, c, …) each

    def act(self, model: DMH, subgoals: Tensor, states: Tensor) -> Tensor:
        if not self._parts:
            config = model.config
            shape = (len(states), self._chunk_len)
            actions = states.new_zeros(*shape, dtype=torch.long) if config.discrete else None
            self._parts = [
                states.new_zeros(*shape, config.goal_dim),
                states.new_zeros(*shape, config.obs_dim),
                states.new_zeros(*shape, config.action_dim) if actions is None else actions,
                states.new_zeros(shape),
            ]
            self._filled = self._filled.to(states.device)
        full = self._filled == self._chunk_len
        for part in self._parts:
            part[full] = part[full].roll(-1, dims=1)
        self._filled -= full.long()
        self._rows = torch.arange(len(states), device=states.device)
        self._parts[0][self._rows, self._filled] = subgoals
        self._parts[1][self._rows, self._filled] = states
        return model.actor(*self._parts)[self._rows, self._filled]

    def observe(self, actions: Tensor, rewards: Tensor, ended: Tensor) -> None:
        self._parts[2][self._rows, self._filled] = actions
        self._parts[3][self._rows, self._filled] = rewards
        self._filled += 1
        self._filled[ended] = 0
