"""Robustness over seeds: curves and their two measures, and what absent modalities cost.

``docs/robustness.md`` states what each number means.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from i2moe_plugin.benchmarks.robustness.curves import LEVELS
from i2moe_plugin.benchmarks.run.store import Run
from i2moe_plugin.benchmarks.statistics.paired import (
    FEWEST_SEEDS,
    compare,
    summarise,
    t_interval,
)
from i2moe_plugin.tasks import HIGHER_IS_BETTER

#: MultiBench's late fusion: encoders, their latents side by side, a head.
LATE_FUSION = "concat"
Measured = Mapping[str, Any]


def relative_robustness(values: Sequence[float]) -> float:
    """Compute the area under a metric's curve over the levels from 0 to 1, by trapezoids.

    >>> round(relative_robustness([0.8] * 11), 6)
    0.8
    """
    return float(np.trapezoid(values, LEVELS))


def effective_robustness(
    values: Sequence[float], reference: Sequence[float], higher: bool = True
) -> float:
    """Compute how much less a method falls than the reference, summed over the levels.

    It is the sum of f(level) - (r(level) + f(0) - r(0)): the reference is moved to start where the
    method does. Positive is more robust, also of metrics where lower is better.

    >>> effective_robustness([0.75, 0.75], [0.5, 0.25])
    0.25
    """
    one, other = np.asarray(values), np.asarray(reference)
    gained = float((one - (other + one[0] - other[0])).sum())
    return gained if higher else -gained


@dataclass(frozen=True)
class Group:
    """Runs of one data set, backbone and setting, and what was measured of each.

    Attributes:
        name: in words.
        metric: what is measured.
        data: equal for groups with the same samples.
        fusion: the backbone.
        measured: method -> seed -> what :func:`measure_curves` or :func:`measure_absence` gave.
    """

    name: str
    metric: str
    data: str
    fusion: str
    measured: Mapping[str, Mapping[int, Measured]]

    @property
    def higher(self) -> bool:
        """Whether a higher value of the metric is better."""
        return bool(HIGHER_IS_BETTER.get(self.metric))


def group_measured(runs: Sequence[Run], measure: Callable[[Run], Measured | None]) -> list[Group]:
    """Measure runs, and put those together that may be compared, in the order of the first.

    Args:
        runs: finished ones; one met twice counts once.
        measure: gives what was measured of a run; None leaves it out.
    """
    alike: dict[str, dict[str, dict[int, Measured]]] = {}
    firsts: dict[str, Run] = {}
    for run in runs:
        found = measure(run)
        if found is not None:
            key = run.configuration
            firsts.setdefault(key, run)
            methods = alike.setdefault(key, {})
            methods.setdefault(run.method, {}).setdefault(run.seed, found)
    names = [f"{run.settings['fusion']} on {run.settings['dataset']}" for run in firsts.values()]
    groups = []
    for place, (key, run) in enumerate(firsts.items()):
        name = names[place]
        if names.count(name) > 1:
            name += f", settings {names[: place + 1].count(name)}"
        settings = run.settings
        data = [settings[part] for part in ("dataset", "data_settings")]
        data += [settings.get("splits"), settings.get("data")]
        ordered = dict(sorted(alike[key].items(), key=lambda item: item[0] != "vanilla"))
        metric = str(next(iter(next(iter(ordered.values())).values()))["metric"])
        told = json.dumps(data, sort_keys=True)
        groups.append(Group(name, metric, told, str(settings["fusion"]), ordered))
    return groups


def curves_record(groups: Sequence[Group]) -> dict[str, Any]:
    """Return curves and both measures of all groups, for JSON and for what is shown."""
    return {"levels": list(LEVELS), "groups": [_curves_of(group, groups) for group in groups]}


def absence_record(groups: Sequence[Group]) -> dict[str, Any]:
    """Return the metric of all groups with each subset of modalities, for JSON and for tables."""
    return {"groups": [_absence_of(group) for group in groups]}


def _curves_of(group: Group, groups: Sequence[Group]) -> dict[str, Any]:
    reference, said = _reference(group, groups)
    runs = [run for seeds in group.measured.values() for run in seeds.values()]
    names = dict.fromkeys(name for run in runs for name in run["curves"])
    left_out: dict[str, str] = {}
    for run in runs:
        left_out |= run["left_out"]
    curves = [
        _curve(group, method, name, reference)
        for name in names
        for method, seeds in group.measured.items()
        if any(name in run["curves"] for run in seeds.values())
    ]
    return {
        "name": group.name,
        "metric": group.metric,
        "higher_is_better": group.higher,
        "reference": said,
        "curves": curves,
        "left_out": left_out,
    }


def _curve(
    group: Group, method: str, name: str, reference: Mapping[int, Measured]
) -> dict[str, Any]:
    """Return one method's curve of one modality, over its seeds."""
    of_seeds = _values(group.measured[method], name)
    first = next(run for run in group.measured[method].values() if name in run["curves"])
    table = np.array(list(of_seeds.values()))
    relative = {seed: relative_robustness(values) for seed, values in of_seeds.items()}
    theirs = _values(reference, name)
    effective = {
        seed: effective_robustness(values, theirs[seed], group.higher)
        for seed, values in of_seeds.items()
        if seed in theirs
    }
    vanilla = {
        seed: relative_robustness(values)
        for seed, values in _values(group.measured.get("vanilla", {}), name).items()
    }
    intervals = [_interval(column) for column in table.T]
    return {
        "modality": name,
        "kind": first["curves"][name]["kind"],
        "note": first["curves"][name]["note"],
        "method": method,
        "values": {str(seed): list(values) for seed, values in of_seeds.items()},
        "mean": table.mean(0).tolist(),
        "low": [None if one is None else one[0] for one in intervals],
        "high": [None if one is None else one[1] for one in intervals],
        "relative": _summary(relative),
        "effective": _summary(effective) if effective else None,
        "comparison": None if method == "vanilla" else _compared(group.metric, relative, vanilla),
    }


def _absence_of(group: Group) -> dict[str, Any]:
    runs = [run for seeds in group.measured.values() for run in seeds.values()]
    subsets = list(dict.fromkeys(name for run in runs for name in run["values"]))
    methods = []
    for method, seeds in group.measured.items():
        first = next(iter(seeds.values()))
        rows = []
        for name in subsets:
            ours, theirs = (
                {seed: run["values"][name] for seed, run in one.items() if name in run["values"]}
                for one in (seeds, group.measured.get("vanilla", {}))
            )
            compared = None if method == "vanilla" else _compared(group.metric, ours, theirs)
            rows.append({"present": name, **_summary(ours), "comparison": compared})
        methods.append({"method": method, "fill": first["fill"], "subsets": rows})
    return {
        "name": group.name,
        "metric": group.metric,
        "higher_is_better": group.higher,
        "methods": methods,
    }


def _reference(group: Group, groups: Sequence[Group]) -> tuple[Mapping[int, Measured], str]:
    """Return the runs that effective robustness is measured against, and what they are."""
    for other in groups:
        late = other.fusion == LATE_FUSION and "vanilla" in other.measured
        if late and (other.data, other.metric) == (group.data, group.metric):
            return other.measured["vanilla"], f"vanilla {LATE_FUSION}, MultiBench's late fusion"
    if "vanilla" in group.measured:
        return group.measured["vanilla"], (
            f"vanilla {group.fusion}, as there are no runs of late fusion (vanilla {LATE_FUSION}) "
            "on this data"
        )
    return {}, ""


def _values(seeds: Mapping[int, Measured], name: str) -> dict[int, list[float]]:
    return {
        seed: run["curves"][name]["values"]
        for seed, run in sorted(seeds.items())
        if name in run["curves"]
    }


def _summary(values: Mapping[int, float]) -> dict[str, Any]:
    found = np.array(list(values.values()), dtype=float)
    interval = _interval(found)
    return {
        **summarise(list(values.values())),
        "low": None if interval is None else interval[0],
        "high": None if interval is None else interval[1],
        "values": {str(seed): value for seed, value in values.items()},
    }


def _interval(values: Any) -> tuple[float, float] | None:
    """Return the 95 % interval of a mean over seeds; None of too few."""
    return t_interval(values) if len(values) >= FEWEST_SEEDS else None


def _compared(
    metric: str, ours: Mapping[int, float], theirs: Mapping[int, float]
) -> dict[str, Any] | None:
    """Compare with vanilla, paired by seed; None where no seed has both, or of a plain loss."""
    shared = [seed for seed in ours if seed in theirs]
    if not shared or metric not in HIGHER_IS_BETTER:
        return None
    first, second = ([one[seed] for seed in shared] for one in (theirs, ours))
    return compare(metric, first, second).as_dict()


def notes_of(record: Mapping[str, Any]) -> Iterator[str]:
    """Say what must stand beside curves: what was left out, and frozen features."""
    for group in record["groups"]:
        for name, reason in group["left_out"].items():
            yield f"{group['name']}: {name} is left out: {reason}"
        for curve in group["curves"]:
            if curve["note"]:
                yield f"{group['name']}: of {curve['modality']} {curve['note']}."
