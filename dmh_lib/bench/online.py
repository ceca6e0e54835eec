"""Benchmark of playing: what does one environment step cost as the context grows?"""

import statistics
import time
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm.auto import tqdm

from dmh_lib.agents import ADAgent, Agent, DMHAgent
from dmh_lib.models import AD, DMH, ADConfig, DMHConfig

from .common import Check, Report, agreement, matmul_rate

YARDSTICK = 110.0  # GFLOP/s of the matrix product for which the required times are stated
RECOMPUTING = "AD, recomputing"
CACHED = "AD, key/value cache"
COLUMNS = {
    "method": "",
    "environments": "",
    "context": "steps",
    "median": "ms",
    "mean": "ms",
    "percentile_95": "ms",
    "per_environment": "ms",
    "ratio": "× DM-H",
    "runs": "",
}


@dataclass(frozen=True)
class Settings:
    """What does one environment step cost in play, with the paper's sizes, as the context grows?"""

    name: ClassVar[str] = "online"
    contexts: tuple[int, ...] = (250, 500, 1000, 2000, 4000)
    """Environment steps seen before the timed ones."""
    chunk_len: int = 20
    """c of DM-H."""
    environments: int = 256
    """Environments played at once, beside one alone."""
    steps: int = 200
    """Steps timed at each context; as many as five seconds hold where each takes long."""
    d_model: int = 128
    """Width of all models."""

    @classmethod
    def quick(cls) -> Self:
        return cls(contexts=(20, 40), chunk_len=5, environments=4, steps=6, d_model=64)


class World:
    """Random observations and rewards, drawn in advance; an episode ends every 200 steps."""

    def __init__(self, num_envs: int, length: int) -> None:
        rng = np.random.default_rng(0)
        self.observations = rng.integers(0, 9, (length, num_envs, 2)).astype(np.float32)
        self.actions = rng.integers(5, size=(length, num_envs))
        self.rewards = (rng.random((length, num_envs)) < 0.1).astype(np.float32)
        self.ends = np.zeros((length, num_envs), dtype=bool)
        self.ends[199::200] = True
        self.never = np.zeros(num_envs, dtype=bool)

    def history(self, length: int) -> tuple[NDArray[Any], ...]:
        """The first `length` steps, with random actions."""
        return tuple(part[:length] for part in (self.observations, self.actions, self.rewards, self.ends))

    def live(self, agent: Agent, first: int, count: int, budget: float = 5.0) -> list[float]:
        """Let the agent live `count` steps from `first` on; the seconds of each, until the budget is over."""
        times: list[float] = []
        for step in range(first, first + count):
            at = step % len(self.rewards)
            start = time.perf_counter()
            agent.act(self.observations[at])
            agent.observe(self.rewards[at], self.never, self.ends[at])
            times.append(time.perf_counter() - start)
            if sum(times) > budget:
                break
        return times


def make_agents(settings: Settings) -> dict[str, DMHAgent | ADAgent]:
    """Everybody with the paper's sizes, the yardstick with a window that never overflows."""
    torch.manual_seed(0)
    model = DMH(DMHConfig.paper(2, 5, chunk_len=settings.chunk_len, d_model=settings.d_model))
    sizes = {"context_len": max(settings.contexts) + settings.steps, "d_model": settings.d_model}
    transformer = AD(ADConfig.paper(2, 5, **sizes))
    return {
        "DM-H": DMHAgent(model),
        "DM-H, plain PyTorch": DMHAgent(model, backend="eager"),
        "AD-Mamba": ADAgent(AD(ADConfig.paper(2, 5, backbone="mamba", **sizes))),
        CACHED: ADAgent(transformer),
        RECOMPUTING: ADAgent(transformer, cached=False),
    }


def compare(agents: dict[str, DMHAgent | ADAgent], steps: int) -> list[Check]:
    """That the quick ways to play say what the plain ones say at every step of a made-up life."""
    world, checks = World(3, steps), []
    for name, plain in (("DM-H", "DM-H, plain PyTorch"), (CACHED, RECOMPUTING)):
        said = []
        for agent in (agents[name], agents[plain]):
            agent.begin(3, seed=0)
            logits = []
            for step in range(steps):
                world.live(agent, step, 1)
                logits.append(torch.as_tensor(agent.logits).clone())
            said.append(torch.stack(logits))  # (T, 3, A)
        checks.append(agreement(name, said[:1], said[1:], at_most=1e-3))
    return checks


def run(settings: Settings | None = None, *, progress: bool = False) -> Report:
    """Check that each quick way of playing says what its plain counterpart says, then time all.

    Raises BenchmarkError where one does not.
    """
    settings = settings or Settings()
    agents = make_agents(settings)
    checks = compare(agents, min(settings.contexts))
    world = World(1, max(settings.contexts) + settings.steps)
    rows: list[dict[str, Any]] = []
    rates = [matmul_rate()]
    for name, agent in tqdm(agents.items(), desc="online", disable=not progress):
        for context in sorted(settings.contexts):
            agent.begin(1, seed=0)
            if isinstance(agent, ADAgent):
                agent.read(*world.history(context))
            else:
                world.live(agent, 0, context, budget=float("inf"))
            rows.append(_row(name, 1, context, world.live(agent, context, settings.steps)))
        rates.append(matmul_rate())
    many = World(settings.environments, settings.steps)
    for name in ("DM-H", "DM-H, plain PyTorch"):
        agents[name].begin(settings.environments, seed=0)
        many.live(agents[name], 0, settings.chunk_len)
        rows.append(_row(name, settings.environments, 0, many.live(agents[name], 0, settings.steps)))
        rates.append(matmul_rate())
    for row in rows:
        same = (other for other in rows if all(other[key] == row[key] for key in ("environments", "context")))
        row["ratio"] = row["mean"] / next(same)["mean"]  # DM-H comes first
    if settings == Settings():
        checks += required(rows, max(settings.contexts), statistics.median(rates) / YARDSTICK)
    return Report("online", str(Settings.__doc__), asdict(settings), checks, COLUMNS, rows)


def required(rows: list[dict[str, Any]], longest: int, speed: float) -> list[Check]:
    """What must hold; `speed` is that of this machine relative to the one the times are stated for."""
    at_longest = {row["method"]: row for row in rows if row["context"] == longest}
    many = next(row for row in rows if row["environments"] > 1)
    stated = f"ms at {YARDSTICK:g} GFLOP/s"
    return [
        Check(f"one environment, median, {stated}", at_longest["DM-H"]["median"] * speed, at_most=0.5),
        Check(f"each of many environments, mean, {stated}", many["per_environment"] * speed, at_most=0.1),
        Check("times faster than AD recomputing", at_longest[RECOMPUTING]["ratio"], at_least=1000),
        Check("times faster than AD with a cache", at_longest[CACHED]["ratio"], at_least=10),
    ]


def _row(method: str, environments: int, context: int, times: list[float]) -> dict[str, Any]:
    median, mean = 1e3 * statistics.median(times), 1e3 * statistics.fmean(times)
    return {
        "method": method,
        "environments": environments,
        "context": context,
        "median": median,
        "mean": mean,
        "percentile_95": 1e3 * float(np.quantile(times, 0.95)),
        "per_environment": mean / environments,  # the mean counts the steps on which chunks begin
        "runs": len(times),
    }
