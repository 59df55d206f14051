"""Downloads against a local server that cuts, corrupts and stalls."""

import gzip
import hashlib
import io
import json
import socket
import tarfile
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner

from i2moe_plugin.benchmarks.cli import main
from i2moe_plugin.benchmarks.data import fetch as module
from i2moe_plugin.benchmarks.data.cards import Card, Download, File
from i2moe_plugin.benchmarks.data.fetch import fetch
from i2moe_plugin.benchmarks.data.registry import datasets
from i2moe_plugin.errors import DatasetError

CONTENT = bytes(range(256)) * 2000


@dataclass
class Server:
    """What to serve, how to misbehave, and what was asked for."""

    content: bytes = CONTENT
    version: str | None = '"v1"'
    cuts: list[int] = field(default_factory=list)  # bytes after which an answer ends, one an answer
    statuses: list[int] = field(default_factory=list)  # answered before any content
    stall: threading.Event | None = None
    ranges: bool = True
    headers: dict[str, str] = field(default_factory=dict)  # sent besides
    first: bytes | None = None  # sent once in place of the content
    reason: str | None = None  # of the status
    asked: list[str | None] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            state.asked.append(asked)
            if state.statuses:
                self.send_error(state.statuses.pop(0), state.reason)
                return
            body, state.first = state.first or state.content, None
            fits = state.version is not None and self.headers.get("If-Range") == state.version
            if asked and state.ranges and fits:
                start = int(asked.removeprefix("bytes=").rstrip("-"))
                if start >= len(body):
                    self.send_error(416)
                    return
                body = body[start:]
                self.send_response(206)
                self.send_header(
                    "Content-Range", f"bytes {start}-{len(state.content) - 1}/{len(state.content)}"
                )
            else:
                self.send_response(200)
            if state.version:
                self.send_header("ETag", state.version)
            for name, value in {"Content-Length": str(len(body)), **state.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            cut = state.cuts.pop(0) if state.cuts else len(body)
            self.wfile.write(body[:cut])
            self.wfile.flush()
            if state.stall is not None:
                state.stall.wait(10)

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    thread = threading.Thread(target=httpd.serve_forever)
    thread.start()
    state.url = f"http://127.0.0.1:{httpd.server_address[1]}/file.bin"
    yield state
    if state.stall is not None:
        state.stall.set()
    httpd.shutdown()
    httpd.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch) -> None:
    monkeypatch.setattr(module, "WAIT", 0.0)


def card(server: Server, sha256: str = "", **more: object) -> Card:
    item = Download(server.url, "file.bin", sha256=sha256, **more)  # type: ignore[arg-type]
    return Card("A set", "somewhere", "MIT", how_to_get="Ask them.", downloads=(item,))


def sha(content: bytes = CONTENT) -> str:
    return hashlib.sha256(content).hexdigest()


def test_a_file_arrives_whole_and_is_kept(server, tmp_path) -> None:
    (path,) = fetch("a-set", card(server, sha()), tmp_path)
    assert path.read_bytes() == CONTENT
    fetch("a-set", card(server, sha()), tmp_path)
    assert len(server.asked) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["file.bin"]


def test_a_cut_answer_is_resumed_where_it_ended(server, tmp_path) -> None:
    server.cuts = [module.PIECE + 1000, 2 * module.PIECE]
    (path,) = fetch("a-set", card(server, sha()), tmp_path)
    assert path.read_bytes() == CONTENT
    assert server.asked == [
        None,
        f"bytes={module.PIECE + 1000}-",
        f"bytes={3 * module.PIECE + 1000}-",
    ]


def test_what_was_kept_serves_the_next_command(server, tmp_path) -> None:
    server.cuts = [module.PIECE, 0, 0, 0]
    with pytest.raises(DatasetError, match=f"{module.PIECE} bytes are kept; the same command goes"):
        fetch("a-set", card(server, sha()), tmp_path)
    assert not (tmp_path / "file.bin").exists()
    fetch("a-set", card(server, sha()), tmp_path)
    assert server.asked[-1] == f"bytes={module.PIECE}-"
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("change", ["no ranges", "no version", "another version"])
def test_a_server_that_cannot_resume_starts_over(server, tmp_path, change) -> None:
    server.cuts = [module.PIECE, 0, 0, 0]
    if change == "no version":
        server.version = None
    with pytest.raises(DatasetError, match="attempts"):
        fetch("a-set", card(server), tmp_path)
    server.ranges = change != "no ranges"
    if change == "another version":
        server.content, server.version = CONTENT[::-1], '"v2"'
    (path,) = fetch("a-set", card(server), tmp_path)
    assert path.read_bytes() == server.content


def test_a_part_longer_than_the_file_starts_over(server, tmp_path) -> None:
    server.cuts = [module.PIECE, 0, 0, 0]
    with pytest.raises(DatasetError):
        fetch("a-set", card(server), tmp_path)
    server.content = CONTENT[:4000]
    (path,) = fetch("a-set", card(server), tmp_path)
    assert path.read_bytes() == CONTENT[:4000]


def test_damage_is_found_by_the_checksum_and_nothing_stays(server, tmp_path) -> None:
    server.content = b"x" + CONTENT[1:]
    with pytest.raises(DatasetError, match=r"sha256 is not .*It was deleted"):
        fetch("a-set", card(server, sha()), tmp_path)
    assert not list(tmp_path.iterdir())
    server.content = CONTENT
    (path,) = fetch("a-set", card(server, sha()), tmp_path)
    assert path.read_bytes() == CONTENT


def test_a_stalled_server_ends_in_a_message(server, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT", (1.0, 0.2))
    monkeypatch.setattr(module, "ATTEMPTS", 2)
    server.cuts, server.stall = [100, 100], threading.Event()
    with pytest.raises(DatasetError, match=r"after 2 attempts .*timed out.*bytes are kept"):
        fetch("a-set", card(server), tmp_path)


def test_errors_that_pass_are_tried_again_and_others_are_said(server, tmp_path) -> None:
    server.statuses = [503, 429]
    fetch("a-set", card(server, sha()), tmp_path)
    server.statuses = [404]
    with pytest.raises(DatasetError, match="the server answers 404"):
        fetch("a-set", card(server), tmp_path / "other")
    assert len(server.asked) == 4


def test_no_server(tmp_path) -> None:
    item = Download("http://127.0.0.1:9/file", "file")
    with pytest.raises(DatasetError, match="no complete answer after 4 attempts"):
        fetch("a-set", Card("A", "s", "MIT", downloads=(item,)), tmp_path)


def test_a_folder_that_cannot_be_written(server, tmp_path) -> None:
    (tmp_path / "place").write_text("a file")
    with pytest.raises(DatasetError, match="cannot be written"):
        fetch("a-set", card(server), tmp_path / "place")


def zipped(*names: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in names:
            archive.writestr(name, name)
    return stream.getvalue()


@pytest.mark.parametrize("names", [("a.jpg", "b.jpg"), ("pictures/a.jpg", "pictures/b.jpg")])
def test_an_archive_is_unpacked_without_a_folder_around_it(server, tmp_path, names) -> None:
    server.content = zipped(*names)
    (path,) = fetch("a-set", card(server, unpack="images"), tmp_path)
    assert sorted(p.name for p in path.iterdir()) == ["a.jpg", "b.jpg"]
    assert [p.name for p in tmp_path.iterdir()] == ["images"]
    fetch("a-set", card(server, unpack="images"), tmp_path)
    assert len(server.asked) == 1


def test_an_archive_of_the_whole_folder_is_fetched_once(server, tmp_path) -> None:
    server.content = zipped("set/split.json", "set/dataset/1.json")
    whole = replace(card(server, unpack="."), files=(File("split.json", "the split"),))
    for _ in range(2):
        (path,) = fetch("a-set", whole, tmp_path)[:1]
        assert sorted(p.name for p in tmp_path.iterdir()) == ["dataset", "split.json"]
    assert len(server.asked) == 1
    assert path == tmp_path / "split.json"


def test_an_archive_cannot_write_outside(server, tmp_path) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        member = tarfile.TarInfo("../../evil.txt")
        member.size = 4
        archive.addfile(member, io.BytesIO(b"evil"))
    server.content = stream.getvalue()
    folder = tmp_path / "deep" / "place"
    with pytest.raises(DatasetError, match="cannot be unpacked"):
        fetch("a-set", card(server, unpack="images"), folder)
    server.content = zipped("../../evil.txt")
    (folder / "file.bin").unlink()
    fetch("a-set", card(server, unpack="images"), folder)
    assert not [path for path in tmp_path.rglob("evil.txt") if folder not in path.parents]


def test_a_bomb_is_refused(server, tmp_path) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(200 << 20))
    server.content = stream.getvalue()
    with pytest.raises(DatasetError, match="would unpack to"):
        fetch("a-set", card(server, unpack="images"), tmp_path)


def test_damaged_archive(server, tmp_path) -> None:
    server.content = zipped("a", "b")[:-30]
    with pytest.raises(DatasetError, match="cannot be unpacked"):
        fetch("a-set", card(server, unpack="images"), tmp_path)


def test_what_is_not_public_prints_the_steps(tmp_path) -> None:
    with pytest.raises(DatasetError, match=r"cannot be downloaded by a program. Sign first."):
        fetch("a-set", Card("A", "s", "own", how_to_get="Sign first."), tmp_path)


def test_the_command_says_what_comes_next(server, tmp_path, monkeypatch) -> None:
    entry = replace(datasets.get("enrico"), card=card(server, sha()))
    monkeypatch.setitem(datasets._entries, "enrico", entry)
    result = CliRunner().invoke(main, ["data", "fetch", "enrico", "--data-root", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert f"i2moe-bench data verify enrico --data-root {tmp_path}" in result.output
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    result = CliRunner().invoke(main, ["data", "fetch", "htad"])
    assert result.exit_code == 1
    assert "ships in the package" in result.output


def test_interrupted_by_hand_keeps_what_came(server, tmp_path, monkeypatch) -> None:
    def interrupt(self: object, *_: object) -> None:
        Path(tmp_path / "file.bin.part").write_bytes(CONTENT[:300])
        raise KeyboardInterrupt

    monkeypatch.setattr(module._Resuming, "_save", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fetch("a-set", card(server), tmp_path)
    monkeypatch.undo()
    (path,) = fetch("a-set", card(server, sha()), tmp_path)
    assert server.asked[-1] == "bytes=300-"
    assert path.read_bytes() == CONTENT


# Servers that are wrong, or hostile


def test_a_wrong_first_answer_is_asked_for_again(server, tmp_path) -> None:
    server.first = b"try again later"
    (path,) = fetch("a-set", card(server, sha()), tmp_path)
    assert path.read_bytes() == CONTENT
    assert len(server.asked) == 2


def test_a_web_page_is_no_file(server, tmp_path) -> None:
    server.headers = {"Content-Type": "text/html; charset=utf-8"}
    with pytest.raises(DatasetError, match="a web page in place of the file"):
        fetch("a-set", card(server), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_is_packed_on_the_way_is_not_unpacked(server, tmp_path) -> None:
    server.content = gzip.compress(b"0" * 10_000_000)
    server.headers = {"Content-Encoding": "gzip"}
    with pytest.raises(DatasetError, match=r"packed \(gzip\)"):
        fetch("a-set", card(server), tmp_path)


@pytest.mark.parametrize("stated", [True, False])
def test_more_than_the_card_says_is_not_taken(server, tmp_path, stated) -> None:
    if not stated:
        server.headers = {"Content-Length": "no number"}
    with pytest.raises(DatasetError, match="at most 20000 are taken"):
        fetch("a-set", card(server, size=10_000), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_drips_is_left(server, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.3)
    server.headers, server.stall = {"Content-Length": "999999999"}, threading.Event()
    with pytest.raises(DatasetError, match="bytes a second arrive"):
        fetch("a-set", card(server), tmp_path)
    kept = (tmp_path / "file.bin.part").read_bytes()
    assert kept
    assert CONTENT.startswith(kept)
    # Each attempt goes on from what came before it, be it little on a busy machine.
    starts = [int(asked.removeprefix("bytes=")[:-1]) if asked else 0 for asked in server.asked]
    assert len(starts) == module.ATTEMPTS
    assert starts == sorted(starts)
    assert 0 < starts[-1] <= len(kept)


def dripping(word: bytes, before: bytes) -> Iterator[str]:
    """A server that says something, and then the same word again and again, without an end."""
    listening = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def drip(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.recv(10_000)
            connection.sendall(before)
            while not over.wait(0.01):
                connection.sendall(word)

    def serve() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=drip, args=listening.accept()[:1], daemon=True).start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}/file.bin"
    over.set()
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    thread.join()


@pytest.mark.parametrize(
    ("word", "before"),
    {
        "headers": (b"X-More: 1\r\n", b"HTTP/1.1 200 OK\r\n"),
        "one header": (b"a", b"HTTP/1.1 200 OK\r\nX: "),
        "interim answers": (b"HTTP/1.1 100 Continue\r\n\r\n", b""),
        "size of a chunk": (b"0", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        "trailers": (
            b"X-More: 1\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n",
        ),
        "content": (b"a", b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n"),
    }.values(),
    ids=str,
)
def test_words_without_an_end_are_left(word, before, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.3)
    monkeypatch.setattr(module, "ATTEMPTS", 2)
    for url in dripping(word, before):
        item = Download(url, "file.bin")
        asked = Card("A set", "somewhere", "MIT", how_to_get="Ask them.", downloads=(item,))
        start = time.monotonic()
        with pytest.raises(DatasetError, match="no complete answer after 2 attempts"):
            fetch("a-set", asked, tmp_path)
        assert time.monotonic() - start < 20
        assert not (tmp_path / "file.bin").exists()


def test_a_transfer_that_was_left_touches_nothing() -> None:
    transfer = module._Transfer()
    with transfer:
        transfer.size += 1
    transfer.leave()
    with pytest.raises(EOFError), transfer:
        pytest.fail("it was let in")


def test_a_servers_words_move_no_cursor(server, tmp_path) -> None:
    server.statuses, server.reason = [404], "gone \x1b[2J\x07away"
    with pytest.raises(DatasetError, match="404") as caught:
        fetch("a-set", card(server), tmp_path)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("range_", ["bytes 0-9/10", "", "nonsense"])
def test_another_part_than_asked_for_is_not_put_behind(
    server, tmp_path, range_, monkeypatch
) -> None:
    monkeypatch.setattr(module, "ATTEMPTS", 2)
    (tmp_path / "file.bin.part").write_bytes(CONTENT[:1000])
    facts = {"url": server.url, "version": '"v1"'}
    (tmp_path / "file.bin.part.json").write_text(json.dumps(facts))
    server.headers = {"Content-Range": range_}
    (path,) = fetch("a-set", card(server, sha()), tmp_path)
    assert path.read_bytes() == CONTENT


def test_a_packed_archive_that_claims_much_is_not_looked_through(server, tmp_path) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for name in ("a", "b"):
            member = tarfile.TarInfo(name)
            member.size = 110_000_000
            tar.addfile(member, _Zeros(member.size))
    server.content = stream.getvalue()
    with pytest.raises(DatasetError, match="would unpack to 110000000 bytes"):
        fetch("a-set", card(server, unpack="set"), tmp_path)


class _Zeros(io.RawIOBase):
    def __init__(self, size: int) -> None:
        self.left = size

    def read(self, size: int = -1) -> bytes:
        size = min(self.left, size)
        self.left -= size
        return bytes(size)
