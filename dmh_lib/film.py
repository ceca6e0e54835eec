"""Films of an agent in MuJoCo, as animated pictures that every browser shows."""

import os
import sys
from base64 import b64encode
from ctypes.util import find_library
from dataclasses import dataclass
from html import escape
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dmh_lib.agents import Agent
from dmh_lib.envs.copies import make_copies
from dmh_lib.errors import SettingError
from dmh_lib.files import atomic_path

SIZE = (240, 320)  # pixels, height and width
SHARPNESS = 70  # of WebP, 0 to 100

# without a screen MuJoCo draws through EGL, which it must be told before it is imported
if (
    sys.platform == "linux"
    and not os.environ.get("DISPLAY")
    and "mujoco" not in sys.modules
    and find_library("EGL")
):
    os.environ.setdefault("MUJOCO_GL", "egl")


@dataclass(frozen=True)
class Film:
    """One episode, or its beginning; a notebook shows it."""

    frames: NDArray[np.uint8]  # (F, height, width, 3)
    seconds: float
    """Of simulated time from frame to frame."""
    title: str

    def webp(self) -> bytes:
        """The film as an animated picture, in real time, again and again."""
        pictures = [Image.fromarray(frame) for frame in self.frames]
        file = BytesIO()
        pictures[0].save(
            file,
            "webp",
            save_all=True,
            append_images=pictures[1:],
            duration=round(1000 * self.seconds),
            loop=0,
            quality=SHARPNESS,
        )
        return file.getvalue()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the film as a WebP file."""
        with atomic_path(path) as temporary:
            temporary.write_bytes(self.webp())

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        source = f"data:image/webp;base64,{b64encode(self.webp()).decode()}"
        words = (
            f"{self.title}: a film of {len(self.frames)} pictures, {len(self.frames) * self.seconds:.1f} s"
        )
        return {"text/html": f'<img alt="{escape(words)}" src="{source}">', "text/plain": words}


class NothingToDrawWithError(SettingError):
    """This machine has no OpenGL that MuJoCo can use."""


def show(
    agent: Agent, env_id: str, title: str, *, episode: int = 1, steps: int = 300, seed: int = 0
) -> Film | str:
    """A film of one of an agent's episodes, or in words what this machine lacks; arguments as of `record`."""
    try:
        return record(agent, env_id, title, episode=episode, steps=steps, seed=seed)
    except NothingToDrawWithError as error:
        return str(error)


def record(
    agent: Agent,
    env_id: str,
    title: str = "",
    *,
    episode: int = 1,
    steps: int = 300,
    every: int = 2,
    seed: int = 0,
) -> Film:
    """Let an agent live in one copy of a MuJoCo environment and film one of its episodes.

    Args:
        agent: plays; it begins with an empty context.
        env_id: of Gymnasium.
        title: what the film shows.
        episode: which to film, from 1; those before it are lived unseen.
        steps: the film's length, in steps of the environment; it ends with the episode.
        every: steps from picture to picture.
        seed: of the environment and the agent.

    Raises:
        SettingError: not a MuJoCo environment.
        NothingToDrawWithError: no OpenGL on this machine.
    """
    env = make_copies(env_id, 1)
    inside: Any = env.envs[0].unwrapped
    if not hasattr(inside, "model") or not hasattr(inside, "data"):
        raise SettingError(f"environment: {env_id} is not one of MuJoCo's, which alone can be filmed")
    renderer = _renderer(inside.model)
    observations, _ = env.reset(seed=seed)
    agent.begin(1, seed=seed)
    frames, at, step = [], 1, 0
    while at <= episode and (at < episode or step < steps):
        if at == episode and step % every == 0:
            renderer.update_scene(inside.data, camera="track")
            frames.append(renderer.render().copy())
        observations, rewards, terminated, truncated, _ = env.step(agent.act(observations))
        agent.observe(rewards, terminated, truncated)
        ended = bool(terminated[0] or truncated[0])
        at, step = at + ended, 0 if ended else step + 1
    renderer.close()
    env.close()
    return Film(np.stack(frames), every * inside.dt, title)


def _renderer(model: Any) -> Any:
    """MuJoCo's, without shadows and reflections, which take most of the time where no GPU draws."""
    import mujoco

    try:
        renderer = mujoco.Renderer(model, *SIZE)
    except Exception as error:  # whatever the graphics library raises
        remedy = "on Linux without a screen install libegl1, and set MUJOCO_GL=egl before Python starts"
        raise NothingToDrawWithError(f"film: MuJoCo has nothing to draw with ({error}); {remedy}") from error
    for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
        renderer.scene.flags[flag] = 0
    return renderer
