"""Ways to break a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from i2moe_plugin.errors import DatasetError


def replace(path: Path, content: bytes) -> None:
    """New content in a new file, so that a hard link to the old one keeps its own."""
    path.unlink()
    path.write_bytes(content)


def truncate(path: Path, fraction: float = 0.5) -> None:
    """Keep only the first part."""
    content = path.read_bytes()
    replace(path, content[: int(len(content) * fraction)])


def flip(path: Path, *offsets: float, mask: int = 0xFF) -> None:
    """Flip bits of the bytes at these offsets; a fraction is of the file's length."""
    content = bytearray(path.read_bytes())
    for offset in offsets:
        place = int(offset * len(content)) if isinstance(offset, float) else offset
        content[place % len(content)] ^= mask
    replace(path, bytes(content))


def empty(path: Path) -> None:
    """Leave nothing."""
    replace(path, b"")


def problem(read: Callable[[], object]) -> str | None:
    """The message of the DatasetError that comes of it, if any; whatever else comes, comes out."""
    try:
        read()
    except DatasetError as error:
        return str(error)
    return None
