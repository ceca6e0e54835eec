"""A slider over the episodes of a lifetime."""

import ipywidgets
import plotly.graph_objects as go

from dmh_lib import figures
from dmh_lib.rollouts import Rollout

from .pictures import Picture


def episode_figure(rollout: Rollout, episode: int) -> go.Figure:
    """The room in one episode (counted from 1): path, decoded sub-goals and hidden goal."""
    index = episode - 1
    return figures.room(
        rollout.size,
        f"episode {episode}: return {rollout.returns[index]:g}",
        path=rollout.paths[index],
        subgoals=rollout.subgoals[index],
        goal=rollout.goal,
    )


def episode_slider(rollout: Rollout) -> ipywidgets.VBox:
    """A slider over the episodes of a lifetime, above the room.

    Nothing here prints or displays: a callback that does can stall a notebook that is run headless.
    """
    picture = Picture(episode_figure(rollout, 1))
    slider = ipywidgets.IntSlider(1, 1, len(rollout.returns), description="episode", continuous_update=False)

    def redraw(change: dict[str, int]) -> None:
        picture.redraw(episode_figure(rollout, change["new"]))

    slider.observe(redraw, names="value")
    return ipywidgets.VBox([slider, picture])
