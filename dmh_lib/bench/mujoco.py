"""Benchmark of playing in MuJoCo, simulation included."""

import itertools
import statistics
import time
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm.auto import tqdm

from dmh_lib.agents import ADAgent, Agent, DMHAgent
from dmh_lib.envs.copies import make_copies
from dmh_lib.models import AD, DMH, ADConfig, DMHConfig
from dmh_lib.presets import LOCOMOTION

from .common import Check, Report, matmul_rate
from .online import CACHED, RECOMPUTING, YARDSTICK

COLUMNS = {"method": "", "all": "s", "step": "ms", "simulation": "ms", "ratio": "× DM-H", "steps": "timed"}


@dataclass(frozen=True)
class Settings:
    """How long do ten episodes of Hopper take, simulation included, with the paper's sizes?

    Episodes go on where the hopper has fallen, so that all have 1000 steps. Where not all steps were timed,
    ten places were that are evenly spread over them.
    """

    name: ClassVar[str] = "mujoco"
    env: str = "Hopper-v5"
    """Gymnasium's, one that can be told to go on."""
    episodes: int = 10
    horizon: int = 1000
    """Steps of an episode."""
    context_len: int = 2000
    """Steps of AD's window."""
    d_model: int = 128
    """Width of all models."""

    @classmethod
    def quick(cls) -> Self:
        return cls(episodes=2, horizon=20, context_len=20, d_model=16)


class Life:
    """One environment's life with an agent, and what of it was simulation."""

    def __init__(self, settings: Settings) -> None:
        self._env = make_copies(
            settings.env, 1, terminate_when_unhealthy=False, max_episode_steps=settings.horizon
        )
        self._seen, _ = self._env.reset(seed=0)
        self.obs_dim = int(np.prod(self._env.single_observation_space.shape or ()))
        self.action_dim = int(np.prod(self._env.single_action_space.shape or ()))

    def live(self, agent: Agent, steps: int) -> tuple[list[float], list[float]]:
        """Seconds of each step, in all and of simulation."""
        whole, simulation = [], []
        for _ in range(steps):
            start = time.perf_counter()
            actions = agent.act(self._seen)
            acted = time.perf_counter()
            self._seen, rewards, terminated, truncated, _ = self._env.step(actions)
            simulated = time.perf_counter()
            agent.observe(rewards, terminated, truncated)
            whole.append(time.perf_counter() - start)
            simulation.append(simulated - acted)
        return whole, simulation

    def history(self, length: int) -> tuple[NDArray[Any], ...]:
        """Made-up steps (length, 1, …), of which the last one ends an episode."""
        rng = np.random.default_rng(0)
        ends = np.zeros((length, 1), dtype=bool)
        ends[-1:] = True
        return (
            rng.normal(size=(length, 1, self.obs_dim)).astype(np.float32),
            rng.uniform(-1, 1, (length, 1, self.action_dim)).astype(np.float32),
            rng.random((length, 1)).astype(np.float32),
            ends,
        )


def run(settings: Settings | None = None, *, progress: bool = False) -> Report:
    """Time whole lifetimes, of AD that reads its window anew at each step a sample of ten places."""
    settings = settings or Settings()
    life, total = Life(settings), settings.episodes * settings.horizon
    torch.manual_seed(0)
    sizes = {"discrete": False, "d_model": settings.d_model}
    dims = (life.obs_dim, life.action_dim)
    transformer = AD(ADConfig.paper(*dims, context_len=settings.context_len, **sizes))
    mamba = AD(ADConfig.paper(*dims, context_len=settings.context_len, backbone="mamba", **sizes))
    agents: dict[str, DMHAgent | ADAgent] = {
        "DM-H": DMHAgent(DMH(DMHConfig.paper(*dims, **(LOCOMOTION | sizes)))),
        "AD-Mamba": ADAgent(mamba),
        CACHED: ADAgent(transformer),
        RECOMPUTING: ADAgent(transformer, cached=False),
    }
    rows: list[dict[str, Any]] = []
    rates = [matmul_rate()]
    for name, agent in tqdm(agents.items(), desc="mujoco", disable=not progress):
        agent.begin(1, seed=0)
        if name == RECOMPUTING:
            assert isinstance(agent, ADAgent)
            parts = [_at(agent, life, place) for place in _places(total)]
            steps, simulated = (list(itertools.chain(*column)) for column in zip(*parts, strict=True))
        else:
            life.live(agent, min(20, total))  # what the first steps compile is no play
            agent.begin(1, seed=0)
            steps, simulated = life.live(agent, total)
        mean = statistics.fmean(steps)
        rows.append(
            {
                "method": name,
                "all": mean * total,
                "step": 1e3 * mean,
                "simulation": 1e3 * statistics.fmean(simulated),
                "ratio": mean * total / (rows[0]["all"] if rows else mean * total),
                "steps": len(steps),
            }
        )
        rates.append(matmul_rate())
    checks = []
    if settings == Settings():
        speed = statistics.median(rates) / YARDSTICK
        stated = f"ten episodes of DM-H, s at {YARDSTICK:g} GFLOP/s"
        checks.append(Check(stated, rows[0]["all"] * speed, at_most=30.0))
    return Report("mujoco", str(Settings.__doc__), asdict(settings), checks, COLUMNS, rows)


def _places(total: int) -> list[int]:
    return [int(place) for place in (np.arange(10) + 0.5) / 10 * total]


def _at(agent: ADAgent, life: Life, seen: int) -> tuple[list[float], list[float]]:
    """A step after so many."""
    agent.begin(1, seed=0)
    agent.read(*life.history(seen))  # which keeps of them what is in the window then
    return life.live(agent, 1)
