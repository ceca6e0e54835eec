"""Keys of a keyboard, for whom buttons are too slow."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import anywidget
import traitlets


class Keys(anywidget.AnyWidget):
    """A field on a page that tells which keys are pressed while it has the focus.

    Args:
        keys: the names of those it takes, as a browser calls them; all others are left to the page.
        label: what stands in the field.
    """

    _esm = Path(__file__).with_name("keys.js")
    taken = traitlets.List(traitlets.Unicode()).tag(sync=True)
    label = traitlets.Unicode().tag(sync=True)
    _pressed = traitlets.List([" ", 0]).tag(
        sync=True
    )  # the key, and a count, so that a repeated key is a change

    def __init__(self, keys: Sequence[str], label: str, **traits: Any) -> None:
        super().__init__(taken=list(keys), label=label, **traits)

    def on_press(self, told: Callable[[str], None]) -> None:
        """Have a function told of each key that is pressed."""
        self.observe(lambda change: told(str(change["new"][0])), names="_pressed")
