"""New measurements against the baseline's: one check for each thing that must not move."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from i2moe_plugin.benchmarks.regression.baseline import Tolerances
from i2moe_plugin.benchmarks.regression.measuring import Measurement
from i2moe_plugin.benchmarks.regression.probes import Probe
from i2moe_plugin.benchmarks.statistics.equivalence import equivalent_pairs
from i2moe_plugin.benchmarks.statistics.metrics import format_value, metric_title

Outcome = Literal["same", "moved", "regression"]


#: What stands in the place of a cell for what belongs to none.
PARTS = "single parts"


@dataclass(frozen=True)
class Check:
    """One comparison.

    Attributes:
        cell: what was measured.
        name: of what is compared.
        outcome: ``moved``: differently, within what is tolerated.
        text: what it was and is, in words.
    """

    cell: str
    name: str
    outcome: Outcome
    text: str


def compare_cells(
    before: Sequence[Measurement], now: Sequence[Measurement], tolerances: Tolerances
) -> list[Check]:
    """Compare the baseline's cells with the same ones measured anew, check by check, in order."""
    known = {cell.cell: cell for cell in before}
    checks = []
    for cell in now:
        old = known.pop(cell.cell, None)
        if old is None:
            checks.append(Check(cell.cell, "cell", "regression", "it is not in the baseline"))
        elif cell.error:
            checks.append(Check(cell.cell, "training", "regression", f"it fails: {cell.error}"))
        else:
            checks += _cell(old, cell, tolerances)
    checks += [
        Check(name, "cell", "regression", "it is in the baseline, and not in its suite")
        for name in known
    ]
    return checks


def compare_probes(
    before: Sequence[Probe], now: Sequence[Probe], tolerances: Tolerances
) -> list[Check]:
    """Compare single parts with the baseline's, one check each; a new part is no regression."""
    known, checks = {probe.name: probe for probe in before}, []
    for new in now:
        old = known.pop(new.name, None)
        if old is None:
            checks.append(Check(PARTS, new.name, "moved", "it is not in the baseline"))
        elif new.error:
            checks.append(Check(PARTS, new.name, "regression", f"it fails: {new.error}"))
        else:
            checks.append(_numbers(PARTS, new.name, old.values, new.values, tolerances))
    gone = "it is in the baseline, and is gone"
    return [*checks, *(Check(PARTS, name, "regression", gone) for name in known)]


def _cell(old: Measurement, new: Measurement, tolerances: Tolerances) -> Iterator[Check]:
    name = new.cell
    yield _equal(name, "data and splits", old.data, new.data)
    yield _settings(old, new)
    for metric in dict.fromkeys([new.metric, *old.tests]):
        yield _score(old, new, metric, tolerances.score)
    yield from _losses(old, new, tolerances)
    yield _equal(name, "parameters", f"{old.parameters:,}", f"{new.parameters:,}")
    yield _trained(old, new)
    for kind in ("training", "prediction"):
        yield _count(name, f"operators in {kind}", old.operators, new.operators, kind,
                     tolerances.operators)  # fmt: skip
        yield _count(name, f"FLOPs in {kind}", old.flops, new.flops, kind, tolerances.flops)
    if old.seconds is not None and new.seconds is not None:
        yield _time(name, old.seconds, new.seconds, tolerances.seconds)


def _equal(cell: str, name: str, old: str, new: str) -> Check:
    if old == new:
        return Check(cell, name, "same", new)
    return Check(cell, name, "regression", f"{old} before, {new} now")


def _settings(old: Measurement, new: Measurement) -> Check:
    """Compare the settings without judging them: what they change shows in the other checks."""
    keys = sorted({*old.settings, *new.settings})
    moved = [
        f"{key}: {old.settings.get(key)!r} before, {new.settings.get(key)!r} now"
        for key in keys
        if old.settings.get(key) != new.settings.get(key)
    ]
    return Check(new.cell, "settings", "moved" if moved else "same", "; ".join(moved))


def _score(old: Measurement, new: Measurement, metric: str, margin: float) -> Check:
    name = f"{metric_title(metric)} on test data"
    before, now = _scores(old, metric), _scores(new, metric)
    if len(before) != len(now):
        text = f"{len(before)} values of {old.metric} before, {len(now)} of {new.metric} now"
        return Check(new.cell, name, "regression", text)
    first, second = _array(before), _array(now)
    means = [format_value(metric, float(values.mean())) for values in (first, second)]
    if np.array_equal(first, second, equal_nan=True):
        return Check(new.cell, name, "same", means[1])
    found = equivalent_pairs(first.tolist(), second.tolist(), margin)
    shown = "shown" if found.outcome == "equivalent" else "not shown"
    text = (
        f"{means[0]} before, {means[1]} now; equivalence within "
        f"{format_value(metric, margin)} is {shown} over {found.seeds} seeds"
    )
    within = abs(found.difference) <= margin  # not of NaN
    return Check(new.cell, name, "moved" if within else "regression", text)


def _scores(cell: Measurement, metric: str) -> Sequence[float | None]:
    return cell.scores if metric == cell.metric else cell.tests.get(metric, [])


def _losses(old: Measurement, new: Measurement, tolerances: Tolerances) -> Iterator[Check]:
    for name in dict.fromkeys([*old.losses, *new.losses]):
        values = old.losses.get(name, []), new.losses.get(name, [])
        yield _numbers(new.cell, f"loss, {name}", *values, tolerances)


def _numbers(
    cell: str,
    title: str,
    old: Sequence[float | None],
    new: Sequence[float | None],
    tolerances: Tolerances,
) -> Check:
    """Compare numbers that may move by rounding alone."""
    first, second = _array(old), _array(new)
    if first.shape != second.shape:
        text = f"{first.size} values before, {second.size} now"
        return Check(cell, title, "regression", text)
    if np.array_equal(first, second, equal_nan=True):
        return Check(cell, title, "same", f"{second.size} values")
    distance = np.where(np.isnan(first) & np.isnan(second), 0.0, np.abs(second - first))
    allowed = tolerances.loss * np.abs(np.nan_to_num(first)) + tolerances.loss_floor
    over = distance / allowed
    # What was a number and is none any more, or the other way round, is the worst.
    worst = int(np.argmax(np.where(np.isnan(over), math.inf, over)))
    relative = distance[worst] / abs(first[worst]) if first[worst] else math.inf
    text = (
        f"{first[worst]:.6g} before, {second[worst]:.6g} now ({relative:.2g} relative, the "
        f"worst of {second.size}; {tolerances.loss:g} is tolerated)"
    )
    fine = bool((distance <= allowed).all())  # not of NaN
    return Check(cell, title, "moved" if fine else "regression", text)


def _trained(old: Measurement, new: Measurement) -> Check:
    lost = [part for part in old.trained if part not in new.trained]
    gained = [part for part in new.trained if part not in old.trained]
    if not lost and not gained:
        return Check(new.cell, "parts with a gradient", "same", ", ".join(new.trained))
    words = [f"no gradient any more: {', '.join(lost)}"] if lost else []
    words += [f"a gradient now: {', '.join(gained)}"] if gained else []
    return Check(new.cell, "parts with a gradient", "regression", "; ".join(words))


def _count(
    cell: str, name: str, old: dict[str, int], new: dict[str, int], kind: str, tolerance: float
) -> Check:
    first, second = old.get(kind, 0), new.get(kind, 0)
    if first == second:
        return Check(cell, name, "same", f"{second:,}")
    share = second / first - 1 if first else math.inf
    within = abs(second - first) <= tolerance * first
    text = f"{first:,} before, {second:,} now ({share:+.1%}; {tolerance:.0%} is tolerated)"
    return Check(cell, name, "moved" if within else "regression", text)


def _time(cell: str, old: float, new: float, tolerance: float) -> Check:
    share = new / old - 1
    text = (
        f"{old:.2f} before, {new:.2f} now, in units of the reference computation "
        f"({share:+.0%}; {tolerance:+.0%} is tolerated)"
    )
    outcome: Outcome = "same"  # to the digit it never is
    if abs(share) > tolerance:
        outcome = "regression" if share > 0 else "moved"
    return Check(cell, "relative time", outcome, text)


def _array(values: Sequence[float | None]) -> Any:
    return np.array([math.nan if value is None else value for value in values], dtype=float)
