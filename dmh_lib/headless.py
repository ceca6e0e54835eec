"""Whether anybody watches a notebook, without the weight of the libraries that run one."""

import os

HEADLESS = "DMH_HEADLESS"
"""Environment variable that the runner sets: notebooks then draw static pictures and show no bars."""


def is_headless() -> bool:
    """Whether this process runs a notebook for `run_notebook`."""
    return os.environ.get(HEADLESS) == "1"
