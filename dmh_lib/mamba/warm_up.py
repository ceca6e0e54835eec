"""Compilation ahead of the first use."""

from . import conv, scan_kernels


def warm_up() -> None:
    """Compile the CPU kernels now: about half a minute once, later a second to read Numba's disk cache.

    Without this call they are compiled by the first forward and the first backward pass that need them.
    """
    for module in (scan_kernels, conv):
        module.forward_kernel()
        module.backward_kernel()
