"""One honest protocol for every method: tables of runs, their results, and the page made from them.

`single.run_one` does a run, `page.render` writes the page.
"""

from .data import DataSpec, MazeSpec, MujocoSpec
from .runner import Order, Outcome, do_all, select, todo
from .specs import Judging, MazeJudging, RunSpec
from .store import Places, Stored, load, load_done, state_of
from .tables import TABLES, load_table, write_table

__all__ = [
    "TABLES",
    "DataSpec",
    "Judging",
    "MazeJudging",
    "MazeSpec",
    "MujocoSpec",
    "Order",
    "Outcome",
    "Places",
    "RunSpec",
    "Stored",
    "do_all",
    "load",
    "load_done",
    "load_table",
    "select",
    "state_of",
    "todo",
    "write_table",
]
