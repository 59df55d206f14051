"""Running a suite: what is finished is taken, what fails is written down, the rest is trained."""

from __future__ import annotations

import datetime
import functools
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from i2moe_plugin.backbones.create import misfit
from i2moe_plugin.backbones.entry import backbones
from i2moe_plugin.benchmarks.data.open import OpenedDataset, open_dataset
from i2moe_plugin.benchmarks.grid.executors.processes import can_fork, run_parallel
from i2moe_plugin.benchmarks.grid.spec import Cell, Suite
from i2moe_plugin.benchmarks.run.environment import resolve_device
from i2moe_plugin.benchmarks.run.execute import execute, finished, run_name
from i2moe_plugin.benchmarks.run.settings import RunSettings
from i2moe_plugin.benchmarks.run.store import Run, RunStore, explained, write_json
from i2moe_plugin.errors import I2MoEError, RunError, did_you_mean

State = Literal["waiting", "running", "finished", "failed", "skipped", "stopped"]
FAILED = ".failed"
#: What a run cost, shown as metrics are, and not compared.
COSTS = ("parameters", "parameters_without_encoders", "seconds")


@dataclass
class Attempt:
    """One seed of a cell.

    Attributes:
        state: ``finished``; ``failed``: trained, and it did not work; ``skipped``: it cannot be
            started here; ``stopped``: it could not be written, or another process computes it.
        run: its directory's name, as soon as the data is open.
        reason: why it is not finished.
        result: its ``result.json``.
    """

    seed: int
    state: State = "waiting"
    run: str | None = None
    identity: str = ""
    reason: str = ""
    result: dict[str, Any] | None = None


@dataclass
class CellRecord:
    """What became of a cell.

    Attributes:
        attempts: one a seed, in order.
        metrics: what the table shows of it.
        notes: the data set's.
        published: it ran on the published data set (or an embedded one), not on a drawn sample.
    """

    cell: Cell
    attempts: list[Attempt]
    metrics: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    published: bool = True

    def counted(self) -> dict[int, dict[str, Any]]:
        """The results of finished runs, by seed; nothing else is counted."""
        return {a.seed: a.result for a in self.attempts if a.result is not None}


#: (record, attempt, the epoch's record where it is being trained)
OnEvent = Callable[[CellRecord, Attempt, dict[str, Any] | None], None]


@dataclass
class SuiteRecord:
    """A suite and what became of each of its cells."""

    suite: Suite
    cells: list[CellRecord]
    reused: int = 0
    store: Path = field(default_factory=Path)

    def states(self) -> dict[State, int]:
        """How many runs are in each state."""
        states: dict[State, int] = {}
        for attempt in (attempt for record in self.cells for attempt in record.attempts):
            states[attempt.state] = states.get(attempt.state, 0) + 1
        return states

    def reasons(self) -> dict[str, list[str]]:
        """Why runs are not finished: reason -> where."""
        out: dict[str, list[str]] = {}
        for record in self.cells:
            for attempt in record.attempts:
                if attempt.reason:
                    where = out.setdefault(f"{attempt.state}: {attempt.reason}", [])
                    where.append(f"{' '.join(record.cell.key)} seed {attempt.seed}")
        return out


class Failures:
    """The runs of a folder that failed, with their reasons: ``<runs>/.failed/<run>.json``.

    Args:
        folder: of the runs.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / FAILED

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Every failure: run, identity, dataset, fusion, method, seed, error, reason, when."""
        for path in sorted(self.folder.glob("*.json")):
            found = self._read(path)
            if found is not None:
                yield found

    def reason(self, run: str) -> str | None:
        """Why this run failed; None where it did not."""
        found = self._read(self.folder / f"{run}.json")
        return None if found is None else str(found["reason"])

    def add(self, run: str, identity: str, settings: RunSettings, error: Exception) -> str:
        """Write a failure down.

        Returns:
            the reason in one line.

        Raises:
            RunError: it cannot be written.
        """
        reason = describe(error)
        with explained(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        facts = {name: getattr(settings, name) for name in ("dataset", "fusion", "method", "seed")}
        when = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        write_json(
            self.folder / f"{run}.json",
            {
                "run": run,
                "identity": identity,
                **facts,
                "error": type(error).__name__,
                "reason": reason,
                "when": when,
            },
        )
        return reason

    def forget(self, run: str) -> None:
        """It is to be tried again, or has been finished."""
        (self.folder / f"{run}.json").unlink(missing_ok=True)

    def _read(self, path: Path) -> dict[str, Any] | None:
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) and "reason" in found else None


def run_suite(
    suite: Suite,
    store: RunStore,
    *,
    retry: bool = False,
    samples: bool = False,
    jobs: int = 1,
    on_event: OnEvent | None = None,
) -> SuiteRecord:
    """Train what is neither finished nor known to fail.

    Seeds go outside cells, so that a stopped suite has whole comparisons.

    Args:
        suite: what to run.
        store: where runs go, and where finished ones are found.
        retry: try failed runs again.
        samples: draw a sample of each data set whose files are not here, and take that.
        jobs: how many runs at a time, in processes of their own; the numbers are the same.
        on_event: told of every state and every epoch.

    Raises:
        ConfigError: the device is not there.
        RunError: a process was killed.
    """
    for device in {cell.settings.device for cell in suite.cells}:
        resolve_device(device)
    records = [
        CellRecord(cell, [Attempt(seed) for seed in suite.seeds], cell.metrics)
        for cell in suite.cells
    ]
    out = SuiteRecord(suite, records, store=store.folder)
    runner = _Runner(out, store, retry, on_event or (lambda *_: None))
    for group in _by_data(records):
        try:
            data = _open(group[0].cell, samples)
        except I2MoEError as error:
            runner.skip(group, describe(error))
            continue
        for record in group:
            record.metrics = record.metrics or (data.metric,)
            record.notes = data.notes
            record.published = not data.is_sample
            if reason := _does_not_fit(record, data):
                runner.skip([record], reason)
        runner.settle(group, data, jobs)
    return out


def describe(error: Exception) -> str:
    """An error as one line: our own as it is, any other with its type."""
    text = " ".join(str(error).split())
    return text if isinstance(error, I2MoEError) else f"{type(error).__name__}: {text}"


@dataclass
class _Runner:
    out: SuiteRecord
    store: RunStore
    retry: bool
    tell: OnEvent

    def __post_init__(self) -> None:
        self.failures = Failures(self.store.folder)

    def skip(self, records: Iterable[CellRecord], reason: str) -> None:
        for record in records:
            for attempt in record.attempts:
                attempt.state, attempt.reason = "skipped", reason
                self.tell(record, attempt, None)

    def settle(self, group: list[CellRecord], data: OpenedDataset, jobs: int) -> None:
        """Bring every run of a data set to its end, whatever it is."""
        places = [
            (record, record.attempts[index])
            for index in range(len(self.out.suite.seeds))
            for record in group
        ]
        missing = [
            (record, attempt)
            for record, attempt in places
            if attempt.state == "waiting" and not self._known(record, attempt, data)
        ]
        if not missing:
            return
        try:
            data.prepare(resolve_device(missing[0][0].cell.settings.device))
        except I2MoEError as error:  # files that turn out to be damaged
            for record, attempt in missing:
                self._heard(record, attempt, "skipped", describe(error))
            return
        tasks = [functools.partial(self._train, *place, data) for place in missing]

        def heard(place: int, said: tuple[State, Any]) -> None:
            state, what = said
            self._heard(*missing[place], state, what)

        if jobs > 1 and len(tasks) > 1 and can_fork():
            run_parallel(tasks, jobs, heard)
        else:
            for place, task in enumerate(tasks):
                task(functools.partial(heard, place))

    def _known(self, record: CellRecord, attempt: Attempt, data: OpenedDataset) -> bool:
        """Whether nothing is to be trained: it is finished, or known to fail."""
        settings = _settings(record, attempt)
        attempt.run, attempt.identity = run_name(settings, data)
        if finished(settings, data, self.store) is not None:
            self.out.reused += 1
            self._heard(record, attempt, "finished", None)
            return True
        reason = self.failures.reason(attempt.run)
        if reason is None or self.retry:
            return False
        self._heard(record, attempt, "failed", reason)
        return True

    def _train(
        self,
        record: CellRecord,
        attempt: Attempt,
        data: OpenedDataset,
        say: Callable[[tuple[State, Any]], None],
    ) -> None:
        """Train one run; whatever becomes of it is said, perhaps from another process."""
        settings = _settings(record, attempt)
        say(("running", None))
        try:
            execute(
                settings,
                data,
                self.store,
                on_epoch=lambda epoch: say(("running", epoch)),
                sources=dict(record.cell.sources),
            )
        except RunError as error:  # of the disk or of another process, not of the method
            say(("stopped", describe(error)))
        except Exception as error:  # a backbone of somebody's: one cell must not end the suite
            assert attempt.run is not None
            say(("failed", self.failures.add(attempt.run, attempt.identity, settings, error)))
        else:
            say(("finished", None))

    def _heard(self, record: CellRecord, attempt: Attempt, state: State, said: Any) -> None:
        attempt.state = state
        if state == "running":
            self.tell(record, attempt, said)
            return
        if state == "finished":
            assert attempt.run is not None
            self.failures.forget(attempt.run)
            attempt.result = Run.load(self.store.folder / attempt.run).json("result.json")
        else:
            attempt.reason = said
        self.tell(record, attempt, None)


def _settings(record: CellRecord, attempt: Attempt) -> RunSettings:
    return record.cell.settings.model_copy(update={"seed": attempt.seed})


def _by_data(records: Iterable[CellRecord]) -> list[list[CellRecord]]:
    """The cells that share an opened data set, in the order of the first."""
    groups: dict[str, list[CellRecord]] = {}
    for record in records:
        settings = record.cell.settings
        key = [settings.dataset, record.cell.root, settings.data_settings, settings.loader]
        groups.setdefault(json.dumps(key, sort_keys=True, default=str), []).append(record)
    return list(groups.values())


def _open(cell: Cell, samples: bool) -> OpenedDataset:
    """The cell's data set.

    Raises:
        I2MoEError: its files are not here, or damaged.
    """
    settings = cell.settings
    return open_dataset(
        settings.dataset,
        cell.root,
        loader=settings.loader,
        sample=samples,
        **settings.data_settings,
    )


def _does_not_fit(record: CellRecord, data: OpenedDataset) -> str:
    """Why it need not be tried: a metric there is not, or modalities the backbone cannot take."""
    for metric in set(record.metrics) - set(COSTS):
        known = data.task.metric_names
        if metric not in known:
            return (
                f"{data.name} has no metric {metric!r}.{did_you_mean(metric, known)} "
                f"It has: {', '.join((*known, *COSTS))}."
            )
    return misfit(backbones.get(record.cell.settings.fusion), len(data.modalities))
