"""One sample of a run taken apart, gathered once for terminal, JSON and picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from i2moe_plugin.benchmarks.report.previews import as_record
from i2moe_plugin.benchmarks.report.waterfall import ExplainedParts, decided_html, explain_parts
from i2moe_plugin.benchmarks.run.collect import find_runs, runs_of_other_seeds
from i2moe_plugin.benchmarks.run.store import EVIDENCE, Run
from i2moe_plugin.errors import ConfigError, RunError, counted, enumerated
from i2moe_plugin.interpretation import CAVEAT, Explanation, WeightVerdict, explain, weight_verdict

if TYPE_CHECKING:
    from i2moe_plugin.benchmarks.data.preview import Preview
    from i2moe_plugin.interpretation import Outputs


@dataclass(frozen=True)
class ExplainedSample:
    """A sample of a run, taken apart.

    Attributes:
        run: the run.
        explanation: what its experts said of the sample, and how much each counted.
        verdict: what the run's weights are worth.
        seeds: the seeds of the runs that differ from this one in the seed alone.
        ranges: each expert's lowest and highest weight of this sample over all those runs and this
            one; empty without others.
        decisions: what the other seeds decided for this sample, in words.
    """

    run: Run
    explanation: Explanation
    verdict: WeightVerdict
    seeds: list[int]
    ranges: list[tuple[float, float]]
    decisions: list[str]

    @property
    def sample_id(self) -> str:
        """Whose it is."""
        return self.explanation.sample_id

    def sentences(self) -> list[str]:
        """Say what the weights are worth."""
        lines = [self.verdict.sentence]
        if self.seeds:
            same = sum(word == self.explanation.decision for word in self.decisions)
            decide = f": {same} of {len(self.seeds)} decide the same"
            if self.explanation.correct is None:  # real values are seldom the same
                decide = f": {len(self.seeds)}"
            lines.append(f"Other seeds{decide}; the ranges of the weights are over all of them.")
        else:
            lines.append("One seed alone: another may give this sample other weights.")
        return [*lines, CAVEAT]

    def _repr_html_(self) -> str:
        """Return the decision and its experts, for a notebook."""
        one = self.explanation
        table = one.push[["expert", "weight", "push"]].to_html(
            index=False, float_format="{:.3f}".format
        )
        return decided_html(self.run, one.decision, one.label, one.sample_id) + table

    def as_dict(self, shown: Sequence[Preview] = (), missing: str = "") -> dict[str, Any]:
        """Return everything for JSON, with the sample's modalities, or why there are none."""
        one, settings = self.explanation, self.run.settings
        ranges: Sequence[tuple[float | None, float | None]]
        ranges = self.ranges or [(None, None)] * len(one.push)
        return {
            "run": str(self.run.path),
            "dataset": settings["dataset"],
            "fusion": settings["fusion"],
            "seed": self.run.seed,
            "sample": one.sample_id,
            "decision": one.decision,
            "label": one.label,
            "correct": one.correct,
            "experts_agree": one.agree,
            "classes": one.classes.to_dict("records"),
            "classes_left_out": one.classes_left_out,
            "experts": [
                {
                    "expert": row["expert"],
                    "weight": row["weight"],
                    "weight_over_seeds": {"low": low, "high": high},
                    "push": row["push"],
                    "classes": one.experts[one.experts["expert"] == row["expert"]][
                        ["class", "output", "product"]
                    ].to_dict("records"),
                }
                for row, (low, high) in zip(one.push.to_dict("records"), ranges, strict=True)
            ],
            "push_against": one.against,
            "other_seeds": self.seeds,
            "weights": {
                "state": self.verdict.kind,
                "entropy": self.verdict.entropy,
                "largest_weight_moved_most": self.verdict.moved,
            },
            "worth": self.sentences(),
            "modalities": [as_record(item) for item in shown],
            "modalities_missing": missing,
        }


def explain_sample(
    path: Path, sample: str | None, classes: int
) -> ExplainedSample | ExplainedParts:
    """Take a sample of a run (a directory, or a folder with one I2MoE run) apart.

    Of a run of I2MoE its experts and weights, of one of evidence its parts in bits.

    ``classes`` says how many classes to tell of, besides those decided and true.
    """
    run = the_run(path)
    outputs = run.interpretable()
    in_parts = EVIDENCE in run.files
    if not in_parts:
        outputs.mixture()
    if sample is None:
        raise ConfigError(
            f"no sample named: --sample ID, for instance {_ids_worth_a_look(outputs)}."
        )
    if in_parts:
        return explain_parts(run, sample, classes)
    explanation = explain(outputs, sample, classes)
    others, rows, decisions = runs_of_other_seeds(run), [], []
    for other in others:
        ids = other.outputs("sample_id")["sample_id"]
        (places,) = np.nonzero(ids == sample)
        if len(places) == 1:
            one = other.interpretable(slice(int(places[0]), int(places[0]) + 1))
            rows.append(one.mixture()[1][0])
            decisions.append(one.describe(one.decided[0]))
    every = np.array([explanation.push["weight"].to_numpy(), *rows], dtype=float)
    return ExplainedSample(
        run=run,
        explanation=explanation,
        verdict=weight_verdict(outputs),
        seeds=[other.seed for other in others],
        ranges=list(zip(every.min(0).tolist(), every.max(0).tolist(), strict=True)) if rows else [],
        decisions=decisions,
    )


def the_run(path: Path) -> Run:
    """Find the one run at a path: its directory, or a folder with no other.

    Raises:
        RunError: no run there, or several.
    """
    found = find_runs([path])
    if len(found.runs) == 1:
        return found.runs[0]
    names = [run.name for run in found.runs if run.method != "vanilla"]
    raise RunError(
        f"{path} holds {counted(len(found.runs), 'run')}; give one of them: "
        f"{enumerated(names) or 'none'}."
    )


def _ids_worth_a_look(outputs: Outputs) -> str:
    ids, correct = outputs.sample_id, outputs.correct
    agree = outputs.agree if outputs.experts else correct
    chosen = {"": 0} if len(outputs) else {}
    if correct is not None and agree is not None:
        masks = {" (wrong)": ~correct, " (right, experts disagree)": correct & ~agree}
        chosen = {
            words: int(mask.argmax()) for words, mask in masks.items() if mask.any()
        } or chosen
    return ", ".join(f"{ids[row]}{words}" for words, row in chosen.items()) or "none: it is empty"
