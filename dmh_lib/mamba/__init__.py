"""Mamba-1 on any device: the selective scan and the block around it, interchangeable with mamba-ssm's."""

from .block import Mamba
from .scan import selective_scan

__all__ = ["Mamba", "selective_scan"]
