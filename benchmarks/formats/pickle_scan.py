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
#: What makes a tuple or a frozen set: none is the key of published data, and the hash of tuples of
#: one tuple of one tuple ... takes twice the work with each level.
COMPOUND = {"TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_TUPLE", "FROZENSET"}
MADE = {"REDUCE", "NEWOBJ", "NEWOBJ_EX"}  # what calls something
MOST_MADE_KEYS = 10_000  # keys and members that are made by a call: they may share hashes
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
            than :data:`MOST_DEPTH`, keys that take long to hash, or a memo that would take more
            room than the file.
        Exception: of nearly any kind, where the file is damaged.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        _Depths(size).follow(Bounded(file, size))


class _Value:
    """What is known of a value: how deep others lie in it, and what made it."""

    __slots__ = ("depth", "made_by")

    def __init__(self, depth: int = 0, made_by: str = "") -> None:
        self.depth, self.made_by = depth, made_by


class _Depths:
    """The stack and the memo of an unpickler, with what is known of each value in its place."""

    def __init__(self, size: int) -> None:
        self.size, self.large, self.made_keys = size, 0, 0
        self.stack: list[_Value | None] = []  # None: a mark
        self.memo: dict[int, _Value | None] = {}

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
        taken: list[_Value] = []  # the topmost first
        if pickletools.markobject in before:
            while (value := self.stack.pop()) is not None:
                taken.append(value)
            before = before[: before.index(pickletools.markobject)]
        for _ in before:
            taken.append(self.stack.pop() or _Value())
        if name in ("SETITEM", "SETITEMS"):
            self._hash(taken[1:-1:2])
        elif name == "DICT":
            self._hash(taken[1::2])
        elif name in ("ADDITEMS", "FROZENSET"):
            self._hash(taken[: -1 if name == "ADDITEMS" else None])
        parts = taken[: -1 if name in CHANGES else None]
        inside = max((value.depth for value in parts), default=-1)
        if inside >= MOST_DEPTH:
            raise pickle.UnpicklingError(f"values nested deeper than {MOST_DEPTH} levels")
        if name in CHANGES:
            taken[-1].depth = max(taken[-1].depth, inside + 1)
            self.stack.append(taken[-1])
        else:
            self.stack += [_Value(inside + 1, name) for _ in opcode.stack_after]

    def _hash(self, keys: list[_Value]) -> None:
        """Raise UnpicklingError where keys of mappings, or members of sets, cost too much."""
        if any(key.made_by in COMPOUND for key in keys):
            raise pickle.UnpicklingError("a mapping or set of something else than numbers and text")
        self.made_keys += sum(key.made_by in MADE for key in keys)
        if self.made_keys > MOST_MADE_KEYS:
            raise pickle.UnpicklingError(f"more than {MOST_MADE_KEYS} keys of unusual types")
