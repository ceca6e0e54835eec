"""Algorithm Distillation (Laskin et al. 2022): one sequence model over a whole learning history.

It is told state, action and reward, never which return to aim at, and its memory reaches across episodes.

Where it departs from its paper:

- `fused` tokens: one per step, with the end of an episode, which the paper's tokens do not show.
- A full window goes on from its newest half, where the paper's slides by one step and is read again.
- Training windows begin with an episode, the paper's anywhere in the history. Where a learner was slow they
  take every so-manieth episode (`WindowConfig.stride`).
- Mamba may take the transformer's place.
"""

from dataclasses import dataclass

from dmh_lib.models.step_model import LifetimeConfig, Part, StepModel


@dataclass(frozen=True)
class ADConfig(LifetimeConfig):
    """What AD is built from."""

    @property
    def told(self) -> tuple[Part, ...]:
        """What the model is told of a step that is over, in the order of the paper's tokens."""
        return ("action", "reward") if self.tokens == "paper" else super().told


class AD(StepModel):
    """Predicts the actions of a learning history, and so learns to improve as its learner did."""

    config: ADConfig
