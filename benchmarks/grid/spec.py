"""What a suite's file says, checked, and expanded to the cells of a grid."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import resources
from os.path import normpath
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from i2moe_plugin.benchmarks.formats.tables import load_typed_yaml
from i2moe_plugin.benchmarks.grid.cells import Cell, Grid
from i2moe_plugin.benchmarks.run.settings import RunSettings, resolve, yaml_number
from i2moe_plugin.errors import ConfigError, did_you_mean

PACKAGE = "i2moe_plugin.benchmarks.grid.suites"
#: Words of a file that stand for several names: data sets, backbones.
EMBEDDED, EVERY = "embedded", "all"
#: Settings that do not decide figures; given ones leave a cell comparable with the paper's.
NEUTRAL = frozenset({"device", "workers", "threads"})


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NamedSettings(_Strict):
    """A data set or a backbone with settings of its own; in a file the name alone does too."""

    name: str
    settings: dict[str, Any] = Field(default_factory=dict)
    root: str | None = None
    metrics: list[str] | None = None


class SuitePart(_Strict):
    """One grid of a file; what it leaves out is taken from the file's top."""

    datasets: list[NamedSettings] | None = None
    fusions: list[NamedSettings] | None = None
    methods: list[str] | None = None
    settings: dict[str, Any] = Field(default_factory=dict)
    grid: dict[str, list[Any]] = Field(default_factory=dict)

    @field_validator("datasets", "fusions", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        """Take a name alone for an entry without settings."""
        if isinstance(value, list):
            return [{"name": item} if isinstance(item, str) else item for item in value]
        return value


class SuiteFile(SuitePart):
    """What a suite's file says.

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
    parts: list[SuitePart] = Field(default_factory=list)

    @field_validator("seeds")
    @classmethod
    def _seeds(cls, value: int | list[int]) -> int | list[int]:
        seeds = [*range(value)] if isinstance(value, int) else value
        if not seeds or min(seeds) < 0 or len(set(seeds)) != len(seeds):
            raise ValueError("seeds are a number from 1, or a list of distinct ones from 0")
        return seeds


def shipped_suites() -> dict[str, str]:
    """Return the suites in the package: name -> title."""
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
) -> Grid:
    """Read a suite's file, or one that ships, and expand it.

    Seeds, settings and roots (data set -> folder) stand over the file's; ``only`` names the data
    sets, backbones or methods to take alone.
    """
    raw, name, folder, ships = read_suite(given)
    try:
        suite = SuiteFile(**raw)
    except (ValidationError, TypeError) as error:
        raise ConfigError(_file_problems(given, error)) from error
    return expand(
        suite, name, folder, seeds=seeds, settings=settings, roots=roots, only=only, ships=ships
    )


def read_suite(given: str) -> tuple[dict[str, Any], str, Path, bool]:
    """Return the keys of a suite (a path, or one that ships), its name, its folder, if it ships."""
    path = Path(given).expanduser()
    if path.is_file():
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: not readable ({error}).") from error
        return _parse(text, given), path.stem, path.parent, False
    names = sorted(shipped_suites())
    if given not in names:
        raise ConfigError(
            f"no suite {given!r}: neither a file nor one of {', '.join(names)}."
            f"{did_you_mean(given, names)}"
        )
    text = resources.files(PACKAGE).joinpath(f"{given}.yaml").read_text(encoding="utf-8")
    return _parse(text, given), given, Path(), True


def expand(
    suite: SuiteFile,
    name: str,
    folder: Path = Path(),
    *,
    seeds: Sequence[int] | None = None,
    settings: Mapping[str, Any] | None = None,
    roots: Mapping[str, str] | None = None,
    only: Sequence[str] = (),
    ships: bool = False,
) -> Grid:
    """Expand what a suite's file says to a grid; see :func:`load_suite`.

    Relative roots are relative to ``folder``; the settings of a suite that ships are the paper's.
    """
    by_hand, roots = settings or {}, roots or {}
    problems: dict[str, str] = {}  # what is wrong -> where it was found first
    parts = [_filled(suite, part) for part in suite.parts or [SuitePart()]]
    wanted = _wanted(parts, only, problems)
    if not all(wanted):
        problems["it needs datasets, fusions and methods, at the top or in each part."] = name
    cells: dict[tuple[str, ...], Cell] = {}
    for part in parts:
        methods = _known_methods([m for m in part.methods or () if m in wanted[2]], problems)
        for dataset, fusion, variant in _combinations(part, wanted):
            own = {**part.settings, **dataset.settings, **fusion.settings}
            values = {**own, **variant, **by_hand}
            # What ships is the paper's; so is what a grid varies, which the figure has to match.
            altered = set(by_hand) | (set() if ships else set(own) - set(variant))
            try:
                found, sources = resolve(
                    dataset.name, fusion.name, {k: yaml_number(v) for k, v in values.items()}
                )
            except ConfigError as error:
                for problem in error.problems:
                    problems.setdefault(problem, f"{dataset.name}, {fusion.name}")
                continue
            for method in methods:
                cell = Cell(
                    settings=found.model_copy(update={"method": method}),
                    sources=sources,
                    variant=variant,
                    root=roots.get(dataset.name, dataset.root and normpath(folder / dataset.root)),
                    metrics=tuple(dataset.metrics or suite.metrics or []),
                    altered=tuple(sorted(altered - NEUTRAL)),
                )
                cells.setdefault(cell.key, cell)
    if problems:
        raise ConfigError([f"{where}: {problem}" for problem, where in problems.items()])
    return Grid(
        name=name,
        title=suite.title or name,
        about=suite.about,
        seeds=tuple(seeds if seeds is not None else suite.seeds),  # type: ignore[arg-type]
        cells=tuple(cells.values()),
        reference=suite.reference,
        paper=suite.paper,
        corrected=True,
    )


def _filled(suite: SuiteFile, part: SuitePart) -> SuitePart:
    """Return a part with what it takes from the top, and with words for several spelled out."""
    from i2moe_plugin.backbones.entry import backbones
    from i2moe_plugin.benchmarks.data.registry import datasets

    def embedded() -> list[str]:
        cards = {name: datasets.get(name).card for name in datasets.names()}
        # Not those with a colon: they are here only if something asked for them before.
        real = {name: card for name, card in cards.items() if ":" not in name}
        return [name for name, card in real.items() if card.embedded and not card.extra]

    return SuitePart(
        datasets=_spelled_out(part.datasets or suite.datasets, EMBEDDED, embedded),
        fusions=_spelled_out(part.fusions or suite.fusions, EVERY, backbones.names),
        methods=part.methods or suite.methods or [],
        settings={**suite.settings, **part.settings},
        grid={**suite.grid, **part.grid},
    )


def _spelled_out(
    items: Sequence[NamedSettings] | None, word: str, names: Callable[[], list[str]]
) -> list[NamedSettings]:
    return [
        item.model_copy(update={"name": name})
        for item in items or ()
        for name in (names() if item.name == word else [item.name])
    ]


def _wanted(
    parts: Sequence[SuitePart], only: Sequence[str], problems: dict[str, str]
) -> list[set[str]]:
    """Return the data sets, the backbones and the methods that are wanted.

    Of each kind these are the ones named by ``only``; all of the kind, where it names none.
    """
    names: list[set[str]] = [set(), set(), set()]
    for part in parts:
        names[0] |= {item.name for item in part.datasets or ()}
        names[1] |= {item.name for item in part.fusions or ()}
        names[2] |= set(part.methods or ())
    known = set().union(*names)
    for word in only:
        if word not in known:
            wrong = f"nothing in this suite is called {word!r}.{did_you_mean(word, known)}"
            problems[wrong] = "--only"
    return [kind & set(only) or kind for kind in names]


def _combinations(
    part: SuitePart, wanted: Sequence[set[str]]
) -> Iterator[tuple[NamedSettings, NamedSettings, dict[str, Any]]]:
    """Give every data set with every backbone and every choice of the grid."""
    choices = [
        dict(zip(part.grid, choice, strict=True))
        for choice in itertools.product(*part.grid.values())
    ]
    for dataset, fusion in itertools.product(part.datasets or (), part.fusions or ()):
        if dataset.name in wanted[0] and fusion.name in wanted[1]:
            for choice in choices:
                yield dataset, fusion, choice


def _known_methods(names: Sequence[str], problems: dict[str, str]) -> list[str]:
    """Return the methods that exist, and note the others as problems."""
    found = []
    for name in names:
        try:
            found.append(RunSettings(dataset="", fusion="", method=name).method)
        except ValidationError as error:
            problems |= {_sentence(item): "methods" for item in error.errors()}
    return found


def _parse(text: str, name: str) -> dict[str, Any]:
    try:
        raw = load_typed_yaml(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{name}: not readable as YAML ({error}).") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{name}: a suite is a mapping with datasets, fusions and methods.")
    return raw


def _file_problems(name: str, error: ValidationError | TypeError) -> list[str]:
    if isinstance(error, TypeError):
        return [f"{name}: keys must be words ({error})."]
    problems = []
    for item in error.errors():
        where, sentence = ".".join(map(str, item["loc"])), _sentence(item)
        if item["type"] == "extra_forbidden":
            known = {*SuiteFile.model_fields, *NamedSettings.model_fields}
            sentence = f"there is no such key.{did_you_mean(str(item['loc'][-1]), known)}"
        problems.append(f"{name}: {where}: {sentence}")
    return problems


def _sentence(item: Any) -> str:
    """Return what pydantic found as a sentence."""
    return f"{item['msg'].removeprefix('Value error, ').rstrip('.')}."
