"""The process that reads damaged files: it may die, hang or run out of memory, and the parent notices."""

import importlib
import os
import re
import shutil
import sys
import tempfile
import threading
import traceback
import warnings
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tqdm import tqdm

FORMATS = ("hdf5", "parquet", "safetensors", "json", "yaml", "notebooks")
MORE_MEMORY = 2 * 2**30  # bytes that reading a small file may take beside what the libraries take
LONGEST_MESSAGE = 1000
OUT_OF_MEMORY = re.compile(r"allocate\b|allocation failed|bad_alloc|out of memory", re.IGNORECASE)
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
CHANGES = (
    "os.mkdir",
    "os.rename",
    "os.remove",
    "os.rmdir",
    "os.symlink",
    "os.link",
    "os.truncate",
    "os.chmod",
)
STARTS = (
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "subprocess.Popen",
    "socket.connect",
    "ctypes.dlopen",
)


class Watch:
    """What Python does to files and processes, outside of the folder where it may."""

    def __init__(self, *free: Path) -> None:
        self.free = tuple(str(path) + os.sep for path in free)
        self.on, self.seen = False, list[str]()
        sys.addaudithook(self.heard)

    def heard(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event == "open":
            path, mode, flags = args
            wrote = (flags or 0) & WRITES or (isinstance(mode, str) and set(mode) & set("wax+"))
            if wrote and isinstance(path, (str, bytes)) and not self.may(os.fsdecode(path)):
                self.seen.append(f"wrote {path!r}")
        elif event in CHANGES:
            path = os.fsdecode(args[0])
            if event in ("os.remove", "os.rmdir") and args[1] != -1:  # within an opened folder
                path = os.path.join(os.readlink(f"/proc/self/fd/{args[1]}"), path)
            made = event != "os.mkdir" or not os.path.isdir(path)
            if made and not self.may(path):
                self.seen.append(f"{event} {path!r}")
        elif event in STARTS:
            self.seen.append(f"{event} {args[:2]!r}")

    def may(self, path: str) -> bool:
        whole = os.path.abspath(path) + os.sep
        # numba's own cache, and the null device
        return whole.startswith(self.free) or "__pycache__" in whole or whole == "/dev/null/"


def serve(pipe: Connection, folder: str) -> None:
    """Answer (format, number) with (verdict, what was said); the parent ends this process."""
    from fuzz_seed import Corpus

    root = Path(folder).resolve()
    (root / "tmp").mkdir(parents=True, exist_ok=True)
    sys.dont_write_bytecode = True
    os.environ["TMPDIR"] = tempfile.tempdir = str(root / "tmp")
    with (root / "said.txt").open("ab") as said:  # what libraries print
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
    warnings.simplefilter("ignore")
    tqdm.set_lock(threading.RLock())  # its own is shared with other processes, and would outlive this one
    watch = Watch(root / "out", root / "tmp")
    corpora: dict[str, Corpus] = {}
    while True:
        name, number = pipe.recv()
        if name not in corpora:
            place = Path(tempfile.mkdtemp(dir=root))
            corpora[name] = Corpus(name, importlib.import_module(f"fuzz_{name}").SEEDS, place)
            for seed in range(
                len(corpora[name].seeds)
            ):  # what is imported and compiled at first does not count
                found = judged(corpora[name], -1 - seed, root, watch)
                if found[0] != "read":
                    pipe.send(("failed", f"the valid file {seed} is not read: {found[1]}"))
                    return
            _limit_memory()
            pipe.send(("ready", ""))
            continue
        pipe.send(judged(corpora[name], number, root, watch))


def judged(corpus: Any, number: int, root: Path, watch: Watch) -> tuple[str, str]:
    """(read, refused or failed, what was said) of a damaged file; below 0 of a valid one."""
    from dmh_lib.errors import DMHError

    for place in ("in", "out"):
        shutil.rmtree(root / place, ignore_errors=True)
        (root / place).mkdir()
    os.chdir(root / "in")  # where a relative path would lead
    found = corpus.damaged(number, root / "in") if number >= 0 else corpus.valid(-1 - number, root / "in")
    before = listing(root / "in")
    watch.seen.clear()
    watch.on = True
    try:
        found.seed.read(found.path, root / "out")
        verdict, said = "read", ""
    except DMHError as error:
        said = str(error)
        wrong = unclear(error, (found.path.name, *found.seed.named))
        verdict, said = ("failed", f"{wrong}: {said}") if wrong else ("refused", said)
    except BaseException as error:
        lines = traceback.format_exc().splitlines()
        verdict, said = "failed", f"{type(error).__name__}: {' | '.join(lines[-9:])}"
    finally:
        watch.on = False
    if watch.seen and number >= 0:
        verdict, said = "failed", f"{'; '.join(watch.seen[:3])}; {said}"
    if (after := listing(root / "in")) != before:
        changed = sorted(str(path) for path in before.items() ^ after.items())
        verdict, said = "failed", f"changed {changed[:3]}; {said}"
    return verdict, said[:3000].encode(errors="backslashreplace").decode()


def unclear(error: BaseException, names: tuple[str, ...]) -> str | None:
    """Why an error is none that a user can mend, if it is not."""
    said = str(error)
    if not any(name in said for name in names):
        return "does not name the file"
    if len(said) > LONGEST_MESSAGE or not said.isprintable():
        return "is not one short line"
    if len(said) < max(len(name) for name in names) + 10:
        return "gives no reason"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError) or OUT_OF_MEMORY.search(str(cause)):
            return "needs too much memory"
        cause = cause.__cause__ or cause.__context__
    return None


def listing(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Path, mode, size and time of change of everything in a folder."""
    found = {}
    for path in folder.rglob("*"):
        about = path.lstat()
        found[str(path.relative_to(folder))] = (
            about.st_mode,
            about.st_size * path.is_file(),
            about.st_mtime_ns,
        )
    return found


def _limit_memory() -> None:
    """Data that this process may have, on Linux: what it has now, and some more."""
    if sys.platform != "linux":
        return
    import resource

    with open("/proc/self/status", encoding="utf-8") as file:
        used = next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmData"))
    resource.setrlimit(resource.RLIMIT_DATA, (used + MORE_MEMORY, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
