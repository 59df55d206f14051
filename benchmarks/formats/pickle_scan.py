"""Looking through a pickle's instructions before any is obeyed."""

from __future__ import annotations

import pickle
import pickletools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

MOST_DEPTH = 64  # of values in each other; hashing and freeing deep ones would exhaust C's stack
#: Instructions no pickle of data needs: registered extensions, objects outside of the file,
#: instances of old classes.
REFUSED = {
    "EXT1", "EXT2", "EXT4", "PERSID", "BINPERSID", "NEXT_BUFFER", "READONLY_BUFFER", "INST", "OBJ",
}  # fmt: skip
CHANGES = {"APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS", "BUILD"}
LARGEST = 2**61 - 2  # whole numbers beyond it share hashes: a set of many takes hours to build
MOST_LARGE = 1000


class Bounded:
    """A file that never makes room for more than it holds, whatever it is asked for."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size = file, size
        self.tell, self.readline = file.tell, file.readline

    def read(self, count: int = -1) -> bytes:
        """Read at most what is left of the file."""
        rest = max(0, self._size - self._file.tell())
        return self._file.read(rest if count < 0 else min(count, rest))


def scan(path: Path) -> None:
    """Read a pickle's instructions to the end.

    Raises:
        pickle.UnpicklingError: an instruction that data does not need, values in each other deeper
            than :data:`MOST_DEPTH`, or a memo that would take more room than the file.
        Exception: of nearly any kind, where the file is damaged.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        _Depths(size).follow(Bounded(file, size))


class _Depths:
    """The stack and the memo of an unpickler, with each value's depth in place of the value.

    A depth is a list of one number, so that a value and what the memo has of it stay the same.
    """

    def __init__(self, size: int) -> None:
        self.size, self.large = size, 0
        self.stack: list[list[int] | None] = []  # None: a mark
        self.memo: dict[int, list[int] | None] = {}

    def follow(self, file: Bounded) -> None:
        steps: Iterator[tuple[pickletools.OpcodeInfo, Any, Any]]
        steps = pickletools.genops(cast(BinaryIO, file))
        for count, (opcode, arg, _) in enumerate(steps):
            name = opcode.name
            if name in REFUSED:
                raise pickle.UnpicklingError(f"the instruction {name}, which is not data")
            if name == "FRAME" and arg > self.size:
                raise pickle.UnpicklingError(f"a frame of {arg} bytes in a file of {self.size}")
            if isinstance(arg, int) and abs(arg) > LARGEST:
                self.large += 1
                if self.large > MOST_LARGE:
                    raise pickle.UnpicklingError(f"more than {MOST_LARGE} numbers beyond {LARGEST}")
            if "PUT" in name or name == "MEMOIZE":
                index = len(self.memo) if arg is None else arg
                if index > count + 1000:
                    raise pickle.UnpicklingError(f"a memo of {index} values in {count} steps")
                self.memo[index] = self.stack[-1]
            elif "GET" in name:
                self.stack.append(self.memo[arg])
            elif name == "DUP":
                self.stack.append(self.stack[-1])
            elif name == "MARK":
                self.stack.append(None)
            elif name == "POP" and self.stack[-1] is None:
                self.stack.pop()
            else:
                self._step(name, opcode)

    def _step(self, name: str, opcode: pickletools.OpcodeInfo) -> None:
        before: list[Any] = opcode.stack_before
        taken: list[list[int]] = []
        if pickletools.markobject in before:
            while (value := self.stack.pop()) is not None:
                taken.append(value)
            before = before[: before.index(pickletools.markobject)]
        for _ in before:
            taken.append(self.stack.pop() or [0])
        inside = max((value[0] for value in taken[: -1 if name in CHANGES else None]), default=-1)
        if inside >= MOST_DEPTH:
            raise pickle.UnpicklingError(f"values nested deeper than {MOST_DEPTH} levels")
        if name in CHANGES:
            taken[-1][0] = max(taken[-1][0], inside + 1)
            self.stack.append(taken[-1])
        else:
            self.stack += [[inside + 1] for _ in opcode.stack_after]
