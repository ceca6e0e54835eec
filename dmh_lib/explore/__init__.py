"""Looking at what an agent does and why: lifetimes step by step, changed contexts, the model's inside."""

from .agreement import parity
from .files import read_life, write_life
from .inside import chunk_attention, context_of, memory_trace
from .lives import Decision, Episode, decide, decision_of, live, relive

__all__ = [
    "Decision",
    "Episode",
    "chunk_attention",
    "context_of",
    "decide",
    "decision_of",
    "live",
    "memory_trace",
    "parity",
    "read_life",
    "relive",
    "write_life",
]
