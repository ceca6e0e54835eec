"""What a sweep leaves on the disk: a folder for each run, with its order, its state and its log."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path

from dmh_lib.errors import DataError
from dmh_lib.files import read_json, write_json
from dmh_lib.sweep.orders import Order

ORDER, STATE, LOG, RUNS = "order.json", "state.json", "log.txt", "runs"


@dataclass(frozen=True)
class State:
    """How a run ended."""

    digest: str
    """Of its order."""
    why: str | None
    """What went wrong; None if nothing did."""
    seconds: float
    versions: dict[str, str]


def folder_of(order: Order, sweep: Path) -> Path:
    """Where a run of a sweep lies; raises DataError where a link leads elsewhere."""
    folder = sweep / RUNS / order.name
    if folder.is_symlink():
        raise DataError(f"{folder}: is a link, and runs stay in the sweep's folder; remove it")
    return folder


def write_state(folder: Path, state: State) -> None:
    """Leave a run's state, whole or not at all."""
    write_json(folder / STATE, asdict(state))


def read_state(order: Order, sweep: Path) -> State | None:
    """How a run ended; None if it did not, or was another run."""
    file = folder_of(order, sweep) / STATE
    if not file.is_file():
        return None
    found = read_json(file)
    try:
        state = State(**found)
        state = replace(state, seconds=float(state.seconds))
        if not isinstance(state.why, str | None):
            raise TypeError(f"'why' is {state.why!r}, no text")
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{file}: is no state of a run ({error}); delete its folder") from error
    return state if state.digest == order.digest else None
