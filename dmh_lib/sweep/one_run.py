"""One run of a sweep, in a process of its own: how it is started, watched and ended."""

import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dmh_lib.files import write_json
from dmh_lib.sweep.orders import Order
from dmh_lib.sweep.store import LOG, ORDER, STATE, State, folder_of, read_state, write_state
from dmh_lib.versions import versions
from dmh_lib.workers import Family

POLL = 0.2  # seconds


@dataclass(frozen=True)
class Outcome:
    """What became of a run."""

    order: Order
    why: str | None
    """What went wrong; None if nothing did."""
    seconds: float
    """Wall-clock time of its last try."""


@dataclass
class Run:
    """A run that was started."""

    order: Order
    family: Family
    began: float
    tries: int


def start(order: Order, sweep: Path, environment: Mapping[str, str], tries: int = 1) -> Run:
    """Start a run in a process with these environment variables; its log goes on from the second try on."""
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
            env=dict(environment),
            start_new_session=True,  # Ctrl-C is for the sweep's process, which ends its workers in order
        )
    return Run(order, Family(worker), time.perf_counter(), tries)


def outcome_of(run: Run, sweep: Path, minutes: float | None) -> Outcome | None:
    """How a run ended, if it did, or had to because it took longer than so many minutes."""
    run.family.look()
    seconds = time.perf_counter() - run.began
    code = run.family.worker.poll()
    late = minutes is not None and seconds > 60 * minutes
    if code is None and not late:
        return None
    run.family.end()
    state = read_state(run.order, sweep)
    if state is None or (late and code is None):
        limit = f"{minutes:g} minute{'' if minutes == 1 else 's'}"
        why = f"took longer than {limit}" if code is None else _signalled(code)
        return lost(run.order, sweep, why, seconds)
    return Outcome(run.order, state.why, seconds)


def lost(order: Order, sweep: Path, why: str, seconds: float) -> Outcome:
    """What became of a run whose worker could not say it; leaves a state."""
    why = f"{why}; see {folder_of(order, sweep) / LOG}"
    write_state(folder_of(order, sweep), State(order.digest, why, seconds, versions()))
    return Outcome(order, why, seconds)


def _signalled(code: int) -> str:
    return f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code} and left no state"
