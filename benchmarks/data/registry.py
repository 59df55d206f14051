"""The registry of data sets, and what a user may call one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from i2moe_plugin.benchmarks.data.base import MultimodalDataset, Status
from i2moe_plugin.benchmarks.data.cards import Card
from i2moe_plugin.errors import did_you_mean
from i2moe_plugin.registry import Registry


@dataclass(frozen=True)
class DatasetEntry:
    """A registered data set: the facts that are known before its files are opened.

    Attributes:
        name: the name on the command line.
        build: what reads its files.
    """

    name: str
    build: type[MultimodalDataset] = field(repr=False)

    @property
    def card(self) -> Card:
        """The published format, the licence and how to get the files."""
        return self.build.card

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities' names, in order; empty where each folder has its own."""
        return self.build.modalities

    @property
    def metric(self) -> str:
        """The metric that methods are compared by."""
        return self.build.metric

    @property
    def selection(self) -> str:
        """What selects the epoch on validation data, where it is not the metric."""
        return self.build.selection

    @property
    def settings(self) -> dict[str, inspect.Parameter]:
        """The settings a user may give (``data.NAME``), by name."""
        parameters = inspect.signature(self.build).parameters
        return {name: p for name, p in parameters.items() if name != "root"}

    def status(self, root: Path | None = None) -> Status:
        """Say what is here; looks, and reads nothing large."""
        return self.build.status(root)

    def verify(self, root: Path | None = None) -> list[str]:
        """Say how the files differ from the published ones, one sentence each; reads them all."""
        return self.build.verify(root)

    def write_sample(self, folder: Path, seed: int = 0, **sizes: int) -> None:
        """Draw a small data set in the published format.

        Args:
            folder: a new or empty folder.
            seed: equal seeds draw equal files.
            **sizes: the data set's own, such as the number of clips.

        Raises:
            DatasetError: the folder is not empty or cannot be written; or the data itself ships
                in the package.
        """
        self.build.write_sample(folder, seed, **sizes)


datasets: Registry[DatasetEntry] = Registry("data set", "i2moe_plugin.datasets")

DatasetT = TypeVar("DatasetT", bound=type[MultimodalDataset])


def register_dataset(name: str) -> Callable[[DatasetT], DatasetT]:
    """Class decorator that registers a data set; the class is returned, with its name set.

    Raises:
        RegistrationError: the name is taken or malformed.
    """

    def decorate(cls: DatasetT) -> DatasetT:
        datasets.add(DatasetEntry(name, cls))
        cls.name = name
        return cls

    return decorate


def find_dataset(given: str, root: str | Path | None = None) -> tuple[str, Path | None]:
    """The name and the root of what a user calls a data set: a name, or a folder of their own.

    A folder with a ``dataset.yaml`` is called ``folder:NAME``, with the name it gives itself.

    Raises:
        DatasetError: a path without ``dataset.yaml``, or one that is not of the form.
    """
    place = None if root is None else Path(root).expanduser()
    path = Path(given).expanduser()
    if not (path.is_dir() and (path / "dataset.yaml").exists()) and not set("/\\") & set(given):
        return given, place
    from i2moe_plugin.benchmarks.datasets.folder.spec import read_spec

    return f"folder:{read_spec(path).name}", path


def option_problems(entry: DatasetEntry, options: Mapping[str, Any]) -> list[str]:
    """What is wrong with these options for that data set, one sentence each."""
    known = list(entry.settings)
    return [
        f"data set {entry.name!r} has no setting {key!r}.{did_you_mean(key, known)} "
        f"It has: {', '.join(known) or 'none'}."
        for key in options
        if key not in known
    ]
