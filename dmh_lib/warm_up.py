"""Compilation of the CPU kernels ahead of their first use."""

from functools import partial

from tqdm.auto import tqdm

from dmh_lib.decode import actor_kernel, planner_kernel
from dmh_lib.mamba import conv, scan_kernels
from dmh_lib.models import dropout


def warm_up(*, progress: bool = False) -> None:
    """Compile all CPU kernels now: about a minute once, later a second to read Numba's disk cache.

    Without this call each is compiled by the first pass that needs it, and that pass seems to hang.

    Args:
        progress: show a bar, unless everything is there within two seconds.
    """
    bfloat16 = False  # models store float32 unless told otherwise
    kernels = (
        partial(scan_kernels.forward_kernel, bfloat16),
        partial(scan_kernels.backward_kernel, bfloat16),
        partial(conv.forward_kernel, bfloat16),
        partial(conv.backward_kernel, bfloat16),
        dropout.drop_kernel,
        planner_kernel.begin_kernel,
        actor_kernel.act_kernel,
    )
    for kernel in tqdm(kernels, desc="compiling CPU kernels, once", disable=not progress, delay=2):
        kernel()
