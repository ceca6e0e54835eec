"""All runs of a table that are not done yet, in this process or in workers of their own."""

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from dmh_lib.errors import BenchmarkError, SettingError
from dmh_lib.workers import shared_out

from .specs import RunSpec
from .store import Places, has_weights, state_of

POLL = 0.2  # seconds

Worker = tuple[RunSpec, subprocess.Popen[bytes]]


@dataclass(frozen=True)
class Order:
    """How runs are to be done."""

    jobs: int = 2
    """Runs at a time, each in a process with its share of the cores; 0: one by one in this process."""
    again: bool = False
    """Also do runs again whose stored results have other settings; without, they are an error."""
    repeat: bool = False
    """Do from nothing what is done already, and compare; what is stored stays."""
    keep: bool = False
    """Keep the final weights of each method's first training seed; a run that lacks them is done again."""

    def __post_init__(self) -> None:
        if self.jobs < 0:
            raise SettingError(f"jobs: must be 0 or more, got {self.jobs}")

    def keeps(self, spec: RunSpec) -> bool:
        """Whether the weights of a run are to be kept."""
        return self.keep and spec.seed == 0


@dataclass(frozen=True)
class Outcome:
    """What became of a run."""

    spec: RunSpec
    ok: bool
    said: str
    """What came out, or what went wrong."""


def select(specs: Sequence[RunSpec], pattern: str | None) -> list[RunSpec]:
    """The runs whose names match a pattern; raises SettingError if none does."""
    chosen = [spec for spec in specs if pattern is None or fnmatch(spec.name, pattern)]
    if not chosen:
        raise SettingError(f"only: no run of the table matches '{pattern}'; see them with --list")
    return chosen


def todo(specs: Sequence[RunSpec], places: Places, order: Order) -> list[RunSpec]:
    """The runs that an order asks to be done.

    Raises BenchmarkError if results of other settings are in the way and the order is not to do them again.
    """
    states = [(spec, *state_of(spec, places)) for spec in specs]
    stale = [f"{spec.name} ({'; '.join(how[:3])})" for spec, state, how in states if state == "stale"]
    if stale and not order.again:
        more = f" and {len(stale) - 1} more" if len(stale) > 1 else ""
        raise BenchmarkError(
            f"{places.results}: holds a result of other settings: {stale[0]}{more}; "
            "do it again with --again, or give another --out"
        )
    if order.repeat:
        return [spec for spec, state, _ in states if state == "done"]
    lacking = [order.keeps(spec) and not has_weights(spec, places) for spec in specs]
    return [spec for (spec, state, _), lacks in zip(states, lacking, strict=True) if state != "done" or lacks]


def do_all(table: str, specs: Sequence[RunSpec], places: Places, order: Order) -> Iterator[Outcome]:
    """Do runs and say how each ended, as it ends. A run that fails does not keep the others from being done.

    Args:
        table: name or file of the table, for the workers.
        specs: what to do, see `todo`.
        places: where everything lies.
        order: how.
    """
    if order.jobs == 0:
        yield from (_here(spec, places, order) for spec in specs)
        return
    environment = shared_out(order.jobs)
    waiting, running = list(specs), list[Worker]()
    with ExitStack() as cleanup:
        cleanup.callback(_end, running)
        while waiting or running:
            for pair in [pair for pair in running if pair[1].poll() is not None]:
                running.remove(pair)
                yield _outcome(pair[0], places, pair[1].returncode)
            while len(running) < order.jobs and (following := _next(waiting, running, places)):
                waiting.remove(following)
                running.append((following, _start(table, following, places, order, environment)))
            time.sleep(POLL)


def _end(running: list[Worker]) -> None:
    """Leave no worker behind when this process stops early."""
    for _, worker in running:
        worker.terminate()
        worker.wait()


def _here(spec: RunSpec, places: Places, order: Order) -> Outcome:
    from .single import run_one  # what only a worker needs

    try:
        return Outcome(spec, True, run_one(spec, places, keep=order.keeps(spec), repeat=order.repeat))
    except Exception as error:  # whatever it is, the other runs can still be done
        return Outcome(spec, False, f"{type(error).__name__}: {error}")


def _next(waiting: list[RunSpec], running: list[Worker], places: Places) -> RunSpec | None:
    """The first run whose histories are there or are not just being made by another."""
    being_made = {places.histories(spec.data) for spec, _ in running}
    for spec in waiting:
        path = places.histories(spec.data)
        if path.exists() or path not in being_made:
            return spec
    return None


def _start(
    table: str, spec: RunSpec, places: Places, order: Order, environment: dict[str, str]
) -> subprocess.Popen[bytes]:
    """A worker: the same command for one run, its threads set before anything is imported."""
    flags = {"--again": order.again, "--repeat": order.repeat, "--keep": order.keep}
    command = [sys.executable, "-m", "dmh_lib.cli", "benchmark", table, "--only", spec.name, "--jobs", "0"]
    command += ["--no-page", *(flag for flag, given in flags.items() if given)]
    for option, path in (("--out", places.out), ("--data", places.data), ("--scratch", places.scratch)):
        command += [option, str(path)]
    log = places.log(spec)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as file:
        return subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environment)


def _outcome(spec: RunSpec, places: Places, code: int) -> Outcome:
    """How a worker ended, by its last words."""
    log = places.log(spec)
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    mine = [line for line in lines if line.startswith(spec.name)]
    said = mine[-1].removeprefix(spec.name).lstrip(": ") if mine else (lines or ["it said nothing"])[-1]
    if code == 0:
        return Outcome(spec, True, said)
    return Outcome(spec, False, f"{said.removeprefix('failed: ')}; see {log}")


def default_out(table: str) -> Path:
    """Where results go: docs for a table by name, beside the file for one from a file."""
    return Path(table).parent if table.endswith(".json") else Places.out
