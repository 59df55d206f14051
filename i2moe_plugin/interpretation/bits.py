"""Parts of predictions in bits, with their errors, and what may be claimed of them.

For runs of the ``evidence`` method. Bits are about what came true: positive where a part made it
more probable than its share of the training data. Redundancy and uniqueness are by the additive
definition, see docs/evidence.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from i2moe_plugin.errors import ConfigError
from i2moe_plugin.interactions.experts import Expert, interaction_experts
from i2moe_plugin.interactions.sets import standard_errors
from i2moe_plugin.interpretation.local import find
from i2moe_plugin.interpretation.outputs import Outputs, Probe
from i2moe_plugin.tasks import Classification, Multilabel, Regression

#: A mean that is no further from 0 than so many standard errors is not claimed; nor is one that is
#: not larger than these and its margin together.
ERRORS = 2.0
#: Bits that are shown as nothing, and not claimed however small their error is.
NEGLIGIBLE = 0.0005
DEFINITION = "additive"
TOTAL = "total"
#: Runs from whose spread an error over seeds can be told; from fewer, copies in a run tell it.
FEWEST_RUNS = 3


@dataclass(frozen=True)
class MeanParts:
    """Mean parts of one predicted thing: the class, one label, or one real value.

    Attributes:
        output: the name of the label or value; empty where a class is predicted.
        parts: the names of the parts for people: those of experts, in order.
        bits: [M + 2] means over test samples, and over runs where there are several.
        errors: [M + 2] standard errors, over samples and trainings.
        margins: [M + 2] bits by which each part may be too large, since the models that it is
            measured against have not learned all there is; NaN where a run does not know. See
            :attr:`~i2moe_plugin.interactions.fitted.Fitted.margins`.
        total, total_error: of their sum: what the prediction knows beyond the prior.
        alone: [M]: what the unimodal expert of each modality knows.
        redundancy_most: redundancy by the minimum rule, the largest that definitions give.
        ahead: the probes that know more than the unimodal expert beside them.
        validation: samples that the calibration was fitted on.
        runs: how many runs.
        samples: of the test split.
    """

    output: str
    parts: tuple[str, ...]
    bits: NDArray[np.float64]
    errors: NDArray[np.float64]
    margins: NDArray[np.float64]
    total: float
    total_error: float
    alone: NDArray[np.float64]
    redundancy_most: float
    ahead: tuple[Probe, ...]
    validation: int
    runs: int
    samples: int

    @property
    def something(self) -> bool:
        """Whether anything beyond the prior is known."""
        return self.total > max(ERRORS * self.total_error, NEGLIGIBLE)

    @property
    def claimed(self) -> tuple[bool, ...]:
        """Whether each part can be told from zero; none can where nothing is known."""
        above = self.bits > ERRORS * self.errors + np.nan_to_num(self.margins)
        beyond = above | (self.bits < -ERRORS * self.errors)
        seen = beyond & (np.abs(self.bits) >= NEGLIGIBLE)
        return tuple(bool(one) and self.something for one in seen)

    @property
    def doubtful(self) -> tuple[bool, ...]:
        """Whether each part is beyond its errors, but not beyond its margin too."""
        beyond = self.bits > np.maximum(ERRORS * self.errors, NEGLIGIBLE)
        pairs = zip(beyond, self.claimed, strict=True)
        return tuple(bool(one) and self.something and not sure for one, sure in pairs)

    @property
    def ranking(self) -> tuple[int, ...]:
        """The places of the claimed positive parts, largest first."""
        order = np.argsort(-self.bits, kind="stable")
        return tuple(int(k) for k in order if self.claimed[k] and self.bits[k] > 0)

    @property
    def redundancy(self) -> tuple[float, float]:
        """The redundancy of the additive definition and of the minimum rule, smaller one first."""
        low, high = sorted((float(self.bits[-1]), self.redundancy_most))
        return low, high

    def as_dict(self) -> dict[str, Any]:
        """Return everything, for JSON."""
        low, high = self.redundancy
        margins = [None if np.isnan(margin) else float(margin) for margin in self.margins]
        values = zip(self.parts, self.bits, self.errors, margins, self.claimed, strict=True)
        return {
            "output": self.output,
            "definition": DEFINITION,
            "parts": [
                {
                    "part": part,
                    "bits": float(bits),
                    "error": float(error),
                    "margin": margin,
                    "claimed": claimed,
                }
                for part, bits, error, margin, claimed in values
            ],
            "total": {"bits": self.total, "error": self.total_error, "claimed": self.something},
            "ranking": [self.parts[place] for place in self.ranking],
            "redundancy": {"low": low, "high": high},
            "unimodal": [float(bits) for bits in self.alone],
            "probes_ahead": [asdict(one) for one in self.ahead],
            "samples": self.samples,
            "validation_samples": self.validation,
            "runs": self.runs,
            "sentences": self.sentences(),
        }

    def sentences(self) -> list[str]:
        """Say what may be claimed, and what may not, for people."""
        about = f"{self.output}: " if self.output else ""
        if not self.something:
            return [
                f"{about}Nothing is known beyond the {_prior(self)}: "
                f"{_with_error(self.total, self.total_error)} in all."
            ]
        said = [
            f"{about}{_with_error(self.total, self.total_error)} beyond the {_prior(self)}, over "
            f"{self.samples:,} test samples."
        ]
        ranked = [f"{self.parts[k]} {self.bits[k]:.3f}" for k in self.ranking]
        if ranked:
            said.append(f"Claimed, largest first: {', '.join(ranked)} bit.")
        below = [
            f"{name} {bits:.3f}"
            for name, bits, sure in zip(self.parts, self.bits, self.claimed, strict=True)
            if sure and bits < 0
        ]
        if below:
            said.append(
                f"Below zero: {', '.join(below)} bit: there the models do worse on test data than "
                "on the validation data that they were calibrated on."
            )
        doubts = [
            f"{self.parts[k]} {self.bits[k]:.3f} (by {self.margins[k]:.3f})"
            for k, doubt in enumerate(self.doubtful)
            if doubt
        ]
        if doubts:
            said.append(
                f"Doubtful: {', '.join(doubts)} bit: the models that they are measured against may "
                "learn so much more from more data, and the parts shrink by it."
            )
        states = zip(self.parts, self.claimed, self.doubtful, strict=True)
        unclear = [name for name, sure, doubt in states if not (sure or doubt)]
        if unclear:
            said.append(f"Not distinguishable from zero: {', '.join(unclear)}.")
        said += [
            f"{one.probe.capitalize()} knows {one.difference:.3f} bit more from {one.modality} "
            "than its unimodal expert: synergy may be overstated."
            for one in self.ahead
        ]
        low, high = self.redundancy
        said.append(
            f"Redundancy is {self.bits[-1]:.3f} bit by the {DEFINITION} definition; by others it "
            f"lies between {low:.3f} and {high:.3f} (the minimum rule), and uniqueness is smaller, "
            "synergy larger by as much."
        )
        return said


def evidence(runs: Outputs | Sequence[Outputs]) -> list[MeanParts]:
    """Average parts over test samples, and over runs of several seeds.

    With three runs or more, the error over trainings is that over runs; with fewer, that over the
    copies that a run trains. The error over samples does not fall with the number of runs, as all
    are tested on the same samples.

    Args:
        runs: one run of the evidence method, or several on the same test split.

    Returns:
        One of the class, or of each label or value.

    Raises:
        ConfigError: a run of another method, no sample, or runs of other data.
    """
    several = [runs] if isinstance(runs, Outputs) else list(runs)
    if not several or not len(several[0]):
        raise ConfigError("there is no run, or it has no test samples.")
    first = several[0]
    if any(one.sample_id.tolist() != first.sample_id.tolist() for one in several):
        raise ConfigError("the runs were tested on other samples: they cannot be averaged.")
    parts, variances, alone = [], [], []
    for run in several:
        fitted, outputs = run.evidence()
        found = fitted.parts(outputs, run.target)
        whole = np.concatenate([found, found.sum(-1, keepdims=True)], -1)
        parts.append(whole.mean(0))
        copies = [] if len(several) >= FEWEST_RUNS else fitted.parts_of_copies(outputs, run.target)
        copies = [np.concatenate([c, c.sum(-1, keepdims=True)], -1) for c in copies]
        training = standard_errors(whole, copies) ** 2 - standard_errors(whole) ** 2
        variances.append((standard_errors(whole) ** 2, training))
        modalities = len(run.modalities)
        known = fitted.calibration.information(fitted.members.pooled(outputs), run.target)
        alone.append(known[..., :modalities].mean(0))
    means = np.stack(parts)
    spread = np.mean([training for _, training in variances], 0) / len(several)
    if len(several) >= FEWEST_RUNS:
        spread = means.var(0, ddof=1) / len(several)
    errors = np.sqrt(np.mean([samples for samples, _ in variances], 0) + spread)
    informations = np.mean(alone, 0)
    margins = np.mean([run.evidence()[0].margins for run in several], 0)
    return [
        MeanParts(
            output=name,
            parts=part_labels(first),
            bits=means.mean(0)[column, :-1],
            errors=errors[column, :-1],
            margins=margins[column],
            total=float(means.mean(0)[column, -1]),
            total_error=float(errors[column, -1]),
            alone=informations[column],
            ahead=tuple(one for one in first.probes if one.knows_more),
            redundancy_most=float(np.sort(informations[column])[-2]),
            validation=first.evidence()[0].calibration.samples,
            runs=len(several),
            samples=len(first),
        )
        for column, name in enumerate(_output_names(first))
    ]


def part_labels(outputs: Outputs) -> tuple[str, ...]:
    """The names of the parts for people: ``unique: audio``, ``synergy``, ``redundancy``."""
    experts: Sequence[Expert] = interaction_experts(len(outputs.modalities))
    return tuple(expert.label(outputs.modalities) for expert in experts)


def part_summary(
    outputs: Outputs | Sequence[Outputs],
    by: Literal["class", "correct"] | None = None,
    most: int | None = None,
) -> pd.DataFrame:
    """Tabulate mean parts with their errors, also by group.

    Args:
        outputs: one run of the evidence method, or several on the same test split.
        by: also by class, or by whether the prediction is right (of the first run); see
            :meth:`Outputs.groups`. Groups of fewer than 2 samples are left out.
        most: of so many groups alone, those with most samples.

    Returns:
        A row for each group, output and part: ``group``, ``output``, ``part``, ``bits``, ``error``,
        ``margin``, ``claimed``, ``doubtful``, ``samples``.

    Raises:
        ConfigError: see :func:`evidence`.
    """
    runs = [outputs] if isinstance(outputs, Outputs) else list(outputs)
    if not runs:
        raise ConfigError("there is no run to summarise.")
    groups = runs[0].groups(by, most) if by else [("all", np.ones(len(runs[0]), dtype=bool))]
    rows = []
    for group, mask in groups:
        places = np.flatnonzero(mask)
        if len(places) < 2:
            continue
        for one in evidence([run.rows(places) for run in runs]):
            columns = one.parts, one.bits, one.errors, one.margins, one.claimed, one.doubtful
            values = [*zip(*columns, strict=True)]
            values.append((TOTAL, one.total, one.total_error, 0.0, one.something, False))
            rows += [
                {
                    "group": group,
                    "output": one.output,
                    "part": part,
                    "bits": float(bits),
                    "error": float(error),
                    "margin": float(margin),
                    "claimed": sure,
                    "doubtful": doubt,
                    "samples": len(places),
                }
                for part, bits, error, margin, sure, doubt in values
            ]
    return pd.DataFrame(rows)


@dataclass(frozen=True, eq=False)
class Waterfall:
    """One sample, from what was known before to what is said of it.

    Attributes:
        sample_id: whose.
        decision, label: of the prediction and in truth, in words.
        steps: a row for each outcome (a class; a label's yes; the observed value): ``outcome``,
            ``prior`` and ``probability`` (NaN for real values), a column for each part in bits, and
            ``total``, which is log2 of probability over prior.
        expected: [M + 2] bits of each part, the mean over outcomes by their probability: what the
            parts say of this sample without its label; none of real values, and of labels their
            sum.
    """

    sample_id: str
    decision: str
    label: str
    steps: pd.DataFrame
    expected: pd.Series


def waterfall(outputs: Outputs, sample: str | int) -> Waterfall:
    """Take one sample's prediction apart, from the prior to what is said.

    Args:
        outputs: of a run of the evidence method.
        sample: its id, or its row.

    Raises:
        ConfigError: no such sample, or a run of another method.
    """
    fitted, _ = outputs.evidence()
    row = sample if isinstance(sample, int) else find(outputs.sample_id.tolist(), sample)
    one = outputs.rows([row])
    _, models = one.evidence()
    labels = list(part_labels(one))
    prior = fitted.calibration.prior
    calibrated = fitted.calibration.readings(fitted.members.pooled(models))[0, -1]
    if isinstance(one.task, Regression):
        bits = fitted.parts(models, one.target)[0]
        before = after = np.full(len(bits), np.nan)
        expected = np.full(len(labels), np.nan)
    elif isinstance(one.task, Multilabel):
        both = fitted.parts_of_classes(models)[0]
        bits, before = both[:, 1], 1 / (1 + np.exp(-prior))
        after = 1 / (1 + np.exp(-calibrated))
        expected = (after[:, None] * both[:, 1] + (1 - after)[:, None] * both[:, 0]).sum(0)
    else:
        bits, before, after = (
            fitted.parts_of_classes(models)[0, 0],
            np.exp(prior),
            np.exp(calibrated),
        )
        expected = after @ bits
    frame = pd.DataFrame({"outcome": one.class_names, "prior": before, "probability": after})
    frame[labels] = bits
    frame[TOTAL] = bits.sum(1)
    return Waterfall(
        sample_id=str(one.sample_id[0]),
        decision=one.describe(one.decided[0]),
        label=one.describe(one.target[0]),
        steps=frame,
        expected=pd.Series(expected, index=labels),
    )


def _output_names(outputs: Outputs) -> tuple[str, ...]:
    return ("",) if isinstance(outputs.task, Classification) else outputs.class_names


def _prior(one: MeanParts) -> str:
    return "prior" if one.output else "classes' shares"


def _with_error(bits: float, error: float) -> str:
    return f"{bits:.3f} ± {error:.3f} bit"
