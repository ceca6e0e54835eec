"""`dmh benchmark`: a table of runs on the command line, the one place here that prints."""

import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tqdm.auto import tqdm
from tyro.conf import Positional, arg

from dmh_lib.checkpoints import WEIGHTS, export_checkpoint
from dmh_lib.console import watched

from .runner import Order, default_out, do_all, select, todo
from .specs import RunSpec
from .store import Places, expected_minutes, has_weights, state_of
from .tables import TABLES, load_table


@dataclass(frozen=True)
class Benchmark:
    """Train and evaluate every run of a table that is not done yet, then write the page of results.

    A run that was interrupted goes on where it stopped; a run that fails does not keep the others from being
    done. Exits with 1 if one failed.
    """

    table: Positional[str]
    """quick (20 minutes on two cores), tmaze (an hour), standard, paper, or a JSON file with your own."""
    only: str | None = None
    """Runs to do, by name; * stands for anything."""
    show: Annotated[bool, arg(name="list")] = False
    """Say what is done and what is missing, and how long it may take; do nothing."""
    only_render: Annotated[bool, arg(name="render")] = False
    """Write the page from what is stored; train nothing."""
    jobs: int = 2
    """Runs at a time, each a process with its share of the cores; 0: one by one in this process."""
    again: bool = False
    """Do runs again whose stored results have other settings."""
    repeat: bool = False
    """Do finished runs from nothing and see that they give the stored numbers; changes nothing."""
    keep: bool = False
    """Keep the final weights of training seed 0 under runs/benchmark/kept."""
    checkpoints: Path | None = None
    """Folder for those weights with settings and scores, one checkpoint for each environment and method."""
    page: bool = True
    """Write the page at the end."""
    out: Path | None = None
    """Folder of results, figures and page; docs, or the folder of the table's file."""
    data: Path = Places.data
    """Folder of the histories."""
    scratch: Path = Places.scratch
    """Folder of what is under way."""

    def run(self) -> None:
        places = Places(self.out or default_out(self.table), self.data, self.scratch)
        table = load_table(self.table)
        specs = select(table, self.only)
        if self.show:
            _print_list(specs, places, self.jobs)
            return
        failed = [] if self.only_render else self._do(specs, places)
        if self.page:
            from .page import render  # what draws takes long to import

            shown = TABLES if self.table in TABLES else {Path(self.table).stem: table}
            print(f"wrote {render(_with_results(shown, self.table, places), places)}")
        if failed:
            print(f"{len(failed)} of {len(specs)} runs failed: {', '.join(failed)}", file=sys.stderr)
            raise SystemExit(1)

    def _do(self, specs: list[RunSpec], places: Places) -> list[str]:
        """Do what is to be done and say how it went; names of the runs that failed."""
        keep = self.keep or self.checkpoints is not None
        order = Order(self.jobs, again=self.again, repeat=self.repeat, keep=keep)
        runs = todo(specs, places, order)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that workers are ended as well
        failed = []
        with tqdm(total=len(runs), desc="runs", disable=not watched()) as bar:
            for outcome in do_all(self.table, runs, places, order):
                bar.update()
                word = "" if outcome.ok else "failed: "
                with tqdm.external_write_mode():
                    print(f"{outcome.spec.name}: {word}{outcome.said}", flush=True)
                if not outcome.ok:
                    failed.append(outcome.spec.name)
        if self.checkpoints is not None:
            _export(specs, places, self.checkpoints)
        return failed


def _with_results(tables: dict[str, list[RunSpec]], asked: str, places: Places) -> dict[str, list[RunSpec]]:
    """The tables for the page: the one that was asked for, and those of which something is there."""
    return {
        name: specs
        for name, specs in tables.items()
        if name == Path(asked).stem or any(places.result(spec).is_file() for spec in specs)
    }


def _export(specs: list[RunSpec], places: Places, folder: Path) -> None:
    """Copy kept weights to FOLDER/ENVIRONMENT-METHOD."""
    for spec in specs:
        if spec.seed == 0 and has_weights(spec, places):
            target = export_checkpoint(places.kept(spec), folder / checkpoint_name(spec))
            print(f"wrote {target} ({(target / WEIGHTS).stat().st_size / 1e6:.1f} MB)")


def checkpoint_name(spec: RunSpec) -> str:
    """`darkroom-dm-h`; other histories than the searcher's are named as well."""
    return spec.series.replace("/searcher/", "/").replace("/", "-")


def _print_list(specs: list[RunSpec], places: Places, jobs: int) -> None:
    width = max(len(spec.name) for spec in specs)
    total, unknown = 0.0, 0
    for spec in specs:
        state, different = state_of(spec, places)
        minutes = expected_minutes(spec, places)
        if state != "done":
            total, unknown = total + (minutes or 0.0), unknown + (minutes is None)
        guess = "?" if minutes is None else f"{minutes:.0f} min"
        why = f"  ({'; '.join(different[:3])})" if different else ""
        print(f"{spec.name:{width}}  {state:7}  {guess:>8}{why}")
    rest = f", and {unknown} that nobody has timed" if unknown else ""
    print(f"to do: about {total / max(1, jobs):.0f} minutes with {max(1, jobs)} at a time{rest}")
