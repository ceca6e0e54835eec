"""Benchmarks: a module per question, with `Settings` and a `run` that first checks, then measures."""

from collections.abc import Callable

from . import block, envs, labels, mujoco, online, scaling, scan, train
from .common import BenchSettings, Report

BENCHMARKS: dict[str, Callable[..., Report]] = {
    module.Settings.name: module.run for module in (scan, block, train, online, mujoco, scaling, labels, envs)
}
"""By the name that `dmh bench NAME` knows, in the order in which `dmh bench all` runs them."""

__all__ = ["BENCHMARKS", "BenchSettings", "Report"]
