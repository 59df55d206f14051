"""Robustness over seeds: curves and their two measures, and what absent modalities cost.

``docs/robustness.md`` states what each number means.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from i2moe_plugin.benchmarks.data.splits import OWN_SPLIT
from i2moe_plugin.benchmarks.grid.runs import test_share
from i2moe_plugin.benchmarks.robustness.curves import LEVELS
from i2moe_plugin.benchmarks.run.store import Run
from i2moe_plugin.benchmarks.statistics.paired import (
    FEWEST_SEEDS,
    compare,
    corrected_resampled,
    split_means,
    summarise,
    t_interval,
)
from i2moe_plugin.errors import counted
from i2moe_plugin.tasks import HIGHER_IS_BETTER

#: MultiBench's late fusion: encoders, their latents side by side, a head.
LATE_FUSION = "concat"
Measured = Mapping[str, Any]
#: What tells a run from the others of its kind: its seed, or ``SPLIT:SEED``.
Place = int | str


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
    gained = float(((one - one[0]) - (other - other[0])).sum())  # of itself exactly 0
    return gained if higher else 0.0 - gained


@dataclass(frozen=True)
class Group:
    """Runs of one data set, backbone and setting, and what was measured of each.

    Attributes:
        name: in words.
        metric: what is measured.
        data: equal for groups with the same samples.
        fusion: the backbone.
        measured: method -> place of the run -> what :func:`measure_curves` or
            :func:`measure_absence` gave.
        splits: the split of each place, of splits that were drawn anew; else none.
        test_share: number of test samples over that of training samples; None of older runs.
    """

    name: str
    metric: str
    data: str
    fusion: str
    measured: Mapping[str, Mapping[Place, Measured]]
    splits: Mapping[Place, str]
    test_share: float | None

    @property
    def higher(self) -> bool:
        """Whether a higher value of the metric is better."""
        return bool(HIGHER_IS_BETTER.get(self.metric))

    def interval(self, values: Mapping[Place, float]) -> tuple[float, float] | None:
        """Return the 95 % interval of a mean over seeds, or over splits; None of too few."""
        found = np.array(list(values.values()), dtype=float)
        splits = [self.splits[place] for place in values if place in self.splits]
        if len(set(splits)) < 2:
            return t_interval(found) if len(found) >= FEWEST_SEEDS else None
        means = split_means(found, splits)
        if len(means) < FEWEST_SEEDS or self.test_share is None:
            return None
        over = corrected_resampled(means, self.test_share)
        return (float(means[0]), float(means[0])) if over is None else over[0]

    def summary(self, values: Mapping[Place, float]) -> dict[str, Any]:
        """Return mean, deviation, number, interval and the values themselves, for JSON."""
        interval = self.interval(values)
        return {
            **summarise(list(values.values())),
            "low": None if interval is None else interval[0],
            "high": None if interval is None else interval[1],
            "values": {str(place): value for place, value in values.items()},
        }

    def compared(
        self, ours: Mapping[Place, float], theirs: Mapping[Place, float]
    ) -> dict[str, Any] | None:
        """Compare with vanilla, paired by run; None where no run has both, or of a plain loss."""
        shared = [place for place in ours if place in theirs]
        if not shared or self.metric not in HIGHER_IS_BETTER:
            return None
        first, second = ([one[place] for place in shared] for one in (theirs, ours))
        splits = [self.splits[place] for place in shared if place in self.splits]
        return compare(self.metric, first, second, splits, self.test_share).as_dict()


def group_measured(runs: Sequence[Run], measure: Callable[[Run], Measured | None]) -> list[Group]:
    """Measure runs, and put those together that may be compared, in the order of the first.

    Args:
        runs: finished ones; one met twice counts once.
        measure: gives what was measured of a run; None leaves it out.
    """
    alike: dict[str, dict[str, dict[Place, Measured]]] = {}
    firsts: dict[str, Run] = {}
    splits: dict[Place, str] = {}
    for run in runs:
        found = measure(run)
        if found is not None:
            key = run.configuration
            firsts.setdefault(key, run)
            methods = alike.setdefault(key, {})
            methods.setdefault(run.method, {}).setdefault(run.place, found)
            if run.split != OWN_SPLIT:
                splits[run.place] = run.split
    names = [f"{run.settings['fusion']} on {run.settings['dataset']}" for run in firsts.values()]
    groups = []
    for place, (key, run) in enumerate(firsts.items()):
        name = names[place]
        if names.count(name) > 1:
            name += f", settings {names[: place + 1].count(name)}"
        settings = run.settings
        data = [settings[part] for part in ("dataset", "data_settings")]
        drawn = run.split != OWN_SPLIT
        kind = f"of{run.split.partition('of')[2]}"  # of which this is one
        data += [kind if drawn else settings.get("splits"), settings.get("data")]
        ordered = {
            method: dict(sorted(places.items(), key=lambda item: (len(str(item[0])), str(item[0]))))
            for method, places in sorted(alike[key].items(), key=lambda item: item[0] != "vanilla")
        }
        metric = str(next(iter(next(iter(ordered.values())).values()))["metric"])
        told = json.dumps(data, sort_keys=True)
        fusion, own = str(settings["fusion"]), splits if drawn else {}
        groups.append(Group(name, metric, told, fusion, ordered, own, test_share(run)))
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
    group: Group, method: str, name: str, reference: Mapping[Place, Measured]
) -> dict[str, Any]:
    """Return one method's curve of one modality, over its runs."""
    of_runs = _values(group.measured[method], name)
    first = next(run for run in group.measured[method].values() if name in run["curves"])
    table = np.array(list(of_runs.values()))
    relative = {place: relative_robustness(values) for place, values in of_runs.items()}
    theirs = _values(reference, name)
    effective = {
        place: effective_robustness(values, theirs[place], group.higher)
        for place, values in of_runs.items()
        if place in theirs
    }
    vanilla = {
        place: relative_robustness(values)
        for place, values in _values(group.measured.get("vanilla", {}), name).items()
    }
    intervals = [
        group.interval(dict(zip(of_runs, column.tolist(), strict=True))) for column in table.T
    ]
    return {
        "modality": name,
        "kind": first["curves"][name]["kind"],
        "note": first["curves"][name]["note"],
        "method": method,
        "values": {str(place): list(values) for place, values in of_runs.items()},
        "mean": table.mean(0).tolist(),
        "low": [None if one is None else one[0] for one in intervals],
        "high": [None if one is None else one[1] for one in intervals],
        "relative": group.summary(relative),
        "effective": group.summary(effective) if effective else None,
        "comparison": None if method == "vanilla" else group.compared(relative, vanilla),
    }


def _absence_of(group: Group) -> dict[str, Any]:
    runs = [run for places in group.measured.values() for run in places.values()]
    subsets = list(dict.fromkeys(name for run in runs for name in run["values"]))
    methods = []
    for method, places in group.measured.items():
        first = next(iter(places.values()))
        rows = []
        for name in subsets:
            ours, theirs = (
                {place: run["values"][name] for place, run in one.items() if name in run["values"]}
                for one in (places, group.measured.get("vanilla", {}))
            )
            compared = None if method == "vanilla" else group.compared(ours, theirs)
            bare = max(run["bare"].get(name, 0) for run in places.values())
            rows.append(
                {"present": name, **group.summary(ours), "comparison": compared, "bare": bare}
            )
        methods.append({"method": method, "fill": first["fill"], "subsets": rows})
    return {
        "name": group.name,
        "metric": group.metric,
        "higher_is_better": group.higher,
        "methods": methods,
    }


def _reference(group: Group, groups: Sequence[Group]) -> tuple[Mapping[Place, Measured], str]:
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


def _values(runs: Mapping[Place, Measured], name: str) -> dict[Place, list[float]]:
    return {
        place: run["curves"][name]["values"] for place, run in runs.items() if name in run["curves"]
    }


def bare_notes(group: Mapping[str, Any]) -> Iterator[str]:
    """Say which subsets of modalities some test samples have nothing of."""
    for row in group["methods"][0]["subsets"]:
        if row["bare"]:
            yield (
                f"{counted(row['bare'], 'test sample')} without any of {row['present']} are "
                "counted there, predicted from what stands for it."
            )


def notes_of(record: Mapping[str, Any]) -> Iterator[str]:
    """Say what must stand beside curves: what was left out, and frozen features."""
    for group in record["groups"]:
        for name, reason in group["left_out"].items():
            yield f"{group['name']}: {name} is left out: {reason}"
        for curve in group["curves"]:
            if curve["note"]:
                yield f"{group['name']}: of {curve['modality']} {curve['note']}."
