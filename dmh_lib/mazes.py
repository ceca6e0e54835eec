"""T-maze evaluation: played to the end, and along the expert's path.

All is greedy: one other step in a million costs the goal, so that sampling would measure the temperature.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from tqdm.auto import tqdm

from dmh_lib.agents import Agent, PlayConfig
from dmh_lib.data.contexts import ContextBatch
from dmh_lib.data.maze_sampling import MazeConfig, MazeSampler
from dmh_lib.envs.tmaze import MazeRules, TMazeVectorEnv, maze_id
from dmh_lib.errors import SettingError
from dmh_lib.evaluation import evaluate
from dmh_lib.maze_windows import margins, window_margins
from dmh_lib.methods import label_of, method_of
from dmh_lib.models import DMH, ActionModel
from dmh_lib.models.step_model import StepModel
from dmh_lib.results import COLUMNS

GREEDY = PlayConfig(temperature=0.0)
PATH_COLUMNS = ("method", "env_id", "corridor", "length", "task", "correct", "margin", "way_margin")
Ints = NDArray[np.int64]


def maze_set(length: int, mazes: int) -> tuple[Ints, Ints]:
    """Lengths and tasks of different mazes, (B,) each: length, length, length − 1, length − 1, …

    The same length and task would be the same maze again, step by step. A length less by k also moves the
    junction by k places within its chunk.

    Raises SettingError where there are no mazes, or not that many.
    """
    if not 1 <= mazes <= 2 * length:
        raise SettingError(f"mazes: 1 to {2 * length} differ at length {length}, got {mazes}")
    number = np.arange(mazes)
    return length - number // 2, number % 2


def evaluate_mazes(
    model: ActionModel,
    lengths: Sequence[int],
    mazes: int = 20,
    *,
    active: bool = False,
    play: PlayConfig = GREEDY,
    seed: int = 0,
    progress: bool = False,
) -> pd.DataFrame:
    """Play one episode of different mazes of about each length, with an empty memory and no gradient step.

    Args:
        model: of any method.
        lengths: of the corridors; see `maze_set`.
        mazes: of each length, played side by side.
        active: whether the oracle has to be visited.
        play: greedy unless told otherwise; a model with a return-to-go also needs its target here.
        seed: of the agent's draws, of which there are none in greedy play.
        progress: show a bar.

    Returns:
        One row per maze: the columns of `results.COLUMNS`, and `corridor`, the length asked for.
    """
    tables = []
    for length in lengths:
        corridors, tasks = maze_set(length, mazes)
        env = TMazeVectorEnv(mazes, length=corridors, active=active, tasks=tasks)
        with tqdm(total=int(env.horizons.max()), desc=f"{length:,} steps", disable=not progress) as bar:
            agent = _Watched(method_of(model.config).agent(model, play), bar)
            table = evaluate(agent, env, episodes=1, seed=seed)
        tables.append(table.assign(task=tasks[table.pop("env")], corridor=length))
    return pd.concat(tables, ignore_index=True).assign(
        method=label_of(model.config),
        env_id=maze_id(active),
        seed=seed,
        optimum=1.0,
        percent_of_optimum=lambda table: 100 * table["return"],
    )[[*COLUMNS, "corridor"]]


class _Watched:
    """An agent whose steps move a bar: the one episode that `evaluate` counts may last a million of them."""

    def __init__(self, agent: Agent, bar: Any) -> None:
        self._bar = bar
        self.begin, self.act, self._observe, self.forget = agent.begin, agent.act, agent.observe, agent.forget

    def observe(
        self,
        rewards: NDArray[Any],
        terminations: NDArray[np.bool_],
        truncations: NDArray[np.bool_],
        actions: NDArray[Any] | None = None,
    ) -> None:
        """See `Agent`."""
        self._observe(rewards, terminations, truncations, actions)
        self._bar.update()


# ---------------------------------------------------------------------- along the expert's path


@torch.inference_mode()
def evaluate_along_path(
    model: DMH | StepModel,
    lengths: Sequence[int],
    mazes: int = 200,
    *,
    active: bool = False,
    checked: int = 64,
    progress: bool = False,
) -> pd.DataFrame:
    """What a model would do on the expert's path, all of it read at once: does it turn to the right side?

    Mamba reads a whole corridor in one parallel pass, which takes about 4 KB for each chunk. Mazes of one
    task that look the same to Mamba share it: their own length shows only in the last chunk. A transformer
    over single steps reads the longest corridor once for all mazes of a task, see `maze_windows`.

    Args:
        model: DM-H, or a transformer over single steps.
        lengths: of the corridors; see `maze_set`.
        mazes: of each length.
        active: whether the oracle has to be visited.
        checked: chunks of DM-H on the way, spread evenly on a log scale, whose actions are looked at too; of
            a transformer over single steps all are.
        progress: show a bar.

    Returns:
        One row per maze: `method`, `env_id`, `corridor` (the length asked for), `length` (steps of the
        episode), `task`, `correct` (whether the turn is right), `margin` (logit of the right turn less the
        largest other one) and `way_margin` (the smallest such margin of the checked steps on the way; below 0
        the agent would not have come to the junction).

    Raises:
        SettingError: a model of single steps over Mamba, or mazes that do not fit into its window.
    """
    rows = list[dict[str, Any]]()
    for length in tqdm(lengths, desc="along the path", disable=not progress):
        corridors, tasks = maze_set(length, mazes)
        for task in np.unique(tasks):
            own = [MazeRules(int(corridor), active) for corridor in corridors[tasks == task]]
            if isinstance(model, StepModel):
                way, turns = window_margins(model, own, int(task))
            else:
                way, turns = _chunk_margins(model, own, int(task), checked)
            rows += [
                {
                    "corridor": length,
                    "length": rules.horizon,
                    "task": int(task),
                    "correct": margin > 0,
                    "margin": margin,
                    "way_margin": float(way.min()),
                }
                for rules, margin in zip(own, turns.tolist(), strict=True)
            ]
    return pd.DataFrame(rows).assign(method=label_of(model.config), env_id=maze_id(active))[
        list(PATH_COLUMNS)
    ]


def _chunk_margins(model: DMH, mazes: list[MazeRules], task: int, checked: int) -> tuple[Tensor, Tensor]:
    """What `window_margins` gives, of DM-H, for some chunks on the way."""
    c, turns = model.config.chunk_len, list[Tensor]()
    way = np.unique(np.geomspace(1, -(-mazes[0].horizon // c), checked).astype(np.int64) - 1)
    batch = expert_path(model, mazes[0], [task], way)
    on_the_way = _margins(model, batch, _subgoals(model, batch))[batch.mask & (batch.rewards == 0)]
    subgoals: dict[tuple[int, bool], Tensor] = {}
    for rules in mazes:
        last = (rules.horizon - 1) // c
        batch = expert_path(model, rules, [task], [last])
        alike = last, (rules.horizon - 1) % c == 0  # as many chunks, and the same start of the last
        if alike not in subgoals:
            subgoals[alike] = _subgoals(model, batch)
        turns.append(_margins(model, batch, subgoals[alike])[batch.mask & (batch.rewards > 0)])
    return on_the_way, torch.cat(turns)  # the turn alone is paid


def expert_path(model: DMH, rules: MazeRules, tasks: Sequence[int], chunks: ArrayLike = ()) -> ContextBatch:
    """The expert's path through one maze for each task, to learn the given chunks (S,) of the first from."""
    chunks = np.asarray(chunks, dtype=np.int64)
    config = model.config
    sampler = MazeSampler(MazeConfig(active=rules.active), config.chunk_len, inside=config.chunk_summary)
    goals = rules.goals(tasks)
    batch = sampler.build(np.full_like(goals, rules.length), goals, np.zeros_like(chunks), chunks)
    return batch.to(model.obs_mean.device)


def _subgoals(model: DMH, batch: ContextBatch) -> Tensor:
    """Means of the sub-goals of the learned chunks, (S, G)."""
    mean, _ = model.subgoals(batch)
    return mean.flatten(0, 1)[batch.rows].clone()  # the rest may go


def _margins(model: DMH, batch: ContextBatch, subgoals: Tensor) -> Tensor:
    """Logit of the expert's action less the largest other one, at each step of the learned chunks (S, c)."""
    logits = model.predict(subgoals, batch.observations, batch.actions, batch.rewards)  # (S, c, A)
    return margins(logits, batch.actions)
