"""Downloading what is public: checksums, resumed after an interruption, never half a file in place.

pooch keeps the files and compares checksums; the transfer itself is ours, since pooch's does not
resume: bytes go to ``FILE.part``, and a second attempt asks the server for the rest.
"""

from __future__ import annotations

import json
import shutil
import tarfile
import tempfile
import threading
import time
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from i2moe_plugin.benchmarks.data.cards import Card, Download
from i2moe_plugin.errors import DatasetError

ATTEMPTS = 4
WAIT = 1.0  # seconds before the second attempt; doubled for each further one
TIMEOUT = (15.0, 60.0)  # seconds to connect, and between two words of the server
PIECE = 1 << 14  # far fewer bytes than the slowest server sends within PATIENCE
BUSY = {408, 429, *range(500, 600)}  # answers that may be others next time
MOST_UNPACKED = 100  # times an archive's size: images and tables stay far below
LARGEST = 1 << 37  # bytes of a download whose size the card does not state
#: Bytes of the file a second, over so many seconds; a slower server is left, whatever else it says.
SLOWEST, PATIENCE = 1000, 60.0


def fetch(name: str, card: Card, folder: Path, *, progress: bool = True) -> list[Path]:
    """Download a data set's public files into a folder, and return the paths that are there now."""
    if not card.downloads:
        raise DatasetError(f"{name} cannot be downloaded by a program. {card.how_to_get}")
    folder = Path(folder).expanduser()
    if card.files and not card.missing_files(folder):
        return [path for file in card.files for path in file.found(folder)[:1]]
    return [_fetch_one(item, folder, progress) for item in card.downloads]


def _fetch_one(item: Download, folder: Path, progress: bool) -> Path:
    import pooch

    pooch.get_logger().setLevel("WARNING")
    target = folder / (item.unpack or item.path)
    if item.unpack not in (None, ".") and target.is_dir() and any(target.iterdir()):
        return target
    part, largest = folder / (item.path + ".part"), 2 * item.size or LARGEST
    archive: Path | None = None
    for attempt in range(2):  # a file that is not the published one is asked for once more
        try:
            archive = Path(
                pooch.retrieve(
                    item.url,
                    known_hash=f"sha256:{item.sha256}" if item.sha256 else None,
                    fname=Path(item.path).name,
                    path=(folder / item.path).parent,
                    downloader=_Resuming(part, progress, largest),
                )
            )
            break
        except DatasetError:
            raise
        except ValueError as error:  # pooch on a checksum that differs
            _forget(part)
            if attempt:
                raise DatasetError(
                    f"{item.url}: the file's sha256 is not {item.sha256[:16]}...: it was damaged "
                    "on the way, or another version is published now. It was deleted; try again."
                ) from error
        except OSError as error:
            raise DatasetError(
                f"{folder / item.path}: cannot be written ({error.strerror or error})."
            ) from error
    assert archive is not None
    if item.unpack:
        _unpack(archive, target)
    return target


class _Transfer:
    """One attempt: inside its context nobody else touches the part; once it was left, nor may it.

    Attributes:
        size: bytes that have arrived.
    """

    def __init__(self) -> None:
        self.size, self._left, self._lock = 0, False, threading.Lock()

    def leave(self) -> None:
        """Let it touch nothing any more."""
        with self._lock:
            self._left = True

    def __enter__(self) -> None:
        self._lock.acquire()
        if self._left:
            self._lock.release()
            raise EOFError("left")

    def __exit__(self, *_: object) -> None:
        self._lock.release()


class _Resuming:
    """A downloader as pooch calls it: puts the content of an address into a file.

    Args:
        part: where bytes are kept until all are there.
        progress: show a bar on a terminal.
        largest: bytes; what is more is not taken.
    """

    def __init__(self, part: Path, progress: bool, largest: int = LARGEST) -> None:
        self.part, self.progress, self.largest = part, progress, largest
        self.facts = part.with_suffix(part.suffix + ".json")

    def __call__(self, url: str, output_file: Any, pooch: Any, check_only: bool = False) -> None:
        import requests
        from urllib3.exceptions import HTTPError

        self.part.parent.mkdir(parents=True, exist_ok=True)
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(WAIT * 2 ** (attempt - 1))
            try:
                self._watch(url)
                break
            except (requests.RequestException, HTTPError, EOFError) as error:
                reason = error
                answer = getattr(error, "response", None)
                if answer is not None and answer.status_code not in BUSY:
                    said = _printable(str(answer.reason))
                    raise DatasetError(
                        f"{url}: the server answers {answer.status_code} {said}."
                    ) from error
        else:
            kept = self.part.stat().st_size if self.part.is_file() else 0
            raise DatasetError(
                f"{url}: no complete answer after {ATTEMPTS} attempts ({_first_line(reason)}). "
                f"{kept} bytes are kept; the same command goes on from there."
            ) from reason
        shutil.move(self.part, output_file)
        _forget(self.part)

    def _watch(self, url: str) -> None:
        """Transfer in a thread of its own, which is left where too little of the file arrives.

        A server can keep a reader busy without an end, by headers or by other words around the
        file, and the reader of those looks at no clock.
        """
        transfer, errors = _Transfer(), list[BaseException]()

        def work() -> None:
            try:
                self._transfer(url, transfer)
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            since, before = time.monotonic(), 0
            while thread.is_alive():
                thread.join(min(1.0, PATIENCE))
                if (waited := time.monotonic() - since) > PATIENCE and thread.is_alive():
                    if transfer.size - before < SLOWEST * waited:
                        raise EOFError(f"fewer than {SLOWEST} bytes a second arrive")
                    since, before = time.monotonic(), transfer.size
        finally:
            transfer.leave()
        if errors:
            raise errors[0]

    def _transfer(self, url: str, transfer: _Transfer) -> None:
        import requests

        have = self.part.stat().st_size if self.part.is_file() else 0
        known = self._known(url) if have else None
        headers = {"Accept-Encoding": "identity"}  # the bytes as they lie on the server
        if known:
            headers |= {"Range": f"bytes={have}-", "If-Range": known}
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
            with transfer:
                mode, have, left = self._begin(url, answer, have, known)
            self._save(answer, mode, transfer, have, left)
            size = self.part.stat().st_size
            if left and size != have + left:
                raise EOFError(f"the connection ended after {size} of {have + left} bytes")

    def _begin(self, url: str, answer: Any, have: int, known: str | None) -> tuple[str, int, int]:
        """Look at an answer's head; return how to open the part, and bytes that are there and left.

        ``have`` bytes are there of the version ``known``.
        """
        if answer.status_code == 416:  # the part is longer than the file: start over
            _forget(self.part)
            raise EOFError("the part that was kept does not fit the file")
        answer.raise_for_status()
        resumed = answer.status_code == 206
        if resumed and not _goes_on(answer.headers.get("Content-Range"), have, known):
            _forget(self.part)
            raise EOFError("the server sent another part of the file than it was asked for")
        self._check_answer(url, answer)
        if not resumed:
            have = 0
        self._remember(url, answer.headers.get("ETag") or answer.headers.get("Last-Modified"))
        stated = answer.headers.get("Content-Length") or ""
        left = int(stated) if stated.isascii() and stated.isdigit() else 0
        self._check_size(url, have + left)
        return "ab" if resumed else "wb", have, left

    def _check_answer(self, url: str, answer: Any) -> None:
        """Refuse what is not the file's own bytes."""
        packed = answer.headers.get("Content-Encoding", "identity").strip().lower()
        if packed not in ("", "identity"):
            raise DatasetError(
                f"{url}: the server sends the file packed ({_printable(packed)}), which it was "
                "asked not to do; download it by hand."
            )
        kind = answer.headers.get("Content-Type", "").lower()
        if "text/html" in kind and self.part.suffixes[-2:-1] not in ([".html"], [".htm"]):
            raise EOFError("the server answers with a web page in place of the file")

    def _check_size(self, url: str, size: int) -> None:
        if size > self.largest:
            _forget(self.part)
            raise DatasetError(
                f"{url}: the server sends {size} bytes or more; at most {self.largest} are taken."
            )

    def _save(self, answer: Any, mode: str, transfer: _Transfer, have: int, left: int) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        console = Console(stderr=True)
        show = self.progress and console.is_terminal
        name = TextColumn("{task.description}", markup=False)
        columns = (name, BarColumn(), DownloadColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True, disable=not show) as bar:
            task = bar.add_task(self.part.stem, total=have + left or None, completed=have)
            with transfer:
                file = self.part.open(mode, buffering=0)
            with file:
                for piece in answer.raw.stream(PIECE, decode_content=False):
                    with transfer:
                        file.write(piece)
                        transfer.size += len(piece)
                        self._check_size(str(answer.url), have + transfer.size)
                    bar.advance(task, len(piece))

    def _known(self, url: str) -> str | None:
        """Return what the server called the version whose first bytes we have."""
        with suppress(OSError, ValueError):
            facts = json.loads(self.facts.read_text(encoding="utf-8"))
            if isinstance(facts, dict) and facts.get("url") == url:
                version = facts.get("version")
                return version if isinstance(version, str) else None
        return None

    def _remember(self, url: str, version: str | None) -> None:
        self.facts.write_text(json.dumps({"url": url, "version": version}), encoding="utf-8")


def _forget(part: Path) -> None:
    for path in (part, part.with_suffix(part.suffix + ".json")):
        path.unlink(missing_ok=True)


def _unpack(archive: Path, target: Path) -> None:
    """Unpack aside and rename; one folder around everything is taken off."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".unpacking-") as aside:
            if zipfile.is_zipfile(archive):
                with zipfile.ZipFile(archive) as packed:
                    _check_size(archive, sum(member.file_size for member in packed.infolist()))
                    packed.extractall(aside)
            else:
                with tarfile.open(archive) as tar:
                    size = 0
                    for member in tar:  # the next one is not looked for behind one too large
                        size += member.size
                        _check_size(archive, size)
                    tar.extractall(aside, filter="data")
            content = Path(aside)
            inside = [path for path in content.iterdir() if path.name != "__MACOSX"]
            if len(inside) == 1 and inside[0].is_dir():
                content = inside[0]
            target.mkdir(exist_ok=True)
            for part in content.iterdir():
                part.rename(target / part.name)
    except DatasetError:
        raise
    except Exception as error:  # damaged archives raise nearly any exception
        raise DatasetError(f"{archive}: cannot be unpacked ({_first_line(error)}).") from error
    archive.unlink()


def _check_size(archive: Path, size: int) -> None:
    if size > MOST_UNPACKED * max(archive.stat().st_size, 1 << 20):
        raise DatasetError(f"{archive}: would unpack to {size} bytes; refused.")


def _first_line(error: Exception) -> str:
    return _printable((str(error).splitlines() or [type(error).__name__])[0])[:200]


def _printable(text: str) -> str:
    """A server's words without what a terminal would obey."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:200]


def _goes_on(stated: str | None, have: int, asked: str | None) -> bool:
    """Whether a partial answer is the one that was asked for."""
    return asked is not None and (stated or "").strip().startswith(f"bytes {have}-")
