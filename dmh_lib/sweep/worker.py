"""The process of one run: `python -m dmh_lib.sweep.worker FOLDER` does what FOLDER/order.json asks for."""

import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path

from dmh_lib.errors import DMHError, SettingError
from dmh_lib.files import only_one_at
from dmh_lib.sweep.orders import read_order
from dmh_lib.sweep.store import ORDER, State, write_state
from dmh_lib.versions import versions

LOCK = "worker.lock"
PATIENCE = 60.0  # seconds that another worker of the same run has to end
POLL = 0.5  # seconds


def main(folder: Path) -> int:
    """Do the run and leave a state; 0 if it was done.

    It ends when the sweep that started it does: one that was killed could not end its workers itself.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that papermill ends its kernel
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    try:
        with only_one_at(folder, LOCK, SettingError, PATIENCE):  # an orphan needs a moment to end
            return _do(folder)
    except SettingError as error:  # no state: that is the other's to write
        print(f"error: {error}", file=sys.stderr)
        return 1


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(POLL)
    os.kill(os.getpid(), signal.SIGTERM)


def _do(folder: Path) -> int:
    order, began = read_order(folder / ORDER), time.perf_counter()
    why = None
    try:
        order.target.run(order.parameters, folder)
    except DMHError as error:
        why = str(error)
        print(f"error: {error}", file=sys.stderr)
    except Exception as error:  # whatever it is, it is this run's alone
        why = f"{type(error).__name__}: {error}"
        traceback.print_exc()
    write_state(folder, State(order.digest, why, time.perf_counter() - began, versions()))
    return 0 if why is None else 1


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
