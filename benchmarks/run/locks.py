"""Which process computes a run: it holds the lock file beside the unfinished run's directory."""

from __future__ import annotations

import contextlib
import errno
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from filelock import BaseFileLock

#: What file systems say that have no locks; runs are then written without.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


def hold(aside: Path) -> BaseFileLock | None:
    """Hold an unfinished run for this process; None where another one holds it.

    The system lets go when a process ends, however it ends. A file system without locks has none.
    """
    import filelock

    lock = filelock.FileLock(lock_file(aside), timeout=0)
    while not lock.is_locked:
        try:
            aside.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except filelock.Timeout:
            if lock_file(aside).exists():
                return None
            # Nobody holds it: its folder was removed, and made again, while the file was opened.
        except FileNotFoundError:  # another process has just removed the folder, empty as it was
            continue
        except FileExistsError:  # the same, between looking for the folder and making it
            if aside.parent.exists():
                raise
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            break
    return lock


def is_held(aside: Path) -> bool:
    """Whether another process holds an unfinished run; looks, and makes no file."""
    if not lock_file(aside).exists():
        return False
    with contextlib.suppress(OSError):
        lock = hold(aside)
        if lock is None:
            return True
        lock.release()
    return False


def lock_file(aside: Path) -> Path:
    """Return where the lock of an unfinished run is."""
    return aside.with_name(f"{aside.name}.lock")
