"""All benchmarks in one go: a process and a JSON file each, and one page."""

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from dmh_lib.errors import BenchmarkError
from dmh_lib.files import atomic_path, read_json

from . import BENCHMARKS
from .common import Report, format_report

PAGE = "README.md"


def run_all(
    folder: str | os.PathLike[str], names: Iterable[str] = BENCHMARKS, *, quick: bool = False
) -> Path:
    """Run benchmarks through the `dmh` command, whose tables go where this process's output goes.

    Args:
        folder: gets NAME.json for each, and the page.
        names: which, in order.
        quick: tiny shapes.

    Returns:
        The page.

    Raises:
        BenchmarkError: some failed; the others were run, and stand on the page.
    """
    target = Path(folder)
    failed: list[str] = []
    pages = ["# Benchmarks\n"]
    for name in names:
        path = target / f"{name}.json"
        path.unlink(missing_ok=True)  # an old result must not pass for a new one
        command = [sys.executable, "-m", "dmh_lib.cli", "bench", name, "--json", str(path)]
        if subprocess.run([*command, *(["--quick"] if quick else [])], check=False).returncode:
            failed.append(name)
        else:
            pages.append(format_report(Report.from_dict(read_json(path))))
    with atomic_path(target / PAGE) as temporary:
        temporary.write_text("\n".join(pages), encoding="utf-8")
    if failed:
        raise BenchmarkError(f"{', '.join(failed)}: failed; the reasons stand above, the rest in {target}")
    return target / PAGE
