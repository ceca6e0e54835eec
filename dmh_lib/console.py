"""What the commands show: bars where somebody watches, and fields one below the other; and Ctrl-C."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


def watched() -> bool:
    """Whether there is a terminal to draw bars on."""
    return sys.stderr.isatty()


def print_fields(fields: dict[str, Any]) -> None:
    """One line for each field."""
    for name, value in fields.items():
        print(f"{name:>14}  {value}")


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Tells whether Ctrl-C was pressed, so that work can end in order; pressed again, it ends the program."""
    before, pressed = signal.getsignal(signal.SIGINT), list[int]()

    def press(number: int, _: Any) -> None:
        pressed.append(number)
        os.write(2, "\nstopping …\n".encode())  # print may be what is interrupted
        signal.signal(signal.SIGINT, before)

    if before is not signal.SIG_IGN:  # as in the background of a script
        signal.signal(signal.SIGINT, press)
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, before)
