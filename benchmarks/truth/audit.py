"""The audit: methods trained on data whose interactions are known, and what they make of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from i2moe_plugin.benchmarks.data.open import OpenedDataset
from i2moe_plugin.benchmarks.datasets.synthetic.dataset import PREFIX
from i2moe_plugin.benchmarks.grid.cells import Cell, Grid
from i2moe_plugin.benchmarks.grid.runner import GridRunner
from i2moe_plugin.benchmarks.run.mixed import TrainedModel
from i2moe_plugin.benchmarks.truth.judge import Judged, judge
from i2moe_plugin.errors import ConfigError
from i2moe_plugin.interpretation import coalition_values, intershap

#: InterSHAP in % of an early fusion of two modalities, 20,000 samples, as published with HD-XOR.
PUBLISHED = {
    "hdxor-uniqueness-0": 0.2,
    "hdxor-uniqueness-1": 0.2,
    "hdxor-synergy": 98.0,
    "hdxor-redundancy": 38.6,
    "hdxor-random": 57.8,
}
#: Test samples that InterSHAP is taken of, and background samples drawn for each.
EXPLAINED, DRAWS = 400, 10


@dataclass(frozen=True)
class AuditRow:
    """One method with one backbone on one kind of drawn data, over seeds.

    Attributes:
        dataset: the data set's name; ``modalities``: M.
        fusion, method: of the runs.
        data: the other settings of the data set that a suite's grid varies, as ``name=value``.
        runs: the judged runs, one a seed.
        shares: InterSHAP of each run's model, from 0 to 1; none where it was not computed.
        reasons: why runs are missing.
    """

    dataset: str
    modalities: int
    fusion: str
    method: str
    runs: tuple[Judged, ...]
    shares: tuple[float, ...] = ()
    reasons: tuple[str, ...] = ()
    data: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return everything, for JSON."""
        runs, first = self.runs, next(iter(self.runs), None)
        published = PUBLISHED.get(self.dataset.removeprefix(PREFIX))
        silent = first is None or first.kind is None
        nothing: dict[str, Any] = {"experts": [], "importance": [], "truth": []}
        return {
            "dataset": self.dataset,
            "modalities": self.modalities,
            "data": list(self.data),
            "fusion": self.fusion,
            "method": self.method,
            "runs": [str(one.run.path) for one in runs],
            "score": _mean(one.score for one in runs),
            "score_deviation": _deviation([one.score for one in runs]),
            "importance_is": None if first is None else first.kind,
            **(
                nothing
                if silent or first is None
                else {
                    "experts": list(first.experts),
                    "importance": _means([one.importance for one in runs]),
                    "truth": _means([one.truth for one in runs]),
                }
            ),
            "target": None
            if first is None or first.target is None
            else first.experts[first.target],
            "target_first": _count(one.target_first for one in runs),
            "invented": _count(one.invented for one in runs),
            "rank_correlation": _mean(one.rank_correlation for one in runs),
            "share_error": _mean(one.share_error for one in runs),
            "bits_error": self.bits_error,
            "intershap": _mean(self.shares),
            "intershap_published": None
            if published is None or self.modalities != 2 or self.data
            else published / 100,
            "reasons": list(self.reasons),
        }

    @property
    def bits_error(self) -> float | None:
        """Mean absolute error of the mean parts over runs, in bits; None for weights."""
        if not self.runs or self.runs[0].kind != "bits":
            return None
        estimated = np.mean([one.importance for one in self.runs], 0)
        return float(np.abs(estimated - np.mean([one.truth for one in self.runs], 0)).mean())


@dataclass
class Audit:
    """All rows of an audit, and what to know before reading them.

    Attributes:
        title: of the suite.
        seeds: of data and training alike.
        rows: by data set, backbone and method.
    """

    title: str
    seeds: tuple[int, ...]
    rows: list[AuditRow] = field(default_factory=list)

    @property
    def notes(self) -> list[str]:
        """How the columns are meant, in sentences."""
        return [
            "Every seed draws a data set of its own and trains on it. Truth is by the additive "
            "definition, in bits.",
            "Importance: bits of the evidence method, mean weights of mixtures. Target first: the "
            "expert that carries the data is ranked first, and said to be there.",
            "Invented: an expert whose true part is 0 is said to be there: claimed (beyond 2 "
            "standard errors and its margin), or weighted above the equal weight.",
            "Shares: mean absolute error of shares of the whole. Bits: mean absolute error of the "
            "parts, averaged over seeds first.",
            "SHAP: InterSHAP of the trained models; [ ]: as published of an early fusion.",
        ]

    def as_dict(self) -> dict[str, Any]:
        """Return everything, for JSON."""
        return {
            "title": self.title,
            "seeds": list(self.seeds),
            "notes": self.notes,
            "rows": [row.as_dict() for row in self.rows],
        }


def audit(
    grid: Grid,
    runner: GridRunner,
    *,
    shapley: bool = True,
    on_seed: Callable[[int], None] = lambda _: None,
) -> Audit:
    """Train a grid's cells on a data set of its own for each seed, and judge them.

    Args:
        grid: of drawn data sets; its seeds are those of the data and of training.
        runner: trains what is missing.
        shapley: compute InterSHAP of the trained models, too.
        on_seed: called before each seed.

    Raises:
        ConfigError: a data set whose interactions are not known.
    """
    unknown = {cell.settings.dataset for cell in grid.cells}
    unknown = {name for name in unknown if not name.startswith(PREFIX)}
    if unknown:
        raise ConfigError(
            f"nothing is known of the interactions in {', '.join(sorted(unknown))}: an audit takes "
            f"drawn sets, {PREFIX}NAME."
        )
    judged: dict[tuple[str, ...], list[Judged]] = {}
    reasons: dict[tuple[str, ...], list[str]] = {}
    shares: dict[tuple[str, ...], list[float]] = {}
    for seed in grid.seeds:
        on_seed(seed)
        cells = tuple(_drawn_by(cell, seed) for cell in grid.cells)
        table = runner.run(replace(grid, seeds=(seed,), cells=cells, baselines=()))
        opened: dict[str, OpenedDataset] = {}
        for cell, done in zip(grid.cells, table.cells, strict=True):
            key = cell.key
            reasons.setdefault(key, []).extend(a.reason for a in done.attempts if a.reason)
            for run in done.runs.values():
                one = judge(run)
                judged.setdefault(key, []).append(one)
                if shapley:
                    data = opened.setdefault(run.settings["splits"], runner.open_data(done.cell))
                    share = shapley_share(TrainedModel.load(run, data))
                    shares.setdefault(key, []).append(share)
    rows = [
        AuditRow(
            dataset=cell.settings.dataset,
            modalities=len(judged[cell.key][0].experts) - 2 if judged.get(cell.key) else 0,
            fusion=cell.settings.fusion,
            method=" ".join(part for part in cell.row[1:] if not part.startswith("data.")),
            runs=tuple(judged.get(cell.key, ())),
            shares=tuple(shares.get(cell.key, ())),
            reasons=tuple(dict.fromkeys(reasons.get(cell.key, ()))),
            data=varied_data(cell),
        )
        for cell in grid.cells
    ]
    return Audit(grid.title, grid.seeds, rows)


def varied_data(cell: Cell) -> tuple[str, ...]:
    """What a grid varies of a cell's data set, but for M: ``name=value`` each."""
    varied = {key: value for key, value in cell.variant.items() if key != "data.modalities"}
    return tuple(
        f"{key.removeprefix('data.')}={value}"
        for key, value in varied.items()
        if key.startswith("data.")
    )


def shapley_share(model: TrainedModel) -> float:
    """InterSHAP of a trained model on its test samples, with absent modalities drawn."""
    rows = model.rows("test")[:EXPLAINED]
    count = len(model.data.modalities)
    values = coalition_values(
        model.probabilities, [rows] * count, [model.rows("train")] * count, draws=DRAWS
    )
    return intershap(values).share


def _drawn_by(cell: Cell, seed: int) -> Cell:
    """The same cell on the data set that this seed draws."""
    settings = cell.settings
    data = {**settings.data_settings, "seed": seed}
    return replace(cell, settings=settings.model_copy(update={"data_settings": data}))


def _mean(values: Iterable[float]) -> float | None:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else None


def _deviation(values: Sequence[float]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def _means(rows: Sequence[Any]) -> list[float]:
    return [float(value) for value in np.mean(rows, 0)]


def _count(values: Iterable[bool | None]) -> dict[str, int] | None:
    """How many are true, of how many that say anything."""
    known = [value for value in values if value is not None]
    return {"runs": sum(known), "of": len(known)} if known else None
