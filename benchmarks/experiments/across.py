"""Fusions and methods trained on one or several data sets, and compared: inline `compare`."""

from __future__ import annotations

import functools
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from i2moe_plugin.benchmarks.experiments.comparing import Compared, compare_runs, corrected
from i2moe_plugin.benchmarks.experiments.progress import shown_progress
from i2moe_plugin.benchmarks.grid.cells import methods_grid, usual_fusion
from i2moe_plugin.benchmarks.grid.executors.dask import open_cluster
from i2moe_plugin.benchmarks.grid.runner import GridRunner, open_cell
from i2moe_plugin.benchmarks.grid.table import Table
from i2moe_plugin.benchmarks.run.store import RunStore
from i2moe_plugin.benchmarks.statistics.ranking import Ranking, rank_methods
from i2moe_plugin.errors import ConfigError
from i2moe_plugin.tasks import HIGHER_IS_BETTER

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class ComparedAcross:
    """Fusions and methods compared on each data set, and over data sets.

    Attributes:
        by_dataset: the comparison on each data set; Holm's correction goes over all of them.
        ranking: over data sets, where there are several.
        results: the table of all runs.
    """

    by_dataset: Mapping[str, Compared]
    ranking: Ranking | None
    results: Table

    @property
    def verdict(self) -> str:
        """What came out: on each data set, then over them."""
        lines = [
            f"{dataset}: {line}" if len(self.by_dataset) > 1 else line
            for dataset, found in self.by_dataset.items()
            for line in found.verdict.splitlines()
        ]
        return "\n".join([*lines, *(self.ranking.sentences if self.ranking else ())])

    @property
    def table(self) -> pd.DataFrame:
        """A row for each data set and group; columns as in :attr:`Compared.table`."""
        import pandas as pd

        parts = []
        for dataset, found in self.by_dataset.items():
            rows = found.table
            rows.insert(0, "dataset", dataset)
            rows.insert(1, "metric", found.metric)
            parts.append(rows)
        return pd.concat(parts, ignore_index=True)

    def _repr_html_(self) -> str:
        """Return verdict and table, for a notebook."""
        lines = "".join(f"<p>{html.escape(line)}</p>" for line in self.verdict.splitlines())
        return f"{lines}{self.table.to_html(index=False, na_rep='', float_format='{:.4f}'.format)}"

    def plot(self, path: str | Path) -> None:
        """Draw the critical-difference diagram into a file: svg, png or pdf by its ending.

        Raises:
            ConfigError: one data set alone, or another ending.
            RunError: the file cannot be written.
        """
        from i2moe_plugin.benchmarks.report.ranking_picture import draw_ranking

        if self.ranking is None:
            raise ConfigError("a critical-difference diagram needs at least 2 data sets.")
        draw_ranking(self.ranking, Path(path))

    def as_dict(self) -> dict[str, Any]:
        """Return everything, for JSON."""
        return {
            "datasets": {name: found.as_dict() for name, found in self.by_dataset.items()},
            "ranking": self.ranking and self.ranking.as_dict(),
            "verdict": self.verdict,
        }


def compare_across(
    datasets: Sequence[str] = ("htad",),
    fusions: Sequence[str] = (),
    methods: Sequence[str] = (),
    seeds: int | Sequence[int] = 5,
    *,
    settings: Mapping[str, Any] | None = None,
    roots: Mapping[str, str] | None = None,
    metric: str | None = None,
    equivalent_within: float | None = None,
    splits: str | int | None = None,
    out: str | Path = "runs",
    jobs: int = 0,
    cluster: str | None = None,
    progress: bool | Literal["epochs"] = True,
) -> ComparedAcross:
    """Train every fusion with every method on every data set, and compare them.

    Runs that are finished are taken, not repeated. On each data set every pair of fusion and
    method is held against the first, paired by seed; over several data sets they are ranked.

    Args:
        datasets: names, or folders with a ``dataset.yaml``.
        fusions: names of backbones; ``lrtf`` by default, and of methods on tokens
            ``token-transformer``.
        methods: names; ``i2moe`` by default, and ``vanilla`` before it where there is one fusion.
        seeds: how many, or which.
        settings: over the recipes of the data sets.
        roots: the folder of a data set's files, by its name.
        metric: what is compared; each data set's own by default.
        equivalent_within: also ask whether they are the same within this margin, as the metric is
            shown.
        splits, out, jobs, cluster, progress: see :func:`run`.

    Raises:
        ConfigError: names or settings that do not exist, or fewer than two things to compare.
        DatasetError, BackboneError, TrainingError, RunError: see :func:`run`.
    """
    names = list(dict.fromkeys(methods)) or ["vanilla", "i2moe"][len(fusions) > 1 :]
    backbones = list(dict.fromkeys(fusions)) or [usual_fusion(names)]
    if len(names) * len(backbones) < 2:
        raise ConfigError(
            "there is one thing to compare: give several of --fusion or --method; data sets are "
            "not compared with one another."
        )
    chosen = tuple(range(seeds)) if isinstance(seeds, int) else tuple(seeds)
    known, grids = dict(roots or {}), []
    for dataset in dict.fromkeys(datasets):
        for fusion in backbones:
            more = {"values": settings, "root": known.get(dataset), "splits": splits}
            grids.append(methods_grid(dataset, fusion, names, chosen, **more))  # type: ignore[arg-type]
    if unknown := known.keys() - set(datasets):
        raise ConfigError(f"--data-root of {', '.join(sorted(unknown))}, which is not compared.")
    cells = tuple(cell for grid in grids for cell in grid.cells)
    grid = replace(grids[0], name="compare", title="comparison", cells=cells, baselines=())
    shown = shown_progress(progress)(grid)
    with open_cluster(cluster) as workers, shown as on_event:
        runner = GridRunner(
            RunStore(out),
            functools.partial(open_cell),
            jobs,
            strict=True,
            progress=bool(progress),
            on_event=on_event,
            cluster=workers,
        )
        results = runner.run(grid)
    groups: dict[str, dict[str, list[Any]]] = {}
    for cell in results.cells:
        parts = [cell.settings.fusion] * (len(backbones) > 1)
        parts += [cell.settings.method] * (len(names) > 1)
        group = groups.setdefault(cell.settings.dataset, {})
        group[" ".join(parts)] = list(cell.runs.values())
    compared = corrected([compare_runs(one, metric, equivalent_within) for one in groups.values()])
    by_dataset = dict(zip(groups, compared, strict=True))
    return ComparedAcross(by_dataset, _ranking(by_dataset), results)


def _ranking(by_dataset: Mapping[str, Compared]) -> Ranking | None:
    if len(by_dataset) < 2:
        return None
    names = list(next(iter(by_dataset.values())).values)
    means = [
        [float(np.mean(list(one.values[name].values()))) for name in names]
        for one in by_dataset.values()
    ]
    if not np.isfinite(means).all():
        return None
    better = [HIGHER_IS_BETTER[one.metric] for one in by_dataset.values()]
    return rank_methods(names, list(by_dataset), means, better)
