"""The registry of data sets: what is known of each before its files are opened."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from i2moe_plugin.benchmarks.data.cards import Card
from i2moe_plugin.benchmarks.data.classes import ClassContents, facts_of
from i2moe_plugin.benchmarks.data.contents import Contents, are_names
from i2moe_plugin.benchmarks.data.differences import differences
from i2moe_plugin.benchmarks.data.multibench import CheckoutLoader
from i2moe_plugin.benchmarks.data.samples import Reread
from i2moe_plugin.benchmarks.data.source import DataFolder, writing_sample
from i2moe_plugin.benchmarks.formats.reading import check_name, is_file
from i2moe_plugin.benchmarks.formats.tables import read_yaml
from i2moe_plugin.deprecation import deprecated
from i2moe_plugin.errors import ConfigError, DatasetError, RegistrationError, did_you_mean, listed
from i2moe_plugin.registry import Registry

SELF_DESCRIBED = "dataset.yaml"
STRICT = ConfigDict(strict=True)
#: Arguments of :func:`open_dataset`, which no data set can call a setting of its own.
RESERVED = {"name", "root", "loader", "cache", "sample", "modalities", "split"}
#: The setting of every data set: which of its modalities are taken.
MODALITIES = "modalities"


@dataclass(frozen=True)
class Status:
    """What of a data set is here.

    Attributes:
        ready: a run can start.
        where: the folder or file looked at.
        size: bytes of the files that are here.
        problems: what is missing or wrong, one sentence each.
    """

    ready: bool
    where: str
    size: int = 0
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class DatasetEntry:
    """A registered data set.

    Attributes:
        name: the name on the command line.
        card: the published format, the licence and how to get the files.
        modalities: the modalities' names, in order; empty where each folder has its own.
        read: opens the files of a :class:`DataFolder`, checks them and reads what is small; its
            other arguments are the data set's settings.
        metric: what methods are compared by.
        selection: what selects the epoch on validation data (``loss``: the task's); the metric,
            where empty.
        draw: writes a small drawn data set in the published format into an empty folder;
            ``(folder, seed, **sizes)``.
        locate: the folder and the card of what a user calls the root (None: nothing told).
        ready: what keeps a run from starting although all files are there, one sentence each;
            looks, and reads nothing large.
        checkout: MultiBench's loader of it, or why that is not taken.
        reread: reads new samples by what training taught; see :func:`open_samples`.
        more: further facts for people, by what they are about; computed when they are asked for.
    """

    name: str
    card: Card = field(repr=False)
    modalities: tuple[str, ...]
    read: Callable[..., Contents | ClassContents] = field(repr=False)
    metric: str = "accuracy"
    selection: str = ""
    draw: Callable[..., None] | None = field(default=None, repr=False)
    locate: Callable[[Path | None, Card], tuple[Path, Card]] | None = field(
        default=None, repr=False
    )
    ready: Callable[[DataFolder], Iterable[str]] = field(default=lambda _: (), repr=False)
    checkout: CheckoutLoader | str | None = field(default=None, repr=False)
    reread: Reread | None = field(default=None, repr=False)
    more: Callable[[], Mapping[str, str]] = field(default=dict, repr=False)

    @property
    def settings(self) -> dict[str, inspect.Parameter]:
        """The settings a user may give (``data.NAME``), by name."""
        _, *parameters = inspect.signature(self.read).parameters.values()
        return {parameter.name: parameter for parameter in parameters}

    def folder(self, root: str | Path | None = None, cache: bool = True) -> DataFolder:
        """Return the data set's folder, if it is there or not; ``data/NAME`` by default.

        Raises:
            DatasetError: the user's own folder does not describe itself, or there can be none of
                that name.
        """
        place = None if root is None else Path(root).expanduser()
        if place is not None:
            check_name(place)
        if self.locate is not None:
            path, card = self.locate(place, self.card)
        else:
            path, card = place or Path("data", self.name), self.card
        return DataFolder(path, card, self.name, cache)

    def open(self, folder: DataFolder, settings: Mapping[str, Any]) -> Contents | ClassContents:
        """Check that the files are there, and read them."""
        problems = option_problems(self, settings)
        if problems:
            raise ConfigError(problems)
        missing = [] if self.card.embedded else folder.missing()
        if missing:
            advice = [self.card.how_to_get] if self.card.how_to_get else []
            sample = f"i2moe-bench data sample {self.name} DIR"
            if self.draw is not None and sample not in self.card.how_to_get:
                advice.append(f"For a small drawn one: {sample}")
            raise DatasetError(
                "\n".join([f"{self.name} cannot be read from {folder}:", listed(missing), *advice])
            )
        return self.read(folder, **settings)

    def status(self, root: str | Path | None = None) -> Status:
        """Say what is here; looks, and reads nothing large."""
        try:
            folder = self.folder(root)
        except DatasetError as error:
            return Status(False, str(root), problems=(str(error),))
        problems = (*folder.missing(), *self.ready(folder))
        size = sum(path.stat().st_size for path in folder.found())
        where = "in the package" if self.card.embedded and root is None else str(folder)
        return Status(not problems, where, size, problems)

    def verify(self, root: str | Path | None = None) -> list[str]:
        """Say how the files differ from the published ones, one sentence each; reads them all."""
        try:
            folder = self.folder(root)
            own = folder.card.access == "yours"  # what it says of itself is checked on opening
            problems = [] if own else differences(folder.card, folder.path, folder.is_sample)
            return problems or list(self.open(folder, {}).problems())
        except DatasetError as error:
            return [str(error)]

    def write_sample(self, folder: Path, seed: int = 0, **sizes: int) -> None:
        """Draw a small data set in the published format into a new folder; seeds decide it."""
        if self.draw is None:
            raise DatasetError(
                f"{self.name} ships in the package; no sample is needed: run --dataset {self.name}."
                if self.card.embedded
                else f"there is no sample of {self.name}; docs/adding_a_dataset.md writes one."
            )
        with writing_sample(folder, self.card.short_title, seed) as aside:
            self.draw(aside, seed, **sizes)


datasets: Registry[DatasetEntry] = Registry("data set", "i2moe_plugin.datasets")

MadeT = TypeVar("MadeT", bound=Callable[..., Any])


def register_dataset(
    name: str, *, card: Card | None = None, modalities: tuple[str, ...] = (), **facts: Any
) -> Callable[[MadeT], MadeT]:
    """Register a data set by the function that reads its files; the function is returned as it is.

    Args:
        name: the name on the command line.
        card, modalities, facts: see :class:`DatasetEntry`.

    Raises:
        RegistrationError: the name is taken or malformed, there is no card, or a setting has a
            name that :func:`open_dataset` needs for itself.
    """

    def decorate(made: MadeT) -> MadeT:
        if isinstance(made, type):
            deprecated(f"the class {made.__name__} as a data set", "a function that reads it")
            entry = DatasetEntry(name, **facts_of(name, made))
        elif card is None:
            raise RegistrationError(f"data set {name!r} has no card.")
        else:
            entry = DatasetEntry(name, card, modalities, made, **facts)
        taken = sorted(RESERVED & set(entry.settings))
        if taken:
            raise RegistrationError(
                f"data set {name!r} has a setting {taken[0]!r}, which open_dataset needs for "
                "itself; give it another name."
            )
        datasets.add(entry)
        return made

    return decorate


def find_dataset(given: str, root: str | Path | None = None) -> tuple[str, Path | None]:
    """The name and the root of what a user calls a data set: a name, or a folder of their own.

    A folder with a ``dataset.yaml`` is called ``folder:NAME``, with the name it gives itself.
    """
    place = None if root is None else Path(root).expanduser()
    path = Path(given).expanduser()
    described = path / SELF_DESCRIBED
    if not is_file(described) and not set("/\\") & set(given):
        return given, place
    if not is_file(described):
        raise DatasetError(
            f"{str(path)[:300]}: no {SELF_DESCRIBED} there. It says which files hold the "
            "modalities, the target and the split; docs/adding_a_dataset.md shows one."
        )
    content = read_yaml(described)
    name = content.get("name") if isinstance(content, dict) else None
    fits = isinstance(name, str) and re.fullmatch("[A-Za-z0-9][A-Za-z0-9_-]*", name)
    return f"folder:{name if fits else 'unnamed'}", path


def option_problems(entry: DatasetEntry, options: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with these settings for that data set, one sentence each."""
    known = entry.settings
    problems = [
        f"data set {entry.name!r} has no setting {key!r}.{did_you_mean(key, known)} "
        f"It has: {', '.join(known) or 'none'}."
        for key in options
        if key not in known and key != MODALITIES
    ]
    # A data set may have a setting of that name itself, such as how many are drawn.
    named = MODALITIES in options and MODALITIES not in known
    if named and not are_names(options[MODALITIES]):
        problems.append(
            f"data.{MODALITIES}={options[MODALITIES]!r} cannot be used: give a list of names, "
            "such as [image, text]."
        )
    hints: dict[str, Any] = {}
    with suppress(NameError, TypeError):  # of somebody's function, with names that are not there
        hints = get_type_hints(entry.read, include_extras=True)
    for key in known:
        if key in options and key in hints:
            try:
                TypeAdapter(hints[key], config=STRICT).validate_python(options[key])
            except ValidationError as error:
                reasons = [item["msg"].removeprefix("Value error, ") for item in error.errors()]
                said = "; or ".join(reason[0].lower() + reason[1:] for reason in reasons)
                problems.append(f"data.{key}={options[key]!r} cannot be used: {said}.")
        elif key not in options and known[key].default is inspect.Parameter.empty:
            problems.append(f"data set {entry.name!r} needs data.{key}.")
    return problems
