"""All runs of a sweep that are not done yet, some at a time; none stops or hides in the others."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from dmh_lib.errors import SettingError
from dmh_lib.files import only_one_at
from dmh_lib.sweep.one_run import POLL, Outcome, Run, outcome_of, start
from dmh_lib.sweep.orders import Order
from dmh_lib.sweep.store import read_state
from dmh_lib.workers import shared_out

LOCK = "sweep.lock"


@dataclass(frozen=True)
class Limits:
    """How many runs at a time, and what each may take."""

    workers: int = 2
    """Runs at a time, each a process with its share of the cores."""
    minutes: float | None = None
    """Most that a run may take before it is ended; any time if left out."""
    retries: int = 0
    """Times that a run which failed is tried again at once."""

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise SettingError(f"workers: must be at least 1, got {self.workers}")
        if self.minutes is not None and not self.minutes > 0:
            raise SettingError(f"minutes: must be above 0, got {self.minutes}")
        if self.retries < 0:
            raise SettingError(f"retries: must be 0 or more, got {self.retries}")


def unfinished(orders: Sequence[Order], sweep: Path) -> list[Order]:
    """The runs that were not done or failed."""
    states = ((order, read_state(order, sweep)) for order in orders)
    return [order for order, state in states if state is None or state.why is not None]


def run_sweep(orders: Sequence[Order], sweep: Path, limits: Limits | None = None) -> Iterator[Outcome]:
    """Do runs, and say how each ended as it ends. When this stops early, no process is left.

    Args:
        orders: what to do, see `unfinished`.
        sweep: folder of the sweep.
        limits: of workers, time and tries.

    Raises:
        SettingError: another process is at this sweep.
    """
    limits = limits or Limits()
    with only_one_at(sweep, LOCK, SettingError), ExitStack() as cleanup:
        running = list[Run]()
        cleanup.callback(_end, running)
        waiting = [(order, 1) for order in orders]
        while waiting or running:
            for one in list(running):
                outcome = outcome_of(one, sweep, limits.minutes)
                if outcome is None:
                    continue
                running.remove(one)
                if outcome.why is not None and one.tries <= limits.retries:
                    waiting.insert(0, (one.order, one.tries + 1))
                else:
                    yield outcome
            while waiting and len(running) < limits.workers:
                order, tries = waiting.pop(0)
                running.append(start(order, sweep, shared_out(limits.workers), tries))
            time.sleep(POLL)


def _end(running: list[Run]) -> None:
    for one in running:
        one.family.end()
