"""Running a grid: what is finished is taken, what fails is written down, the rest is trained."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from i2moe_plugin.backbones.create import misfit
from i2moe_plugin.backbones.entry import backbones
from i2moe_plugin.benchmarks.data.open import OpenedDataset, open_dataset
from i2moe_plugin.benchmarks.data.splits import OWN_SPLIT
from i2moe_plugin.benchmarks.grid.baselines import Baseline, fit_baselines, over_splits
from i2moe_plugin.benchmarks.grid.cells import ALL, Cell, Grid
from i2moe_plugin.benchmarks.grid.executors import Executor
from i2moe_plugin.benchmarks.grid.executors.dask import Dask
from i2moe_plugin.benchmarks.grid.executors.processes import Processes, can_fork
from i2moe_plugin.benchmarks.grid.executors.serial import Serial
from i2moe_plugin.benchmarks.grid.failures import Failures, in_one_line
from i2moe_plugin.benchmarks.grid.logs import RunLogs, writing_logs
from i2moe_plugin.benchmarks.grid.runs import Attempt, CellRuns, State
from i2moe_plugin.benchmarks.grid.table import Table, make_table
from i2moe_plugin.benchmarks.grid.training import SharedData, Training
from i2moe_plugin.benchmarks.run.defaults import fill_in
from i2moe_plugin.benchmarks.run.environment import (
    SMALL_MODEL,
    check_machine,
    count_cores,
    device_kind,
    load_what_runs_need,
    resolve_device,
)
from i2moe_plugin.benchmarks.run.execute import finished, headline_metric, run_name
from i2moe_plugin.benchmarks.run.model import build_model
from i2moe_plugin.benchmarks.run.recipes import tuned_notes
from i2moe_plugin.benchmarks.run.selection import check_selection
from i2moe_plugin.benchmarks.run.settings import RunSettings
from i2moe_plugin.benchmarks.run.store import Run, RunStore
from i2moe_plugin.benchmarks.statistics.metrics import COSTS
from i2moe_plugin.errors import (
    BackboneError,
    ConfigError,
    DatasetError,
    I2MoEError,
    RunError,
    did_you_mean,
)
from i2moe_plugin.training import count_parameters

#: Called with a cell, an attempt of it, and the epoch's record where it is being trained.
OnEvent = Callable[[CellRuns, Attempt, dict[str, Any] | None], None]


def open_cell(cell: Cell, *, cache: bool = True, sample: bool = False) -> OpenedDataset:
    """Open a cell's data set; see :func:`open_dataset` for ``cache`` and ``sample``."""
    settings = cell.settings
    return open_dataset(
        settings.dataset,
        cell.root,
        loader=settings.loader,
        cache=cache,
        sample=sample,
        split=settings.split,
        **settings.data_settings,
    )


@dataclass
class GridRunner:
    """Trains what is neither finished nor known to fail, and makes the table.

    Attributes:
        store: where runs go, and where finished ones are found.
        open_data: opens a cell's data set; called once for the cells that share it.
        workers: how many runs at a time, in processes of their own; the numbers are the same. 0:
            as many as there are cores, for models that train on one thread of the CPU.
        fresh: repeat finished runs too.
        retry: try failed runs again.
        strict: raise the first error, in place of noting what failed or cannot be started.
        progress: show a bar on a terminal while data is prepared.
        on_event: called with every new state and every epoch.
        cluster: where runs are trained, in place of here; ``workers`` is then not asked.
        log: where epochs and results are logged too; see
            :data:`~i2moe_plugin.benchmarks.grid.logs.WRITERS`.
    """

    store: RunStore
    open_data: Callable[[Cell], OpenedDataset] = open_cell
    workers: int = 1
    fresh: bool = False
    retry: bool = False
    strict: bool = False
    progress: bool = False
    on_event: OnEvent = lambda *_: None
    cluster: Dask | None = None
    log: Sequence[str] = ()
    _logs: RunLogs | None = field(default=None, init=False, repr=False)

    def run(self, grid: Grid) -> Table:
        """Run a grid; seeds go outside cells, so that one that is stopped has whole comparisons."""
        with writing_logs(self.log, self.store.folder) as self._logs:
            return self._run(grid)

    def _run(self, grid: Grid) -> Table:
        cells = self._planned(grid)
        baselines: list[Baseline] = []
        for group in _sharing_data(cells):
            fitted = []
            for split in grid.splits:
                data = self._run_split(group, split)
                cell = next((cell for cell in group if cell.runs), None)
                if data is not None and cell is not None:
                    metric = cell.metrics[0]
                    fitted.append(fit_baselines(grid.baselines, data, metric, self.store.folder))
            baselines += over_splits(fitted)
        return make_table(grid, cells, baselines)

    def _run_split(self, group: Sequence[CellRuns], split: str) -> OpenedDataset | None:
        """Run what is missing of the cells that share their data, on one split; None: no data."""
        cell = group[0].cell.on_split(split)
        try:
            data = self.open_data(cell)
            missing = self._missing(group, data, split)
            if missing:
                prepare_data(cell.settings.device, data, self.cluster, self.progress)
        except I2MoEError as error:  # files that are not here, or turn out to be damaged
            self._skip(group, error)
            return None
        for attempt in (attempt for one in group for attempt in one.attempts):
            if attempt.reused:
                Failures(self.store.folder).forget(attempt.name)
        if missing:
            self._train(missing, SharedData(data, self.open_data, cell))
        return data

    def survey(self, grid: Grid) -> Iterator[tuple[list[CellRuns], OpenedDataset | None]]:
        """Give the cells that share a data set, and that, with what is settled; trains nothing.

        The data set is that of the first split, and None where it cannot be opened.
        """
        for group in _sharing_data(self._planned(grid)):
            opened = []
            try:
                for split in grid.splits:
                    opened.append(self.open_data(group[0].cell.on_split(split)))
                    self._missing(group, opened[-1], split)
            except I2MoEError as error:
                self._skip(group, error)
            yield group, opened[0] if opened else None

    def workers_for(self, settings: Sequence[RunSettings], data: OpenedDataset) -> int:
        """Return how many of these runs, on one data set, are trained at a time.

        Raises:
            BackboneError: a model that cannot be built.
        """
        if self.cluster is not None:
            return min(self.cluster.workers, len(settings))
        return min(self.workers or workers_that_pay(settings, data), len(settings))

    def _planned(self, grid: Grid) -> list[CellRuns]:
        return [
            CellRuns.planned(with_device(cell, self.cluster), grid.seeds, grid.splits)
            for cell in grid.cells
        ]

    def _missing(
        self, group: Sequence[CellRuns], data: OpenedDataset, split: str
    ) -> list[tuple[CellRuns, Attempt]]:
        """Return the runs of a group on a split that are to be trained, seed by seed."""
        for cell in group:
            _describe(cell, data)
            try:
                _check_fit(cell, data)
            except I2MoEError as error:
                self._skip([cell], error)
        own = [[one for one in cell.attempts if one.settings.split == split] for cell in group]
        by_seed = zip(*own, strict=True)
        places = [place for row in by_seed for place in zip(group, row, strict=True)]
        missing = [place for place in places if not self._is_settled(*place, data)]
        if self.cluster is None:  # a worker tells of itself
            for cell in {id(cell): cell for cell, _ in missing}.values():
                try:
                    check_machine(cell.settings)
                except ConfigError as error:
                    self._skip([cell], error)
        return [place for place in missing if place[1].state == "waiting"]

    def _skip(self, cells: Iterable[CellRuns], error: I2MoEError) -> None:
        """Note that what is left of these cells cannot be started."""
        if self.strict:
            raise error
        for cell in cells:
            for attempt in cell.attempts:
                if attempt.state == "waiting":
                    self._settle(cell, attempt, "skipped", in_one_line(error))

    def _is_settled(self, cell: CellRuns, attempt: Attempt, data: OpenedDataset) -> bool:
        """Whether nothing is to be trained: it is finished, known to fail, or cannot be started."""
        if attempt.state != "waiting":
            return True
        attempt.name, _ = run_name(attempt.settings, data)
        attempt.run = None if self.fresh else finished(attempt.settings, data, self.store)
        attempt.reused = attempt.run is not None
        if attempt.reused:
            self._settle(cell, attempt, "finished")
        elif not (self.retry or self.strict):
            reason = Failures(self.store.folder).reason(attempt.name)
            if reason is not None:
                self._settle(cell, attempt, "failed", reason)
        return attempt.state != "waiting"

    def _train(self, missing: list[tuple[CellRuns, Attempt]], data: SharedData) -> None:
        settings = [attempt.settings for _, attempt in missing]
        executor = self.cluster or choose_executor(self.workers_for(settings, data.open()))
        if executor.workers > 1:
            # Short runs a seed later: at the end no process then waits for another's long one.
            seeds = list(dict.fromkeys(attempt.seed for attempt in missing[0][0].attempts))

            def order(place: tuple[CellRuns, Attempt]) -> tuple[int, bool]:
                short = place[0].settings.method == "vanilla"
                return seeds.index(place[1].seed) + short, short

            missing = sorted(missing, key=order)
        # A worker elsewhere has another working folder.
        store = RunStore(self.store.folder.absolute()) if self.cluster else self.store
        options = {
            "fresh": self.fresh,
            "strict": self.strict,
            "most_threads": executor.threads,
        }
        tasks = [
            Training(
                attempt.settings,
                data,
                store,
                attempt.name,
                {"sources": cell.cell.sources, **options},
            )
            for cell, attempt in missing
        ]

        def receive(place: int, message: tuple[State, Any]) -> None:
            (cell, attempt), (state, content) = missing[place], message
            if attempt.state not in ("waiting", "running"):
                return  # its worker died between its last word and its end; another looked again
            if state == "running":
                attempt.state = state
                self._tell(cell, attempt, content)
            else:
                if state == "finished":
                    Failures(store.folder).forget(attempt.name)
                self._settle(cell, attempt, state, content)

        load_what_runs_need()  # once, and not in each process
        executor.run(tasks, receive)

    def _settle(
        self, cell: CellRuns, attempt: Attempt, state: State, reason: str | None = None
    ) -> None:
        attempt.state, attempt.reason = state, reason or ""
        if state == "finished":
            attempt.run = attempt.run or self._finished(attempt)
        self._tell(cell, attempt, None)

    def _tell(self, cell: CellRuns, attempt: Attempt, epoch: dict[str, Any] | None) -> None:
        if self._logs is not None:
            self._logs(cell, attempt, epoch)
        self.on_event(cell, attempt, epoch)

    def _finished(self, attempt: Attempt) -> Run:
        """Return the run that was just written; its files are checked where a worker wrote them."""
        if self.cluster is None:
            return Run.load(self.store.folder / attempt.name)
        run = self.store.find(attempt.name)
        if run is None:
            raise RunError(
                f"{self.store.folder / attempt.name}: a worker says that it has written this run, "
                "and it is not here. The folder of runs must be one that all workers share."
            )
        return run


def with_device(cell: Cell, cluster: Dask | None) -> Cell:
    """Return a cell with its device checked, and named where only the cluster knows it.

    Args:
        cell: the cell.
        cluster: where it is trained; None: here.

    Raises:
        ConfigError: the device is not here.
    """
    name = cell.settings.device
    if cluster is None:
        resolve_device(name)
        return cell
    there = cluster.device(name)
    if name != "auto" or device_kind(name) == there:
        return cell
    return replace(cell, settings=cell.settings.model_copy(update={"device": there}))


def prepare_data(
    device: str, data: OpenedDataset, cluster: Dask | None, progress: bool = False
) -> None:
    """Compute what runs read, unless only the cluster has the device for it.

    Args:
        device: as settings name it.
        data: the opened data set.
        cluster: where runs are trained; None: here.
        progress: show a bar on a terminal.

    Raises:
        DatasetError: data that turns out to be damaged.
    """
    try:
        here = resolve_device(device)
    except ConfigError:
        if cluster is None:
            raise
    else:
        data.prepare(here, progress=progress)


def choose_executor(workers: int) -> Executor:
    """Return the executor for that many runs at a time, as far as this system can do it."""
    return Processes(workers) if workers > 1 and can_fork() else Serial()


def workers_that_pay(settings: Sequence[RunSettings], data: OpenedDataset) -> int:
    """Return one a core, where runs take one thread of the CPU and read their data themselves."""
    if len(settings) < 2 or not can_fork():
        return 1
    for fusion in dict.fromkeys(one.fusion for one in settings):
        alike = [one for one in settings if one.fusion == fusion]
        largest = max(alike, key=lambda one: one.method != "vanilla")
        if resolve_device(largest.device).type != "cpu" or largest.workers or largest.devices > 1:
            return 1
        small = count_parameters(build_model(largest, data)) < SMALL_MODEL
        if (largest.threads or small) != 1:
            return 1
    return count_cores()


def _sharing_data(cells: Iterable[CellRuns]) -> list[list[CellRuns]]:
    """Return the cells that share an opened data set, in the order of the first."""
    groups: dict[str, list[CellRuns]] = {}
    for cell in cells:
        settings = cell.settings
        key = [settings.dataset, cell.cell.root, settings.data_settings, settings.loader]
        groups.setdefault(json.dumps(key, sort_keys=True, default=str), []).append(cell)
    return list(groups.values())


def _describe(cell: CellRuns, data: OpenedDataset) -> None:
    """Write down what the data set says of a cell, and settle what its size decides."""
    settings, sources = cell.settings, cell.cell.sources
    if not cell.metrics:  # once: all splits have the same settings
        settings, sources = fill_in(settings, sources, len(data.labels("train")), data.task)
        cell.cell = replace(cell.cell, settings=settings, sources=sources)
    for attempt in cell.attempts:
        place = {"seed": attempt.seed, "split": attempt.settings.split}
        attempt.settings = settings.model_copy(update=place)
    every = dict.fromkeys([headline_metric(settings, data), *data.task.metric_names])
    named = ([*every] if name == ALL else [name] for name in cell.cell.metrics)
    cell.metrics = tuple(name for names in named for name in names) or (data.metric,)
    cell.selection = settings.metric or data.selection or data.metric
    cell.test_share = len(data.sample_ids("test")) / len(data.sample_ids("train"))
    notes = data.notes
    with suppress(DatasetError):  # damage is told by the run that meets it
        notes += data.observations()
    if tuned := cell.cell.tuned:
        seeds = [attempt.seed for attempt in cell.attempts]
        notes += tuned_notes(tuned, data.fingerprint(), seeds)
        if cell.attempts[0].settings.split != OWN_SPLIT:
            notes += (
                "the recipe was tuned on samples of which some are test samples of splits drawn "
                "anew: figures are too good.",
            )
    cell.notes = tuple(dict.fromkeys((*cell.notes, *notes)))
    cell.published = not data.is_sample


def _check_fit(cell: CellRuns, data: OpenedDataset) -> None:
    """Check a cell before it is trained."""
    for metric in set(cell.metrics) - set(COSTS):
        known = data.task.metric_names
        if metric not in known:
            raise ConfigError(
                f"{data.name} has no metric {metric!r}.{did_you_mean(metric, known)} "
                f"It has: {', '.join((*known, *COSTS))}."
            )
    check_selection(cell.settings, data)
    problem = misfit(backbones.get(cell.settings.fusion), len(data.modalities))
    if problem:
        raise BackboneError(problem)
