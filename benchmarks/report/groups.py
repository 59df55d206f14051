"""Runs that belong together, and how their methods compare."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from i2moe_plugin.benchmarks.run.collect import Stored
from i2moe_plugin.benchmarks.statistics.paired import Comparison, compare, summarise
from i2moe_plugin.benchmarks.terminal.run import (
    METRIC_NAMES,
    interval,
    mean_and_deviation,
    method_name,
    number,
)


@dataclass
class Group:
    """The runs of one data set, backbone and setting: methods by seeds.

    Attributes:
        name: in words; tells groups apart that differ in a setting alone.
        runs: by method, by seed.
    """

    name: str
    runs: dict[str, dict[int, Stored]] = field(default_factory=dict)

    @property
    def first(self) -> Stored:
        """Any of its runs."""
        return next(iter(next(iter(self.runs.values())).values()))

    @property
    def metrics(self) -> list[str]:
        """The headline metric first."""
        result = self.first.result
        return [
            result["metric"],
            *(m for m in result["test"] if m not in (result["metric"], "loss")),
        ]

    def values(self, method: str, metric: str) -> list[float]:
        """One test value a seed; NaN where it is undefined."""
        values = [run.result["test"].get(metric) for _, run in sorted(self.runs[method].items())]
        return [float("nan") if value is None else value for value in values]

    def compare(self, method: str, metric: str) -> Comparison | None:
        """A method against vanilla over the seeds that both have; None without any."""
        vanilla, other = self.runs.get("vanilla", {}), self.runs[method]
        seeds = sorted(set(vanilla) & set(other))
        if method == "vanilla" or not seeds:
            return None
        pairs = [
            [float("nan") if value is None else value for value in values]
            for values in (
                [side[seed].result["test"].get(metric) for seed in seeds]
                for side in (vanilla, other)
            )
        ]
        return compare(metric, *pairs)


def group_runs(runs: list[Stored]) -> list[Group]:
    """The groups, in the order of their first runs; a run met twice counts once."""
    found: dict[str, Group] = {}
    for stored in runs:
        settings = stored.settings
        group = found.setdefault(
            stored.configuration, Group(f"{settings['fusion']} on {settings['dataset']}")
        )
        group.runs.setdefault(stored.method, {}).setdefault(stored.seed, stored)
    groups = list(found.values())
    for group in groups:
        alike = [other for other in groups if other.name == group.name]
        if len(alike) > 1:
            for number_of, other in enumerate(alike, start=1):
                other.name += f", settings {number_of}"
    return groups


def comparison_rows(groups: list[Group]) -> list[dict[str, Any]]:
    """The comparison table: a row for each group, method and metric.

    A cell is text, or ``(text, what it is sorted by)``.
    """
    rows = []
    for group in groups:
        for method in sorted(group.runs, key=lambda name: name != "vanilla"):
            for metric in group.metrics:
                values = group.values(method, metric)
                item = group.compare(method, metric)
                mean = summarise(values)["mean"]
                rows.append(
                    {
                        "runs": group.name,
                        "method": method_name(method),
                        "metric": METRIC_NAMES.get(metric, metric),
                        "headline": metric == group.metrics[0],
                        "seeds": len(values),
                        "value": (mean_and_deviation(metric, values), mean),
                        "difference": _cell(metric, item),
                        "interval": interval(item) if item else "",
                        "verdict": item.verdict if item else "",
                    }
                )
    return rows


def verdict_sentence(group: Group) -> str:
    """What came out on the headline metric, in words."""
    metric = group.metrics[0]
    name = METRIC_NAMES.get(metric, metric).removesuffix(" %")
    parts = []
    for method in group.runs:
        item = group.compare(method, metric)
        if item is not None:
            title = method_name(method)
            words = {
                "better": f"{title} is better than vanilla on {name}",
                "worse": f"{title} is worse than vanilla on {name}",
                "no difference shown": f"no difference shown: {title} and vanilla on {name}",
                "too few seeds to tell": f"too few seeds to tell {title} from vanilla: "
                "at least 3 are needed",
            }[item.verdict]
            parts.append(f"{words} ({item.seeds} paired seeds, on this one split)")
    if not parts:
        return f"{group.name}: nothing to compare; vanilla and another method are needed."
    return f"{group.name}: {'; '.join(parts)}."


def _cell(metric: str, item: Comparison | None) -> tuple[str, float | None]:
    return (number(metric, item.difference, "+"), item.difference) if item else ("", None)
