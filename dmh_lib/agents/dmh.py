"""DM-H at play, batched over environments that live at their own pace."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dmh_lib.agents.protocol import PlayConfig, sample_actions
from dmh_lib.decode import Backend, make_decoder
from dmh_lib.errors import SettingError
from dmh_lib.models import DMH
from dmh_lib.models.base import with_waves
from dmh_lib.models.planner import NOTHING_BEFORE


class DMHAgent:
    """Decision Mamba-Hybrid at play.

    Mamba's state is all that lasts: it takes one step per chunk and never reads the past again. The
    transformer's cache is wiped at each chunk boundary. Nothing grows with the horizon.

    Args:
        model: in float32. After changing its weights call `begin` again.
        play: temperature and target return.
        backend: see `decode.make_decoder`.

    Attributes:
        subgoals: (B, G) means of the sub-goals in force; new ones where `began` is true.
        log_variances: (B, G) theirs.
        began: (B,) where the last `act` started a chunk.
        logits: (B, action_dim) of the last `act`: logits, or continuous actions.

    Raises:
        SettingError: in `begin`, weights that are not float32 or a backend that cannot serve; elsewhere,
            arrays that do not fit the environments.
    """

    def __init__(self, model: DMH, play: PlayConfig | None = None, *, backend: Backend | None = None) -> None:
        self.model = model
        self.play = play or PlayConfig()
        self._backend = backend
        self._generator = torch.Generator()  # on the CPU, so that a seed means the same on every device

    @torch.inference_mode()
    def begin(self, num_envs: int, seed: int | None = None) -> None:
        """Start `num_envs` lifetimes with an empty memory."""
        if seed is not None:
            self._generator.manual_seed(seed)
        config = self.model.eval().config
        self._planner, self._actor = make_decoder(self.model, num_envs, self._backend)
        self._mean, self._std = (part.cpu().numpy() for part in (self.model.obs_mean, self.model.obs_std))
        self._scale = self.model.action_scale.cpu().numpy()
        self._step = np.zeros(num_envs, dtype=np.int64)  # (B,) within the chunk
        self._last_done = np.full(num_envs, NOTHING_BEFORE, dtype=np.int64)  # of the chunk before
        self._chunk_reward, self._last_chunk_reward, self._collected, self._last_reward = np.zeros(
            (4, num_envs), dtype=np.float32
        )
        self._last_action: NDArray[Any] = (
            np.zeros(num_envs, dtype=np.int64)
            if config.discrete
            else np.zeros((num_envs, config.action_dim), dtype=np.float32)
        )
        self.subgoals = np.zeros((num_envs, config.goal_dim), dtype=np.float32)
        self.log_variances = np.zeros_like(self.subgoals)

    @property
    def state_bytes(self) -> int:
        """Bytes of all that the agent remembers of its environments; the horizon does not matter to it."""
        return self._planner.state_bytes + self._actor.state_bytes

    @torch.inference_mode()
    def act(self, observations: NDArray[Any]) -> NDArray[Any]:
        """Choose an action in every environment."""
        config = self.model.config
        raw = np.ascontiguousarray(observations, dtype=np.float32)
        _require_shape("observations", raw, (len(self._step), config.obs_dim))
        scaled = torch.from_numpy((raw - self._mean) / self._std)  # (B, obs_dim)
        states = with_waves(scaled, config.state_waves).numpy()  # (B, seen_dim)
        self.began = self._step == 0
        if self.began.any():
            self._begin_chunks(states, self.began.nonzero()[0])
        self._last_state, subgoals = states, self.subgoals
        if config.resample_subgoal:
            mean, spread = torch.from_numpy(subgoals), torch.from_numpy(self.log_variances)
            subgoals = self.model.sample_subgoals(mean, spread, self._generator).numpy()
        outputs = self._actor.act(subgoals, states, self._last_action, self._last_reward, self._step)
        if config.discrete:
            self.logits = outputs.copy()  # the actor may use its memory again
            chosen = sample_actions(torch.from_numpy(outputs), self.play.temperature, self._generator)
            self._last_action = chosen.numpy()
            return self._last_action.copy()
        self._last_action = np.tanh(outputs)
        self.logits = self._last_action * self._scale
        return self.logits

    def _begin_chunks(self, states: NDArray[np.float32], rows: NDArray[np.int64]) -> None:
        """Let Mamba read a chunk's start, and the transformer the sub-goal, in the given rows."""
        mean, spread = self._planner.begin_chunk(
            states[rows],
            np.float32(self.play.target_return) - self._collected[rows],
            self._last_chunk_reward[rows],
            self._last_done[rows],
            rows,
        )
        self.subgoals[rows], self.log_variances[rows] = mean, spread
        self._actor.begin_chunk(mean, rows)

    @torch.inference_mode()
    def observe(
        self,
        rewards: NDArray[Any],
        terminations: NDArray[np.bool_],
        truncations: NDArray[np.bool_],
        actions: NDArray[Any] | None = None,
    ) -> None:
        """Take in rewards and ends; a chunk closes after c steps or with its episode.

        `actions` (B,) or (B, act_dim) are those that were really taken, where they are not `act`'s.
        """
        gained = np.array(rewards, dtype=np.float32)  # (B,)
        ended = np.asarray(terminations) | np.asarray(truncations)  # (B,)
        for name, array in (("rewards", gained), ("terminations and truncations", ended)):
            _require_shape(name, array, self._step.shape)
        if actions is not None:
            _require_shape("actions", np.asarray(actions), self._last_action.shape)
            taken = np.asarray(actions, dtype=self._last_action.dtype)
            self._last_action = taken if self.model.config.discrete else taken / self._scale
        self._planner.end_step(self._last_state, self._last_action, gained, self._step)
        self._actor.end_step(self._last_action, gained, self._step, ended)
        self._last_reward = gained
        self._chunk_reward += gained
        self._collected += gained
        self._step += 1
        closed = ended | (self._step == self.model.config.chunk_len)
        if not closed.any():
            return
        rows = closed.nonzero()[0]
        self._last_chunk_reward[rows] = self._chunk_reward[rows]
        self._last_done[rows] = ended[rows]
        self._chunk_reward[rows] = 0
        self._step[rows] = 0
        self._collected[ended] = 0
        self._planner.end_chunk(self._last_chunk_reward[rows], self._last_done[rows], rows)

    @torch.inference_mode()
    def forget(self, rows: NDArray[np.bool_]) -> None:
        """Empty the memory of the marked environments."""
        _require_shape("rows", np.asarray(rows), self._step.shape)
        marked = np.asarray(rows).nonzero()[0]
        self._planner.forget(marked)
        self._last_chunk_reward[marked] = 0
        self._last_done[marked] = NOTHING_BEFORE


def _require_shape(name: str, array: NDArray[Any], shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise SettingError(
            f"{name}: expected shape {shape}, for as many environments as `begin` was told, got {array.shape}"
        )
