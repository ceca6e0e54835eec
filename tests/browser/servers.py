"""JupyterLab and Voilà as a person starts them, each on a port and in folders of its own."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
ENCRYPTED = "--MappingKernelManager.transport_encryption=auto"  # or kernels warn, as in the Makefile
PATIENCE = 120.0  # seconds for a server to say where it is, on a busy machine


@contextmanager
def lab(notebook: Path, home: Path) -> Iterator[str]:
    """JupyterLab in a notebook's folder; the address that opens the notebook."""
    # JupyterLab asks whether to fetch news from another host, in a box that covers part of the page
    settings = home / "config" / "labconfig" / "page_config.json"
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text('{"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": true}}')
    options = [
        "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.root_dir={notebook.parent}",
        "--ServerApp.port_retries=0",
        ENCRYPTED,
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        "--allow-root",
    ]
    with _serving("jupyterlab", options, home) as printed:
        yield printed.replace("/lab?", f"/lab/tree/{notebook.name}?")


@contextmanager
def voila(notebook: Path, home: Path) -> Iterator[str]:
    """Voilà with a notebook, as `make explorer` starts it; the address that it prints."""
    options = ["--Voila.ip=127.0.0.1", "--token", "--template=dmh", ENCRYPTED, str(notebook)]
    with _serving("voila", options, home) as printed:
        yield printed


@contextmanager
def _serving(module: str, options: list[str], home: Path) -> Iterator[str]:
    """A server while it is needed; the address that it prints, with a token that it draws."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    places = {
        "JUPYTER_CONFIG_DIR": home / "config",
        "JUPYTER_DATA_DIR": home / "data",
        "JUPYTER_RUNTIME_DIR": home / "runtime",
        "IPYTHONDIR": home / "ipython",
        "JUPYTER_PATH": ROOT / "notebooks" / "app",  # where the template of Voilà's page is
    }
    environment = os.environ | {name: str(place) for name, place in places.items()}
    environment.pop("JUPYTER_TOKEN", None)
    log = home / f"{module}.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", module, "--no-browser", f"--port={port}", *options],
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield _printed(server, log)
        assert b"without encryption" not in log.read_bytes()  # no kernel warned
    finally:
        server.terminate()  # which ends the kernels too
        try:
            server.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def _printed(server: subprocess.Popen[bytes], log: Path) -> str:
    """The address that a server prints once it listens."""
    until = time.monotonic() + PATIENCE
    while server.poll() is None and time.monotonic() < until:
        found = re.search(r"http://127\.0\.0\.1:\d+/\S*\?token=\w+", log.read_text())
        if found:
            return found[0]
        time.sleep(0.1)
    raise RuntimeError(f"{log.stem}: it did not start: {log.read_text()[-2000:]}")
