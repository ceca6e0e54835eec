"""What every benchmark shares: timing, memory, the machine and its speed, and the record of a result."""

import ctypes
import gc
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol, Self

import torch
from torch import Tensor

from dmh_lib.errors import BenchmarkError
from dmh_lib.versions import versions

MATMUL_SIZE = 2048
MIB = 2**20

# ---------------------------------------------------------------------------- time


class Timing(NamedTuple):
    """The median of `runs` calls, in seconds."""

    seconds: float
    runs: int


def timed(call: Callable[[], object], runs: int = 15, budget: float = 10.0) -> Timing:
    """The median time of a call, after one that warms caches.

    No run starts later than `budget` seconds after the first one did. A call that takes longer than that
    alone is made once, and what it warmed is small beside what it did.
    """
    times: list[float] = []
    start = time.perf_counter()
    while len(times) <= runs and (not times or time.perf_counter() - start < budget):
        before = time.perf_counter()
        call()
        times.append(time.perf_counter() - before)
    kept = times[1:] or times
    return Timing(statistics.median(kept), len(kept))


# ---------------------------------------------------------------------------- memory


def peak_memory(prepare: Callable[[], Callable[[], object]]) -> int | None:
    """Bytes that a call adds to a fresh process at its highest, or None where the system cannot tell.

    Args:
        prepare: a function of a module or a `functools.partial` of one, since it is sent to the process. It
            makes the inputs, warms up, and returns the call that is measured.
    """
    if sys.platform != "linux":
        return None
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as process:
        return process.submit(_added_at_peak, prepare).result()


def _added_at_peak(prepare: Callable[[], Callable[[], object]]) -> int:
    # The kernel's own high-water mark of resident pages misses nothing: neither short peaks, as sampling
    # would, nor what Numba, NumPy or thread stacks take, as a hook in PyTorch's allocator would. It is reset
    # once the inputs lie in memory, in a process that runs nothing else; memory freed by then is handed back,
    # so that the call cannot take it again unseen.
    call = prepare()
    gc.collect()
    if (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:  # glibc has it
        trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = _resident("VmRSS")
    result = call()  # what the call returns stays alive until the mark is read
    peak = _resident("VmHWM")
    del result
    return max(0, peak - before)


def resident_memory() -> int | None:
    """Bytes of this process in memory now, or None where the system cannot tell."""
    return _resident("VmRSS") if sys.platform == "linux" else None


def _resident(field_name: str) -> int:
    """Bytes in a line like `VmRSS:   223536 kB` of this process's status."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field_name}:"))


def num_bytes(tensors: Sequence[Tensor]) -> int:
    """Bytes that the numbers of some tensors take."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


# ---------------------------------------------------------------------------- machine


def matmul_rate() -> float:
    """GFLOP/s of a square float32 matrix product, the yardstick for times from different machines."""
    matrix = torch.randn(MATMUL_SIZE, MATMUL_SIZE)
    return 2e-9 * MATMUL_SIZE**3 / timed(lambda: matrix @ matrix, runs=5).seconds


def describe_machine() -> dict[str, Any]:
    """What times depend on, without anything that names the machine."""
    usable = getattr(os, "sched_getaffinity", None)  # Linux has it: what a container may use
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "vectors": torch.backends.cpu.get_cpu_capability(),
        "cores": len(usable(0)) if usable else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "matmul_gflop_per_s": round(matmul_rate(), 1),
        **versions(),
    }


# ---------------------------------------------------------------------------- peers


def installed(package: str) -> bool:
    """Whether a package that a benchmark compares with is there."""
    return find_spec(package) is not None


def not_installed(package: str) -> str:
    """The note in the row of a peer that is missing."""
    return f"{package} is not installed: pip install 'dmh-lib[bench]'"


# ---------------------------------------------------------------------------- settings and results


class BenchSettings(Protocol):
    """What a benchmark can be asked, a frozen dataclass; its docstring is the question."""

    name: ClassVar[str]

    @classmethod
    def quick(cls) -> Self:
        """Tiny shapes, to see that it runs."""


@dataclass(frozen=True)
class Check:
    """A measured number and the bounds that it should keep."""

    what: str
    value: float
    at_least: float | None = None
    at_most: float | None = None

    @property
    def passed(self) -> bool:
        low = self.at_least is None or self.value >= self.at_least
        return low and (self.at_most is None or self.value <= self.at_most)

    def __str__(self) -> str:
        bounds = [("at least", self.at_least), ("at most", self.at_most)]
        wanted = " and ".join(f"{word} {bound:g}" for word, bound in bounds if bound is not None)
        return f"{self.what}: {self.value:.3g} ({wanted}: {'kept' if self.passed else 'MISSED'})"


def agreement(name: str, results: Sequence[Tensor], expected: Sequence[Tensor], at_most: float) -> Check:
    """The check that two sides compute the same: the largest error relative to each tensor's largest value.

    Raises BenchmarkError where they do not, because their times could not be compared.
    """
    pairs = zip(results, expected, strict=True)
    error = torch.stack([(x - y).abs().max() / y.abs().max() for x, y in pairs]).max().item()  # or NaN
    check = Check(f"largest relative error of {name}", error, at_most=at_most)
    if not check.passed:
        raise BenchmarkError(f"{name}: differs from the reference by {error:.1e}; its times mean nothing")
    return check


@dataclass(frozen=True)
class Report:
    """What a benchmark found. Rows may lack values; columns give the unit of each value, "" for none."""

    name: str
    question: str
    settings: dict[str, Any]
    checks: list[Check]
    columns: dict[str, str]
    rows: list[dict[str, Any]]
    machine: dict[str, Any] = field(default_factory=describe_machine)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        checks = [{**asdict(check), "passed": check.passed} for check in self.checks]
        return {**asdict(self), "checks": checks}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of `to_dict`; raises KeyError, TypeError or ValueError for anything else."""
        for kind, names in ((str, ("name", "question")), (list, ("checks", "rows"))):
            for name in names:
                if not isinstance(values[name], kind):
                    raise TypeError(f"{name} is {values[name]!r}")
        if not all(isinstance(row, dict) for row in values["rows"]):
            raise TypeError("a row holds no names and values")
        if not all(isinstance(unit, str) for unit in values["columns"].values()):
            raise TypeError("a unit is no text")
        bare = [{key: check[key] for key in check if key != "passed"} for check in values["checks"]]
        checks = [Check(**check) for check in bare]
        for check in checks:
            str(check)  # raises where its numbers are none
        settings = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in values["settings"].items()
        }
        return cls(**{**values, "settings": settings, "checks": checks, "machine": dict(values["machine"])})


def format_table(report: Report) -> str:
    """The rows as a table that reads well in a terminal and is Markdown; empty columns are left out."""
    columns = [name for name in report.columns if any(row.get(name) is not None for row in report.rows)]
    titles = []
    for name in columns:
        unit = report.columns[name]
        titles.append(name.replace("_", " ") + (f" ({unit})" if unit else ""))
    cells = [[_shown(row.get(name)) for name in columns] for row in report.rows]
    widths = [max(map(len, column)) for column in zip(titles, *cells, strict=True)]
    words = [all(isinstance(row.get(name), str | None) for row in report.rows) for name in columns]

    def line(texts: Sequence[str]) -> str:
        placed = zip(texts, widths, words, strict=True)
        return "| " + " | ".join(t.ljust(w) if left else t.rjust(w) for t, w, left in placed) + " |"

    rule = ["-" * w if left else "-" * (w - 1) + ":" for w, left in zip(widths, words, strict=True)]
    return "\n".join([line(titles), line(rule), *map(line, cells)])


def format_report(report: Report) -> str:
    """The whole result as Markdown: question, settings, table, checks, machine."""
    settings, machine = (
        ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in fields.items() if value is not None)
        for fields in (report.settings, report.machine)
    )
    checks = "\n".join(f"- {check}" for check in report.checks)
    question = " ".join(report.question.split())
    parts = [f"## {report.name}", question, f"Settings: {settings}.", format_table(report), checks]
    return "\n\n".join([*filter(None, parts), f"Machine: {machine}."]) + "\n"


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
