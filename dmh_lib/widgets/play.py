"""A person beside the agent: the same room, the same past, and each sees what the other would do."""

from collections.abc import Callable, Sequence

import ipywidgets
import numpy as np
import plotly.graph_objects as go

from dmh_lib import figures
from dmh_lib.envs.rooms import MOVES
from dmh_lib.explore import Decision, Episode, decision_of, relive

from .keys import Keys
from .pictures import Picture
from .session import ACTIONS, Session

ARROWS = ("→", "←", "↑", "↓", "·")
KEYS = ("ArrowRight", "ArrowLeft", "ArrowUp", "ArrowDown", " ")  # in the order of the actions


class PlayBeside(ipywidgets.VBox):
    """The panel *Play*: a person acts, while the agent says what it would do.

    The agent has lived what the session's agent lived, and goes through the person's steps as if they were
    its own. An episode that is given to it stays in its memory, and it lives its next one with that.

    Args:
        session: one that has played.
        on_given: told the session's episodes with the person's at their end, when it is given to the agent.

    Attributes:
        moves: a button for each action; `follow` takes the agent's likeliest instead.
        give, again: what to do with the episode.
        keyboard: the field that takes arrow keys.
        decision: what the agent says before the next step; None when the episode is over.
    """

    def __init__(self, session: Session, on_given: Callable[[Sequence[Episode]], None]) -> None:
        self._session, self._on_given = session, on_given
        self.moves = [
            ipywidgets.Button(description=f"{arrow} {name}", layout={"width": "90px"})
            for arrow, name in zip(ARROWS, ACTIONS, strict=True)
        ]
        for action, button in enumerate(self.moves):
            button.on_click(lambda _, action=action: self.move(action))
        self.follow = ipywidgets.Button(
            description="do as the agent would",
            layout={"width": "170px"},
            tooltip="take its likeliest action",
        )
        self.follow.on_click(lambda _: self._follow())
        self.keyboard = Keys(KEYS, "click here, then walk with the arrow keys; space stays")
        self.keyboard.on_press(lambda key: self.move(KEYS.index(key)))
        self.again = ipywidgets.Button(description="begin again", tooltip="forget this episode")
        self.again.on_click(lambda _: self.begin())
        self.give = ipywidgets.Button(
            description="put it into the agent's context", button_style="primary", layout={"width": "230px"},
            tooltip="the agent remembers this episode and lives its next one",
        )  # fmt: skip
        self.give.on_click(lambda _: self._give())
        self.reveal = ipywidgets.Checkbox(False, description="show the hidden goal", indent=False)
        self.reveal.observe(lambda _: self._draw(), names="value")
        self.message = ipywidgets.HTML()
        self._start()
        self.room, self.chances = Picture(self._room()), Picture(self._chances())
        self._say()
        row = {"flex_flow": "row wrap"}
        left = ipywidgets.VBox(
            [
                self.message,
                self.chances,
                ipywidgets.HBox(self.moves),
                self.keyboard,
                ipywidgets.HBox([self.follow, self.again]),
                self.give,
                self.reveal,
            ]
        )
        super().__init__([ipywidgets.HBox([left, self.room], layout=row)])

    @property
    def episode(self) -> Episode:
        """The person's steps so far, with what the agent said before each."""
        return Episode(
            np.stack(self._seen),
            np.array(self._taken, dtype=np.int64),
            np.array(self._gained, dtype=np.float32),
            terminated=self._terminated,
            decisions=tuple(self._said),
        )

    def begin(self) -> None:
        """Begin an episode; the steps of one that was not given to the agent are forgotten."""
        self._start()
        self._draw()

    def _start(self) -> None:
        session = self._session
        self._agent = session.agent()
        relive(self._agent, session.life, session.seed)
        self._env = session.rules.make_vec([session.task])
        observation, _ = self._env.reset(seed=session.seed)  # (1, obs_dim)
        self._seen, self._terminated = [observation[0].astype(np.float32)], False
        self._taken, self._gained, self._said = list[int](), list[float](), list[Decision]()
        self.decision: Decision | None = self._ask()

    def _ask(self) -> Decision:
        """What the agent says before the next step."""
        self._agent.act(self._seen[-1][None])
        return decision_of(self._agent)

    def move(self, action: int) -> None:
        """Take a step; nothing happens when the episode is over."""
        if self.decision is None:
            return
        observation, gained, terminations, truncations, info = self._env.step(np.array([action]))
        self._agent.observe(gained, terminations, truncations, np.array([action]))
        ended = bool((terminations | truncations)[0])
        self._said.append(self.decision)
        self._seen.append((info["final_obs"] if ended else observation)[0].astype(np.float32))
        self._taken.append(action)
        self._gained.append(float(gained[0]))
        self._terminated = bool(terminations[0])
        self.decision = None if ended else self._ask()
        self._draw()

    def _follow(self) -> None:
        if self.decision is not None:
            self.move(int(self.decision.output.argmax()))

    def _give(self) -> None:
        if self._taken:
            self._on_given((*self._session.life, self.episode))

    # ------------------------------------------------------------------ what is shown

    def _draw(self) -> None:
        self.room.redraw(self._room())
        self.chances.redraw(self._chances())
        self._say()

    def _say(self) -> None:
        session, steps = self._session, len(self._taken)
        over = self.decision is None
        for button in (*self.moves, self.follow):
            button.disabled = over
        self.give.disabled = not steps
        where = f"episode {len(session.life) + 1}, yours: step {steps} of {session.rules.horizon}"
        best = "" if self.decision is None else ACTIONS[int(self.decision.output.argmax())]
        what = "over" if over else f"the agent would go <b>{best}</b>".replace("go <b>stay", "<b>stay")
        self.message.value = f"{where}, <b>{sum(self._gained):g}</b> collected; {what}"

    def _chances(self) -> go.Figure:
        if self.decision is None:
            return figures.action_chances(ACTIONS, [0.0] * len(ACTIONS), [], "the episode is over")
        title = f"what the agent would do at step {len(self._taken)}"
        return figures.action_chances(ACTIONS, self.decision.probabilities, [], title)

    def _room(self) -> go.Figure:
        session, steps = self._session, len(self._taken)
        here = self._seen[-1]
        there = np.zeros((0, 2))
        if self.decision is not None:
            move = MOVES[int(self.decision.output.argmax())]
            there = np.clip(here + move, 0, session.rules.size - 1)[None]
        goal = {"goal": session.goal} if self.reveal.value else {}
        title = f"your step {steps}: {sum(self._gained):g} collected"
        return figures.explored_room(
            session.rules.size, title, path=np.stack(self._seen), step=steps, choice=there, who="you", **goal
        )
