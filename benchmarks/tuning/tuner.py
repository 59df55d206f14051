"""Searching the settings of several methods, all with the same trials, seeds and judge."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from i2moe_plugin.benchmarks.data.open import OpenedDataset
from i2moe_plugin.benchmarks.grid.cells import Cell, Grid
from i2moe_plugin.benchmarks.grid.executors.dask import Dask
from i2moe_plugin.benchmarks.grid.runner import (
    choose_executor,
    prepare_data,
    with_device,
    workers_that_pay,
)
from i2moe_plugin.benchmarks.grid.training import SharedData
from i2moe_plugin.benchmarks.run.defaults import fill_in
from i2moe_plugin.benchmarks.run.environment import (
    check_precision,
    device_kind,
    load_what_runs_need,
)
from i2moe_plugin.benchmarks.run.execute import backbone_digest
from i2moe_plugin.benchmarks.run.files import write_text
from i2moe_plugin.benchmarks.run.precision import settle_precision
from i2moe_plugin.benchmarks.run.selection import check_selection
from i2moe_plugin.benchmarks.run.settings import RunSettings
from i2moe_plugin.benchmarks.tuning.recipe import recipe_of, recipe_text, versions
from i2moe_plugin.benchmarks.tuning.search import ROUND, Median, frozen, import_optuna, propose
from i2moe_plugin.benchmarks.tuning.space import Space, check_space, space_of, space_record
from i2moe_plugin.benchmarks.tuning.studies import NUMBER, Studies
from i2moe_plugin.benchmarks.tuning.trials import (
    Outcome,
    Trial,
    open_for_tuning,
    selecting_metric,
    settings_given,
)
from i2moe_plugin.errors import ConfigError, TrainingError
from i2moe_plugin.tasks import HIGHER_IS_BETTER

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial

#: In the folder of runs.
FOLDER = "tuning"
#: A method's name, the number of its trial, and the step that it has come to, or its outcome.
OnTrial = Callable[[str, int, int | Outcome], None]


@dataclass(frozen=True)
class Search:
    """A method's search: what it chooses from, and its trials.

    Attributes:
        cell: the method with the settings that nothing changes.
        space: what its trials choose from.
        study: where they are kept.
        higher: a higher value is better.
        trials: those that are over, by number; up to as many as were asked for.
    """

    cell: Cell
    space: Space
    study: Study
    higher: bool
    trials: dict[int, FrozenTrial]

    @property
    def method(self) -> str:
        """Its name."""
        return self.cell.settings.method

    @property
    def states(self) -> Counter[str]:
        """How many trials are finished, pruned and failed."""
        words = {"COMPLETE": "finished", "PRUNED": "pruned", "FAIL": "failed"}
        return Counter(words[trial.state.name] for trial in self.trials.values())

    @property
    def reasons(self) -> Counter[str]:
        """Why trials failed, and how many for each reason."""
        return Counter(r for t in self.trials.values() if (r := t.user_attrs["reason"]))

    @cached_property
    def best(self) -> FrozenTrial:
        """The best finished trial: of equal values the lower loss, then the earlier one.

        Raises:
            TrainingError: none is finished.
        """
        finished = [t for t in self.trials.values() if t.state.name == "COMPLETE"]
        if not finished:
            reason = next(iter(self.reasons), "none was tried")
            raise TrainingError(f"no trial of {self.method} could be finished: {reason}")
        sign = -1 if self.higher else 1
        return min(finished, key=lambda t: (sign * float(t.value or 0), t.user_attrs["loss"]))


@dataclass(frozen=True)
class Tuned:
    """Searches that are over.

    Attributes:
        searches: one a method.
        facts: how they went, as the recipe holds it under ``tuned``.
        recipe: the file that was written.
        storage: the file of trials.
    """

    searches: Sequence[Search]
    facts: Mapping[str, Any]
    recipe: Path
    storage: Path

    def as_dict(self) -> dict[str, Any]:
        """Return everything, for JSON."""
        methods = {
            search.method: {
                **self.facts["methods"][search.method],
                "settings": dict(search.best.params),
                "reasons": dict(search.reasons),
            }
            for search in self.searches
        }
        return {
            **self.facts,
            "methods": methods,
            "recipe": str(self.recipe),
            "storage": str(self.storage),
        }


@dataclass(frozen=True)
class Tuner:
    """Searches the settings of a grid's methods, and writes the recipe.

    Attributes:
        folder: the folder of runs; trials and recipe go into ``tuning`` in it.
        space: what is searched; see :func:`~i2moe_plugin.benchmarks.tuning.space.load_space`.
        trials: how many of each method.
        seed: of the search.
        workers: how many trials at a time, in processes of their own; 0: one a core where that
            pays. The numbers are the same.
        cluster: where trials are trained, in place of here.
        on_trial: told of every epoch and of every trial that is over.
    """

    folder: Path
    space: Space
    trials: int
    seed: int = 0
    workers: int = 0
    cluster: Dask | None = None
    on_trial: OnTrial = lambda *_: None

    def run(self, grid: Grid) -> Tuned:
        """Search; trials that are kept from before are taken.

        Args:
            grid: methods of one backbone on one data set; its seeds are those of every trial.

        Raises:
            ConfigError: optuna is not installed, or settings or the space cannot be used.
            DatasetError: data that is missing or damaged.
            TrainingError: no trial of a method could be finished.
            RunError: the file of trials cannot be used.
        """
        import_optuna()
        cells = [with_device(cell, self.cluster) for cell in grid.cells]
        first = cells[0].settings
        said = settings_given(first)
        given = {k: said[k] for k, source in cells[0].sources.items() if source == "given"}
        check_space(self.space, first.dataset, first.fusion, given)
        data = open_for_tuning(cells[0])
        prepare_data(first.device, data, self.cluster)
        cells = [_settled(cell, data, self.folder) for cell in cells]
        for cell in cells:
            check_selection(cell.settings, data)
            if self.cluster is None:
                check_precision(cell.settings)
        metric = selecting_metric(cells[0].settings, data)
        name = f"{first.dataset}-{first.fusion}".replace(":", ".").replace("/", ".")
        studies = Studies(self.folder / FOLDER / f"{name}.db")
        with studies.held():
            searches = []
            for cell in cells:
                space = space_of(self.space, cell.settings.method, given)
                if not space:
                    raise ConfigError(
                        f"nothing is left to tune of {cell.settings.method}: all settings of the "
                        "space are given, or change nothing in it."
                    )
                higher = bool(HIGHER_IS_BETTER.get(metric))
                study = studies.study(
                    _study_name(cell.settings, space, grid.seeds, self.seed, data), higher
                )
                kept = {n: t for n, t in studies.trials(study).items() if n < self.trials}
                searches.append(Search(cell, space, study, higher, kept))
            self._search(searches, grid.seeds, data, studies)
            facts = self._facts(searches, grid.seeds, data, metric, given)
            recipe = write_text(studies.path.with_suffix(".yaml"), _written(searches, facts))
        return Tuned(searches, facts, recipe, studies.path)

    def _search(
        self, searches: Sequence[Search], seeds: tuple[int, ...], data: OpenedDataset, studies: Any
    ) -> None:
        """Run rounds of trials of all methods until each has as many as were asked for."""
        shared = SharedData(data, open_for_tuning, searches[0].cell)
        load_what_runs_need()
        # Methods that train several backbones take longest, and begin.
        longest_first = sorted(searches, key=lambda one: one.method == "vanilla")
        for start in range(0, self.trials, ROUND):
            places: list[tuple[Search, int, dict[str, Any]]] = []
            for search in longest_first:
                missing = [
                    number
                    for number in range(start, min(start + ROUND, self.trials))
                    if number not in search.trials
                ]
                if not missing:
                    continue
                earlier = [search.trials[number] for number in range(start)]
                found = propose(search.space, earlier, search.higher, self.seed, start)
                places += [(search, number, found[number - start]) for number in missing]
            if places:
                self._round(places, start, seeds, shared, studies)

    def _round(
        self,
        places: Sequence[tuple[Search, int, dict[str, Any]]],
        start: int,
        seeds: tuple[int, ...],
        data: SharedData,
        studies: Studies,
    ) -> None:
        bases = [search.cell.settings for search, _, _ in places]
        executor = self.cluster or choose_executor(
            min(self.workers or workers_that_pay(bases, data.open()), len(places))
        )
        tasks = [
            Trial(
                search.cell.settings,
                params,
                seeds,
                data,
                Median(
                    tuple(search.trials[n] for n in range(start)),
                    search.higher,
                    search.cell.settings.epochs,
                ),
                executor.threads,
            )
            for search, _, params in places
        ]

        def receive(place: int, message: int | Outcome) -> None:
            search, number, params = places[place]
            if number in search.trials:
                return  # its worker died between its last word and its end; another looked again
            if isinstance(message, Outcome):
                trial = frozen(params, search.space, message, {NUMBER: number})
                studies.add(search.study, trial)
                search.trials[number] = trial
            self.on_trial(search.method, number, message)

        executor.run(tasks, receive)

    def _facts(
        self,
        searches: Sequence[Search],
        seeds: tuple[int, ...],
        data: OpenedDataset,
        metric: str,
        given: Mapping[str, Any],
    ) -> dict[str, Any]:
        settings = searches[0].cell.settings
        return {
            "dataset": settings.dataset,
            "fusion": settings.fusion,
            "data": data.fingerprint(),
            "metric": metric,
            "seeds": list(seeds),
            "trials": self.trials,
            "search_seed": self.seed,
            "space": {k: one for k, one in space_record(self.space).items() if k not in given},
            "versions": versions(),
            "device": device_kind(settings.device),
            "methods": {
                search.method: {
                    "value": float(search.best.value or 0),
                    "loss": search.best.user_attrs["loss"],
                    "trial": search.best.user_attrs[NUMBER],
                    **{state: search.states[state] for state in ("finished", "pruned", "failed")},
                }
                for search in searches
            },
        }


def _settled(cell: Cell, data: OpenedDataset, folder: Path) -> Cell:
    """Return a cell with what the data's size, and a clock, decide where no recipe does."""
    settings, sources = fill_in(cell.settings, cell.sources, len(data.labels("train")), data.task)
    settings, _ = settle_precision(settings, data, folder)
    return replace(cell, settings=settings, sources=sources)


def _study_name(
    settings: RunSettings, space: Space, seeds: tuple[int, ...], seed: int, data: OpenedDataset
) -> str:
    """Name a search by everything that decides its trials but for how many they are."""
    identity = settings.identity(
        data=data.fingerprint(),
        device=device_kind(settings.device),
        source=backbone_digest(settings.fusion),
        search=json.dumps([space_record(space), seeds, seed, versions()], sort_keys=True),
    )
    return f"{settings.method}-{identity}"


def _written(searches: Sequence[Search], facts: Mapping[str, Any]) -> str:
    best = {search.method: search.best.params for search in searches}
    sources = {
        search.method: f"tune: the best of {len(search.trials)} trials by {facts['metric']} of the "
        f"validation split, {facts['methods'][search.method]['value']:.6g} over "
        f"{len(facts['seeds'])} seeds"
        for search in searches
    }
    return recipe_text(recipe_of(searches[0].cell, best, sources, facts))
