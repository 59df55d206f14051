"""Cells and grids: what is to be run, whoever says it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from i2moe_plugin.benchmarks.data.redraw import split_names
from i2moe_plugin.benchmarks.data.splits import OWN_SPLIT
from i2moe_plugin.benchmarks.grid import USUAL_FUSION
from i2moe_plugin.benchmarks.run.recipes import TUNED, check_fits, read_recipe, tuned_recipe
from i2moe_plugin.benchmarks.run.settings import RunSettings, resolve
from i2moe_plugin.errors import counted

#: Stands for every metric of a task.
ALL = "all"
#: The simple models beside the methods of `run` and `suite`.
SIMPLE = ("constant", "linear", "boosting")


@dataclass(frozen=True)
class Cell:
    """One method with its settings on one data set, over all seeds.

    Attributes:
        settings: those of its runs, with seed 0.
        sources: where each of them comes from.
        variant: what the grid chose for it, by setting.
        root: the data set's folder.
        metrics: what is shown of it; empty: what the data set is compared by. :data:`ALL` stands
            for every metric of the task, the one that methods are compared by first.
        altered: settings of its runs that are not the paper's: given by hand, or by a file that
            does not ship.
        tuned: how the values of its recipe were found, where a search did.
    """

    settings: RunSettings
    sources: Mapping[str, str] = field(default_factory=dict)
    variant: Mapping[str, Any] = field(default_factory=dict)
    root: str | None = None
    metrics: tuple[str, ...] = ()
    altered: tuple[str, ...] = ()
    tuned: Mapping[str, Any] = field(default_factory=dict)

    @property
    def row(self) -> tuple[str, ...]:
        """Backbone, method, and each choice of the grid: what a table's row is known by."""
        choices = (f"{key}={value}" for key, value in self.variant.items())
        return (self.settings.fusion, self.settings.method, *choices)

    @property
    def key(self) -> tuple[str, ...]:
        """The data set and the row."""
        return (self.settings.dataset, *self.row)

    def on_split(self, split: str) -> Cell:
        """Return it on a split of that name."""
        return replace(self, settings=self.settings.model_copy(update={"split": split}))

    def reference_key(self, reference: str | Mapping[str, Any] | None) -> tuple[str, ...] | None:
        """Return the key of the cell it is compared with; None for itself, or where none can be."""
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
class Grid:
    """Cells and seeds: what is to be run, and how the results are compared.

    Attributes:
        name: of the files that its tables are written to.
        title: what stands above its table.
        about: what it is for.
        seeds: those of every cell.
        splits: those that every seed is run on: the data set's own, or several drawn anew.
        cells: every one can be started, as far as settings tell.
        reference: what each cell is compared with; see :class:`SuiteFile`.
        paper: the paper's figures stand beside ours.
        corrected: verdicts are corrected for the number of comparisons in the table.
        baselines: names of simple models that stand beside each data set's cells; see
            :data:`i2moe_plugin.benchmarks.statistics.simple.SIMPLE_MODELS`.
    """

    name: str
    title: str
    seeds: tuple[int, ...]
    cells: tuple[Cell, ...]
    about: str = ""
    reference: str | Mapping[str, Any] | None = "vanilla"
    paper: bool = False
    corrected: bool = False
    baselines: tuple[str, ...] = ()
    splits: tuple[str, ...] = (OWN_SPLIT,)

    @property
    def runs(self) -> int:
        """How many runs there are to be."""
        return len(self.cells) * len(self.seeds) * len(self.splits)

    @property
    def repeats(self) -> str:
        """What figures are means over, in words.

        >>> Grid("", "", (0, 1), (), splits=("1", "2", "3")).repeats
        '3 splits and 2 seeds'
        """
        count = len(self.seeds)
        seeds = counted(count, "seed")
        return seeds if self.splits == (OWN_SPLIT,) else f"{len(self.splits)} splits and {seeds}"


def usual_fusion(methods: Sequence[str]) -> str:
    """Return the backbone to take where none is told: the first that a method asks for.

    Args:
        methods: names.

    Raises:
        ConfigError: no such method.
    """
    from i2moe_plugin.methods import find_method

    asked = (find_method(name).fusion for name in methods)
    return next((fusion for fusion in asked if fusion), USUAL_FUSION)


def methods_grid(
    dataset: str,
    fusion: str,
    methods: Sequence[str],
    seeds: Sequence[int],
    *,
    values: Mapping[str, Any] | None = None,
    root: str | Path | None = None,
    recipe: str | Path | None = None,
    splits: str | int | None = None,
) -> Grid:
    """Return the grid that compares methods of one backbone on one data set.

    Methods are compared with ``vanilla``, or with the first where ``vanilla`` is not among them;
    ``values`` are settings over the recipe's, see :func:`resolve`; ``recipe`` is a file to take in
    place of the data set's own, whose parts for methods hold for each alone, or ``"tuned"`` for the
    one that ships; ``splits`` are those to draw anew, see :func:`split_names`.

    Raises:
        ConfigError: names or settings that cannot be used, or a recipe that was made for others.
    """
    from i2moe_plugin.benchmarks.data.registry import find_dataset
    from i2moe_plugin.methods import find_method

    dataset, place = find_dataset(dataset, root)
    names = list(dict.fromkeys(methods))
    chosen: dict[str, Any] = {}
    if recipe is not None:
        shipped = recipe == TUNED
        chosen["recipe"] = tuned_recipe(dataset, fusion) if shipped else read_recipe(recipe)
    cells = []
    for name in names:
        find_method(name)
        if recipe is not None:
            check_fits(chosen["recipe"], dataset, fusion, name)
            chosen["method"] = name
        settings, sources = resolve(dataset, fusion, values or {}, **chosen)
        cells.append(
            Cell(
                settings.model_copy(update={"method": name}),
                sources,
                root=None if place is None else str(place),
                metrics=(ALL,),
                tuned=chosen.get("recipe", {}).get("tuned") or {},
            )
        )
    return Grid(
        name="run",
        title=f"{fusion} on {dataset}",
        seeds=tuple(seeds),
        cells=tuple(cells),
        reference="vanilla" if "vanilla" in names else names[0],
        baselines=SIMPLE,
        splits=(OWN_SPLIT,) if splits is None else split_names(splits),
    )
