"""What the agents over single environment steps share: they see a step begin, act, and see what it did."""

from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from dmh_lib.agents.memories import Recurrence, Window, at
from dmh_lib.agents.protocol import PlayConfig, as_actions, sample_actions
from dmh_lib.errors import SettingError
from dmh_lib.models.step_model import Outcome, StepModel


class StepAgent:
    """A model of steps at play.

    The transformer sees a window of the newest steps that grows to `context_len` steps and then goes on from
    its newest half. Mamba has no window: it reads each token once, and its state, which is all it keeps,
    reaches back to the first. Models that want a target are told `play.target_return` at each episode's
    start, and then what is left of it as rewards come in.

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

    across_episodes: ClassVar[bool] = True
    """Whether the memory lasts beyond an episode's end."""

    def __init__(self, model: StepModel, play: PlayConfig | None = None, cached: bool = True) -> None:
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
        self._memory: Window | Recurrence
        if self.model.config.backbone == "mamba":
            self._memory = Recurrence(self.model, num_envs)
        else:
            self._memory = Window(self.model, num_envs, self.cached)
        # (B,) what is left of the target
        self._return_to_go = torch.full((num_envs,), float(self.play.target_return), device=self._device)

    @property
    def state_bytes(self) -> int:
        """Bytes of all that the agent remembers of its environments, a full window's."""
        return self._memory.state_bytes

    @torch.inference_mode()
    def act(self, observations: NDArray[Any]) -> NDArray[Any]:
        """Choose an action in every environment."""
        model = self.model
        raw = torch.as_tensor(np.asarray(observations, dtype=np.float32), device=self._device)  # (B, obs_dim)
        self.logits = model.finish(self._memory.act(model.begun(raw, self._return_to_go)))  # (B, A)
        if model.config.discrete:
            self._last_action = sample_actions(self.logits, self.play.temperature, self._generator)
            return self._last_action.cpu().numpy()
        self._last_action = model.scale_actions(self.logits)
        return self.logits.cpu().numpy()

    @torch.inference_mode()
    def observe(
        self,
        rewards: NDArray[Any],
        terminations: NDArray[np.bool_],
        truncations: NDArray[np.bool_],
        actions: NDArray[Any] | None = None,
    ) -> None:
        """Take in rewards and ends; `actions` (B, …) where others were taken than `act` chose."""
        if actions is not None:
            self._last_action = self.model.scale_actions(as_actions(actions, self._last_action))
        gained = torch.as_tensor(np.asarray(rewards, dtype=np.float32), device=self._device)  # (B,)
        ended = torch.as_tensor(np.asarray(terminations) | np.asarray(truncations), device=self._device)
        self._memory.observe((self._last_action, gained, ended))
        self._pass(gained, ended)

    def _pass(self, gained: torch.Tensor, ended: torch.Tensor) -> None:
        """Go from a step to the next one, maybe of a new episode."""
        if self.model.config.wants_target:
            left = self._return_to_go - gained  # (B,)
            self._return_to_go = left.masked_fill(ended, self.play.target_return)
        if not self.across_episodes and ended.any():
            self._memory.forget(ended.cpu().numpy())

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
        seen = torch.as_tensor(np.asarray(observations, dtype=np.float32), device=device)
        kind = torch.long if model.config.discrete else torch.float32
        outcome: Outcome = (
            model.scale_actions(torch.as_tensor(actions, dtype=kind, device=device)),
            torch.as_tensor(rewards, dtype=torch.float32, device=device),
            torch.as_tensor(ended, dtype=torch.bool, device=device),
        )
        returns_to_go = torch.empty_like(outcome[1])  # (T, B)
        for step in range(len(seen)):
            returns_to_go[step] = self._return_to_go
            if not self.across_episodes:  # what lies behind an end is forgotten on the way
                self._memory.act(model.begun(seen[step], self._return_to_go))
                self._memory.observe(at(outcome, step))
            self._pass(outcome[1][step], outcome[2][step])
        if self.across_episodes:
            self._memory.read(model.begun(seen, returns_to_go), outcome)

    @torch.inference_mode()
    def forget(self, rows: NDArray[np.bool_]) -> None:
        """Empty the memory of the marked environments, at the start of an episode."""
        marked = np.asarray(rows)
        self._memory.forget(marked)
        self._return_to_go[torch.from_numpy(marked).to(self._device)] = self.play.target_return
