"""Drawn samples in published formats: written aside and renamed, and marked as drawn."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from i2moe_plugin.errors import DatasetError

MARKER = "SAMPLE.txt"


def is_sample(folder: Path) -> bool:
    """Whether the folder holds a drawn sample."""
    return (folder / MARKER).is_file()


def sample_note(title: str) -> str:
    """The sentence that stands beside every result of a drawn sample."""
    return (
        f"This is a drawn sample, not {title}: its figures are not comparable with published ones."
    )


@contextmanager
def writing_sample(folder: Path, title: str, seed: int) -> Iterator[Path]:
    """A folder to write a sample's files into; they are moved to ``folder`` when all is written.

    Args:
        folder: a new or empty folder.
        title: the data set's name.
        seed: of the drawing, for the marker.

    Raises:
        DatasetError: the folder is not empty, or cannot be written.
    """
    folder = Path(folder).expanduser()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DatasetError(f"{folder} is not an empty folder: a sample is written into a new one.")
    new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".unfinished-") as aside:
            yield Path(aside)
            (Path(aside) / MARKER).write_text(
                f"A drawn sample in the format of {title}, for trying things out; not its own "
                f"data. Figures are not comparable with published ones. Seed {seed}.\n",
                encoding="utf-8",
            )
            for part in sorted(Path(aside).iterdir()):
                os.replace(part, folder / part.name)
    except BaseException as error:
        if new:
            with suppress(OSError):
                folder.rmdir()
        if isinstance(error, OSError):
            raise DatasetError(f"the sample cannot be written to {folder} ({error}).") from error
        raise
