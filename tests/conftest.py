"""Settings for every test."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # test processes share the cores; kernels inherit it

import torch
from hypothesis import settings

torch.set_num_threads(1)

# no deadline: on a busy machine the time of one example says nothing; in CI the same examples every time
settings.register_profile("dmh", deadline=None, max_examples=50, derandomize="CI" in os.environ)
settings.load_profile("dmh")
