"""The tables of pandas as pickles hold them, put together again without running pandas.

What a stream says of a table is kept as it is said, and looked at when the stream has ended: a
table becomes a mapping from its columns to arrays, a series and an index an array. So tables of any
version of pandas are read, whichever is installed, if they hold numbers, or text as Python objects.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Resolve = Callable[[Any], Any]


class Said:
    """What a stream says of one object of pandas."""

    args: tuple[Any, ...] = ()  # a stream may make it without calling __init__
    state: Any = None

    def __init__(self, *args: Any) -> None:
        self.args = args

    def __setstate__(self, state: Any) -> None:
        self.state = state


class Frame(Said):
    """Stands for ``DataFrame``."""

    def data(self, resolve: Resolve) -> dict[str, Any]:
        columns, index, blocks = _manager(self, resolve)
        found: dict[str, Any] = {}
        for values, places in blocks:
            if values.ndim != 2 or len(places) != len(values):
                raise pickle.UnpicklingError("a table whose columns do not fit their values")
            for place, column in zip(places, values, strict=True):
                name = str(columns[place])
                if name in found:
                    raise pickle.UnpicklingError(f"a table with two columns {name[:40]!r}")
                found[name] = column
        if len(found) != len(columns):
            raise pickle.UnpicklingError("a table with a column without values")
        if isinstance(index, np.ndarray):
            found.setdefault("index", index)
        return found


class Series(Said):
    """Stands for ``Series``."""

    def data(self, resolve: Resolve) -> Any:
        *_, blocks = _manager(self, resolve)
        (values, _), *more = blocks
        if more:
            raise pickle.UnpicklingError("a series of more than one column")
        return values


class Manager(Said):
    """Stands for ``BlockManager``: blocks and axes, as arguments or, in old versions, a state."""


class Index(Said):
    """Stands for ``Index`` and its kinds: of values, or a range."""

    def data(self, resolve: Resolve) -> Any:
        said = self.args[1] if len(self.args) == 2 and isinstance(self.args[1], dict) else {}
        if "data" in said:
            return _array(resolve(said["data"]))
        try:
            return range(*(int(said[key]) for key in ("start", "stop", "step")))
        except (KeyError, TypeError) as error:
            raise pickle.UnpicklingError("an index without values") from error


class Block(Said):
    """A block: values [columns, rows] and the places of its columns."""


class Slice(Said):
    """Stands for ``slice``: the places of a block's columns."""


def _manager(table: Said, resolve: Resolve) -> tuple[Any, Any, list[tuple[NDArray[Any], Any]]]:
    """Return a table's columns, its index, and the blocks as (values, places)."""
    state = table.state if isinstance(table.state, dict) else {}
    manager = state.get("_mgr", state.get("_data"))
    if not isinstance(manager, Manager):
        raise pickle.UnpicklingError("a table without values")
    if isinstance(manager.state, tuple) and len(manager.state) == 4:
        said = manager.state[3].get("0.14.1", {}) if isinstance(manager.state[3], dict) else {}
        axes = said.get("axes", ())
        blocks = [(block["values"], block["mgr_locs"]) for block in said.get("blocks", ())]
    else:
        held, axes = manager.args if len(manager.args) == 2 else ((), ())
        blocks = [block.args[:2] for block in held if isinstance(block, Block)]
    labels = [axis.data(resolve) for axis in axes if isinstance(axis, Index)]
    if not labels:
        raise pickle.UnpicklingError("a table without columns")
    columns, index = labels[0], labels[-1]
    return columns, index, [(_array(resolve(v)), _places(p, columns, resolve)) for v, p in blocks]


def _places(said: Any, columns: Sequence[Any], resolve: Resolve) -> Any:
    """Return where a block's columns stand: from a slice, or an array of numbers."""
    if isinstance(said, Slice):
        return range(len(columns))[slice(*said.args)]
    return _array(resolve(said)).tolist()


def _array(value: Any) -> NDArray[Any]:
    if not isinstance(value, np.ndarray):
        raise pickle.UnpicklingError(f"a table of {type(value).__name__}; expected arrays")
    return value


TABLES: dict[tuple[str, str], type[Said]] = {
    **{(module, "DataFrame"): Frame for module in ("pandas", "pandas.core.frame")},
    **{(module, "Series"): Series for module in ("pandas", "pandas.core.series")},
    **{
        ("pandas.core.internals.managers", name): Manager
        for name in ("BlockManager", "SingleBlockManager")
    },
    **{("pandas.core.internals", name): Manager for name in ("BlockManager", "SingleBlockManager")},
    ("pandas.core.indexes.base", "_new_Index"): Index,
    ("pandas", "Index"): Index,
    ("pandas", "RangeIndex"): Index,
    ("pandas.core.indexes.base", "Index"): Index,
    ("pandas.core.indexes.range", "RangeIndex"): Index,
    ("pandas.core.indexes.numeric", "Int64Index"): Index,
    ("pandas.core.indexes.numeric", "Float64Index"): Index,
    ("pandas._libs.internals", "_unpickle_block"): Block,
    ("pandas.core.internals.blocks", "new_block"): Block,
    **{(module, "slice"): Slice for module in ("builtins", "__builtin__")},
}
