"""Valuable sub-goals: which later state was worth heading for, read off the rewards.

Two rules. `mean_reward` looks ahead in the same episode for the state that is reached at the highest mean
reward per step; `overtake` looks into the next worse episode for the moment at which it had collected more.
"""

from typing import Literal, get_args

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dmh_lib.data.trajectories import Trajectories
from dmh_lib.errors import require_choice

Rule = Literal["mean_reward", "overtake"]
Indices = NDArray[np.int64]


def select_goals(trajectories: Trajectories, rule: Rule = "mean_reward") -> Indices:
    """For every step i, the flat index of its goal state: an array (N,) into `observations`.

    `mean_reward`: with j counted in the episode of T steps, the goal is the state at the j, i < j ≤ T, with
    the largest (r_i + … + r_{j−1}) / (j − i); among equals the latest, so that flat rewards still look
    ahead. The state after the last step is not on record, so j = T stands for the last recorded state.

    `overtake`: the state in the next worse episode of the same task (by return, ties in the order of the
    data) at which, after at least one step, its cumulative reward first exceeds that of the current episode
    before step i; where it never does, and in the worst episode, the goal of `mean_reward`. This is the rule
    of the released code.

    Raises SettingError for any other rule.
    """
    require_choice("goal_rule", rule, get_args(Rule))
    goals = _steepest_chords(np.ascontiguousarray(trajectories.rewards), trajectories.offsets)
    if rule == "mean_reward":
        return goals
    episodes = np.repeat(np.arange(trajectories.num_episodes), trajectories.lengths)  # (N,)
    order = np.lexsort((trajectories.returns, trajectories.task_ids))  # (E,) stable: by task, then return
    tasks = trajectories.task_ids[order]
    worse = np.full(trajectories.num_episodes, -1)  # (E,)
    worse[order[1:]] = np.where(tasks[1:] == tasks[:-1], order[:-1], -1)
    return overtake_goals(trajectories, goals, np.arange(trajectories.num_steps), worse[episodes])


def overtake_goals(trajectories: Trajectories, fallback: Indices, steps: Indices, worse: Indices) -> Indices:
    """The `overtake` rule for chosen steps, each with the episode that it is compared with.

    Args:
        trajectories: the data.
        fallback: (N,) goals of `mean_reward`, taken where nothing overtakes.
        steps: (M,) flat step indices.
        worse: (M,) the episode ranked before the step's own, or −1.

    Returns:
        (M,) flat indices of goal states.
    """
    rewards = np.ascontiguousarray(trajectories.rewards)
    before, reached = _cumulative(rewards, trajectories.offsets)
    return _first_above(before, reached, trajectories.offsets, fallback, steps, worse)


@njit(
    cache=True
)  # not parallel: Numba would set the thread count of torch as well, and this takes milliseconds
def _steepest_chords(rewards: NDArray[np.float32], offsets: Indices) -> Indices:
    """The mean reward from i to j is the slope of the chord over the prefix sums S from (i, S_i) to (j, S_j).

    Swept from the right, the steepest chord from each i ends on the upper hull of the points after i, and
    what it skips lies under the chord and is never needed again: O(T) in all.
    """
    goals = np.empty(len(rewards), dtype=np.int64)
    for episode in range(len(offsets) - 1):
        begin, end = offsets[episode], offsets[episode + 1]
        length = end - begin
        sums = np.zeros(length + 1)
        for step in range(length):
            sums[step + 1] = sums[step] + rewards[begin + step]
        hull = np.empty(length + 1, dtype=np.int64)
        hull[0] = length
        top = 0
        for i in range(length - 1, -1, -1):
            while top > 0:
                near, far = hull[top], hull[top - 1]
                # slope to far ≥ slope to near, without dividing: among equals the later one stays
                if (sums[far] - sums[i]) * (near - i) >= (sums[near] - sums[i]) * (far - i):
                    top -= 1
                else:
                    break
            goals[begin + i] = begin + min(hull[top], length - 1)
            top += 1
            hull[top] = i
    return goals


@njit(cache=True)
def _cumulative(
    rewards: NDArray[np.float32], offsets: Indices
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Per step: the rewards collected before it, and the most collected by any time up to its end."""
    before = np.empty(len(rewards))
    reached = np.empty(len(rewards))
    for episode in range(len(offsets) - 1):
        total, most = 0.0, -np.inf
        for step in range(offsets[episode], offsets[episode + 1]):
            before[step] = total
            total += rewards[step]
            most = max(most, total)
            reached[step] = most
    return before, reached


@njit(cache=True)
def _first_above(
    before: NDArray[np.float64],
    reached: NDArray[np.float64],
    offsets: Indices,
    fallback: Indices,
    steps: Indices,
    worse: Indices,
) -> Indices:
    """Binary search, possible because `reached` never falls within an episode."""
    goals = np.empty(len(steps), dtype=np.int64)
    for query in range(len(steps)):
        goals[query] = fallback[steps[query]]
        episode = worse[query]
        if episode < 0:
            continue
        begin, end = offsets[episode], offsets[episode + 1]
        crossing = begin + np.searchsorted(reached[begin:end], before[steps[query]], side="right")
        if crossing < end:
            goals[query] = min(crossing + 1, end - 1)  # the reward of step t is collected in state t + 1
    return goals
