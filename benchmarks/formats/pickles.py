"""Reading published pickles without running what is in them.

A pickle is a program. Its instructions are looked through first (:mod:`pickle_scan`); then it is
obeyed with an allow-list: numbers, text, containers, numpy arrays and the tables of pandas. Any
other name in the stream is refused before anything of it is called. No object of numpy or pandas
is built by the stream: what it says of one is kept by a stand-in, checked, and made into an array
here, since numpy believes the flags of a type, with which bytes could be taken for pointers.
"""

from __future__ import annotations

import math
import pickle
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2moe_plugin.benchmarks.formats.pickle_scan import Bounded, scan
from i2moe_plugin.benchmarks.formats.pickled_tables import TABLES, Frame, Index, Series
from i2moe_plugin.benchmarks.formats.reading import reading
from i2moe_plugin.errors import DatasetError

NUMPY = ("numpy", "numpy.core.multiarray", "numpy._core.multiarray", "numpy.core.numeric",
         "numpy._core.numeric")  # fmt: skip
BUILTINS = ("builtins", "__builtin__")
MOST_DEPTH = 32
MOST_AXES = 32
SIZED = (str, bytes, bytearray, list, tuple, dict, set, frozenset)
MEMBERS = (type(None), bool, int, float, str, bytes, np.generic)  # of sets; complex share hashes
TYPE = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248]|c8|c16|O[48]?|[SU]\d{1,9})")
PLAIN = (type(None), bool, int, float, complex, str, bytes, bytearray, np.generic)


class _Dtype:
    """Stands for a ``numpy.dtype``: only its letter, size and byte order are believed."""

    def __init__(self, spec: Any, align: Any = False, copy: Any = False) -> None:
        if not isinstance(spec, str) or not TYPE.fullmatch(spec):
            raise pickle.UnpicklingError(f"a numpy array of type {str(spec)[:40]!r}")
        self.type = np.dtype("O" if "O" in spec else spec)

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 5 or state[1] not in ("<", ">", "|", "="):
            raise pickle.UnpicklingError("a numpy.dtype with an unknown state")
        if any(part is not None for part in state[2:5]):
            raise pickle.UnpicklingError("a numpy.dtype with fields")
        self.type = self.type.newbyteorder(state[1])


class _Array:
    """Stands for a numpy array, and holds a checked one once the stream has said what is in it."""

    def __init__(self, *_: Any) -> None:
        self.value: NDArray[Any] | None = None

    def __setstate__(self, state: Any) -> None:
        if self.value is not None:
            raise pickle.UnpicklingError("a numpy array that is filled twice")
        _version, shape, dtype, fortran, content = state
        self.value = _build(shape, dtype, fortran, content)


def _build(shape: Any, dtype: Any, fortran: Any, content: Any) -> NDArray[Any]:
    if not isinstance(dtype, _Dtype) or not isinstance(shape, tuple):
        raise pickle.UnpicklingError("a numpy array with an unknown state")
    if not all(type(size) is int and size >= 0 for size in shape):
        raise pickle.UnpicklingError("a numpy array with an unknown shape")
    _spend(content, shape)
    count = math.prod(shape) if len(shape) <= MOST_AXES else -1
    order: Any = "F" if fortran else "C"
    if dtype.type.kind == "O":
        if not isinstance(content, list) or len(content) != count:
            raise pickle.UnpicklingError("a numpy array of objects without its list of objects")
        if any(isinstance(item, _Array) and item.value is None for item in content):
            raise pickle.UnpicklingError("a numpy array that holds an unfinished one")
        objects = np.empty(count, dtype=object)
        for place, item in enumerate(content):
            objects[place] = item
        return objects.reshape(shape, order=order)
    if isinstance(content, str):  # protocol 2 and older carry bytes as latin-1 text
        content = content.encode("latin-1")
    size = len(content) if isinstance(content, (bytes, bytearray)) else -1
    if size != count * dtype.type.itemsize:
        raise pickle.UnpicklingError(
            f"a numpy array of {count} x {dtype.type} with {size} bytes; "
            f"expected {count * dtype.type.itemsize}"
        )
    return np.frombuffer(content, dtype=dtype.type).reshape(shape, order=order)


def _frombuffer(buffer: Any, dtype: Any, shape: Any, order: Any) -> _Array:
    array = _Array()
    array.value = _build(shape, dtype, order == "F", buffer)
    return array


def _scalar(dtype: Any, content: Any = None) -> Any:
    if not isinstance(dtype, _Dtype) or dtype.type.kind == "O":
        raise pickle.UnpicklingError("a numpy scalar of objects")
    return _build((), dtype, False, content)[()]


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    """Protocol 2 writes bytes as ``_codecs.encode(text, 'latin1')``."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError("_codecs.encode of something else than bytes")
    return text.encode("latin-1")


def _bytes(content: Any = b"", encoding: Any = "latin1") -> bytes:
    """Stands for ``bytes``, but not of a number: that would be as many zeros."""
    return bytes(content) if isinstance(content, (bytes, list)) else _encode(content, encoding)


class _Callable:
    """A function of the allow-list: can be called, and nothing else done to it."""

    __slots__ = ("_function",)
    _function: Callable[..., Any]

    def __init__(self, function: Callable[..., Any]) -> None:
        object.__setattr__(self, "_function", function)

    def __call__(self, *args: Any) -> Any:
        _spend(*args)
        return self._function(*args)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("a function cannot be given a state")

    def __setattr__(self, name: str, value: Any) -> None:
        raise pickle.UnpicklingError("a function cannot be changed")


#: How much all calls and arrays of one stream may copy, in bytes or items; set anew for each.
_ROOM: ContextVar[list[int]] = ContextVar("room")


def _spend(*values: Any) -> None:
    """Count what is copied: a stream of a few bytes may name the same long value many times."""
    room = _ROOM.get()
    room[0] -= 8 + sum(len(value) for value in values if isinstance(value, SIZED))
    if room[0] < 0:
        raise pickle.UnpicklingError("it copies the same values over and over")


def _collection(kind: Callable[..., Any]) -> _Callable:
    """Stands for a set: its members are hashed, which takes long for nested or crafted ones."""

    def build(items: Any = ()) -> Any:
        if not isinstance(items, (list, tuple, set)):
            raise pickle.UnpicklingError("a set that is not made of a list")
        if not all(isinstance(item, MEMBERS) for item in items):
            raise pickle.UnpicklingError("a mapping or set of something else than numbers and text")
        return kind(items)

    return _Callable(build)


def _ordered(items: Any = ()) -> dict[Any, Any]:
    """Stands for ``OrderedDict``: of nothing, or in old streams of a list of pairs."""
    pairs = [tuple(item) for item in items if isinstance(item, (list, tuple)) and len(item) == 2]
    if not isinstance(items, (list, tuple)) or len(pairs) != len(items):
        raise pickle.UnpicklingError("an OrderedDict that is not made of pairs")
    if not all(isinstance(key, MEMBERS) for key, _ in pairs):
        raise pickle.UnpicklingError("a mapping or set of something else than numbers and text")
    return OrderedDict(pairs)


_ALLOWED: dict[tuple[str, str], Any] = {
    **TABLES,
    ("collections", "OrderedDict"): _Callable(_ordered),
    ("_codecs", "encode"): _Callable(_encode),
    **{(module, name): _collection(set) for module in BUILTINS for name in ("set", "frozenset")},
    **{(module, "complex"): _Callable(complex) for module in BUILTINS},
    **{(module, "bytes"): _Callable(_bytes) for module in BUILTINS},
    **{
        (module, "bytearray"): _Callable(lambda *args: bytearray(_bytes(*args)))
        for module in BUILTINS
    },
    **{(module, "_reconstruct"): _Callable(_Array) for module in NUMPY},
    **{(module, "_frombuffer"): _Callable(_frombuffer) for module in NUMPY},
    **{(module, "scalar"): _Callable(_scalar) for module in NUMPY},
    ("numpy", "ndarray"): _Callable(_Array),
    ("numpy", "dtype"): _Callable(_Dtype),
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Return what the allow-list has under that name, and nothing else."""
        found = _ALLOWED.get((module, name))
        if found is None:
            raise pickle.UnpicklingError(
                f"it asks for {module}.{name}, which is not data; nothing of it was run"
            )
        return found

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("it refers to objects outside the file")


def read_pickle(path: Path) -> Any:
    """Return the content of a pickle of data: containers, numbers, text and numpy arrays.

    Tables of pandas come as mappings from columns to arrays, series and indexes as arrays.
    """
    with reading(path, "pickle"):
        size = path.stat().st_size
        try:
            scan(path)
            _ROOM.set([8 * size + (1 << 20)])
            with path.open("rb") as file:
                value = _Reader(Bounded(file, size), encoding="latin-1").load()
            return _Plain(32 * size + (64 << 20), 4 * size + 100_000).resolve(value)
        except pickle.UnpicklingError as error:
            raise DatasetError(f"{path}: refused, or not a pickle: {error}.") from error


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Return every array of a pickle, by its path: ``train/vision``."""
    value = read_pickle(path)
    with reading(path, "pickle of arrays"):
        try:
            return flatten(value)
        except DatasetError as error:
            raise DatasetError(f"{path}: {error}") from error


class _Plain:
    """Arrays in place of what stood for them.

    Args:
        steps: how many values may be looked at.
        room: bytes, about, that the values may take in all: a stream that names one value many
            times would become many.
    """

    def __init__(self, room: int, steps: int) -> None:
        self.room, self.steps = room, steps

    def resolve(self, value: Any, depth: int = 0) -> Any:
        """Plain data; refuses what is none."""
        if depth > MOST_DEPTH:
            raise pickle.UnpicklingError(f"values nested deeper than {MOST_DEPTH} levels")
        self._take(8 + _weight(value))
        if isinstance(value, PLAIN):
            return value
        if isinstance(value, _Array) and value.value is not None:
            return self._array(value.value, depth)
        if isinstance(value, (Frame, Series)):
            return self.resolve(value.data(lambda item: self.resolve(item, depth + 1)), depth + 1)
        if isinstance(value, Index):
            return self._index(value.data(lambda item: self.resolve(item, depth + 1)))
        if isinstance(value, np.ndarray):  # of a table
            return value
        if isinstance(value, Mapping):
            return {self._key(k): self.resolve(v, depth + 1) for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(self.resolve(item, depth + 1) for item in value)
        if isinstance(value, (set, frozenset)):
            return {self._key(item) for item in value}
        raise pickle.UnpicklingError(f"a {type(value).__name__.strip('_').lower()} is not data")

    def _array(self, array: NDArray[Any], depth: int) -> NDArray[Any]:
        if array.dtype.kind != "O":
            return array
        flat = np.empty(array.size, dtype=object)
        for place, item in enumerate(array.ravel()):
            flat[place] = self.resolve(item, depth + 1)
        return flat.reshape(array.shape)

    def _index(self, index: Any) -> Any:
        if not isinstance(index, range):
            return index
        self._take(8 * len(index))
        return np.arange(index.start, index.stop, index.step)

    def _take(self, size: int) -> None:
        self.room -= size
        self.steps -= 1
        if self.room < 0 or self.steps < 0:
            raise pickle.UnpicklingError("it names the same values so often that they grow huge")

    def _key(self, key: Any) -> Any:
        if not isinstance(key, PLAIN):
            raise pickle.UnpicklingError("a mapping or set of something else than numbers and text")
        return self.resolve(key)


def _weight(value: Any) -> int:
    if isinstance(value, (str, bytes, bytearray)):
        return len(value)
    return value.value.nbytes if isinstance(value, _Array) and value.value is not None else 0


def flatten(value: Any, prefix: str = "") -> dict[str, NDArray[Any]]:
    """Return every array of nested mappings, by its path: ``train/vision``."""
    name = prefix.rstrip("/")
    if isinstance(value, Mapping):
        found: dict[str, NDArray[Any]] = {}
        for key, item in value.items():
            part = key.decode("utf-8", "replace") if isinstance(key, bytes) else str(key)
            if "/" in part or "\0" in part or part in ("", ".", ".."):
                raise DatasetError(f"the key {part[:40]!r} cannot be the name of an array.")
            inner = flatten(item, f"{prefix}{part}/")
            if not found.keys().isdisjoint(inner):
                raise DatasetError(f"the key {prefix}{part} stands twice.")
            found |= inner
        return found
    if isinstance(value, set):
        value = sorted(value, key=str)
    try:
        # As text of one width, each would take the room of the longest.
        return {name: np.asarray(value, dtype=object if _has_text(value) else None)}
    except ValueError as error:  # a ragged list
        raise DatasetError(f"{name}: lists of unequal length.") from error


def _has_text(value: Any) -> bool:
    """Whether a list holds text, also in lists in it."""
    return isinstance(value, (list, tuple)) and any(
        isinstance(item, (str, bytes)) or _has_text(item) for item in value
    )
