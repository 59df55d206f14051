"""Methods of one fusion on one data set, trained and compared: what `i2moe-bench run` shows."""

from __future__ import annotations

import functools
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from i2moe_plugin.benchmarks.experiments.loaded import FinishedRun
from i2moe_plugin.benchmarks.experiments.progress import shown_progress
from i2moe_plugin.benchmarks.grid.cautions import cautions
from i2moe_plugin.benchmarks.grid.cells import Grid, methods_grid, usual_fusion
from i2moe_plugin.benchmarks.grid.estimate import Estimate, estimate
from i2moe_plugin.benchmarks.grid.executors.dask import open_cluster
from i2moe_plugin.benchmarks.grid.formats import methods_record
from i2moe_plugin.benchmarks.grid.runner import GridRunner, open_cell
from i2moe_plugin.benchmarks.grid.table import Table
from i2moe_plugin.benchmarks.run.collect import seeds_in
from i2moe_plugin.benchmarks.run.store import RunStore
from i2moe_plugin.benchmarks.statistics.metrics import method_title, metric_heading, verdict_words
from i2moe_plugin.benchmarks.statistics.paired import Comparison, summarise
from i2moe_plugin.errors import counted

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go


@dataclass(frozen=True, eq=False)
class Experiment:
    """Finished runs of several methods, and how they compare; made by :func:`run`.

    Attributes:
        results: the table of all runs, with everything that the command prints.
    """

    results: Table

    @cached_property
    def table(self) -> pd.DataFrame:
        """A row for each method and metric of the test split.

        Columns: ``method``, ``metric``, ``mean`` and sample ``deviation`` over ``seeds`` seeds
        (and splits); ``sample_low`` and ``sample_high``, the 95 % interval of that mean over test
        samples; of the paired difference to the reference method ``difference``, ``low`` and
        ``high`` (its 95 % interval), ``p`` and ``verdict``. Shares are from 0
        to 1, not in per cent.
        """
        import pandas as pd

        rows = []
        for cell in self.results.cells:
            for entry in self.results.of(cell):
                found = summarise(list(entry.values.values()))
                item, over_samples = entry.comparison, entry.sample_interval or (None, None)
                rows.append(
                    {
                        "method": cell.settings.method,
                        "metric": entry.metric,
                        "mean": found["mean"],
                        "deviation": found["deviation"],
                        "seeds": seeds_in(entry.values),
                        "runs": found["n"],
                        "sample_low": over_samples[0],
                        "sample_high": over_samples[1],
                        **{
                            name: None if item is None else getattr(item, name)
                            for name in ("difference", "low", "high", "p", "verdict")
                        },
                    }
                )
        return pd.DataFrame(rows)

    @property
    def verdict(self) -> str:
        """What came out, a line for each method that is compared with the reference."""
        lines = []
        for cell in self.results.cells:
            entry, *_ = self.results.of(cell)
            if entry.comparison is not None and entry.reference is not None:
                method, reference = cell.settings.method, entry.reference.settings.method
                lines.append("".join(verdict_sentence(entry.comparison, method, reference)))
        return "\n".join(lines)

    @property
    def cautions(self) -> list[str]:
        """What keeps the verdict from misleading: simple models that are better, for instance."""
        return cautions(self.results)

    @property
    def runs(self) -> list[FinishedRun]:
        """Its runs, by method and seed."""
        found = [run for cell in self.results.cells for run in cell.runs.values()]
        return [FinishedRun.load(run.path) for run in found]

    def plot(self) -> go.Figure:
        """Draw the metric that methods are compared by: a point for each seed, joined by seed."""
        import plotly.graph_objects as go

        cells = self.results.cells
        metric = cells[0].metrics[0]
        names = [method_title(cell.settings.method) for cell in cells]
        figure = go.Figure()
        for attempt in cells[0].attempts:
            values = [cell.values(metric).get(attempt.place) for cell in cells]
            figure.add_scatter(x=names, y=values, mode="lines+markers", name=str(attempt))
        title = metric_heading(metric).removesuffix(" %")
        figure.update_layout(title=self.results.grid.title, yaxis_title=f"test {title}")
        return figure

    def as_dict(self) -> dict[str, Any]:
        """Return everything, as ``i2moe-bench run --json`` prints it."""
        return methods_record(self.results)

    def __repr__(self) -> str:
        return f"Experiment({self.results.grid.title}: {counted(len(self.runs), 'run')})"

    def _repr_html_(self) -> str:
        """Return verdict and table, for a notebook."""
        said = [*self.verdict.splitlines(), *(f"Caution: {line}" for line in self.cautions)]
        lines = "".join(f"<p>{html.escape(line)}</p>" for line in said)
        return f"{lines}{self.table.to_html(index=False, na_rep='', float_format='{:.4f}'.format)}"


def run(
    dataset: str | Path = "htad",
    fusion: str | None = None,
    methods: Sequence[str] = ("vanilla", "i2moe"),
    seeds: int | Sequence[int] = 5,
    *,
    settings: Mapping[str, Any] | None = None,
    recipe: str | Path | None = None,
    root: str | Path | None = None,
    out: str | Path = "runs",
    splits: str | int | None = None,
    jobs: int = 0,
    cluster: str | None = None,
    fresh: bool = False,
    cache: bool = True,
    log: Sequence[str] = (),
    progress: bool | Literal["epochs"] = True,
) -> Experiment:
    """Train methods of one fusion on one data set, over several seeds, and compare them.

    All methods have the same encoders, splits and seeds. Runs that are finished are taken, not
    repeated; a run that was stopped goes on. The first error ends it, and what is finished is kept.

    Args:
        dataset: a name, or a folder with a ``dataset.yaml``.
        fusion: the name of a backbone; by default ``lrtf``, or what a method asks for, such as
            ``token-transformer`` for ``fl-i2moe``, whose experts read tokens.
        methods: names; each is compared with ``vanilla``, or with the first where it is not there.
        seeds: how many, or which.
        settings: over the data set's recipe; keys as in ``--set``, such as ``fusion.rank``.
        recipe: a file in place of that recipe, such as ``i2moe-bench tune`` writes; ``"tuned"`` is
            the one that ships.
        root: the folder of the data set's files; ``data/NAME`` by default.
        out: where runs go.
        splits: how many splits to draw anew from all samples, each run with every seed, or
            ``kfold:5``; the verdict then covers fresh splits. None: the data set's own alone.
        jobs: runs at a time, in processes of their own; 0: one a core where that pays.
        cluster: dask's workers to train on in place of those, as ``--cluster`` names them:
            ``local:N``, ``tcp://HOST:PORT`` or ``slurm``.
        fresh: repeat finished runs.
        cache: take kept features of frozen networks.
        log: where epochs and results are logged too: ``tensorboard``, ``mlflow``, ``wandb``.
        progress: show a bar, in a terminal or a notebook; ``epochs``: a line for each epoch.

    Raises:
        ConfigError: settings or names that do not exist; all of them.
        DatasetError: data that is missing or damaged.
        BackboneError, TrainingError, RunError: a run that cannot be trained or written.
    """
    grid = _grid(dataset, fusion, methods, seeds, settings, recipe, root, splits)
    open_data = functools.partial(open_cell, cache=cache)
    shown = shown_progress(progress)(grid)
    with open_cluster(cluster) as workers, shown as on_event:
        options: dict[str, Any] = {"strict": True, "progress": bool(progress), "on_event": on_event}
        options |= {"cluster": workers, "log": log}
        results = GridRunner(RunStore(out), open_data, jobs, fresh, **options).run(grid)
    return Experiment(results)


def plan(
    dataset: str | Path = "htad",
    fusion: str | None = None,
    methods: Sequence[str] = ("vanilla", "i2moe"),
    seeds: int | Sequence[int] = 5,
    *,
    settings: Mapping[str, Any] | None = None,
    recipe: str | Path | None = None,
    root: str | Path | None = None,
    out: str | Path = "runs",
    splits: str | int | None = None,
    jobs: int = 0,
    fresh: bool = False,
) -> Estimate:
    """Say what :func:`run` would train, and what that takes here; nothing is run or written.

    Args and errors are those of :func:`run`.
    """
    grid = _grid(dataset, fusion, methods, seeds, settings, recipe, root, splits)
    return estimate(GridRunner(RunStore(out), open_cell, jobs, fresh, strict=True), grid)


def _grid(
    dataset: str | Path,
    fusion: str | None,
    methods: Sequence[str],
    seeds: int | Sequence[int],
    settings: Mapping[str, Any] | None,
    recipe: str | Path | None,
    root: str | Path | None,
    splits: str | int | None,
) -> Grid:
    chosen = tuple(range(seeds)) if isinstance(seeds, int) else tuple(seeds)
    backbone = usual_fusion(methods) if fusion is None else fusion
    return methods_grid(
        str(dataset),
        backbone,
        methods,
        chosen,
        values=settings,
        root=root,
        recipe=recipe,
        splits=splits,
    )


def verdict_sentence(comparison: Comparison, method: str, reference: str) -> tuple[str, str]:
    """Say what a comparison showed, and what it rests on."""
    words = verdict_words(comparison, method, reference)
    if comparison.low is None:
        return words, "."
    return words, f" ({comparison.rests_on})."
