"""Plotly figures, each a pure function of tables and arrays. They draw; they compute nothing worth a test."""

from .explorer import action_chances, edited_subgoals, ellipse, episode_overview, explored_room
from .inside import action_history, attention, memory_curves
from .plots import (
    attention_mask,
    bars,
    heatmap,
    lines,
    ranking,
    return_curves,
    rewards_and_goal,
    scatter,
)
from .rooms import room, rooms
from .style import (
    BLUE,
    COLORS,
    GREEN,
    GREY,
    METHOD_COLORS,
    ORANGE,
    PURPLE,
    RED,
    SKY,
    TEMPLATE,
    colors_of,
)

__all__ = [
    "BLUE",
    "COLORS",
    "GREEN",
    "GREY",
    "METHOD_COLORS",
    "ORANGE",
    "PURPLE",
    "RED",
    "SKY",
    "TEMPLATE",
    "action_chances",
    "action_history",
    "attention",
    "attention_mask",
    "bars",
    "colors_of",
    "edited_subgoals",
    "ellipse",
    "episode_overview",
    "explored_room",
    "heatmap",
    "lines",
    "memory_curves",
    "ranking",
    "return_curves",
    "rewards_and_goal",
    "room",
    "rooms",
    "scatter",
]
