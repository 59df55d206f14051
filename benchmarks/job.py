"""The main job: every method and seed of one backbone on one data set, compared."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from i2moe_plugin.benchmarks.comparison import Comparison, compare, summarise
from i2moe_plugin.benchmarks.datasets import MultimodalDataset
from i2moe_plugin.benchmarks.experiment import execute, finished, resolve_device
from i2moe_plugin.benchmarks.linear_baseline import logistic_regression
from i2moe_plugin.benchmarks.runs import Run, RunStore
from i2moe_plugin.benchmarks.settings import Method, RunSettings

#: (settings of the run under way, its newest epoch's record, or None when it is there already)
Progress = Callable[[RunSettings, dict[str, Any] | None], None]


@dataclass(frozen=True)
class JobResult:
    """What came out of a job.

    Attributes:
        metric: the data set's headline metric, that also selected the epochs.
        runs: by method, one a seed, in the order of the seeds.
        comparisons: by metric; empty where only one method ran.
        linear: the logistic regression's ``{"test": ..., "C": ...}``, where there is one.
        reused: how many runs were there already.
    """

    dataset: str
    fusion: str
    metric: str
    seeds: tuple[int, ...]
    runs: dict[Method, list[Run]]
    comparisons: dict[str, Comparison]
    linear: dict[str, Any] | None
    notes: list[str]
    reused: int = 0
    results: dict[Method, list[dict[str, Any]]] = field(default_factory=dict)

    def metrics(self) -> list[str]:
        """The metrics' names, the headline first."""
        first = next(iter(self.results.values()))[0]["test"]
        return [self.metric, *(name for name in first if name not in (self.metric, "loss"))]

    def values(self, method: Method, metric: str) -> list[float]:
        """One test value a seed; NaN where it is undefined."""
        values = [result["test"][metric] for result in self.results[method]]
        return [float("nan") if value is None else value for value in values]

    def expert_weights(self) -> dict[str, float]:
        """Each expert's weight, its mean over test samples and seeds."""
        rows = [result["expert_weights"] for result in self.results.get("i2moe", [])]
        return {
            name: sum(row[name] for row in rows) / len(rows) for name in (rows[0] if rows else ())
        }

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
            "comparison": {name: item.as_dict() for name, item in self.comparisons.items()},
            "expert_weights": self.expert_weights(),
            "notes": self.notes,
        }


def run_job(
    settings: RunSettings,
    data: MultimodalDataset,
    store: RunStore,
    *,
    seeds: Sequence[int],
    methods: Sequence[Method] = ("vanilla", "i2moe"),
    fresh: bool = False,
    sources: dict[str, str] | None = None,
    progress: Progress | None = None,
) -> JobResult:
    """Train and test every method for every seed, and compare.

    Seeds go outermost, so that a stopped job has whole pairs.

    Args:
        settings: of all runs, but for method and seed.
        data: the opened data set.
        store: where the runs go; finished ones found there are not repeated.
        seeds: distinct seeds.
        methods: what to train.
        fresh: repeat finished runs too.
        sources: where each setting comes from.
        progress: told of each epoch and each reused run.

    Raises:
        I2MoEError: see :func:`execute`.
    """
    runs: dict[Method, list[Run]] = {method: [] for method in methods}
    reused = 0
    for seed in seeds:
        for method in methods:
            one = settings.model_copy(update={"method": method, "seed": seed})
            found = None if fresh else finished(one, data, store)
            if found is None:
                data.prepare(resolve_device(one.device), progress=progress is not None)
                found = execute(
                    one,
                    data,
                    store,
                    fresh=fresh,
                    sources=sources,
                    on_epoch=functools.partial(progress, one) if progress is not None else None,
                )
            else:
                reused += 1
                if progress is not None:
                    progress(one, None)
            runs[method].append(found)
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
    if len(methods) == 2:
        for name in job.metrics():
            job.comparisons[name] = compare(
                name, job.values("vanilla", name), job.values("i2moe", name)
            )
    return job
