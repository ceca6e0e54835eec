"""Benchmark of one training update of DM-H: how much of the machine's arithmetic does it use?"""

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import ClassVar, Self

import numpy as np
import torch
from tqdm.auto import tqdm

from dmh_lib.data import Trajectories
from dmh_lib.data.contexts import ContextBatch, ContextConfig, ContextSampler
from dmh_lib.models import DMH, DMHConfig

from .common import Check, Report, agreement, matmul_rate
from .flops import FlopCounter

COLUMNS = {
    "update": "",
    "chunk_len": "",
    "chunks": "",
    "learned": "",
    "work": "GFLOP",
    "seconds": "s",
    "sampling": "% of it",
    "rate": "GFLOP/s",
    "matmul": "GFLOP/s",
    "share": "",
}
EPISODE = 200  # steps of an episode in the made-up data


@dataclass(frozen=True)
class Settings:
    """How near does a training update of DM-H, with the paper's sizes, come to the rate of bare matrix
    products? And what does a longer or shorter chunk cost?"""

    name: ClassVar[str] = "train"
    contexts: int = 2
    """Contexts per update."""
    steps: int = 4000
    """Environment steps in a context; 200 chunks of 20."""
    chunk_lens: tuple[int, ...] = (20, 5, 10, 40)
    """Chunk lengths c; the first is the one that the requirement is about."""
    runs: int = 5
    """Updates timed of each kind, alternating with the matrix product they are compared with."""

    @classmethod
    def quick(cls) -> Self:
        return cls(contexts=1, steps=400, chunk_lens=(20, 10), runs=1)


def make_data(steps: int) -> Trajectories:
    """One long run of random walks in a dark room."""
    rng = np.random.default_rng(0)
    ends = np.zeros(steps, dtype=bool)
    ends[EPISODE - 1 :: EPISODE] = True
    episodes = steps // EPISODE
    return Trajectories(
        observations=rng.integers(0, 9, (steps, 2)).astype(np.float32),
        actions=rng.integers(5, size=steps),
        rewards=(rng.random(steps) < 0.1).astype(np.float32),
        terminations=np.zeros(steps, dtype=bool),
        truncations=ends,
        offsets=np.arange(0, steps + 1, EPISODE),
        task_ids=np.zeros(episodes, dtype=np.int64),
        run_ids=np.zeros(episodes, dtype=np.int64),
        metadata={"num_actions": 5},
    )


def gradients(model: DMH, batch: ContextBatch, slice_bytes: int | None) -> list[torch.Tensor]:
    """Loss and gradients, the noise of z and dropout off, in slices or at once."""
    model.eval()
    model.slice_bytes = slice_bytes
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    torch.manual_seed(0)
    loss = model(batch).total
    return [loss.detach(), *torch.autograd.grad(loss, learned)]


def update_of(model: DMH, sampler: ContextSampler, contexts: int) -> Callable[[], tuple[float, float]]:
    """A whole update, sampling included; it returns the seconds of sampling and of all."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4, fused=True)

    def update() -> tuple[float, float]:
        start = time.perf_counter()
        batch = sampler.sample(contexts)
        sampled = time.perf_counter()
        model(batch).total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.25)
        optimizer.step()
        optimizer.zero_grad()
        return sampled - start, time.perf_counter() - start

    return update


def run(settings: Settings | None = None, *, progress: bool = False) -> Report:
    """Check that slices give the gradients of the plain computation, then time updates.

    Raises BenchmarkError where they do not.
    """
    settings = settings or Settings()
    data = make_data(settings.steps)
    rows: list[dict[str, object]] = []
    checks: list[Check] = []
    kinds = [(c, "all") for c in settings.chunk_lens] + [(settings.chunk_lens[0], "last+random")]
    for chunk_len, supervise in tqdm(kinds, desc="train", disable=not progress):
        torch.manual_seed(0)
        model = DMH(DMHConfig.paper(2, 5, chunk_len=chunk_len))
        model.fit_normalisation(data)
        contexts = ContextConfig(
            settings.steps // EPISODE,
            draw="history",
            vary_length=False,
            supervise="all" if supervise == "all" else "last+random",
            goal_share=1.0,
        )
        sampler = ContextSampler(data, contexts, chunk_len)
        if not rows:
            batch = sampler.sample(1)
            sliced, plain = (gradients(model, batch, size) for size in (2**20, None))
            checks.append(agreement("an update in slices", sliced, plain, at_most=1e-4))
        model = DMH(model.config).train()
        update = update_of(model, sampler, settings.contexts)
        with FlopCounter() as counter:
            update()
        measured, rates = [], []
        for _ in range(settings.runs):  # in turn, so that both see the same moods of the machine
            rates.append(matmul_rate())
            measured.append(update())
        sampling, seconds = (statistics.median(times) for times in zip(*measured, strict=True))
        rate = counter.total / seconds / 1e9
        shares = [
            counter.total / time / 1e9 / fastest for (_, time), fastest in zip(measured, rates, strict=True)
        ]
        share = statistics.median(shares)
        rows.append(
            {
                "update": "every step learned" if supervise == "all" else "last and a random episode learned",
                "chunk_len": chunk_len,
                "chunks": settings.contexts * settings.steps // chunk_len,
                "learned": len(sampler.sample(settings.contexts).rows),
                "work": counter.total / 1e9,
                "seconds": seconds,
                "sampling": 100 * sampling / seconds,
                "rate": rate,
                "matmul": statistics.median(rates),
                "share": share,
            }
        )
        if len(rows) == 1 and settings == Settings():
            checks.append(Check("share of the matrix-product rate", share, at_least=0.5))
            checks.append(Check("sampling, % of an update", 100 * sampling / seconds, at_most=5.0))
    return Report("train", str(Settings.__doc__), asdict(settings), checks, COLUMNS, rows)
