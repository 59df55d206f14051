"""Parts of predictions in bits, with their errors.

For runs of the ``evidence`` method. Bits are about what came true: positive where a part made it
more probable than its share of the training data. Redundancy and uniqueness are by the additive
definition, see docs/evidence.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from i2moe_plugin.errors import ConfigError
from i2moe_plugin.interactions.experts import Expert, interaction_experts
from i2moe_plugin.interactions.sets import standard_errors
from i2moe_plugin.interpretation.local import find
from i2moe_plugin.interpretation.mean_parts import CLAIMED, DOUBTFUL, Explained, MeanParts
from i2moe_plugin.interpretation.outputs import Outputs, Probe
from i2moe_plugin.tasks import Classification, Multilabel, Regression

Array = NDArray[Any]
TOTAL = "total"
#: Runs from whose spread an error over seeds can be told; from fewer, copies in a run tell it.
FEWEST_RUNS = 3


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
        ConfigError: a run of another method, fewer than 2 samples, or runs of other data.
    """
    several = [runs] if isinstance(runs, Outputs) else list(runs)
    if not several or not len(several[0]):
        raise ConfigError("there is no run, or it has no test samples.")
    first = several[0]
    if first.units < 2:
        kind = "test sample" if first.group is None else "group of test samples"
        raise ConfigError(f"a single {kind} shows no error of its parts: there must be 2.")
    if any(one.sample_id.tolist() != first.sample_id.tolist() for one in several):
        raise ConfigError("the runs were tested on other samples: they cannot be averaged.")
    parts, copies, known = [], [], []
    for run in several:
        fitted, outputs = run.evidence()
        parts.append(fitted.parts(outputs, run.target))
        copies.append(fitted.parts_of_copies(outputs, run.target))
        information = fitted.calibration.information(fitted.members.pooled(outputs), run.target)
        known.append(information[..., : len(run.modalities)].mean(0))
    bits, errors = _means(parts, copies, first.group)
    alone = np.mean(known, 0)
    margins = np.mean([run.evidence()[0].margins for run in several], 0)
    explained = _explained(several) if isinstance(first.task, Regression) else None
    return [
        MeanParts(
            output=name,
            parts=part_labels(first),
            bits=bits[column, :-1],
            errors=errors[column, :-1],
            margins=margins[column],
            total=float(bits[column, -1]),
            total_error=float(errors[column, -1]),
            alone=alone[column],
            ahead=_ahead(several),
            redundancy_most=float(np.sort(alone[column])[-2]),
            validation=first.evidence()[0].calibration.samples,
            runs=len(several),
            samples=len(first),
            groups=None if first.group is None else first.units,
            explained=None if explained is None else explained[column],
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
            :meth:`Outputs.groups`. Those of fewer than 2 samples are left out.
        most: of so many groups alone, those with most samples.

    Returns:
        A row for each group, output and part: ``group``, ``output``, ``part``, ``bits``, ``error``,
        ``margin``, ``claimed``, ``doubtful``, ``state`` (what is to be said, in words) and
        ``samples``.

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
        chosen = [run.rows(places) for run in runs]
        if chosen[0].units < 2:
            continue
        for one in evidence(chosen):
            columns = (
                (*one.parts, TOTAL),
                (*one.bits, one.total),
                (*one.errors, one.total_error),
                (*one.margins, 0.0),
                one.states,
            )
            rows += [
                {
                    "group": group,
                    "output": one.output,
                    "part": part,
                    "bits": float(bits),
                    "error": float(error),
                    "margin": float(margin),
                    "claimed": state == CLAIMED,
                    "doubtful": state == DOUBTFUL,
                    "state": state,
                    "samples": len(places),
                }
                for part, bits, error, margin, state in zip(*columns, strict=True)
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
    row = find(outputs.sample_id.tolist(), sample)
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


def _means(
    parts: Sequence[Array], copies: Sequence[Sequence[Array]], groups: Array | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Average parts and their sum over samples and runs.

    Args:
        parts: of each run [N, L, M + 2].
        copies: of each run the same of each of its copies.
        groups: [N] of the samples, where they are not independent.

    Returns:
        means and standard errors, [L, M + 3] each.
    """
    whole = [_with_total(one) for one in parts]
    means = np.stack([one.mean(0) for one in whole])
    samples = np.mean([standard_errors(one, (), groups) ** 2 for one in whole], 0)
    if len(whole) >= FEWEST_RUNS:
        training = means.var(0, ddof=1)
    else:
        several = [[_with_total(copy) for copy in each] for each in copies]
        pairs = zip(whole, several, strict=True)
        training = np.mean(
            [standard_errors(*pair) ** 2 - standard_errors(pair[0]) ** 2 for pair in pairs], 0
        )
    return means.mean(0), np.sqrt(samples + training / len(whole))


def _with_total(parts: Array) -> Array:
    return np.concatenate([parts, parts.sum(-1, keepdims=True)], -1)


def _explained(runs: Sequence[Outputs]) -> list[Explained | None]:
    """Parts of R^2 of each real value; None where all targets are the training mean."""
    every = [run.evidence()[0].explained(run.evidence()[1], run.target) for run in runs]
    wholes, copies = [whole for whole, _ in every], [each for _, each in every]
    means, errors = _means(wholes, copies, runs[0].group)
    return [
        Explained(row[:-1], error[:-1], float(row[-1]), float(error[-1]))
        if np.isfinite(row).all()
        else None
        for row, error in zip(means, errors, strict=True)
    ]


def _ahead(runs: Sequence[Outputs]) -> tuple[Probe, ...]:
    """The probes that know more than the unimodal experts beside them, in the mean over runs."""
    found = []
    for modality in runs[0].modalities:
        each = [one for run in runs for one in run.probes if one.modality == modality]
        if not each:
            continue
        errors = [one.error for one in each if one.error is not None]
        differences = [one.difference for one in each]
        spread = np.var(differences, ddof=1) if len(each) >= FEWEST_RUNS else 0.0
        variance = np.mean(np.square(errors)) + spread / len(each)
        mean = Probe(
            modality=modality,
            probe=" or ".join(dict.fromkeys(one.probe for one in each)),
            bits=float(np.mean([one.bits for one in each])),
            expert_bits=float(np.mean([one.expert_bits for one in each])),
            difference=float(np.mean(differences)),
            error=float(variance**0.5) if len(errors) == len(each) else None,
        )
        if mean.knows_more:
            found.append(mean)
    return tuple(found)


def _output_names(outputs: Outputs) -> tuple[str, ...]:
    return ("",) if isinstance(outputs.task, Classification) else outputs.class_names
