"""Reading published pickles without running what is in them, and keeping them as HDF5.

A pickle is a program. This reader knows numbers, text, containers, numpy arrays and, where pandas
is installed, its tables of numbers; any other name in the stream is refused before anything of it
is called. The state of arrays is checked before numpy sees it: numpy believes the flags of a type,
which a stream may have set so that bytes are taken for pointers.
"""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2moe_plugin.benchmarks.datasets.readers import reading
from i2moe_plugin.errors import DatasetError

NUMPY = ("numpy", "numpy.core.multiarray", "numpy._core.multiarray", "numpy.core.numeric",
         "numpy._core.numeric")  # fmt: skip
MOST_DEPTH = 32
#: What pandas' own tables need; called with rebuilt arrays and plain values only.
PANDAS = {
    ("pandas", "DataFrame"),
    ("pandas", "Series"),
    ("pandas", "Index"),
    ("pandas", "RangeIndex"),
    ("pandas.core.frame", "DataFrame"),
    ("pandas.core.series", "Series"),
    ("pandas.core.indexes.base", "Index"),
    ("pandas.core.indexes.base", "_new_Index"),
    ("pandas.core.indexes.range", "RangeIndex"),
    ("pandas.core.indexes.numeric", "Int64Index"),
    ("pandas.core.indexes.numeric", "Float64Index"),
    ("pandas.core.internals.managers", "BlockManager"),
    ("pandas.core.internals.managers", "SingleBlockManager"),
    ("pandas._libs.internals", "_unpickle_block"),
    ("pandas.core.internals.blocks", "new_block"),
}


class _Dtype:
    """Stands for a ``numpy.dtype``: only its letter, size and byte order are believed."""

    def __init__(self, spec: Any, align: Any = False, copy: Any = False) -> None:
        if not isinstance(spec, str):
            raise pickle.UnpicklingError(f"numpy.dtype of {type(spec).__name__}")
        self.spec, self.order = spec, "="

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", ">", "|", "="):
            raise pickle.UnpicklingError("a numpy.dtype with an unknown state")
        if any(part is not None for part in state[2:5]):
            raise pickle.UnpicklingError("a numpy.dtype with fields")
        self.order = state[1]

    def real(self) -> np.dtype[Any]:
        dtype = np.dtype(self.spec)
        if dtype.kind not in "biufcSUO" or dtype.subdtype is not None:
            raise pickle.UnpicklingError(f"a numpy.dtype {self.spec!r}")
        return dtype.newbyteorder(self.order)  # type: ignore[arg-type]


class _Array(np.ndarray[Any, Any]):
    """A numpy array whose state is checked before numpy sees it."""

    def __setstate__(self, state: Any) -> None:
        _version, shape, dtype, fortran, content = state
        checked = _build(shape, dtype, fortran, content)
        raw = list(checked.ravel("A")) if checked.dtype.kind == "O" else checked.tobytes("A")
        super().__setstate__((1, checked.shape, checked.dtype, bool(fortran), raw))


def _build(shape: Any, dtype: Any, fortran: Any, content: Any) -> NDArray[Any]:
    if not isinstance(dtype, _Dtype) or not isinstance(shape, tuple):
        raise pickle.UnpicklingError("a numpy array with an unknown state")
    if not all(isinstance(size, int) and size >= 0 for size in shape):
        raise pickle.UnpicklingError(f"a numpy array of shape {shape!r}")
    count, real = 1, dtype.real()
    for size in shape:
        count *= size
    order: Any = "F" if fortran else "C"
    if real.kind == "O":
        if not isinstance(content, list) or len(content) != count:
            raise pickle.UnpicklingError("a numpy array of objects without its list of objects")
        flat = np.empty(count, dtype=object)
        flat[:] = content
        return flat.reshape(shape, order=order)
    if isinstance(content, str):  # protocol 2 and older carry bytes as latin-1 text
        content = content.encode("latin-1")
    size = len(content) if isinstance(content, (bytes, bytearray)) else -1
    if size != count * real.itemsize:
        raise pickle.UnpicklingError(
            f"a numpy array of {count} x {real} with {size} bytes; expected {count * real.itemsize}"
        )
    return np.frombuffer(bytes(content), dtype=real).reshape(shape, order=order)


def _reconstruct(*_: Any) -> _Array:
    return _Array((0,), dtype="b")


def _frombuffer(buffer: Any, dtype: Any, shape: Any, order: Any) -> Any:
    return _build(shape, dtype, order == "F", bytes(buffer)).view(_Array)


def _scalar(dtype: Any, content: Any = None) -> Any:
    if not isinstance(dtype, _Dtype) or dtype.real().kind == "O":
        raise pickle.UnpicklingError("a numpy scalar of objects")
    return _build((), dtype, False, content)[()]


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    """Protocol 2 writes bytes as ``_codecs.encode(text, 'latin1')``."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"_codecs.encode with {encoding!r}")
    return text.encode("latin-1")


def _bytes(content: Any = b"", encoding: Any = "latin1") -> bytes:
    """``bytes`` and ``bytearray``, but not of a number: that would be as many zeros."""
    return bytes(content) if isinstance(content, (bytes, list)) else _encode(content, encoding)


class _Callable:
    """A function of the allow-list: can be called, and nothing else done to it."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        object.__setattr__(self, "_function", function)

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("a function cannot be given a state")

    def __setattr__(self, name: str, value: Any) -> None:
        raise pickle.UnpicklingError("a function cannot be changed")


def _builtin(kind: type) -> _Callable:
    return _Callable(lambda *args: kind(*args))


_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): _builtin(OrderedDict),
    ("_codecs", "encode"): _Callable(_encode),
    **{
        (module, kind.__name__): _builtin(kind)
        for module in ("builtins", "__builtin__")
        for kind in (set, frozenset, slice, complex)
    },
    **{
        (module, name): _Callable(_bytes)
        for module in ("builtins", "__builtin__")
        for name in ("bytes", "bytearray")
    },
    **{(module, "_reconstruct"): _Callable(_reconstruct) for module in NUMPY},
    **{(module, "_frombuffer"): _Callable(_frombuffer) for module in NUMPY},
    **{(module, "scalar"): _Callable(_scalar) for module in NUMPY},
    ("numpy", "ndarray"): _Callable(_reconstruct),
    ("numpy", "dtype"): _Callable(_Dtype),
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """The allow-list, and nothing else."""
        found = _ALLOWED.get((module, name))
        if found is None and (module, name) in PANDAS:
            import importlib

            try:
                found = getattr(importlib.import_module(module), name)
            except (ImportError, AttributeError) as error:
                raise pickle.UnpicklingError(
                    f"{module}.{name}, which the installed pandas does not have"
                ) from error
            # A class of its own for this stream: whatever is set on it is gone with the stream.
            found = type(name, (found,), {}) if isinstance(found, type) else _resolving(found)
        if found is None:
            raise pickle.UnpicklingError(
                f"it asks for {module}.{name}, which is not data; nothing of it was run"
            )
        return found

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("it refers to objects outside the file")


def read_pickle(path: Path) -> Any:
    """The content of a pickle of data: containers, numbers, text, numpy arrays, pandas tables.

    Raises:
        DatasetError: missing, damaged, or it holds anything else, which is named and was not run.
    """
    with reading(path, "pickle"):
        content = path.read_bytes()
        try:
            value = _Reader(io.BytesIO(content), encoding="latin-1").load()
        except pickle.UnpicklingError as error:
            raise DatasetError(f"{path}: refused, or not a pickle: {error}.") from error
        plain = _resolve(value, 0)
    return plain


def _resolving(function: Callable[..., Any]) -> _Callable:
    """A function of pandas, which takes real arrays (and the class that ``_new_Index`` makes)."""
    return _Callable(
        lambda *args: function(*(a if isinstance(a, type) else _resolve(a, 0) for a in args))
    )


def _resolve(value: Any, depth: int) -> Any:
    """Arrays in place of what stood for them."""
    if depth > MOST_DEPTH:
        raise DatasetError(f"nested deeper than {MOST_DEPTH} levels")
    if isinstance(value, np.ndarray):
        if value.dtype.kind == "O":
            flat = np.empty(value.size, dtype=object)
            for place, item in enumerate(value.ravel()):
                flat[place] = _resolve(item, depth + 1)
            return flat.reshape(value.shape)
        return value.view(np.ndarray)
    if isinstance(value, Mapping):
        return {_resolve(k, depth + 1): _resolve(v, depth + 1) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_resolve(item, depth + 1) for item in value)
    if isinstance(value, (_Dtype, _Callable, type)):
        raise DatasetError(f"holds a {type(value).__name__.strip('_').lower()}, which is not data")
    return value


def flatten(value: Any, prefix: str = "") -> dict[str, NDArray[Any]]:
    """Every array of nested mappings, by its path: ``train/vision``.

    Raises:
        DatasetError: a value that is neither a mapping nor an array.
    """
    if isinstance(value, Mapping):
        found: dict[str, NDArray[Any]] = {}
        for key, item in value.items():
            name = str(key)
            if "/" in name or name in ("", ".", ".."):
                raise DatasetError(f"the key {name!r} cannot be the name of an array.")
            found |= flatten(item, f"{prefix}{name}/")
        return found
    name = prefix.rstrip("/")
    if hasattr(value, "to_numpy"):
        value = value.to_numpy()
    try:
        array = np.asarray(value)
    except ValueError as error:  # a ragged list
        raise DatasetError(f"{name}: lists of unequal length.") from error
    return {name: array}
