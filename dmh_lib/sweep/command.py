"""`dmh sweep`: a notebook or a training over a grid of parameters."""

import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tqdm.auto import tqdm
from tyro.conf import Positional, arg

from dmh_lib.console import watched


@dataclass(frozen=True)
class Sweep:
    """Run a notebook or a training once for each row of a grid, which a YAML file describes.

    Each run has a folder of its own. Runs that are done are not done again, those that failed are; Ctrl-C
    ends all in order. Exits with 1 if a run failed.
    """

    file: Positional[Path]
    """The sweep; the README shows one."""
    out: Path | None = None
    """Folder of the sweep; runs/sweeps/NAME of the file if left out."""
    workers: int = 2
    """Runs at a time, each with its share of the cores."""
    minutes: float | None = None
    """Most that a run may take."""
    retries: int = 0
    """Times that a run which failed is tried again at once."""
    ray: str | None = None
    """Address of a Ray cluster to run on instead, as `ray start` tells it; `auto` finds this machine's. Its
    machines share the disk that the sweep's folder is on."""
    cpus: int = 1
    """Cores of each run there."""
    gpus: float = 0.0
    """GPUs of each run there; below 1 several share one."""
    show: Annotated[bool, arg(name="list")] = False
    """Say what is done and what is missing; do nothing."""

    def run(self) -> None:
        from dmh_lib.sweep.gather import overview, read_lives, write_lifetimes
        from dmh_lib.sweep.on_ray import Shares, run_on_ray
        from dmh_lib.sweep.page import write_index
        from dmh_lib.sweep.runner import Limits, run_sweep, unfinished
        from dmh_lib.sweep.spec import read_sweep

        limits, shares = Limits(self.workers, self.minutes, self.retries), Shares(self.cpus, self.gpus)
        orders = read_sweep(self.file).orders()
        sweep = self.out or Path("runs/sweeps") / self.file.stem
        if self.show:
            print(overview(orders, sweep, read_lives(orders, sweep)).to_string(index=False, na_rep="–"))
            return
        todo = unfinished(orders, sweep)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that workers are ended as well
        failed = 0
        if self.ray is None:
            outcomes = run_sweep(todo, sweep, limits)
        else:
            outcomes = run_on_ray(todo, sweep, self.ray, limits, shares)
        with tqdm(
            total=len(orders), initial=len(orders) - len(todo), desc="runs", disable=not watched()
        ) as bar:
            for outcome in outcomes:
                bar.update()
                failed += outcome.why is not None
                said = f"failed: {outcome.why}" if outcome.why else f"done in {outcome.seconds:.0f} s"
                with tqdm.external_write_mode():
                    print(f"{outcome.order.name}: {said}", flush=True)
        lives = read_lives(orders, sweep)
        write_lifetimes(orders, sweep, lives)
        page = write_index(orders, sweep, lives, self.file.stem)
        print(f"{len(orders) - failed} of {len(orders)} runs are done; {page} shows them")
        if failed:
            print(f"{failed} failed; the same command tries them again", file=sys.stderr)
            raise SystemExit(1)
