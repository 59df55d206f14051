"""Robustness of many runs: what is kept is taken, the rest is computed, and summed up."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from i2moe_plugin.benchmarks.data.frozen import progress_bar
from i2moe_plugin.benchmarks.robustness.absence import Fill, measure_absence
from i2moe_plugin.benchmarks.robustness.curves import measure_curves
from i2moe_plugin.benchmarks.robustness.summary import (
    Measured,
    absence_record,
    curves_record,
    group_measured,
)
from i2moe_plugin.benchmarks.run.collect import find_runs
from i2moe_plugin.benchmarks.run.store import Run
from i2moe_plugin.errors import I2MoEError, RunError


def measure_runs(
    paths: Iterable[Path],
    *,
    absent: bool = False,
    fill: Fill = "own",
    root: str | Path | None = None,
    progress: bool = False,
) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Measure all finished runs at these paths: runs, or folders of runs.

    Args:
        paths: where they lie.
        absent: with each subset of modalities, in place of corruption.
        fill: see :func:`measure_absence`.
        root: where the data set lies, if it was moved.
        progress: show a bar on a terminal.

    Returns:
        the record of :func:`curves_record` or :func:`absence_record`; (name, reason) of the runs
        that could not be measured.

    Raises:
        RunError: none of them could.
    """
    found = find_runs(paths)
    problems = list(found.problems)
    each = [1 if absent else len(run.result["modalities"]) + 1 for run in found.runs]
    with progress_bar("robustness", sum(each), progress) as advance:

        def measure(run: Run) -> Measured | None:
            try:
                if absent:
                    return measure_absence(run, fill, root, advance)
                return measure_curves(run, root, advance)
            except I2MoEError as error:
                problems.append((run.name, str(error)))
                return None

        groups = group_measured(found.runs, measure)
    if not groups:
        reasons = "".join(f"\n  - {name}: {reason}" for name, reason in problems)
        raise RunError(f"no run could be measured.{reasons}")
    return (absence_record if absent else curves_record)(groups), problems
