"""The main job: every method and seed of one backbone on one data set, compared."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from i2moe_plugin.benchmarks.data.open import OpenedDataset
from i2moe_plugin.benchmarks.grid.executors.processes import can_fork, cores, run_parallel
from i2moe_plugin.benchmarks.run.environment import SMALL_MODEL, resolve_device
from i2moe_plugin.benchmarks.run.execute import execute, finished
from i2moe_plugin.benchmarks.run.model import build_model
from i2moe_plugin.benchmarks.run.settings import Method, RunSettings
from i2moe_plugin.benchmarks.run.store import Run, RunStore
from i2moe_plugin.benchmarks.statistics.linear import logistic_regression
from i2moe_plugin.benchmarks.statistics.paired import Comparison, compare, summarise
from i2moe_plugin.training import count_parameters

#: (settings of the run under way, its newest epoch's record, or None when it is there already)
Progress = Callable[[RunSettings, dict[str, Any] | None], None]


@dataclass(frozen=True)
class JobResult:
    """What came out of a job.

    Attributes:
        metric: the data set's headline metric, that also selected the epochs.
        runs: by method, one a seed, in the order of the seeds.
        comparisons: of each other method with the reference, by metric.
        linear: the logistic regression's ``{"test": ..., "C": ...}``, where there is one.
        reused: how many runs were there already.
    """

    dataset: str
    fusion: str
    metric: str
    seeds: tuple[int, ...]
    runs: dict[Method, list[Run]]
    comparisons: dict[Method, dict[str, Comparison]]
    linear: dict[str, Any] | None
    notes: list[str]
    reused: int = 0
    results: dict[Method, list[dict[str, Any]]] = field(default_factory=dict)

    @property
    def reference(self) -> Method:
        """What the other methods are compared with."""
        return "vanilla" if "vanilla" in self.runs else next(iter(self.runs))

    def metrics(self) -> list[str]:
        """The metrics' names, the headline first."""
        first = next(iter(self.results.values()))[0]["test"]
        return [self.metric, *(name for name in first if name not in (self.metric, "loss"))]

    def values(self, method: Method, metric: str) -> list[float]:
        """One test value a seed; NaN where it is undefined."""
        values = [result["test"][metric] for result in self.results[method]]
        return [float("nan") if value is None else value for value in values]

    def expert_weights(self) -> dict[Method, dict[str, float]]:
        """Each expert's weight, its mean over test samples and seeds, by method."""
        found = {}
        for method, results in self.results.items():
            rows = [result["expert_weights"] for result in results if "expert_weights" in result]
            if rows:
                found[method] = {
                    name: sum(row[name] for row in rows) / len(rows) for name in rows[0]
                }
        return found

    def as_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return {
            "dataset": self.dataset,
            "fusion": self.fusion,
            "metric": self.metric,
            "seeds": list(self.seeds),
            "methods": {
                method: {
                    "metrics": {
                        name: {
                            **summarise(self.values(method, name)),
                            "values": self.values(method, name),
                        }
                        for name in self.metrics()
                    },
                    "parameters": results[0]["parameters"],
                    "seconds": summarise([result["seconds"]["total"] for result in results]),
                    "runs": [str(run.path) for run in self.runs[method]],
                }
                for method, results in self.results.items()
            },
            "linear_baseline": self.linear,
            "reference": self.reference,
            "comparison": {
                method: {name: item.as_dict() for name, item in items.items()}
                for method, items in self.comparisons.items()
            },
            "expert_weights": self.expert_weights(),
            "notes": self.notes,
        }


def run_job(
    settings: RunSettings,
    data: OpenedDataset,
    store: RunStore,
    *,
    seeds: Sequence[int],
    methods: Sequence[Method] = ("vanilla", "i2moe"),
    fresh: bool = False,
    sources: dict[str, str] | None = None,
    progress: Progress | None = None,
    jobs: int = 1,
) -> JobResult:
    """Train and test every method for every seed, and compare.

    Seeds go outermost, so that a stopped job has whole pairs (in several processes: most of them).

    Args:
        settings: of all runs, but for method and seed.
        data: the opened data set.
        store: where the runs go; finished ones found there are not repeated.
        seeds: distinct seeds.
        methods: what to train.
        fresh: repeat finished runs too.
        sources: where each setting comes from.
        progress: told of each epoch and each reused run.
        jobs: how many runs at a time, in processes of their own; the numbers are the same. 0: as
            many as there are cores, for models that train on one thread.

    Raises:
        I2MoEError: see :func:`execute`.
        RunError: a process was killed.
    """
    wanted = [
        settings.model_copy(update={"method": method, "seed": seed})
        for seed in seeds
        for method in methods
    ]
    found = [None if fresh else finished(one, data, store) for one in wanted]
    missing = [one for one, run in zip(wanted, found, strict=True) if run is None]
    for one in wanted:
        if one not in missing and progress is not None:
            progress(one, None)
    if missing:
        data.prepare(resolve_device(settings.device), progress=progress is not None)

    def train(one: RunSettings, say: Callable[[dict[str, Any]], None] | None) -> Run:
        return execute(one, data, store, fresh=fresh, sources=sources, on_epoch=say)

    def heard(place: int, record: dict[str, Any]) -> None:
        if progress is not None:
            progress(missing[place], record)

    count = min(jobs or _jobs_that_pay(missing, data), len(missing))
    if count > 1 and can_fork():
        # The short runs a seed later: at the end no process then waits for another's long one.
        def turn(one: RunSettings) -> tuple[int, bool]:
            short = one.method == "vanilla"
            return seeds.index(one.seed) + short, short

        missing.sort(key=turn)
        run_parallel([functools.partial(train, one) for one in missing], count, heard)
    else:
        for place, one in enumerate(missing):
            train(one, functools.partial(heard, place))
    runs: dict[Method, list[Run]] = {method: [] for method in methods}
    for one, old in zip(wanted, found, strict=True):
        run = finished(one, data, store) if old is None else old
        assert run is not None  # it was written just now
        runs[one.method].append(run)
    reused = len(wanted) - len(missing)
    results = {method: [run.json("result.json") for run in found] for method, found in runs.items()}
    metric = data.metric if settings.metric in (None, "loss") else settings.metric
    job = JobResult(
        dataset=settings.dataset,
        fusion=settings.fusion,
        metric=metric,
        seeds=tuple(seeds),
        runs=runs,
        comparisons={},
        linear=logistic_regression(data, metric),
        notes=list(data.notes),
        reused=reused,
        results=results,
    )
    for method in methods:
        if method != job.reference:
            job.comparisons[method] = {
                name: compare(name, job.values(job.reference, name), job.values(method, name))
                for name in job.metrics()
            }
    return job


def _jobs_that_pay(missing: Sequence[RunSettings], data: OpenedDataset) -> int:
    """One run a core, where a run takes one thread of the CPU and reads its data itself."""
    if len(missing) < 2 or not can_fork():
        return 1
    largest = max(missing, key=lambda one: one.method != "vanilla")
    if resolve_device(largest.device).type != "cpu" or largest.workers:
        return 1
    threads = largest.threads or (count_parameters(build_model(largest, data)) < SMALL_MODEL)
    return cores() if threads == 1 else 1
