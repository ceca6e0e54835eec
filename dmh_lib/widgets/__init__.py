"""Widgets for JupyterLab, each a thin layer over figures; headless notebooks draw the figure instead."""

from .context import ContextEditor
from .explorer import Explorer, explore
from .session import Session
from .slider import episode_figure, episode_slider
from .subgoals import SubgoalView

__all__ = [
    "ContextEditor",
    "Explorer",
    "Session",
    "SubgoalView",
    "episode_figure",
    "episode_slider",
    "explore",
]
