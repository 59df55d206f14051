"""Sentences that keep readers of a table from being misled by what it does not say itself."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Iterator, Sequence

from i2moe_plugin.benchmarks.grid.baselines import KINDS, Baseline
from i2moe_plugin.benchmarks.grid.runs import CellRuns
from i2moe_plugin.benchmarks.grid.table import Table
from i2moe_plugin.benchmarks.statistics.metrics import format_value, method_title, metric_title
from i2moe_plugin.interpretation.verdict import COLLAPSED
from i2moe_plugin.tasks import HIGHER_IS_BETTER

_CONSTANT, _LINEAR, _BOOSTING, _ALONE = KINDS
#: What is said of the best simple model of some kinds.
SENTENCES = {
    (_CONSTANT,): "Predicting the same for every sample is no worse than what was trained",
    (_ALONE,): "One modality alone is no worse, with a linear model,",
    (_LINEAR, _BOOSTING): "A simple model of all modalities is better",
}


def cautions(table: Table) -> list[str]:
    """Say where a simple model is better than what was trained, and where weights have collapsed.

    Args:
        table: of a grid; what is not finished is passed over.
    """
    found: list[str] = []
    for dataset in dict.fromkeys(cell.settings.dataset for cell in table.cells):
        cells = [cell for cell in table.cells if cell.settings.dataset == dataset and cell.runs]
        baselines = [one for one in table.baselines if one.dataset == dataset]
        if cells and baselines and cells[0].metrics[0] in HIGHER_IS_BETTER:
            found += _simple_is_better(cells, baselines)
    for cell in table.cells:
        if cell.without_errors:
            found.append(
                f"No parts in bits of {_name(cell)}: of a single test sample, or group of them, no "
                "error can be told. There must be 2."
            )
        weights = cell.expert_weights()
        largest = max(weights, key=weights.__getitem__, default="")
        if len(weights) > 1 and weights[largest] >= COLLAPSED:
            found.append(
                f"The weights of {_name(cell)} have collapsed: {largest} has "
                f"{weights[largest]:.2f} of the weight on average, and the others hardly "
                "take part."
            )
    return found


def _simple_is_better(cells: Sequence[CellRuns], baselines: Sequence[Baseline]) -> Iterator[str]:
    metric = cells[0].metrics[0]
    sign = 1 if HIGHER_IS_BETTER[metric] else -1
    ours = {_name(cell): _mean(cell.values(metric).values()) for cell in cells}
    for kinds, sentence in SENTENCES.items():
        rows = [one for one in baselines if one.kind in kinds and not math.isnan(one.test[metric])]
        best = max(rows, key=lambda one: sign * one.test[metric], default=None)
        if best is None:
            continue
        # A joint model has to be better than a constant, and than one modality alone.
        beats = operator.gt if _LINEAR in kinds else operator.ge
        beaten = {n: v for n, v in ours.items() if beats(sign * best.test[metric], sign * v)}
        if beaten:
            figures = ", ".join(f"{name} {format_value(metric, v)}" for name, v in beaten.items())
            yield (
                f"{sentence} on {cells[0].settings.dataset}, by {metric_title(metric)} on "
                f"test data: {best.name} {format_value(metric, best.test[metric])}, {figures}."
            )


def _name(cell: CellRuns) -> str:
    """A cell as it is named within a sentence: the method, and each choice of the grid."""
    return ", ".join([method_title(cell.settings.method), *cell.cell.row[2:]])


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)
