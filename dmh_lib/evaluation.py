"""In-context evaluation: play whole lifetimes on held-out tasks, with no gradient step."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pandas as pd
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from tqdm.auto import tqdm

from dmh_lib.agents import Agent, PlayConfig
from dmh_lib.envs import SplitName, TaskSplit, rules_of
from dmh_lib.envs.copies import make_copies
from dmh_lib.errors import SettingError
from dmh_lib.methods import label_of, method_of
from dmh_lib.models import ActionModel
from dmh_lib.results import COLUMNS

TEMPERATURES = (1.0, 0.7, 0.5, 0.35)


def evaluate(
    agent: Agent,
    env: gym.vector.VectorEnv[Any, Any, Any],
    episodes: int = 20,
    *,
    seed: int | Sequence[int] = 0,
    memory: bool = True,
    progress: bool = False,
) -> pd.DataFrame:
    """Roll out `episodes` episodes in each of B environments, beginning with an empty context.

    Args:
        agent: plays.
        env: a vector environment that resets an ended copy in the same step (AutoresetMode.SAME_STEP).
        episodes: episodes per environment.
        seed: of the environment, or one for each of its copies, and (the first) of the agent's draws.
        memory: False wipes the agent's memory before each episode, which gives the no-memory line.
        progress: show a bar.

    Returns:
        One row per environment and episode: `env` (0 … B − 1), `episode` (from 1), `return`, `length`.

    Raises:
        SettingError: fewer than one episode, no seed or one below 0, or another autoreset mode.
    """
    if episodes < 1:
        raise SettingError(f"episodes: must be at least 1, got {episodes}")
    seeds = [seed] if isinstance(seed, int) else list(seed)
    if not seeds or min(seeds) < 0:
        raise SettingError(f"seeds: at least one, and none below 0, got {seeds}")
    if env.metadata.get("autoreset_mode") != AutoresetMode.SAME_STEP:
        remedy = "make it with vector_kwargs={'autoreset_mode': AutoresetMode.SAME_STEP}"
        raise SettingError(f"autoreset_mode: the environment must reset in the same step; {remedy}")
    count = env.num_envs
    returns = np.zeros((count, episodes))
    lengths = np.zeros((count, episodes), dtype=np.int64)
    at = np.zeros(count, dtype=np.int64)  # (B,) episode that each copy is in
    observations, _ = env.reset(seed=seed if isinstance(seed, int) else list(seed))  # type: ignore[arg-type]
    agent.begin(count, seed=seeds[0])
    with tqdm(total=count * episodes, desc="episodes", disable=not progress) as bar:
        while (playing := np.flatnonzero(at < episodes)).size:
            actions = agent.act(observations)
            observations, rewards, terminations, truncations, _ = env.step(actions)
            agent.observe(rewards, terminations, truncations)
            returns[playing, at[playing]] += rewards[playing]
            lengths[playing, at[playing]] += 1
            ended = np.asarray(terminations | truncations)
            at += ended
            bar.update(int((ended & (at <= episodes)).sum()))
            if not memory and ended.any():
                agent.forget(ended)
    return pd.DataFrame(
        {
            "env": np.repeat(np.arange(count), episodes),
            "episode": np.tile(np.arange(1, episodes + 1), count),
            "return": returns.reshape(-1),
            "length": lengths.reshape(-1),
        }
    )


def walk(agent: Agent, env: gym.vector.VectorEnv[Any, Any, Any], *, seed: int = 0) -> NDArray[Any]:
    """Play one episode in each of B environments, beginning with an empty context, and keep what was seen.

    Returns observations (T + 1, B, obs_dim), the last one included. Raises SettingError where the episodes do
    not all last T steps.
    """
    seen, _ = env.reset(seed=seed)
    agent.begin(env.num_envs, seed=seed)
    path, ended = [seen], np.zeros(env.num_envs, dtype=bool)  # (B,)
    while not ended.any():
        seen, rewards, terminations, truncations, info = env.step(agent.act(seen))
        agent.observe(rewards, terminations, truncations)
        ended = np.asarray(terminations | truncations)
        path.append(info["final_obs"] if ended.all() else seen)
    if not ended.all():
        raise SettingError("environment: its episodes differ in length, so that they make no one array")
    return np.stack(path)


def evaluate_on_tasks(
    agent: Agent,
    env_id: str,
    tasks: Sequence[int] | NDArray[np.int64],
    episodes: int = 20,
    seeds: Sequence[int] = (0,),
    *,
    method: str = "DM-H",
    memory: bool = True,
    progress: bool = False,
) -> pd.DataFrame:
    """`evaluate` on the given tasks of one environment, once per seed, each with its exact optimum.

    Returns:
        One row per (method, task, seed, episode): `method`, `env_id`, `task`, `seed`, `episode`, `return`,
        `length`, `optimum`, `percent_of_optimum`.
    """
    rules = rules_of(env_id)
    if not seeds:
        raise SettingError("seeds: at least one is needed")
    tables = []
    for seed in tqdm(seeds, desc=method, disable=not progress):
        env = rules.make_vec(tasks)
        tables.append(evaluate(agent, env, episodes, seed=seed, memory=memory).assign(seed=seed))
    table = pd.concat(tables, ignore_index=True)
    rooms = table.pop("env").to_numpy()
    optimum = rules.optimal_returns(tasks)[rooms]
    return table.assign(
        method=method,
        env_id=env_id,
        task=np.asarray(tasks)[rooms],
        optimum=optimum,
        percent_of_optimum=100 * table["return"] / optimum,
    )[list(COLUMNS)]


def evaluate_split(
    model: ActionModel,
    split: TaskSplit,
    side: SplitName = "test",
    episodes: int = 20,
    seeds: Sequence[int] = (0, 1, 2),
    play: PlayConfig | None = None,
    *,
    progress: bool = False,
) -> pd.DataFrame:
    """A model on one side of a split, with the no-memory line (context wiped each episode) and the oracle's.

    Returns the table of `evaluate_on_tasks` with methods `DM-H`, `DM-H without memory` and `oracle`, or
    what else `label_of` calls the model.
    """
    agent, tasks = method_of(model.config).agent(model, play), split.tasks(side)
    played = [
        evaluate_on_tasks(
            agent, split.env_id, tasks, episodes, seeds, method=method, memory=memory, progress=progress
        )
        for method, memory in _lines(model)
    ]
    oracle = played[0].assign(method="oracle", percent_of_optimum=100.0)
    oracle["return"] = oracle["optimum"]
    return pd.concat([*played, oracle], ignore_index=True)


def evaluate_in_gym(
    model: ActionModel,
    env_id: str,
    episodes: int = 10,
    seeds: Sequence[int] = (0, 1, 2),
    play: PlayConfig | None = None,
    *,
    progress: bool = False,
) -> pd.DataFrame:
    """A model, with and without memory, in any Gymnasium environment, all seeds side by side.

    Returns the table of `evaluate_on_tasks` with one task, 0, and no known optimum (NaN).

    Raises:
        SettingError: environment missing or without a time limit, spaces that do not fit, or no seed.
    """
    tables = [
        play_in_gym(model, env_id, episodes, seeds, play, memory=memory, progress=progress).assign(
            method=method
        )
        for method, memory in _lines(model)
    ]
    return pd.concat(tables, ignore_index=True)


def play_in_gym(
    model: ActionModel,
    env_id: str,
    episodes: int = 10,
    seeds: Sequence[int] = (0, 1, 2),
    play: PlayConfig | None = None,
    *,
    memory: bool = True,
    progress: bool = False,
) -> pd.DataFrame:
    """One line of `evaluate_in_gym`, with memory or without."""
    if not seeds:
        raise SettingError("seeds: at least one is needed")
    env, config = make_copies(env_id, len(seeds)), model.config
    if env.spec is None or env.spec.max_episode_steps is None:
        raise SettingError(f"environment: {env_id} has no time limit, so an episode might never end")
    seen, action = env.single_observation_space, env.single_action_space
    discrete = isinstance(action, gym.spaces.Discrete)
    sizes = (int(action.n),) if isinstance(action, gym.spaces.Discrete) else action.shape
    if (seen.shape, discrete, sizes) != ((config.obs_dim,), config.discrete, (config.action_dim,)):
        raise SettingError(
            f"environment: {env_id} has spaces {seen} and {action}; the model was trained on others"
        )
    agent = method_of(config).agent(model, play)
    table = evaluate(agent, env, episodes, seed=seeds, memory=memory, progress=progress)
    env.close()
    table["seed"] = np.asarray(seeds)[table.pop("env").to_numpy()]
    table = table.assign(method=label_of(config), env_id=env_id, task=0)
    return table.assign(optimum=np.nan, percent_of_optimum=np.nan)[list(COLUMNS)]


def _lines(model: ActionModel) -> tuple[tuple[str, bool], tuple[str, bool]]:
    """The lines that each evaluation has: what it is called, and whether it remembers."""
    label = label_of(model.config)
    return (label, True), (f"{label} without memory", False)


def choose_play(
    model: ActionModel,
    split: TaskSplit,
    episodes: int = 20,
    play: PlayConfig | None = None,
    *,
    num_tasks: int = 64,
    seed: int = 0,
    progress: bool = False,
) -> tuple[PlayConfig, dict[float, float]]:
    """How to play: what did best at the last episode on training tasks.

    The temperature is chosen at the target of `play`. Then, for models that are told which return to aim at,
    the target: that one, or the lowest, the median or the highest optimum of the training tasks. Never sees a
    test task. At most `num_tasks` tasks are played, spread over the training side.

    Returns:
        `play` with what was chosen, and the percentages of all temperatures tried.
    """
    play = play or PlayConfig()
    tasks = split.tasks("train")
    tasks = tasks[np.linspace(0, len(tasks) - 1, min(num_tasks, len(tasks))).astype(int)]

    def score(tried: PlayConfig) -> float:
        agent = method_of(model.config).agent(model, tried)
        table = evaluate_on_tasks(agent, split.env_id, tasks, episodes, [seed])
        return float(table.loc[table["episode"] == episodes, "percent_of_optimum"].mean())

    scores: dict[float, float] = {}
    for temperature in tqdm(TEMPERATURES, desc="temperature", disable=not progress):
        scores[temperature] = score(replace(play, temperature=temperature))
    best = max(scores, key=lambda temperature: scores[temperature])
    play = replace(play, temperature=best)
    if not model.config.wants_target:
        return play, scores
    reached = {play.target_return: scores[best]}
    optima = rules_of(split.env_id).optimal_returns(split.tasks("train"))
    targets = sorted(set(np.quantile(optima, (0.0, 0.5, 1.0)).tolist()) - set(reached))
    for target in tqdm(targets, desc="target", disable=not progress):
        reached[target] = score(replace(play, target_return=target))
    return replace(play, target_return=max(reached, key=lambda target: reached[target])), scores
