"""Running a suite: what is finished is taken, what fails is written down, the rest is trained."""

from __future__ import annotations

import datetime
import functools
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from i2moe_plugin.benchmarks.datasets import MultimodalDataset, datasets, open_dataset
from i2moe_plugin.benchmarks.experiment import execute, finished, resolve_device, run_name
from i2moe_plugin.benchmarks.features import cache_dir
from i2moe_plugin.benchmarks.runs import Run, RunStore, explained, write_json
from i2moe_plugin.benchmarks.settings import RunSettings
from i2moe_plugin.benchmarks.suites.spec import Cell, Suite
from i2moe_plugin.errors import I2MoEError, RunError
from i2moe_plugin.registry import backbones

State = Literal["waiting", "running", "finished", "failed", "skipped", "stopped"]
FAILED = ".failed"


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
    on_event: OnEvent | None = None,
) -> SuiteRecord:
    """Train what is neither finished nor known to fail.

    Seeds go outside cells, so that a stopped suite has whole comparisons.

    Args:
        suite: what to run.
        store: where runs go, and where finished ones are found.
        retry: try failed runs again.
        samples: draw a sample of each data set whose files are not here, and take that.
        on_event: told of every state and every epoch.

    Raises:
        ConfigError: the device is not there.
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
            record.notes = tuple(data.notes)
            record.published = not getattr(data, "is_sample", False)
            if reason := _does_not_fit(record.cell, data):
                runner.skip([record], reason)
        for index in range(len(suite.seeds)):
            for record in group:
                if record.attempts[index].state == "waiting":
                    runner.settle(record, record.attempts[index], data)
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

    def skip(self, records: Iterable[CellRecord], reason: str) -> None:
        for record in records:
            for attempt in record.attempts:
                attempt.state, attempt.reason = "skipped", reason
                self.tell(record, attempt, None)

    def settle(self, record: CellRecord, attempt: Attempt, data: MultimodalDataset) -> None:
        """Bring one run to its end, whatever it is."""
        settings = record.cell.settings.model_copy(update={"seed": attempt.seed})
        failures = Failures(self.store.folder)
        attempt.run, identity = run_name(settings, data)
        found = finished(settings, data, self.store)
        if found is not None:
            self.out.reused += 1
            self._finish(record, attempt, found, failures)
            return
        known = failures.reason(attempt.run)
        if known is not None and not self.retry:
            attempt.state, attempt.reason = "failed", known
            self.tell(record, attempt, None)
            return
        attempt.state = "running"
        self.tell(record, attempt, None)
        try:
            data.prepare(resolve_device(settings.device))
            found = execute(
                settings,
                data,
                self.store,
                on_epoch=functools.partial(self.tell, record, attempt),
                sources=dict(record.cell.sources),
            )
        except RunError as error:  # of the disk or of another process, not of the method
            attempt.state, attempt.reason = "stopped", describe(error)
            self.tell(record, attempt, None)
        except Exception as error:  # a backbone of somebody's: one cell must not end the suite
            attempt.state = "failed"
            attempt.reason = failures.add(attempt.run, identity, settings, error)
            self.tell(record, attempt, None)
        else:
            self._finish(record, attempt, found, failures)

    def _finish(self, record: CellRecord, attempt: Attempt, run: Run, failures: Failures) -> None:
        failures.forget(run.path.name)
        attempt.state, attempt.result = "finished", run.json("result.json")
        self.tell(record, attempt, None)


def _by_data(records: Iterable[CellRecord]) -> list[list[CellRecord]]:
    """The cells that share an opened data set, in the order of the first."""
    groups: dict[str, list[CellRecord]] = {}
    for record in records:
        settings = record.cell.settings
        key = [settings.dataset, record.cell.root, settings.data_settings, settings.loader]
        groups.setdefault(json.dumps(key, sort_keys=True, default=str), []).append(record)
    return list(groups.values())


def _open(cell: Cell, samples: bool) -> MultimodalDataset:
    """The cell's data set.

    Raises:
        I2MoEError: its files are not here, or damaged.
    """
    settings, root = cell.settings, cell.root
    build = datasets.get(settings.dataset).build
    if samples and root is None and not build.card.embedded and not build.status(None).ready:
        folder = cache_dir() / "samples" / settings.dataset
        if not build.status(folder).ready:
            build.write_sample(folder)
        root = str(folder)
    data = open_dataset(settings.dataset, root, **settings.data_settings)
    if settings.loader == "multibench":
        from i2moe_plugin.benchmarks.multibench_loading import load_from_multibench

        load_from_multibench(data)
    return data


def _does_not_fit(cell: Cell, data: MultimodalDataset) -> str | None:
    """Why the backbone cannot take this data set's modalities, where it says so itself."""
    entry, count = backbones.get(cell.settings.fusion), len(data.modalities)
    most = entry.max_modalities
    if count < entry.min_modalities or (most is not None and count > most):
        wanted = (
            f"{entry.min_modalities}"
            if most == entry.min_modalities
            else (
                f"{entry.min_modalities} to {most}" if most else f"at least {entry.min_modalities}"
            )
        )
        return f"{entry.name} fuses {wanted} modalities; {data.name} has {count}."
    return None
