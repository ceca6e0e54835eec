"""Decision Mamba-Hybrid: in-context reinforcement learning that a laptop can train."""

__version__ = "0.1.0"
