"""Benchmark of a long life: do time and memory of a step stay the same?"""

import statistics
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Self

import torch
from tqdm.auto import tqdm

from dmh_lib.agents import DMHAgent
from dmh_lib.models import DMH, ADConfig, CausalTransformer, DMHConfig

from .common import MIB, Check, Report, resident_memory
from .online import CACHED, World

COLUMNS = {
    "method": "",
    "horizon": "steps",
    "median": "ms",
    "median_of_a_young_one": "ms",
    "ratio": "",
    "resident": "MiB",
    "added": "MiB",
    "state": "MiB",
}


@dataclass(frozen=True)
class Settings:
    """Do the time of a step and the memory of the process stay the same however long an agent lives?"""

    name: ClassVar[str] = "scaling"
    horizons: tuple[int, ...] = (1000, 10_000, 100_000, 1_000_000)
    """Environment steps after which time and memory are looked at."""
    block: int = 100
    """Steps timed in turn for the old agent and for one that has lived as long as the first horizon."""
    blocks: int = 20
    """How many such turns."""
    chunk_len: int = 20
    """c."""
    d_model: int = 128
    """Width of the models."""

    @classmethod
    def quick(cls) -> Self:
        return cls(horizons=(20, 60), block=5, blocks=2, chunk_len=5, d_model=64)


def run(settings: Settings | None = None, *, progress: bool = False) -> Report:
    """Let one agent live through all horizons, and compare it at each with one of the first horizon's age.

    The two take turns, so that the moods of the machine hit both.
    """
    settings = settings or Settings()
    torch.manual_seed(0)
    model = DMH(DMHConfig.paper(2, 5, chunk_len=settings.chunk_len, d_model=settings.d_model))
    world, horizons = World(1, 10_000), sorted(settings.horizons)
    first = horizons[0]
    old, young = DMHAgent(model), DMHAgent(model)
    for agent in (old, young):
        agent.begin(1, seed=0)
        world.live(agent, 0, first, budget=float("inf"))
    compare(old, young, world, settings)  # makes what the process keeps anyway
    age, start = first, resident_memory()
    rows: list[dict[str, Any]] = []
    with tqdm(total=horizons[-1], initial=first, desc="scaling", disable=not progress) as bar:
        for horizon in horizons:
            while age < horizon:
                count = min(1000, horizon - age)
                world.live(old, age, count, budget=float("inf"))
                age += count
                bar.update(count)
            resident = resident_memory()
            young.begin(1, seed=0)
            world.live(young, 0, first, budget=float("inf"))
            mine, its = compare(old, young, world, settings)
            rows.append(
                {
                    "method": "DM-H",
                    "horizon": horizon,
                    "median": 1e3 * mine,
                    "median_of_a_young_one": 1e3 * its,
                    "ratio": mine / its,
                    "resident": None if resident is None else resident / MIB,
                    "added": None if resident is None or start is None else (resident - start) / MIB,
                    "state": old.state_bytes / MIB,
                }
            )
    checks, last = [], rows[-1]
    if settings == Settings():
        checks.append(Check("time of an old agent over a young one's", last["ratio"], at_most=1.1))
        if start is not None:
            growth = last["resident"] / rows[0]["resident"]
            checks.append(Check("resident memory, last horizon over first", growth, at_most=1.1))
    rows += [
        {"method": CACHED, "horizon": horizon, "state": ad_cache(settings, horizon)} for horizon in horizons
    ]
    return Report("scaling", str(Settings.__doc__), asdict(settings), checks, COLUMNS, rows)


def compare(old: DMHAgent, young: DMHAgent, world: World, settings: Settings) -> tuple[float, float]:
    """Median seconds of a step of each, in turns."""
    times: tuple[list[float], list[float]] = ([], [])
    for block in range(settings.blocks):
        for agent, kept in zip((old, young), times, strict=True):
            kept += world.live(agent, block * settings.block, settings.block)
    return statistics.median(times[0]), statistics.median(times[1])


def ad_cache(settings: Settings, horizon: int) -> float:
    """MiB of keys and values that AD's transformer would hold for so many steps; computed, not allocated."""
    config = ADConfig.paper(2, 5, context_len=horizon, d_model=settings.d_model)
    with torch.device("meta"):
        model = CausalTransformer(config.d_model, config.layers, config.heads)
        tensor = model.allocate_cache(1, horizon * config.tokens_per_step).tensor
    return tensor.numel() * tensor.element_size() / MIB
