"""The runs of a cell: which are planned, what became of each, and their values."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from i2moe_plugin.benchmarks.data.splits import OWN_SPLIT
from i2moe_plugin.benchmarks.grid.cells import Cell
from i2moe_plugin.benchmarks.run.outputs import task_of_outputs
from i2moe_plugin.benchmarks.run.settings import RunSettings
from i2moe_plugin.benchmarks.run.store import EVIDENCE, Run, place_of
from i2moe_plugin.benchmarks.statistics.metrics import COSTS
from i2moe_plugin.benchmarks.statistics.paired import Interval
from i2moe_plugin.benchmarks.statistics.sampling import (
    Judged,
    resamples_for,
    sample_intervals,
    weighted_metric,
)
from i2moe_plugin.tasks import Task, task_from

if TYPE_CHECKING:
    from i2moe_plugin.interpretation import MeanParts, Outputs

State = Literal["waiting", "running", "finished", "failed", "skipped", "stopped"]


@dataclass
class Attempt:
    """One seed of a cell, on one split: a run that is planned, under way, or over.

    Attributes:
        settings: with the seed and the split.
        state: ``finished``; ``failed``: trained, and it did not work; ``skipped``: it cannot be
            started here; ``stopped``: it could not be written, or another process computes it.
        name: of its directory, as soon as the data is open.
        reason: why it is not finished.
        run: the finished run.
        reused: it was finished before.
    """

    settings: RunSettings
    state: State = "waiting"
    name: str = ""
    reason: str = ""
    run: Run | None = None
    reused: bool = False

    @property
    def seed(self) -> int:
        """What everything random in it derives from."""
        return self.settings.seed

    @property
    def place(self) -> int | str:
        """What tells it from the other runs of its cell; see :func:`place_of`."""
        return place_of(self.settings.split, self.seed)

    def __str__(self) -> str:
        split = "" if self.settings.split == OWN_SPLIT else f"split {self.settings.split} "
        return f"{split}seed {self.seed}"


@dataclass
class CellRuns:
    """A cell and what became of its runs.

    Attributes:
        cell: what was planned.
        attempts: one a seed, split by split, in order.
        metrics: what the table shows of it.
        notes: the data set's.
        published: it ran on the published data set (or an embedded one), not on a drawn sample.
        selection: the metric that selects the epoch on validation data.
        test_share: number of test samples over that of training samples.
    """

    cell: Cell
    attempts: list[Attempt]
    metrics: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    published: bool = True
    selection: str = ""
    test_share: float | None = None

    @classmethod
    def planned(
        cls, cell: Cell, seeds: Sequence[int], splits: Sequence[str] = (OWN_SPLIT,)
    ) -> CellRuns:
        """Return a cell of which nothing has been run."""
        places = [{"split": split, "seed": seed} for split in splits for seed in seeds]
        return cls(cell, [Attempt(cell.settings.model_copy(update=place)) for place in places])

    @property
    def settings(self) -> RunSettings:
        """The settings of its runs, with seed 0."""
        return self.cell.settings

    @property
    def runs(self) -> dict[int | str, Run]:
        """The finished runs, by seed, or by ``SPLIT:SEED``; nothing else is counted."""
        return {a.place: a.run for a in self.attempts if a.run is not None}

    @property
    def every_note(self) -> list[str]:
        """The data set's notes, and what its runs say of themselves."""
        of_runs = [note for run in self.runs.values() for note in run.result.get("notes", ())]
        first = next(iter(self.runs.values()), None)
        if first is not None and EVIDENCE in first.files and first.split != OWN_SPLIT:
            of_runs.append(f"Parts in bits are of split {first.split} alone.")
        return list(dict.fromkeys([*self.notes, *of_runs]))

    @property
    def states(self) -> Counter[State]:
        """How many attempts are in each state."""
        return Counter(attempt.state for attempt in self.attempts)

    def values(self, metric: str) -> dict[int | str, float]:
        """Return a metric on test data, or a cost, of each finished run; NaN: undefined."""
        return {place: _value(run.result, metric) for place, run in self.runs.items()}

    @cached_property
    def sampling(self) -> Sampling | None:
        """How far its mean figures depend on which samples were tested; None: no finished run."""
        return sampling_of(list(self.runs.values())) if self.runs else None

    def expert_weights(self) -> dict[str, float]:
        """Return each expert's weight, the mean over test samples and seeds; none: no experts."""
        return {name: sum(row) / len(row) for name, row in self.weights_by_seed().items()}

    def weights_by_seed(self) -> dict[str, list[float]]:
        """Return each expert's mean weight over test samples in every run; none: no experts."""
        results = [run.result for run in self.runs.values()]
        found = [result["expert_weights"] for result in results if "expert_weights" in result]
        return {name: [row[name] for row in found] for name in (found[0] if found else ())}

    def evidence(self) -> list[MeanParts]:
        """Return mean parts in bits over runs, of each predicted thing; none: no such method.

        Of several splits it is about the first: parts are averaged over the same test samples.
        """
        from i2moe_plugin.interpretation import evidence

        outputs = [one for one in self._with_parts() if one.units > 1]  # a single one has no error
        return evidence(outputs) if outputs else []

    @property
    def without_errors(self) -> bool:
        """Whether there are parts in bits, and a single test sample or group that shows them."""
        known = self.settings.method == "evidence"
        return known and any(one.units < 2 for one in self._with_parts())

    def _with_parts(self) -> list[Outputs]:
        runs = one_split(self.runs.values())
        return [run.interpretable() for run in runs if EVIDENCE in run.files]


@dataclass(frozen=True)
class Sampling:
    """How far the mean figures of some runs depend on which samples were tested.

    Attributes:
        intervals: the 95 % bootstrap interval of each metric; None where it is undefined, or
            cannot be computed from the outputs that runs keep.
        resamples: how many.
        grouped: whole groups of samples were drawn.
    """

    intervals: Mapping[str, Interval | None]
    resamples: int
    grouped: bool

    @property
    def about(self) -> str:
        """What the intervals are, in a sentence."""
        drawn = "groups of samples" if self.grouped else "samples"
        return (
            f"95 % over samples: percentile bootstrap over test {drawn} of the mean over runs, "
            f"{self.resamples} resamples; the trained models stay as they are."
        )


def sampling_of(runs: Sequence[Run]) -> Sampling:
    """Return how far the mean figures of runs of one kind depend on which samples were tested.

    Raises:
        RunError: outputs that are damaged.
    """
    grouped = all(run.result.get("grouped", False) for run in runs)
    unit, judged = "group" if grouped else "sample_id", []
    for run in runs:
        columns = run.outputs("prediction", "target", *dict.fromkeys(["sample_id", unit]))
        judged.append(Judged(columns["prediction"], columns["target"], columns[unit]))
    first = runs[0].result
    task = task_from(first["task"]) if "task" in first else task_of_outputs(columns)
    # What the outputs do not tell, such as scores of zero where only their sign was kept.
    told = [
        name for name in task.metric_names if all(map(partial(_tells, task, name), runs, judged))
    ]
    found = dict.fromkeys(task.metric_names) | sample_intervals(task, judged, told)
    return Sampling(found, resamples_for(task, judged), grouped)


def _tells(task: Task, name: str, run: Run, judged: Judged) -> bool:
    """Whether the outputs of a run give its metric."""
    known = _value(run.result, name)
    (value,) = weighted_metric(task, name, judged)(np.ones((1, len(judged.unit))))
    return math.isclose(known, value, rel_tol=1e-3, abs_tol=1e-4)


def one_split(runs: Iterable[Run]) -> list[Run]:
    """Return the runs that were tested on the split of the first: on the same samples."""
    found = list(runs)
    return [run for run in found if run.split == found[0].split]


def run_title(run: Run) -> str:
    """Say which of the runs of its kind it is.

    Such as ``seed 0``, or ``split 2of5, seed 0``.
    """
    return f"seed {run.seed}" if run.split == OWN_SPLIT else f"split {run.split}, seed {run.seed}"


def test_share(run: Run) -> float | None:
    """Return the number of test samples over that of training samples; None of older runs."""
    samples = run.result.get("samples", {})
    return samples["test"] / samples["train"] if {"test", "train"} <= set(samples) else None


def _value(result: Mapping[str, Any], metric: str) -> float:
    if metric == "seconds":
        value = result["seconds"]["total"]
    else:
        value = result.get(metric) if metric in COSTS else result["test"].get(metric)
    return math.nan if value is None else float(value)
