"""What a suite's file says, checked, and the cells it expands to."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from os.path import normpath
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from i2moe_plugin.benchmarks.run.settings import RunSettings, resolve
from i2moe_plugin.errors import ConfigError, did_you_mean

PACKAGE = "i2moe_plugin.benchmarks.grid.suites"
#: Words that stand for several names.
EMBEDDED, EVERY = "embedded", "all"
#: Settings that do not decide figures; given ones leave a cell comparable with the paper's.
NEUTRAL = frozenset({"device", "workers", "threads"})


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Named(_Strict):
    """A data set or a backbone with settings of its own; a mere name in the file does too."""

    name: str
    settings: dict[str, Any] = Field(default_factory=dict)
    root: str | None = None
    metrics: list[str] | None = None


class Part(_Strict):
    """One grid; what it leaves out is taken from the file's top."""

    datasets: list[Named] | None = None
    fusions: list[Named] | None = None
    methods: list[str] | None = None
    settings: dict[str, Any] = Field(default_factory=dict)
    grid: dict[str, list[Any]] = Field(default_factory=dict)

    @field_validator("datasets", "fusions", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        """A name alone stands for an entry without settings."""
        if isinstance(value, list):
            return [{"name": item} if isinstance(item, str) else item for item in value]
        return value


class Spec(Part):
    """A suite's file.

    Attributes:
        title, about: for people.
        seeds: how many, or a list.
        metrics: what the tables show of every data set; by default what each is compared by. Also
            ``parameters``, ``parameters_without_encoders`` and ``seconds``.
        reference: what each cell is compared with: the cell that agrees in everything but this,
            a method's name or a mapping (``{fusion: concat}``, ``{masking: random}``); null: none.
        paper: show the paper's figures beside ours, where there are some.
        parts: several grids in place of one.
    """

    title: str = ""
    about: str = ""
    seeds: int | list[int] = Field(5, validate_default=True)
    metrics: list[str] | None = None
    reference: str | dict[str, Any] | None = "vanilla"
    paper: bool = True
    parts: list[Part] = Field(default_factory=list)

    @field_validator("seeds")
    @classmethod
    def _seeds(cls, value: int | list[int]) -> int | list[int]:
        seeds = [*range(value)] if isinstance(value, int) else value
        if not seeds or min(seeds) < 0 or len(set(seeds)) != len(seeds):
            raise ValueError("seeds are a number from 1, or a list of distinct ones from 0")
        return seeds


@dataclass(frozen=True)
class Cell:
    """One row's entry for one data set: a method with its settings, over all seeds.

    Attributes:
        settings: of its runs, with seed 0.
        sources: where each of them comes from.
        variant: what the grid chose for it, by setting.
        root: the data set's folder.
        metrics: what is shown; empty: what the data set is compared by.
        altered: settings of its runs that are not the paper's: given by hand, or by a file that
            does not ship.
    """

    settings: RunSettings
    sources: Mapping[str, str]
    variant: Mapping[str, Any] = field(default_factory=dict)
    root: str | None = None
    metrics: tuple[str, ...] = ()
    altered: tuple[str, ...] = ()

    @property
    def row(self) -> tuple[str, ...]:
        """Backbone, method, and each choice of the grid: what a table's row is known by."""
        choices = (f"{key}={value}" for key, value in self.variant.items())
        return (self.settings.fusion, self.settings.method, *choices)

    @property
    def key(self) -> tuple[str, ...]:
        """The data set and the row."""
        return (self.settings.dataset, *self.row)

    def reference_key(self, reference: str | Mapping[str, Any] | None) -> tuple[str, ...] | None:
        """The key of the cell it is compared with; None where that is itself, or there is none."""
        if reference is None:
            return None
        change = {"method": reference} if isinstance(reference, str) else dict(reference)
        dataset = change.pop("dataset", self.settings.dataset)
        row = [change.pop(name, getattr(self.settings, name)) for name in ("fusion", "method")]
        if not set(change) <= set(self.variant):
            return None
        row += [f"{key}={change.get(key, value)}" for key, value in self.variant.items()]
        key = (dataset, *row)
        return key if key != self.key else None


@dataclass(frozen=True)
class Suite:
    """A checked suite: every cell can be started, as far as settings tell."""

    name: str
    title: str
    about: str
    seeds: tuple[int, ...]
    cells: tuple[Cell, ...]
    reference: str | Mapping[str, Any] | None
    paper: bool


def shipped() -> dict[str, str]:
    """The suites in the package: name -> title."""
    files = (item for item in resources.files(PACKAGE).iterdir() if item.name.endswith(".yaml"))
    named = {file.name.removesuffix(".yaml"): file for file in files}
    return {name: _parse(named[name].read_text(encoding="utf-8"), name)["title"] for name in named}


def load_suite(
    given: str,
    *,
    seeds: Sequence[int] | None = None,
    settings: Mapping[str, Any] | None = None,
    roots: Mapping[str, str] | None = None,
    only: Sequence[str] = (),
) -> Suite:
    """Read a suite's file, or one that ships, and expand it.

    Args:
        given: a path, or a name of :func:`shipped`.
        seeds: in place of the file's.
        settings: over the file's.
        roots: data set -> folder, over the file's.
        only: these data sets, backbones or methods alone.

    Raises:
        ConfigError: everything that is wrong with the file, and with any cell's settings, at once.
    """
    raw, name, folder, ours = read_spec(given)
    try:
        spec = Spec(**raw)
    except (ValidationError, TypeError) as error:
        raise ConfigError(_problems(given, error)) from error
    return expand(
        spec, name, folder, seeds=seeds, settings=settings, roots=roots, only=only, ours=ours
    )


def read_spec(given: str) -> tuple[dict[str, Any], str, Path, bool]:
    """A suite's keys, its name, the folder it lies in, and whether it ships.

    Raises:
        ConfigError: neither a file nor a name, or not readable.
    """
    path = Path(given).expanduser()
    if path.is_file():
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: not readable ({error}).") from error
        return _parse(text, given), path.stem, path.parent, False
    names = sorted(shipped())
    if given not in names:
        raise ConfigError(
            f"no suite {given!r}: neither a file nor one of {', '.join(names)}."
            f"{did_you_mean(given, names)}"
        )
    text = resources.files(PACKAGE).joinpath(f"{given}.yaml").read_text(encoding="utf-8")
    return _parse(text, given), given, Path(), True


def expand(
    spec: Spec,
    name: str,
    folder: Path = Path(),
    *,
    seeds: Sequence[int] | None = None,
    settings: Mapping[str, Any] | None = None,
    roots: Mapping[str, str] | None = None,
    only: Sequence[str] = (),
    ours: bool = False,
) -> Suite:
    """A suite's cells; see :func:`load_suite`.

    Args:
        spec: what the file says.
        name: of the suite.
        folder: what relative roots in it are relative to.
        ours: it ships, so its own settings are the paper's.

    Raises:
        ConfigError: see :func:`load_suite`.
    """
    parts = [_grid(spec, part) for part in spec.parts or [Part()]]
    names = [{name for grid in parts for name in grid.names(kind)} for kind in range(3)]
    problems: dict[str, str] = {}  # what is wrong -> where it was found first
    for word in only:
        known = set().union(*names)
        if word not in known:
            wrong = f"nothing in this suite is called {word!r}.{did_you_mean(word, known)}"
            problems[wrong] = "--only"
    if not all(names):
        problems["it needs datasets, fusions and methods, at the top or in each part."] = name
    # Of each kind (data sets, backbones, methods) any that is named; over the kinds all.
    chosen = [kind & set(only) or kind for kind in names]
    cells: dict[tuple[str, ...], Cell] = {}
    for grid in parts:
        given = _Given(spec, chosen, folder, settings or {}, roots or {}, ours)
        for cell in _cells(grid, given, problems):
            cells.setdefault(cell.key, cell)
    if problems:
        raise ConfigError([f"{where}: {problem}" for problem, where in problems.items()])
    many = tuple(seeds) if seeds is not None else tuple(spec.seeds)  # type: ignore[arg-type]
    return Suite(
        name, spec.title or name, spec.about, many, tuple(cells.values()), spec.reference,
        spec.paper,
    )  # fmt: skip


@dataclass(frozen=True)
class _Grid:
    """A part, with what it takes from the top, and words for several names spelled out."""

    datasets: list[Named]
    fusions: list[Named]
    methods: list[str]
    settings: dict[str, Any]
    choices: dict[str, list[Any]]

    def names(self, kind: int) -> list[str]:
        """Of data sets, backbones, methods."""
        if kind == 2:
            return self.methods
        return [item.name for item in (self.datasets, self.fusions)[kind]]


@dataclass(frozen=True)
class _Given:
    """What holds for all parts; see :func:`expand`."""

    spec: Spec
    chosen: list[set[str]]
    folder: Path
    settings: Mapping[str, Any]
    roots: Mapping[str, str]
    ours: bool


def _grid(spec: Spec, part: Part) -> _Grid:
    return _Grid(
        datasets=_several(part.datasets or spec.datasets or [], _embedded),
        fusions=_several(part.fusions or spec.fusions or [], _every_backbone),
        methods=part.methods or spec.methods or [],
        settings={**spec.settings, **part.settings},
        choices={**spec.grid, **part.grid},
    )


def _cells(grid: _Grid, given: _Given, problems: dict[str, str]) -> Iterator[Cell]:
    methods = _methods([m for m in grid.methods if m in given.chosen[2]], problems)
    for dataset, fusion in itertools.product(grid.datasets, grid.fusions):
        if dataset.name not in given.chosen[0] or fusion.name not in given.chosen[1]:
            continue
        root = dataset.root and normpath(given.folder / dataset.root)
        root = given.roots.get(dataset.name, root)
        for choice in itertools.product(*grid.choices.values()):
            variant = dict(zip(grid.choices, choice, strict=True))
            own = {**grid.settings, **dataset.settings, **fusion.settings}
            values = {**own, **variant, **given.settings}
            # What ships is the paper's; so is what a grid varies, which the figure has to match.
            altered = set(given.settings) | (set() if given.ours else set(own) - set(variant))
            try:
                found, sources = resolve(
                    dataset.name, fusion.name, {k: _number(v) for k, v in values.items()}
                )
            except ConfigError as error:
                for problem in error.problems:
                    problems.setdefault(problem, f"{dataset.name}, {fusion.name}")
                continue
            for method in methods:
                yield Cell(
                    settings=found.model_copy(update={"method": method}),
                    sources=sources,
                    variant=variant,
                    root=root,
                    metrics=tuple(dataset.metrics or given.spec.metrics or []),
                    altered=tuple(sorted(altered - NEUTRAL)),
                )


def _methods(names: Sequence[str], problems: dict[str, str]) -> list[str]:
    """Those that there are."""
    out = []
    for name in names:
        try:
            out.append(RunSettings(dataset="", fusion="", method=name).method)
        except ValidationError as error:
            problems |= {_said(item): "methods" for item in error.errors()}
    return out


def _several(items: Sequence[Named], word: Any) -> list[Named]:
    """The entries, with those behind a word for several."""
    out = []
    for item in items:
        names = word(item.name)
        out += [item] if names is None else [item.model_copy(update={"name": n}) for n in names]
    return out


def _embedded(word: str) -> list[str] | None:
    if word != EMBEDDED:
        return None
    from i2moe_plugin.benchmarks.data.registry import datasets

    cards = {name: datasets.get(name).card for name in datasets.names()}
    return [name for name, card in cards.items() if card.embedded and not card.extra]


def _every_backbone(word: str) -> list[str] | None:
    from i2moe_plugin.registry import backbones

    return backbones.names() if word == EVERY else None


def _number(value: Any) -> Any:
    """YAML 1.1 reads 1e-3 as text."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _parse(text: str, name: str) -> dict[str, Any]:
    try:
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{name}: not readable as YAML ({error}).") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{name}: a suite is a mapping with datasets, fusions and methods.")
    return raw


def _problems(name: str, error: ValidationError | TypeError) -> list[str]:
    if isinstance(error, TypeError):
        return [f"{name}: keys must be words ({error})."]
    out = []
    for item in error.errors():
        where = ".".join(map(str, item["loc"]))
        said = _said(item)
        if item["type"] == "extra_forbidden":
            known = {*Spec.model_fields, *Named.model_fields}
            said = f"there is no such key.{did_you_mean(str(item['loc'][-1]), known)}"
        out.append(f"{name}: {where}: {said}")
    return out


def _said(item: Any) -> str:
    """What pydantic found, as a sentence."""
    return f"{item['msg'].removeprefix('Value error, ').rstrip('.')}."
