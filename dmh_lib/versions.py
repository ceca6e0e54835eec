"""Versions that results depend on, without importing what they are of."""

import platform
from importlib.metadata import version

import dmh_lib


def versions() -> dict[str, str]:
    """Versions that a result depends on."""
    packages = {name: version(name) for name in ("torch", "numpy", "numba", "gymnasium")}
    return {"dmh_lib": dmh_lib.__version__, "python": platform.python_version(), **packages}
