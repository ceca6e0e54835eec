"""A sweep on a Ray cluster: as many runs at a time as its machines hold, again where one is lost.

All machines need this library and a disk that they share, with the sweep's folder and what the runs read.
"""

import logging
import os
import platform
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dmh_lib.errors import DataError, SettingError
from dmh_lib.files import only_one_at, write_json
from dmh_lib.sweep.one_run import POLL, Outcome, lost, outcome_of, start
from dmh_lib.sweep.orders import Order, read_order
from dmh_lib.sweep.runner import LOCK, Limits
from dmh_lib.sweep.store import ORDER, folder_of
from dmh_lib.workers import GRACE, with_threads

LOSSES = 3  # times that a run is begun again, from its last checkpoint, after its worker was lost


@dataclass(frozen=True)
class Shares:
    """What each run takes of a cluster."""

    cpus: int = 1
    """Cores."""
    gpus: float = 0.0
    """GPUs; below 1 several runs share one."""

    def __post_init__(self) -> None:
        if self.cpus < 1:
            raise SettingError(f"cpus: must be at least 1, got {self.cpus}")
        if not self.gpus >= 0:
            raise SettingError(f"gpus: must be 0 or more, got {self.gpus}")


def run_on_ray(
    orders: Sequence[Order],
    sweep: Path,
    address: str,
    limits: Limits | None = None,
    shares: Shares | None = None,
) -> Iterator[Outcome]:
    """Do runs on a cluster, and say how each ended as it ends. When this stops early, no run goes on.

    Args:
        orders: what to do, see `unfinished`.
        sweep: folder of the sweep, on the shared disk.
        address: of the cluster, as `ray start` tells it; `auto` finds that of this machine, and `local` makes
            one of its own for the time.
        limits: of time and tries; how many run at a time is the cluster's affair.
        shares: what each run takes of it.

    Raises:
        SettingError: Ray is not installed or not there, or another process is at this sweep.
    """
    limits, shares = limits or Limits(), shares or Shares()
    with only_one_at(sweep, LOCK, SettingError), _connected(address) as ray, ExitStack() as cleanup:
        options = {"num_cpus": shares.cpus, "num_gpus": shares.gpus, "max_retries": LOSSES}
        task = ray.remote(**options)(_do)
        pending = dict[Any, Order]()
        cleanup.callback(_cancel, ray, pending)
        for order in orders:
            file = folder_of(order, sweep.resolve()) / ORDER
            write_json(file, order.to_json())
            pending[task.remote(file, limits, shares.cpus)] = order
        while pending:
            for done in ray.wait(list(pending), timeout=POLL)[0]:
                order = pending.pop(done)
                try:
                    why, seconds = ray.get(done)
                    yield Outcome(order, why, seconds)
                except ray.exceptions.RayError as error:
                    why = f"lost on the cluster: {' '.join(str(error).split())[:500]}"
                    begun = (folder_of(order, sweep) / ORDER).stat().st_mtime  # of its last try
                    yield lost(order, sweep, why, max(0.0, time.time() - begun))


def _do(file: Path, limits: Limits, cpus: int) -> tuple[str | None, float]:
    """On a machine of the cluster: one run with its tries; why it failed, if it did, and its seconds."""
    try:
        order = read_order(file)
    except DataError as error:
        raise SettingError(f"{error}, on {platform.node()}; take a disk that all machines share") from error
    sweep, tries = file.parents[2], 0
    while True:
        tries += 1
        run = start(order, sweep, with_threads(cpus), tries)
        try:
            while (outcome := outcome_of(run, sweep, limits.minutes)) is None:
                time.sleep(POLL)
        finally:
            run.family.end()
        if outcome.why is None or tries > limits.retries:
            return outcome.why, outcome.seconds


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing of what is done here goes elsewhere
    try:
        import ray
    except ImportError as error:
        raise SettingError("ray: is not installed; `pip install 'dmh-lib[ray]'`") from error
    _require_reachable(address)
    own: dict[str, Any] = (
        {"include_dashboard": False, "_node_ip_address": "127.0.0.1"} if address == "local" else {}
    )
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **own)
    except (ConnectionError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        # Ray shows its token to no address that one names, unless told to
        remedy = "start one with `ray start`; if it has a token, say `export RAY_AUTH_MODE=token` first"
        raise SettingError(f"ray: no cluster at {address} to work on ({error}); {remedy}") from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _require_reachable(address: str) -> None:
    """Ray itself would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon:
        return  # auto, local
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, ValueError, OverflowError) as error:
        raise SettingError(f"ray: no cluster at {address} ({error}); start one with `ray start`") from error


def _cancel(ray: Any, pending: dict[Any, Order]) -> None:
    """End what still runs; each task ends its run itself."""
    for task in pending:
        ray.cancel(task)
    if pending:
        ray.wait(list(pending), num_returns=len(pending), timeout=2 * GRACE)
