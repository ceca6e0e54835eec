"""Results on disk, and what pictures need of them."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dmh_lib.errors import BenchmarkError
from dmh_lib.files import read_json

from . import BENCHMARKS
from .common import Report

Series = dict[str, tuple[list[float], list[float]]]


def load_reports(*folders: str | os.PathLike[str]) -> dict[str, Report]:
    """The result NAME.json of every benchmark, from the first folder that has it.

    Raises BenchmarkError for a file that is none, or where no folder has any.
    """
    found: dict[str, Report] = {}
    for folder in folders:
        for path in (Path(folder) / f"{name}.json" for name in BENCHMARKS):
            if not path.is_file():
                continue
            try:
                report = Report.from_dict(read_json(path))
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise BenchmarkError(
                    f"{path}: not a benchmark's result ({error!r}); delete it, or run `dmh bench` again"
                ) from error
            found.setdefault(report.name, report)
    if not found:
        looked = ", ".join(str(folder) for folder in folders)
        raise BenchmarkError(f"{looked}: no results here; run `dmh bench all --dir FOLDER`")
    return found


def series(report: Report, name: str, x: str, y: str, **only: Any) -> Series:
    """Lines to draw: for each value of column `name`, columns x and y of the rows in which `only` holds.

    Rows that lack a value are left out.
    """
    lines: Series = {}
    for row in report.rows:
        lacks = any(row.get(column) is None for column in (name, x, y))
        if not lacks and all(row.get(key) == value for key, value in only.items()):
            at, values = lines.setdefault(str(row[name]), ([], []))
            at.append(row[x])
            values.append(row[y])
    return lines


def speedups(reports: Mapping[str, Report]) -> dict[str, float]:
    """How many times as long others take, by what was compared; what is there of it.

    In training the others are other libraries; in play they are other ways of this library, beside DM-H.
    """
    found: dict[str, float] = {}
    if scan := reports.get("scan"):
        found |= _ratios(scan, "scan", "selective scan, training: {}", ("mambapy", "mamba.py"))
    if block := reports.get("block"):
        peers = (("mambapy", "mamba.py"), ("transformers", "transformers"))
        found |= _ratios(block, "mamba", "Mamba layers, training: {}", *peers)
    if online := reports.get("online"):
        longest = max(row["context"] for row in online.rows)
        rows = [row for row in online.rows if row["context"] == longest and row["ratio"] != 1]
        found |= {f"a step after {longest:,}: {row['method']}": row["ratio"] for row in rows}
    return found


def _ratios(report: Report, name: str, text: str, *peers: tuple[str, str]) -> dict[str, float]:
    return {
        text.format(title): row["ratio"]
        for key, title in peers
        for row in report.rows
        if row[name] == key and row.get("ratio") is not None
    }
