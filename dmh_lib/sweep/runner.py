"""All runs of a sweep that are not done yet, some at a time; none stops or hides in the others."""

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from dmh_lib.errors import SettingError
from dmh_lib.files import write_json
from dmh_lib.sweep.orders import Order
from dmh_lib.sweep.store import LOG, ORDER, STATE, State, folder_of, read_state, write_state
from dmh_lib.versions import versions
from dmh_lib.workers import Family, shared_out

POLL = 0.2  # seconds
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


@dataclass(frozen=True)
class Outcome:
    """What became of a run."""

    order: Order
    why: str | None
    """What went wrong; None if nothing did."""
    seconds: float
    """Wall-clock time of its last try."""


@dataclass
class _Running:
    order: Order
    family: Family
    began: float
    tries: int


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
    sweep.mkdir(parents=True, exist_ok=True)
    with ExitStack() as cleanup:
        try:
            cleanup.enter_context(FileLock(sweep / LOCK, timeout=0))
        except Timeout as error:
            raise SettingError(f"{sweep}: another process is at this sweep; wait for it") from error
        running = list[_Running]()
        cleanup.callback(_end, running)
        waiting = [(order, 1) for order in orders]
        while waiting or running:
            for one in list(running):
                outcome = _looked_at(one, sweep, limits)
                if outcome is None:
                    continue
                running.remove(one)
                if outcome.why is not None and one.tries <= limits.retries:
                    waiting.insert(0, (one.order, one.tries + 1))
                else:
                    yield outcome
            while waiting and len(running) < limits.workers:
                order, tries = waiting.pop(0)
                running.append(_start(order, sweep, limits, tries))
            time.sleep(POLL)


def _start(order: Order, sweep: Path, limits: Limits, tries: int) -> _Running:
    folder = folder_of(order, sweep).resolve()  # a notebook runs in its own folder
    folder.mkdir(parents=True, exist_ok=True)
    (folder / STATE).unlink(missing_ok=True)
    write_json(folder / ORDER, order.to_json())
    with (folder / LOG).open("ab" if tries > 1 else "wb") as log:
        worker = subprocess.Popen(
            [sys.executable, "-m", "dmh_lib.sweep.worker", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=shared_out(limits.workers),
            start_new_session=True,  # Ctrl-C is for this process, which ends its workers in order
        )
    return _Running(order, Family(worker), time.perf_counter(), tries)


def _looked_at(one: _Running, sweep: Path, limits: Limits) -> Outcome | None:
    """How a run ended, if it did or has to."""
    one.family.look()
    seconds = time.perf_counter() - one.began
    code = one.family.worker.poll()
    late = limits.minutes is not None and seconds > 60 * limits.minutes
    if code is None and not late:
        return None
    one.family.end()
    state = read_state(one.order, sweep)
    if state is None or (late and code is None):
        log = folder_of(one.order, sweep) / LOG
        why = f"took longer than {limits.minutes:g} minutes" if code is None else _signalled(code)
        state = State(one.order.digest, f"{why}; see {log}", seconds, versions())
        write_state(folder_of(one.order, sweep), state)
    return Outcome(one.order, state.why, seconds)


def _signalled(code: int) -> str:
    return f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code} and left no state"


def _end(running: list[_Running]) -> None:
    for one in running:
        one.family.end()
