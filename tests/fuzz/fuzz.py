"""Reads damaged files and counts what comes of it.

    python tests/fuzz/fuzz.py --inputs 1000              every format
    python tests/fuzz/fuzz.py --formats json --only 17   one file again, with all that it says

Each damaged file is made of its format and its number alone. It is read in a child process, which may use
two gigabytes and ten seconds of a core, and must read it or say in one line which file is wrong, and why.
"""

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from types import TracebackType

import psutil
from fuzz_child import FORMATS, serve
from tqdm import tqdm

SECONDS = 10.0  # of a core that one file may take
BUSY = 6  # times as long by the clock, where others have the cores
PATIENCE = 300.0  # for imports and for the valid files


class Reader:
    """A child process that reads, and another one when it dies."""

    def __init__(self, folder: Path, seconds: float = SECONDS) -> None:
        self.folder, self.seconds, self.ready = folder, seconds, set[str]()
        self.start()

    def start(self) -> None:
        """Start a fresh child, which has no format ready."""
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=serve, args=(other, str(self.folder)), daemon=True)
        self.process.start()
        other.close()
        self.ready.clear()

    def read(self, name: str, number: int) -> tuple[str, str]:
        """(read, refused or failed, what was said) of damaged file `number` of a format."""
        if name not in self.ready:
            verdict, said = self.ask(name, 0, PATIENCE)
            if verdict != "ready":
                raise RuntimeError(f"{name}: {said}")
            self.ready.add(name)
        return self.ask(name, number, self.seconds)

    def ask(self, name: str, number: int, seconds: float) -> tuple[str, str]:
        """Send one question and wait for its answer."""
        try:
            self.pipe.send((name, number))
            began, used = time.monotonic(), self.used()
            while self.used() - used < seconds and time.monotonic() - began < BUSY * seconds:
                if self.pipe.poll(seconds / 10):
                    answer: tuple[str, str] = self.pipe.recv()
                    return answer
            said = f"hangs for over {seconds:g} s"
            self.stop()
        except (EOFError, OSError, psutil.Error):
            self.process.join()
            said = f"the process died with {self.process.exitcode}"
        self.start()
        return "failed", said

    def used(self) -> float:
        """Seconds of a core that the child had so far; by the clock, a busy machine would seem to hang."""
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)

    def stop(self) -> None:
        """End the child."""
        self.process.kill()
        self.process.join()
        self.pipe.close()

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        self.stop()


def main() -> int:
    """Count, print, and say by the exit status whether any file failed."""
    parser = argparse.ArgumentParser(description="Reads damaged files and counts what comes of it.")
    parser.add_argument("--inputs", type=int, default=1000, help="damaged files of each format")
    parser.add_argument("--formats", nargs="+", default=FORMATS, choices=FORMATS)
    parser.add_argument("--only", type=int, help="one damaged file, and all that is said about it")
    asked = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    numbers = range(asked.inputs) if asked.only is None else [asked.only]
    counts: dict[str, Counter[str]] = {name: Counter() for name in asked.formats}
    with tempfile.TemporaryDirectory() as folder, Reader(Path(folder)) as reader:
        for name in asked.formats:
            for number in tqdm(numbers, desc=name, disable=None):
                verdict, said = reader.read(name, number)
                counts[name][verdict] += 1
                if verdict == "failed" or asked.only is not None:
                    tqdm.write(f"{name} {number}: {verdict}: {said}")
    words = ("read", "refused", "failed")
    print("| format | " + " | ".join(words) + " |\n|---|---:|---:|---:|")
    for name, found in counts.items():
        print(f"| {name} | " + " | ".join(str(found[word]) for word in words) + " |")
    return int(any(found["failed"] for found in counts.values()))


if __name__ == "__main__":
    sys.exit(main())
