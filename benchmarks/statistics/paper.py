"""The figures the paper reports, each with its table."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

import yaml


@dataclass(frozen=True)
class Figure:
    """One reported figure.

    Attributes:
        value: as our metrics are: a share, not per cent.
        deviation: sample deviation over its seeds; None where it is not known.
        seeds: how many there were.
        table: where it stands in the paper.
        note: what to know before comparing.
    """

    value: float
    deviation: float | None
    seeds: int
    table: str
    note: str = ""


def find_figure(
    dataset: str, fusion: str, method: str, metric: str, variant: Mapping[str, Any] | None = None
) -> Figure | None:
    """Find the paper's figure for a cell with just these choices of a grid; None: there is none."""
    return figures().get((dataset, fusion, method, metric, _frozen(variant or {})))


@functools.cache
def figures() -> Mapping[tuple[Any, ...], Figure]:
    """Return all of them: (data set, backbone, method, metric, settings) -> figure."""
    file = resources.files("i2moe_plugin.benchmarks.statistics").joinpath("paper.yaml")
    found: dict[tuple[Any, ...], Figure] = {}
    paper = yaml.safe_load(file.read_text(encoding="utf-8"))
    for name, table in paper["tables"].items():
        for row in table["rows"]:
            values, spread = row["values"], row.get("deviations") or [None] * len(row["values"])
            for column, value, deviation in zip(table["columns"], values, spread, strict=True):
                if value is None:
                    continue
                dataset, metric = column.split("/")
                unit = table.get("unit", 1.0)
                for fusion in row["fusions"]:
                    key = (dataset, fusion, row["method"], metric, _frozen(row.get("grid", {})))
                    found.setdefault(
                        key,
                        Figure(
                            value=value * unit,
                            deviation=None if deviation is None else deviation * unit,
                            seeds=paper["seeds"],
                            table=name,
                            note=row.get("note", ""),
                        ),
                    )
    return found


def _frozen(settings: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted(settings.items()))
