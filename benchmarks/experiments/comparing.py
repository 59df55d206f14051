"""Finished runs of any kind compared, paired by seed: what `i2moe-bench compare` shows."""

from __future__ import annotations

import glob
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from i2moe_plugin.benchmarks.grid.runs import Sampling, sampling_of, test_share
from i2moe_plugin.benchmarks.run.collect import find_runs, runs_of_other_seeds, seeds_in
from i2moe_plugin.benchmarks.run.store import MANIFEST, Run
from i2moe_plugin.benchmarks.statistics.equivalence import Equivalence, equivalent_pairs
from i2moe_plugin.benchmarks.statistics.metrics import metric_heading, metric_title
from i2moe_plugin.benchmarks.statistics.paired import Comparison, Interval, correct, summarise
from i2moe_plugin.benchmarks.statistics.paired import compare as compare_values
from i2moe_plugin.errors import ConfigError
from i2moe_plugin.tasks import HIGHER_IS_BETTER

if TYPE_CHECKING:
    import pandas as pd

#: Runs of one kind, which differ in the seed alone; or where they are: the directory of one of
#: them, a folder of them, or a pattern such as ``runs/htad-lrtf-i2moe-*``.
Group = str | Path | Sequence[Run]
_TOLD_APART = ("dataset", "fusion", "method")


@dataclass(frozen=True)
class Compared:
    """Groups of runs on one metric; each is compared with the first, paired by seed.

    Attributes:
        metric: its name.
        values: the metric on test data by group and seed; of splits that were drawn anew, by
            ``SPLIT:SEED``.
        comparisons: of every group but the first, over the seeds that both have; corrected by Holm
            where there are several.
        equivalences: the same within the margin, where one was asked for.
        notes: what to know before reading them.
        sampling: how far the mean of each group depends on which samples were tested.
        family: over how many comparisons Holm's correction goes.
    """

    metric: str
    values: Mapping[str, Mapping[int | str, float]]
    comparisons: Mapping[str, Comparison]
    equivalences: Mapping[str, Equivalence]
    notes: tuple[str, ...] = ()
    sampling: Mapping[str, Sampling] = field(default_factory=dict)
    family: int = 1

    @property
    def reference(self) -> str:
        """The first group."""
        return next(iter(self.values))

    @property
    def verdict(self) -> str:
        """What came out, a line for each group but the first."""
        lines = [self._said(name, item) for name, item in self.comparisons.items()]
        for name, item in self.equivalences.items():
            margin = f"{item.margin * self._unit:g}"
            if self._unit > 1:
                margin += " point" if margin == "1" else " points"
            said = {
                "equivalent": f"{name} is equivalent to {self.reference} within {margin}",
                "different": f"{name} differs from {self.reference} by more than {margin}",
                "not shown": f"not shown that {name} is equivalent to {self.reference} within "
                f"{margin}",
            }[item.outcome]
            lines.append(f"{said} on {metric_title(self.metric)}.")
        return "\n".join(lines)

    def sample_interval(self, group: str) -> Interval | None:
        """Return the 95 % interval of a group's mean over test samples; None where undefined."""
        sampling = self.sampling.get(group)
        return None if sampling is None else sampling.intervals.get(self.metric)

    @property
    def _unit(self) -> int:
        return 100 if metric_heading(self.metric).endswith("%") else 1

    def _said(self, name: str, item: Comparison) -> str:
        verdict = item.verdict_adjusted or item.verdict
        title = metric_title(self.metric)
        said = {
            "better": f"{name} is better than {self.reference} on {title}",
            "worse": f"{name} is worse than {self.reference} on {title}",
            "no difference shown": f"no difference shown between {name} and {self.reference} on "
            f"{title}",
            "too few seeds to tell": f"{name}: too few "
            f"{'splits' if item.splits > 1 else 'seeds'} to tell: at least 3 are needed",
        }[verdict]
        if item.low is None:
            return f"{said}."
        many = self.family
        holm = f", corrected by Holm for {many} comparisons" if many > 1 else ""
        return f"{said} ({item.rests_on}{holm})."

    @property
    def table(self) -> pd.DataFrame:
        """A row for each group.

        Columns: ``group``, ``mean``, sample ``deviation``, numbers of
        ``seeds`` and ``runs``; and of the paired difference
        to the first group ``difference``, ``low``, ``high``, ``p``, ``p_adjusted`` and ``verdict``.
        Shares are from 0 to 1, not in per cent.
        """
        import pandas as pd

        return pd.DataFrame(
            [{"group": name, **facts} for name, facts in self.as_dict()["groups"].items()]
        ).drop(columns=["values", "equivalence", "sample_interval"])

    def as_dict(self) -> dict[str, Any]:
        """Return everything, for JSON."""
        groups = {}
        for name, values in self.values.items():
            item, found = self.comparisons.get(name), summarise(list(values.values()))
            same = self.equivalences.get(name)
            groups[name] = {
                "mean": found["mean"],
                "deviation": found["deviation"],
                "seeds": seeds_in(values),
                "runs": found["n"],
                "sample_interval": self.sample_interval(name),
                **{
                    key: None if item is None else getattr(item, key)
                    for key in ("difference", "low", "high", "p", "p_adjusted")
                },
                "verdict": item and (item.verdict_adjusted or item.verdict),
                "values": {str(seed): value for seed, value in values.items()},
                "equivalence": same and same.as_dict(),
            }
        return {
            "metric": self.metric,
            "reference": self.reference,
            "groups": groups,
            "verdict": self.verdict,
            "notes": list(self.notes),
        }

    def _repr_html_(self) -> str:
        """Return verdict and table, for a notebook."""
        lines = "".join(f"<p>{html.escape(line)}</p>" for line in self.verdict.splitlines())
        return f"{lines}{self.table.to_html(index=False, na_rep='', float_format='{:.4f}'.format)}"


def compare(
    *groups: Group, metric: str | None = None, equivalent_within: float | None = None
) -> Compared:
    """Compare finished runs, paired by seed; the first group is what the others are held against.

    Args:
        *groups: at least two.
        metric: a metric of the task; what the runs' methods are compared by, if not told.
        equivalent_within: also ask whether groups are the same within this margin, as the metric
            is shown: in percentage points for shares.

    Raises:
        ConfigError: groups that cannot be compared: runs of several kinds in one, other test
            samples, no seed in common, an unknown metric.
        RunError: runs that are not finished, or are damaged.
    """
    if len(groups) < 2:
        raise ConfigError("a comparison needs at least two groups of runs.")
    found = [_runs_of(group) for group in groups]
    names = _names([runs[0] for runs in found])
    one = compare_runs(dict(zip(names, found, strict=True)), metric, equivalent_within)
    return corrected([one])[0]


def compare_runs(
    groups: Mapping[str, Sequence[Run]], metric: str | None, equivalent_within: float | None
) -> Compared:
    """Compare named groups of runs with the first; nothing is corrected yet.

    Raises:
        ConfigError: see :func:`compare`.
        RunError: outputs that are damaged.
    """
    names, found = list(groups), list(groups.values())
    notes = _check_same_test(found, names)
    first = found[0][0].result
    chosen = metric or str(first.get("headline", first["metric"]))
    known = [name for name in first["test"] if name in HIGHER_IS_BETTER]
    if chosen not in known or any(chosen not in runs[0].result["test"] for runs in found):
        raise ConfigError(f"the runs have no metric {chosen!r} in common; try {', '.join(known)}.")
    values = {
        name: {run.place: _number(run.result["test"][chosen]) for run in runs}
        for name, runs in zip(names, found, strict=True)
    }
    reference, *others = names
    pairs, splits = {}, {}
    split_of = {run.place: run.split for run in found[0]}
    for name in others:
        shared = [place for place in values[reference] if place in values[name]]
        if not shared:
            raise ConfigError(f"{name} and {reference} have no seed in common, so no pair.")
        left = sorted(values[name].keys() ^ values[reference].keys(), key=str)
        splits[name] = [split_of[place] for place in shared]
        if left:
            notes.append(
                f"{name}: seeds {', '.join(map(str, left))} have no pair and are left out."
            )
        pairs[name] = ([values[reference][s] for s in shared], [values[name][s] for s in shared])
    share = test_share(found[0][0])
    items = [compare_values(chosen, *pair, splits[name], share) for name, pair in pairs.items()]
    same = {}
    if equivalent_within is not None:
        unit = 100 if metric_heading(chosen).endswith("%") else 1
        margin = equivalent_within / unit
        same = {n: equivalent_pairs(*pair, margin, splits[n], share) for n, pair in pairs.items()}
    sampling = {name: sampling_of(runs) for name, runs in zip(names, found, strict=True)}
    compared = dict(zip(others, items, strict=True))
    return Compared(chosen, values, compared, same, tuple(notes), sampling)


def corrected(several: Sequence[Compared]) -> list[Compared]:
    """Correct all comparisons of these by Holm together, where there is more than one."""
    places = [(number, name) for number, one in enumerate(several) for name in one.comparisons]
    items = [several[number].comparisons[name] for number, name in places]
    if len(items) < 2:
        return list(several)
    found = dict(zip(places, correct(items), strict=True))
    return [
        replace(
            one,
            comparisons={name: found[number, name] for name in one.comparisons},
            family=len(items),
        )
        for number, one in enumerate(several)
    ]


def _runs_of(group: Group) -> list[Run]:
    """Return the runs of a group, by seed."""
    if isinstance(group, (str, Path)):
        path = Path(group).expanduser()
        if (path / MANIFEST).is_file():
            (run,) = find_runs([path]).runs
            runs = [run, *runs_of_other_seeds(run, splits=True)]
        elif path.is_dir():
            runs = find_runs([path]).runs
        else:
            places = [Path(place) for place in sorted(glob.glob(str(path)))]
            if not places:
                raise ConfigError(f"{group}: no run, no folder and no pattern that fits one.")
            runs = find_runs(places).runs
    else:
        runs = list(group)
        if not runs:
            raise ConfigError("a group has no runs.")
    kinds = {(run.method, run.configuration): run for run in runs}
    if len(kinds) > 1:
        one, other, *_ = [run.name for run in kinds.values()]
        raise ConfigError(
            f"the group holds runs of {len(kinds)} kinds, such as {one} and {other}. Name one run "
            "of each kind; those of its other seeds are found beside it."
        )
    if len({run.place for run in runs}) < len(runs):
        raise ConfigError(f"{runs[0].name}: a seed is there more than once in this group.")
    return sorted(runs, key=lambda run: (run.split, run.seed))


def _names(runs: Sequence[Run]) -> list[str]:
    """Name groups by what tells them apart."""
    settings = [run.settings for run in runs]
    keys = [key for key in _TOLD_APART if len({str(one[key]) for one in settings}) > 1]
    more = sorted({key for one in settings for key in one} - {*_TOLD_APART, "seed", "sources"})
    names = [" ".join(str(one[key]) for key in keys) for one in settings]
    if len(set(names)) < len(names):
        differing = [key for key in more if len({repr(one.get(key)) for one in settings}) > 1]
        names = [
            " ".join([name, *(f"{key}={one.get(key)}" for key in differing[:3])]).strip()
            for name, one in zip(names, settings, strict=True)
        ]
    if len(set(names)) < len(names):
        raise ConfigError(
            f"{runs[0].name}: two groups are of one kind; there is nothing to compare."
        )
    return names


def _check_same_test(found: Sequence[Sequence[Run]], names: Sequence[str]) -> list[str]:
    """Refuse runs on other test samples; note data that is not the same."""
    first, notes = found[0][0], []
    tested = {run.place: run.settings.get("splits") for run in found[0]}
    for runs, name in zip(found[1:], names[1:], strict=True):
        if any(
            tested.get(run.place, samples) != samples
            for run in runs
            for samples in [run.settings.get("splits")]
        ):
            raise ConfigError(
                f"{name} was tested on other samples than {names[0]}: their figures cannot be "
                "paired."
            )
        if runs[0].settings.get("data") != first.settings.get("data"):
            notes.append(f"{name} and {names[0]} were trained on other data of the same samples.")
    return notes


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)
