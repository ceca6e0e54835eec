"""`dmh bench`: the benchmarks on the command line, the one place here that prints."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

from tyro.conf import OmitArgPrefixes, subcommand

from dmh_lib.console import watched
from dmh_lib.files import write_json

from . import BENCHMARKS, block, envs, labels, mujoco, online, scaling, scan, train
from .common import BenchSettings, format_report
from .suite import run_all

S = TypeVar("S", bound=BenchSettings)


@dataclass(frozen=True)
class Measure(Generic[S]):
    """One benchmark."""

    settings: Annotated[S, OmitArgPrefixes]
    json: Path | None = None
    """File for the result."""
    quick: bool = False
    """Tiny shapes in place of the settings, to see that it runs."""

    def run(self) -> None:
        settings = self.settings.quick() if self.quick else self.settings
        report = BENCHMARKS[settings.name](settings, progress=watched())
        if self.json:
            write_json(self.json, report.to_dict())
        print(format_report(report))


@dataclass(frozen=True)
class MeasureAll:
    """Every benchmark, each in a process of its own, so that none inherits memory or threads."""

    dir: Path | None = None
    """Folder for a JSON file of each and one page, README.md; runs/benchmarks, or with --quick
    runs/benchmarks-quick, if left out."""
    quick: bool = False
    """Tiny shapes, to see that they run."""

    def run(self) -> None:
        folder = self.dir or Path("runs/benchmarks-quick" if self.quick else "runs/benchmarks")
        print(f"wrote {run_all(folder, quick=self.quick)}")


def _measure(settings: type[BenchSettings]) -> Any:
    return subcommand(settings.name, description=settings.__doc__)


@dataclass(frozen=True)
class Bench:
    """Measure speed and memory on this machine."""

    command: (
        Annotated[Measure[scan.Settings], _measure(scan.Settings)]
        | Annotated[Measure[block.Settings], _measure(block.Settings)]
        | Annotated[Measure[train.Settings], _measure(train.Settings)]
        | Annotated[Measure[online.Settings], _measure(online.Settings)]
        | Annotated[Measure[mujoco.Settings], _measure(mujoco.Settings)]
        | Annotated[Measure[scaling.Settings], _measure(scaling.Settings)]
        | Annotated[Measure[labels.Settings], _measure(labels.Settings)]
        | Annotated[Measure[envs.Settings], _measure(envs.Settings)]
        | Annotated[MeasureAll, subcommand("all")]
    )

    def run(self) -> None:
        self.command.run()
