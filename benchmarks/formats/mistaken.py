"""What a file is that is not what its name says: a Git LFS pointer, a web page, another format."""

from __future__ import annotations

from pathlib import Path

from i2moe_plugin.errors import DatasetError

#: How files of a kind begin; what they are called; the readers' names of that kind.
SIGNATURES: tuple[tuple[bytes, str, tuple[str, ...]], ...] = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself: run git lfs pull", ()),
    (b"version https://hawser", "a Git LFS pointer, not the file itself: run git lfs pull", ()),
    (b"/annex/objects/", "a git-annex pointer, not the file itself: run git annex get", ()),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file", ("HDF5 file", "h5ad file")),
    (b"\x93NUMPY", "a npy file", ("npy file",)),
    (b"PAR1", "a parquet file", ("parquet file",)),
    (b"ARROW1", "an Arrow file", ()),
    (b"PK\x03\x04", "a zip archive, as npz, xlsx and torch files are", ("npz file", "torch file")),
    (b"\x1f\x8b", "a gzip file: unpack it", ("word2vec file", "NIfTI file")),
    (b"BZh", "a bzip2 file: unpack it", ()),
    (b"\xfd7zXZ\x00", "an xz file: unpack it", ()),
    (b"\x28\xb5\x2f\xfd", "a zstd file: unpack it", ()),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it", ()),
    (b"Rar!", "a rar archive: unpack it", ()),
    (b"MATLAB 5.0", "a MATLAB file", ()),
    (b"SQLite format 3", "an SQLite database", ()),
    (b"\xd0\xcf\x11\xe0", "an old Office file, such as xls", ()),
    (b"%PDF", "a PDF file", ("image",)),
    (b"\x89PNG", "a PNG picture", ("image",)),
    (b"\xff\xd8\xff", "a JPEG picture", ("image",)),
    (b"GIF8", "a GIF picture", ("image",)),
    *((bytes([0x80, n]), "a pickle", ("pickle", "torch file")) for n in range(2, 6)),
)
WEB_PAGE = "a saved web page, not the file itself: open it in a browser to see what it says"
HEAD = 512  # bytes that are looked at


def mistaken_for(content: bytes, kind: str = "") -> str:
    """Say what a file is by its first bytes; empty where nothing else than the kind shows.

    Args:
        content: its beginning.
        kind: what it should be: ``csv file``, ``pickle``.
    """
    if not content:
        return "empty"
    start = content.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<body", b"<script")) or (
        start.startswith((b"<?xml", b"<!--")) and b"<html" in start
    ):
        return WEB_PAGE
    if start.startswith(b"<?xml") and b"<error>" in start:
        return "a server's error message, not the file itself"
    for signature, name, kinds in SIGNATURES:
        if content.startswith(signature):
            return "" if kinds and kind.startswith(kinds) else name
    if content[257:262] == b"ustar":
        return "a tar archive: unpack it"
    zeros = len(content) == HEAD and not content.strip(b"\x00")
    if zeros and kind not in ("HDF5 file", "h5ad file"):  # which may begin with room for others
        return "only zeros at its beginning, as an interrupted download leaves it"
    return ""


def mistaken_file(path: Path, kind: str = "") -> str:
    """Say what the file is instead of its kind; empty where nothing shows, or it is not there."""
    try:
        with path.open("rb") as file:
            return mistaken_for(file.read(HEAD), kind)
    except OSError:
        return ""


def check_text(path: Path, kind: str) -> None:
    """Check that a file is UTF-8 text as far as its beginning shows; any text is read as a table.

    Raises:
        DatasetError: it is another kind of file, or in another encoding; names it.
    """
    found = mistaken_file(path, kind)
    if found and found != "empty":
        raise DatasetError(f"{path}: expected a {kind}, but it is {found}.")
    with path.open("rb") as file:
        start = file.read(1 << 16)
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DatasetError(f"{path}: is text in UTF-16; save it as UTF-8.")
    if b"\0" in start:  # of a file of gigabytes, all would be read as one line
        raise DatasetError(f"{path}: holds NUL characters: it is no UTF-8 text.")
