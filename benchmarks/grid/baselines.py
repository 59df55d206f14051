"""Simple models on a data set's features: rows that stand beside the methods of a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from i2moe_plugin.benchmarks.data.open import OpenedDataset
from i2moe_plugin.benchmarks.data.splits import SPLITS
from i2moe_plugin.benchmarks.statistics.linear import logistic_regression
from i2moe_plugin.tasks import Classification


@dataclass(frozen=True)
class Baseline:
    """A simple model, fitted once.

    Attributes:
        name: as it stands in a table.
        dataset: the data set's name.
        test: its metrics on test data, by name.
        chosen: what validation data chose, for instance the strength of a regularisation.
    """

    name: str
    dataset: str
    test: Mapping[str, float]
    chosen: Mapping[str, Any]


def fit_baselines(names: Sequence[str], data: OpenedDataset, metric: str) -> list[Baseline]:
    """Fit those of the named baselines that the data set allows.

    Args:
        names: of :data:`BASELINES`.
        data: the opened data set.
        metric: what validation data chooses by.
    """
    fitted = ((name, BASELINES[name](data, metric)) for name in names)
    return [
        Baseline(name, data.name, found.pop("test"), found)
        for name, found in fitted
        if found is not None
    ]


def _logistic_regression(data: OpenedDataset, metric: str) -> dict[str, Any] | None:
    splits = [(data.features(name), name) for name in SPLITS]
    rows = [(features, data.labels(name)) for features, name in splits if features is not None]
    if len(rows) < len(SPLITS) or not isinstance(data.task, Classification):
        return None
    return logistic_regression(data.task, metric, *rows)


#: Each gives ``{"test": metrics}`` and what it chose, or None where it does not fit the data.
BASELINES: dict[str, Callable[[OpenedDataset, str], dict[str, Any] | None]] = {
    "logistic regression": _logistic_regression,
}
