"""One run of a grid as a task, which may be done in another process or on another machine."""

from __future__ import annotations

import platform
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from i2moe_plugin.benchmarks.data.open import OpenedDataset
from i2moe_plugin.benchmarks.grid.cells import Cell
from i2moe_plugin.benchmarks.grid.executors import Send
from i2moe_plugin.benchmarks.grid.failures import Failures, in_one_line
from i2moe_plugin.benchmarks.run.environment import device_kind
from i2moe_plugin.benchmarks.run.execute import execute, run_name
from i2moe_plugin.benchmarks.run.settings import RunSettings
from i2moe_plugin.benchmarks.run.store import RunStore
from i2moe_plugin.errors import DatasetError, RunError

#: The data set that this process opened last for a pickled task, by its key. Grids go through
#: their data sets one after another, so that more need not be kept.
_kept: dict[str, OpenedDataset] = {}


class SharedData:
    """An opened data set that is pickled as what opens it, and opened once in each process.

    Args:
        data: as opened here.
        open_data: opens a cell's data set.
        cell: one of those that share it.
    """

    def __init__(
        self, data: OpenedDataset, open_data: Callable[[Cell], OpenedDataset], cell: Cell
    ) -> None:
        self._data: OpenedDataset | None = data
        self._open = open_data
        # Another process may have another working folder.
        root = None if data.root is None else str(data.root.absolute())
        self._cell = replace(cell, root=root)
        self._key = uuid.uuid4().hex

    def __getstate__(self) -> dict[str, Any]:
        """Leave the data out."""
        return {**self.__dict__, "_data": None}

    def open(self) -> OpenedDataset:
        """Return the data set.

        Raises:
            DatasetError: another process finds its files missing or damaged.
        """
        if self._data is None:
            if self._key not in _kept:
                _kept.clear()
                try:
                    _kept[self._key] = self._open(self._cell)
                except DatasetError as error:
                    raise DatasetError(
                        f"a worker on {platform.node()} cannot open the data set: {error} Workers "
                        "need its folder at the same path as this process."
                    ) from error
            self._data = _kept[self._key]
        return self._data


@dataclass(frozen=True)
class Training:
    """Trains one run and sends its states.

    Attributes:
        settings: complete.
        data: what it is trained on.
        store: where it goes.
        name: of its directory.
        options: of :func:`execute`; and ``strict``: what goes wrong is raised, and not sent.
    """

    settings: RunSettings
    data: SharedData
    store: RunStore
    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def resources(self) -> dict[str, float]:
        """What it needs of a worker, as dask counts it."""
        return {"GPU": 1} if device_kind(self.settings.device) == "cuda" else {}

    def __call__(self, send: Send) -> None:
        """Train; the last message says what became of it."""
        options = dict(self.options)
        strict = options.pop("strict", False)
        send(("running", None))
        name, identity = self.name, ""
        try:
            data = self.data.open()
            name, identity = run_name(self.settings, data)
            if name != self.name:
                raise RunError(
                    f"this process would write {name} where {self.name} was asked for: its device, "
                    "data, backbone or version of this package is another."
                )
            execute(
                self.settings,
                data,
                self.store,
                on_epoch=lambda epoch: send(("running", epoch)),
                **options,
            )
        except Exception as error:
            if strict:
                raise
            if isinstance(error, RunError) or not identity:
                # Of the disk, of another process or of the data there, and not of the method.
                send(("stopped", in_one_line(error)))
            else:
                reason = Failures(self.store.folder).add(name, identity, self.settings, error)
                send(("failed", reason))
        else:
            send(("finished", None))
