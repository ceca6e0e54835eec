"""What the commands show: bars where somebody watches, and fields one below the other; and signals."""

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
def interruptible() -> Iterator[Callable[[], int]]:
    """Tells which signal asked to stop, 0 while none did, so that work can end in order.

    Ctrl-C (SIGINT) and what clusters send before they take a machine away (SIGTERM). A second one ends the
    program at once.
    """
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    # Ctrl-C is ignored in the background of a script; None is a handler that Python did not set
    before = {number: old for number, old in handlers.items() if old not in (None, signal.SIG_IGN)}
    came = list[int]()

    def stop(number: int, _: Any) -> None:
        came.append(number)
        os.write(2, "\nstopping …\n".encode())  # print may be what is interrupted
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in before:
        signal.signal(number, stop)
    try:
        yield lambda: came[0] if came else 0
    finally:
        restore()
