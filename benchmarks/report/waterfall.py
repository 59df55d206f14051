"""One sample of a run of the evidence method taken apart, for terminal, JSON and picture."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from i2moe_plugin.benchmarks.report.previews import as_record
from i2moe_plugin.benchmarks.run.collect import runs_of_other_seeds
from i2moe_plugin.benchmarks.run.store import Run
from i2moe_plugin.errors import enumerated
from i2moe_plugin.interpretation import MeanParts, Waterfall, evidence, part_labels, waterfall
from i2moe_plugin.interpretation.mean_parts import DEFINITION
from i2moe_plugin.tasks import Classification

if TYPE_CHECKING:
    from i2moe_plugin.benchmarks.data.preview import Preview
    from i2moe_plugin.interpretation import Outputs


@dataclass(frozen=True)
class ExplainedParts:
    """A sample of a run of the evidence method, from the prior to the prediction.

    Attributes:
        run: the run.
        waterfall: its parts in bits, of each outcome.
        parts: their names, in order.
        shown: the places of the outcomes to show, the most probable first.
        correct: whether the decision is right; None for real values.
        weighted: classes were weighted in training, and the decision is by these weights.
        overall: what the run's mean parts are, of each predicted thing; empty where a single
            sample was tested.
        seeds: the seeds of the runs that differ from this one in the seed alone.
        ranges: for each outcome and part the lowest and highest bits over those runs and this one,
            [outcomes, M + 2, 2]; None without others.
        decisions: what the other seeds decided for this sample, in words.
    """

    run: Run
    waterfall: Waterfall
    parts: tuple[str, ...]
    shown: list[int]
    correct: bool | None
    weighted: bool
    overall: list[MeanParts]
    seeds: list[int]
    ranges: Any
    decisions: list[str]

    @property
    def sample_id(self) -> str:
        """Whose it is."""
        return self.waterfall.sample_id

    def sentences(self) -> list[str]:
        """Say how the bits are to be read."""
        said = [
            f"Bits are log2 of probability over prior; parts ({DEFINITION} definition) sum to the "
            "total. Positive bits made the outcome more probable.",
        ]
        if self.weighted:
            said.append(
                "Bits and probabilities are those of the classes as they are; the decision also "
                "weighs classes as training did, so it need not be the most probable one."
            )
        unclear = [
            name
            for one in self.overall
            for name, sure in zip(one.parts, one.claimed, strict=True)
            if not sure
        ]
        if unclear and len(self.overall) == 1:
            verb = "is" if len(unclear) == 1 else "are"
            said.append(
                f"Over the test split {enumerated(unclear)} {verb} not claimed (doubtful, or not "
                "distinguishable from zero): do not read it in one sample."
            )
        if self.seeds and self.correct is not None:
            same = sum(word == self.waterfall.decision for word in self.decisions)
            said.append(f"Other seeds: {same} of {len(self.seeds)} decide the same.")
        if not self.seeds:
            said.append("One seed alone: another may give this sample other parts.")
        return said

    def _repr_html_(self) -> str:
        """Return the decision and its parts, for a notebook."""
        one = self.waterfall
        steps = one.steps.iloc[self.shown].to_html(index=False, float_format="{:.3f}".format)
        return decided_html(self.run, one.decision, one.label, one.sample_id) + steps

    def as_dict(self, shown: Sequence[Preview] = (), missing: str = "") -> dict[str, Any]:
        """Return everything, for JSON.

        Args:
            shown: the sample's modalities.
            missing: why there are none.
        """
        one, settings = self.waterfall, self.run.settings
        rows = one.steps.to_dict("records")
        return {
            "run": str(self.run.path),
            "dataset": settings["dataset"],
            "fusion": settings["fusion"],
            "seed": self.run.seed,
            "sample": one.sample_id,
            "decision": one.decision,
            "label": one.label,
            "correct": self.correct,
            "definition": DEFINITION,
            "outcomes": [
                {
                    "outcome": row["outcome"],
                    "prior": row["prior"],
                    "probability": row["probability"],
                    "total": row["total"],
                    "parts": [
                        {"part": part, "bits": row[part], "over_seeds": self._range(place, number)}
                        for number, part in enumerate(self.parts)
                    ],
                }
                for place, row in enumerate(rows)
            ],
            "expected": {part: float(one.expected[part]) for part in self.parts},
            "overall": [each.as_dict() for each in self.overall],
            "other_seeds": self.seeds,
            "worth": self.sentences(),
            "modalities": [as_record(item) for item in shown],
            "modalities_missing": missing,
        }

    def _range(self, place: int, number: int) -> dict[str, float | None]:
        if self.ranges is None:
            return {"low": None, "high": None}
        low, high = self.ranges[place, number].tolist()
        return {"low": low, "high": high}


def decided_html(run: Run, decision: str, label: str, sample: str) -> str:
    """Write what a run decided for a sample, as HTML."""
    words = f"{sample}: predicted {decision}, label {label} ({run.name})"
    return f"<p>{html.escape(words)}</p>"


def explain_parts(run: Run, sample: str, classes: int) -> ExplainedParts:
    """Take a sample of a run of the evidence method apart.

    Args:
        run: the run.
        sample: the sample's id.
        classes: how many outcomes to show; decided and true ones always are.

    Raises:
        ConfigError: no such sample.
        RunError: damaged outputs.
    """
    outputs = run.interpretable()
    one = waterfall(outputs, sample)
    parts = part_labels(outputs)
    others, bits, decisions = runs_of_other_seeds(run), [one.steps[list(parts)].to_numpy()], []
    for other in others:
        theirs = waterfall(other.interpretable(), sample)
        bits.append(theirs.steps[list(parts)].to_numpy())
        decisions.append(theirs.decision)
    row = outputs.sample_id.tolist().index(sample)
    correct = outputs.correct
    every = np.stack(bits)
    ranges = np.stack([every.min(0), every.max(0)], -1) if others else None
    return ExplainedParts(
        run=run,
        waterfall=one,
        parts=parts,
        shown=_worth_showing(one, _named(outputs, row), classes),
        correct=None if correct is None else bool(correct[row]),
        weighted=getattr(outputs.task, "class_weights", None) is not None,
        overall=evidence(outputs) if outputs.units > 1 else [],
        seeds=[other.seed for other in others],
        ranges=ranges,
        decisions=decisions,
    )


def _named(outputs: Outputs, row: int) -> set[int]:
    """The places of the outcomes that a sample was decided for, and of the true ones."""
    pair = outputs.decided[row], outputs.target[row]
    if isinstance(outputs.task, Classification):
        return {int(place) for place in pair}
    return {int(place) for one in pair for place in np.flatnonzero(one)}


def _worth_showing(one: Waterfall, named: set[int], classes: int) -> list[int]:
    """The outcomes that are decided or true, and the most probable others."""
    frame = one.steps
    if frame["probability"].isna().all():
        return list(range(len(frame)))
    order = np.argsort(-frame["probability"].to_numpy(), kind="stable")
    must = [int(k) for k in order if int(k) in named]
    rest = [int(k) for k in order if int(k) not in must]
    kept = must + rest[: max(0, classes - len(must))]
    return [int(k) for k in order if int(k) in kept]
