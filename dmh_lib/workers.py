"""Worker processes: their share of the cores, and an end that leaves nothing behind."""

import os
import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass, field

import psutil

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
GRACE = 10.0  # seconds that a worker has to end in order


def shared_out(workers: int) -> dict[str, str]:
    """This process' environment for one of several workers, with its share of the cores."""
    usable = getattr(os, "sched_getaffinity", None)  # Linux has it
    cores = len(usable(0)) if usable else os.cpu_count() or 1
    return with_threads(max(1, cores // workers))


def with_threads(threads: int) -> dict[str, str]:
    """This process' environment for a worker with so many threads."""
    return {**os.environ, **dict.fromkeys(THREADS, str(threads))}


@dataclass
class Family:
    """A worker and all that descends from it, also what a kernel's own session hides from its group."""

    worker: "subprocess.Popen[bytes]"
    known: set[psutil.Process] = field(default_factory=set)

    def look(self) -> None:
        """Note who is there; once a parent has died, its children cannot be told from others."""
        try:
            self.known.update(psutil.Process(self.worker.pid).children(recursive=True))
        except psutil.NoSuchProcess:
            return

    def end(self, grace: float = GRACE) -> None:
        """End what is left of it: the worker in order if it can, so that it takes its kernel along."""
        self.look()
        if self.worker.poll() is None:
            self.worker.send_signal(signal.SIGTERM)
            try:
                self.worker.wait(grace)
            except subprocess.TimeoutExpired:
                self.look()
                self.worker.kill()
                self.worker.wait()
        _, left = psutil.wait_procs(self.known, timeout=0.5)
        for process in left:
            with suppress(psutil.NoSuchProcess):  # it may end by itself meanwhile
                process.kill()
        psutil.wait_procs(left, timeout=grace)
