"""Widgets for JupyterLab, each a thin layer over figures; headless notebooks draw the figure instead."""

from .check import ParityCheck
from .compare import Compare
from .context import ContextEditor
from .explorer import Explorer, explore
from .inside import InsideView
from .play import PlayBeside
from .session import Session
from .slider import episode_figure, episode_slider
from .subgoals import SubgoalView
from .trainer import LiveTraining

__all__ = [
    "Compare",
    "ContextEditor",
    "Explorer",
    "InsideView",
    "LiveTraining",
    "ParityCheck",
    "PlayBeside",
    "Session",
    "SubgoalView",
    "episode_figure",
    "episode_slider",
    "explore",
]
