"""D4RL's datasets by name, from a real server that breaks off, refuses, changes and lies."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import h5py
import numpy as np
import pytest

from dmh_lib.data import read_d4rl
from dmh_lib.data.d4rl import SERVER, SERVER_VARIABLE, address_of, fetch_d4rl, from_d4rl
from dmh_lib.errors import DataError
from dmh_lib.files import read_json

NAME, FILE = "hopper-medium-v2", "hopper_medium-v2.hdf5"


class Server(ThreadingHTTPServer):
    """Serves one file under every address, as it is told to.

    Attributes:
        content, etag: the file, and the name of its version.
        most: bytes after which each connection breaks; None for never.
        status: what it answers instead of the file.
        asked: path and range of each request.
    """

    daemon_threads = True

    def __init__(self, content: bytes) -> None:
        self.content, self.etag = content, '"one"'
        self.most: int | None = None
        self.status = 200
        self.asked: list[tuple[str, str | None]] = []
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        serving, wanted = self.server, self.headers.get("Range")
        serving.asked.append((self.path, wanted))
        if serving.status != 200:
            self.send_error(serving.status)
            return
        start = 0
        if wanted and self.headers.get("If-Range") == serving.etag:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
        if start >= len(serving.content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("ETag", serving.etag)
        self.send_header("Content-Length", str(len(serving.content) - start))
        self.end_headers()
        self.wfile.write(serving.content[start:][: serving.most])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def content(tmp_path: Path) -> bytes:
    rng = np.random.default_rng(0)
    with h5py.File(tmp_path / "source.hdf5", "w") as file:
        file["observations"] = rng.normal(size=(5000, 11)).astype(np.float32)
        file["actions"] = rng.normal(size=(5000, 3)).astype(np.float32)
        file["rewards"] = rng.normal(size=5000).astype(np.float32)
        file["terminals"] = np.arange(5000) % 100 == 99
        file["timeouts"] = np.arange(5000) % 1000 == 998
        file["infos/qpos"] = np.zeros((5000, 6))  # a key too many
    return (tmp_path / "source.hdf5").read_bytes()


@pytest.fixture
def server(content: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr("time.sleep", lambda _: None)  # between tries
    serving = Server(content)
    thread = threading.Thread(target=serving.serve_forever, daemon=True)
    thread.start()
    yield serving
    serving.shutdown()
    serving.server_close()


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("hopper-medium-v2", "hopper_medium-v2"),
        ("halfcheetah-medium-replay-v2", "halfcheetah_medium_replay-v2"),
        ("walker2d-medium-expert-v2", "walker2d_medium_expert-v2"),
    ],
)
def test_addresses(name: str, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SERVER_VARIABLE, raising=False)
    assert address_of(name) == f"{SERVER}/gym_mujoco_v2/{path}.hdf5"
    monkeypatch.setenv(SERVER_VARIABLE, "https://mirror/")
    assert address_of(name) == f"https://mirror/gym_mujoco_v2/{path}.hdf5"
    assert address_of("https://else/where.hdf5") == "https://else/where.hdf5"


@pytest.mark.parametrize(
    "name", ["hopper-medium", "../hopper-medium-v2", "file:///etc/passwd", "pen-v1", "http://host/.."]
)
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(DataError, match="no dataset of D4RL's"):
        address_of(name)


def test_it_is_fetched_once(server: Server, content: bytes, tmp_path: Path) -> None:
    path = fetch_d4rl(NAME, tmp_path / "d4rl", server=server.address)
    assert path == tmp_path / "d4rl" / FILE
    assert path.read_bytes() == content
    assert server.asked == [(f"/gym_mujoco_v2/{FILE}", None)]
    record = read_json(path.with_name(f"{FILE}.json"))
    assert record["sha256"] == hashlib.sha256(content).hexdigest()
    assert record["bytes"] == len(content)
    assert fetch_d4rl(NAME, tmp_path / "d4rl", server=server.address) == path
    assert len(server.asked) == 1
    assert read_d4rl(path).num_steps == 5000
    assert not list(path.parent.glob(".*.part*"))


def test_broken_connections_are_gone_on_with(server: Server, content: bytes, tmp_path: Path) -> None:
    server.most = len(content) // 3 + 1
    assert fetch_d4rl(NAME, tmp_path, server=server.address).read_bytes() == content
    begun = [None, f"bytes={server.most}-", f"bytes={2 * server.most}-"]
    assert [wanted for _, wanted in server.asked] == begun


def test_what_came_is_kept_for_the_next_time(server: Server, content: bytes, tmp_path: Path) -> None:
    server.most = len(content) // 8
    with pytest.raises(DataError, match=r"only \d+ bytes came; run it again"):
        fetch_d4rl(NAME, tmp_path, server=server.address)
    assert not (tmp_path / FILE).exists()
    server.most = None
    assert fetch_d4rl(NAME, tmp_path, server=server.address).read_bytes() == content
    assert server.asked[-1][1] == f"bytes={len(content) // 8 * 4}-"


def test_another_version_is_begun_anew(server: Server, content: bytes, tmp_path: Path) -> None:
    server.most = len(content) // 8
    with pytest.raises(DataError):
        fetch_d4rl(NAME, tmp_path, server=server.address)
    server.most, server.etag = None, '"two"'
    server.content = content[:-100] + bytes(100)
    assert fetch_d4rl(NAME, tmp_path, server=server.address).read_bytes() == server.content


@pytest.mark.parametrize("status", [403, 404, 503])
def test_a_server_that_refuses(server: Server, tmp_path: Path, status: int) -> None:
    server.status = status
    with pytest.raises(DataError, match=rf"answers {status} .*put the file at .*{FILE} by hand"):
        fetch_d4rl(NAME, tmp_path, server=server.address)
    assert len(server.asked) == (4 if status == 503 else 1)  # a server that is busy is asked again


def test_no_server_at_all(server: Server, tmp_path: Path) -> None:
    server.shutdown()
    server.server_close()
    with pytest.raises(DataError, match="no connection"):
        fetch_d4rl(NAME, tmp_path, server=server.address)


def test_hashes(server: Server, content: bytes, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"{FILE}: its SHA-256 is .*, not 00"):
        fetch_d4rl(NAME, tmp_path, server=server.address, sha256="00")
    assert not (tmp_path / FILE).exists()
    expected = hashlib.sha256(content).hexdigest()
    path = fetch_d4rl(NAME, tmp_path, server=server.address, sha256=expected.upper())
    path.write_bytes(content[:-1] + b"x")
    with pytest.raises(DataError, match="its SHA-256 is"):
        fetch_d4rl(NAME, tmp_path, server=server.address)
    assert path.exists()  # it may be somebody's


def test_a_file_that_was_put_there_by_hand(server: Server, content: bytes, tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(content)
    assert fetch_d4rl(NAME, tmp_path, server=server.address) == tmp_path / FILE
    assert server.asked == []


@pytest.mark.parametrize(
    ("record", "message"),
    [("[]", "holds no names and values"), ('{"sha256": 3}', "field 'sha256': 3 is no text")],
)
def test_records_that_are_none(
    server: Server, content: bytes, tmp_path: Path, record: str, message: str
) -> None:
    (tmp_path / FILE).write_bytes(content)
    (tmp_path / f"{FILE}.json").write_text(record)
    with pytest.raises(DataError, match=rf"{FILE}\.json: {message}"):
        fetch_d4rl(NAME, tmp_path, server=server.address)


def test_a_page_instead_of_a_file(server: Server, tmp_path: Path) -> None:
    server.content = b"<html>Please log in</html>"
    with pytest.raises(DataError, match="is no HDF5 file"):
        fetch_d4rl(NAME, tmp_path, server=server.address)
    assert [path for path in tmp_path.iterdir() if not path.name.endswith(".lock")] == [
        tmp_path / "source.hdf5"
    ]


# ---------------------------------------------------------------------- objects of the old package


class Old:
    """An environment as the old package makes them."""

    def __init__(self, **fields: np.ndarray) -> None:
        self.fields = fields

    def get_dataset(self) -> dict[str, np.ndarray]:
        return self.fields


def fields(**changes: np.ndarray | None) -> dict[str, np.ndarray]:
    known = {
        "observations": np.arange(12.0).reshape(6, 2),  # float64
        "actions": np.ones((6, 1)),
        "rewards": np.arange(6.0),
        "terminals": np.array([0, 1, 0, 0, 0, 0]),
        "timeouts": np.array([0, 0, 0, 0, 1, 0]),
        "infos/goal": np.zeros((6, 2)),
        "next_observations": np.zeros((6, 2)),
    }
    return {name: values for name, values in (known | changes).items() if values is not None}


def test_old_environments() -> None:
    data = from_d4rl(Old(**fields()))
    np.testing.assert_array_equal(data.offsets, [0, 2, 5, 6])
    np.testing.assert_array_equal(data.returns, [1, 9, 5])
    assert data.observations.dtype == np.float32
    assert [episode.terminated for episode in data] == [True, False, False]
    assert [episode.truncated for episode in data] == [False, True, False]
    without = from_d4rl(fields(timeouts=None, rewards=np.arange(6.0)[:, None]))
    np.testing.assert_array_equal(without.offsets, [0, 2, 6])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rewards": None}, "field 'rewards': missing"),
        ({"terminals": None, "timeouts": None}, "field 'terminals': missing"),
        ({"observations": np.zeros((5, 2))}, "has length 6, but there are 5 steps"),
        ({"actions": np.full((6, 1), np.nan)}, "actions"),
    ],
)
def test_old_environments_that_break_the_schema(changes: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        from_d4rl(Old(**fields(**changes)), "old")
