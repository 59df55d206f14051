"""Writing HDF5 so that a full disk ends in an error, and in nothing worse.

HDF5 keeps what it could not write and tries again when the process ends, which then crashes. So it
writes into a file object that takes everything and remembers the first failure, which is raised
when HDF5 has let go of the file.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def writing_hdf5(path: Path, **options: Any) -> Iterator[Any]:
    """Give a new ``h5py.File`` to write into for the time of the block.

    Args:
        path: the file; one that is there is emptied.
        **options: of ``h5py.File``.

    Raises:
        OSError: something could not be written; the file is then not whole.
    """
    import h5py

    target = _Target(path.open("w+b"))
    try:
        with h5py.File(target, "w", **options) as file:
            yield file
    except Exception as error:  # HDF5 reads back what was not written
        if target.failure is not None:
            raise target.failure from error
        raise
    finally:
        target.close()
    if target.failure is not None:
        raise target.failure


class _Target:
    """A file that seems to take everything; after a failure nothing is written any more."""

    def __init__(self, file: io.BufferedRandom) -> None:
        self._file = file
        self.failure: OSError | None = None

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._attempt(lambda: self._file.seek(offset, whence), offset)

    def tell(self) -> int:
        return self._attempt(self._file.tell, 0)

    def read(self, size: int = -1) -> bytes:  # what h5py knows a file object by
        return self._file.read(size)

    def readinto(self, buffer: Any) -> int:
        return self._attempt(lambda: self._file.readinto(buffer), len(buffer))

    def write(self, content: Any) -> int:
        return self._attempt(lambda: self._file.write(content), len(content))

    def truncate(self, size: int) -> int:
        return self._attempt(lambda: self._file.truncate(size), size)

    def flush(self) -> None:
        self._attempt(self._file.flush, None)

    def close(self) -> None:
        self.flush()
        try:
            self._file.close()  # tries to write once more what could not be written
        except OSError as error:
            self.failure = self.failure or error

    def _attempt(self, call: Callable[[], Any], otherwise: Any) -> Any:
        """Call, unless there was a failure before."""
        if self.failure is None:
            try:
                return call()
            except OSError as error:
                self.failure = error
        return otherwise
