"""Mamba-1 on any device: the selective scan and the block around it, interchangeable with mamba-ssm's."""

from .block import Mamba
from .scan import selective_scan
from .warm_up import warm_up

__all__ = ["Mamba", "selective_scan", "warm_up"]
