"""A scripted searcher with memory: it looks where it has not looked, and returns to what it has found."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dmh_lib.data.nearest import first_unvisited, lanes, nearest_unvisited
from dmh_lib.data.recording import Step, cell_index
from dmh_lib.envs import GridRules, GridVectorEnv
from dmh_lib.errors import SettingError

STAY = 4


@dataclass(frozen=True)
class SearcherConfig:
    """How the systematic searcher behaves. In rooms with unknown actions no place is looked for, and so
    `in_lanes`, `blur` and `linger` do nothing."""

    runs_per_task: int | None = None
    """Lifetimes recorded of each training task; None: as suits the room (`data.presets`)."""
    episodes: int = 20
    """Episodes of one lifetime."""
    noise: float = 0.03
    """Share of random actions."""
    forgetful_runs: float = 0.5
    """Share of runs that sometimes forget which cells they have visited (or what their actions do); they
    search longer."""
    forget: float = 0.2
    """Chance that such a run forgets at the start of an episode."""
    in_lanes: bool = False
    """Visit cells lane after lane, up the first and down the next, not the nearest one each time: whoever
    imitates it then has to remember how far the search got, not all of its way."""
    blur: int = 0
    """Look for a place found in earlier episodes in a square of cells near it, up to so many rows and columns
    from its centre, and then in another until it is found; 0: know the cell. Imitators look around where
    they remember it, again and again."""
    linger: int = 0
    """Stay on a found key until the chunk of this many steps ends, counted from the episode's start, so that
    a chunk begins there; 0: go on at once."""

    def __post_init__(self) -> None:
        for name in ("blur", "linger"):
            if getattr(self, name) < 0:
                raise SettingError(f"{name}: must be 0 or more, got {getattr(self, name)}")


class Searcher:
    """Plays B runs at once.

    It heads for the nearest cell not yet visited, in a random preferred direction per episode; the map of
    visited cells lasts from episode to episode. A place that was found is remembered and walked to directly.
    So a failed episode never points at the goal: whoever imitates it learns to search, not to guess. Rewards
    for coming closer are hints that it does not take.
    """

    def __init__(self, rules: GridRules, num_runs: int, config: SearcherConfig, seed: int) -> None:
        self._rules, self._config = rules, config
        self._rng = np.random.default_rng(seed)
        self._grid = np.stack(np.divmod(np.arange(rules.num_cells), rules.size), axis=-1)  # (cells, 2)
        self._visited = np.zeros((num_runs, rules.num_targets, rules.num_cells), dtype=bool)
        self._known = np.full((num_runs, rules.num_targets), -1, dtype=np.int64)  # cell of each found target
        # whether it was reached in this episode, and where it does not lie as far as the run remembers
        self._reached = np.zeros((num_runs, rules.num_targets), dtype=bool)
        self._elsewhere = np.zeros_like(self._visited) if config.blur else self._visited
        self._forgetful = self._rng.random(num_runs) < config.forgetful_runs
        self._preference = np.zeros((num_runs, rules.num_cells), dtype=np.float32)
        forth = lanes(rules.size)
        # to search in, from the start's lane to the last and on from the first, and to look around in
        self._orders = np.stack([np.roll(forth, -rules.start[0] * rules.size), forth, forth[::-1]])
        self._around = np.zeros((num_runs, rules.num_targets), dtype=np.int64)  # which of them
        self._runs = np.arange(num_runs)
        self._steps = np.zeros(num_runs, dtype=np.int64)  # of the episode, before the action
        self._linger_until = np.zeros(num_runs, dtype=np.int64)

    def begin_episodes(self, started: NDArray[np.bool_], episodes: NDArray[np.int64]) -> None:
        """Pick the new episodes' preferred directions; some forgetful runs lose their map."""
        lost = self._forgetful & (self._rng.random(len(self._runs)) < self._config.forget)
        self._visited[lost & started] = False
        angle = self._rng.uniform(0, 2 * np.pi, len(self._runs))[started]
        direction = np.stack([np.cos(angle), np.sin(angle)])  # (2, started)
        # its values differ by less than 1, so that it decides among equally near cells only
        self._preference[started] = -(0.4 / self._rules.size) * (self._grid @ direction).T.astype(np.float32)
        self._linger_until[started] = 0
        self._reached[started] = False
        if self._config.blur:
            self._blur(np.flatnonzero(started))

    def _blur(self, runs: NDArray[np.int64]) -> None:
        """Lay a square near each place that runs (b,) know; some miss it by a row or column."""
        blur = self._config.blur
        offsets = self._rng.integers(-blur - 1, blur + 2, size=(len(runs), self._rules.num_targets, 2))
        centre = self._grid[self._known[runs]] + offsets  # (b, targets, 2); of unknown places it is not used
        centre = centre.clip(0, self._rules.size - 1)
        gap = np.abs(self._grid - centre[:, :, None]).max(-1)  # (b, targets, cells)
        self._elsewhere[runs] = gap > blur
        # from the side where it comes from: the room's start, or the target before
        origin = np.broadcast_to(self._rules.start, centre.shape).copy()  # (b, targets, 2)
        origin[:, 1:] = self._grid[self._known[runs, :-1]]
        self._around[runs] = np.where(centre[..., 0] < origin[..., 0], 2, 1)

    def _stage(self, stages: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.minimum(stages, self._rules.num_targets - 1)

    def act(self, rooms: GridVectorEnv) -> NDArray[np.int64]:
        """Actions (B,): towards the known target or else the nearest unvisited cell."""
        self._steps = rooms.steps.copy()
        here = cell_index(rooms.positions, self._rules.size)  # (B,)
        stage = self._stage(rooms.stages)
        known = self._known[self._runs, stage]
        target = np.where(self._steps < self._linger_until, self._known[:, 0], known)
        vague = (target >= 0) & ~self._reached[self._runs, stage] & (self._steps >= self._linger_until)
        if self._config.blur:  # nothing there: look in another square
            rows = np.flatnonzero(vague)
            self._blur(rows[self._elsewhere[rows, stage[rows]].all(-1)])
        searching = (self._visited, np.zeros_like(here), target < 0)
        looking = (self._elsewhere, self._around[self._runs, stage], vague & (self._config.blur > 0))
        for places, order, lost in (searching, looking):
            rows = np.flatnonzero(lost)
            at = (rows, stage[rows], here[rows])
            if self._config.in_lanes:
                target[rows] = first_unvisited(places, self._orders, order[rows], *at)
            else:
                target[rows] = nearest_unvisited(places, self._preference, self._rules.size, *at)
        gap = self._grid[target] - rooms.positions  # (B, 2)
        span = np.abs(gap)
        along_y = self._rng.random(len(here)) * span.sum(-1) >= span[:, 0]  # any shortest path, alike
        moves = np.where(along_y, np.where(gap[:, 1] > 0, 2, 3), np.where(gap[:, 0] > 0, 0, 1))
        moves = np.where(span.sum(-1) == 0, STAY, moves)
        random = self._rng.random(len(here)) < self._config.noise
        return np.where(random, self._rng.integers(5, size=len(here)), moves)

    def learn(self, step: Step) -> None:
        """Mark the cell as visited, and remember it if it is the target."""
        stage = self._stage(step.stages)
        for places in (self._visited, self._elsewhere):  # perhaps the same
            places[self._runs, stage, step.next_cells] = True
        found = step.terminations if self._rules.reward == "closer" else step.rewards > 0
        self._known[self._runs[found], stage[found]] = step.next_cells[found]
        self._reached[self._runs[found], stage[found]] = True
        if self._config.linger:
            key = found & (step.stages < self._rules.num_targets - 1)
            chunk_end = (self._steps // self._config.linger + 1) * self._config.linger
            self._linger_until[key] = chunk_end[key]
