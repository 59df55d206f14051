"""One sample: what each expert said, how much it counted, and what came out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from i2moe_plugin.errors import ConfigError, did_you_mean
from i2moe_plugin.interpretation.outputs import Outputs
from i2moe_plugin.tasks import Classification, Multilabel, Regression

CLASSES = 5


@dataclass(frozen=True, eq=False)
class Explanation:
    """A sample taken apart.

    Attributes:
        sample_id: whose.
        decision, label: of the ensemble and in truth, in words.
        correct: None for real values.
        agree: whether every expert alone decides the same; None for real values.
        classes: a row for each class that matters: ``class``, ``prediction``, ``probability`` (NaN
            for real values), ``decided``, ``label`` (the target's value for real values).
        experts: a row for each expert and class that matters: ``expert``, ``class``, ``output``,
            ``weight``, ``product`` (weight x output; products sum to the prediction).
        push: a row for each expert: ``expert``, ``weight``, ``push``: what its product adds to the
            decision. Classification: product for the decided class minus that for the runner-up,
            which, unlike a product, does not change when a constant is added to all outputs;
            multilabel: mean over labels of the product towards yes or no as decided; real values:
            the product of the first output. The runner-up is named in ``against``.
        against: the runner-up class; empty where there is none.
        classes_left_out: how many classes are not in the frames.
    """

    sample_id: str
    decision: str
    label: str
    correct: bool | None
    agree: bool | None
    classes: pd.DataFrame
    experts: pd.DataFrame
    push: pd.DataFrame
    against: str
    classes_left_out: int


def explain(outputs: Outputs, sample: str | int, classes: int = CLASSES) -> Explanation:
    """Take one sample apart.

    Args:
        outputs: of an I2MoE run.
        sample: its id, or its row.
        classes: how many classes to show: decided and true ones always, then those with the
            highest prediction.

    Raises:
        ConfigError: no such sample, or a vanilla run.
    """
    row = find(outputs.sample_id.tolist(), sample)
    one = outputs.rows([row])
    expert_outputs, weights = (column[0] for column in one.mixture())
    product = weights[:, None] * expert_outputs
    prediction, target = one.prediction[0], one.target[0]
    decided = np.atleast_1d(one.decided[0])
    chosen = matter(one, classes)[0]
    chosen = chosen[chosen >= 0]
    names = [one.class_names[c] for c in chosen]
    correct, agree = one.correct, one.agree
    push, (against,) = pushes(one)
    is_class = isinstance(one.task, Classification)
    frame = pd.DataFrame(
        {
            "class": names,
            "prediction": prediction[chosen],
            "probability": probability(one)[0, chosen],
            "decided": [c == decided[0] if is_class else decided[c] for c in chosen],
            "label": [c == target if is_class else np.atleast_1d(target)[c] for c in chosen],
        }
    )
    return Explanation(
        sample_id=str(one.sample_id[0]),
        decision=one.describe(one.decided[0]),
        label=one.describe(target),
        correct=None if correct is None else bool(correct[0]),
        agree=None if agree is None else bool(agree[0]),
        classes=frame,
        experts=pd.DataFrame(
            {
                "expert": np.repeat(one.expert_labels, len(chosen)),
                "class": names * len(one.experts),
                "output": expert_outputs[:, chosen].reshape(-1),
                "weight": np.repeat(weights, len(chosen)),
                "product": product[:, chosen].reshape(-1),
            }
        ),
        push=pd.DataFrame({"expert": one.expert_labels, "weight": weights, "push": push[0]}),
        against=against,
        classes_left_out=len(one.class_names) - len(chosen),
    )


def find(ids: list[str], sample: str | int) -> int:
    """Find the row of a sample: of its id, or the row itself, from 0.

    Raises:
        ConfigError: it is not there, or there more than once.
    """
    if isinstance(sample, int | np.integer):
        if not 0 <= sample < len(ids):
            raise ConfigError(f"no row {sample}: there are {len(ids)} test samples, from 0.")
        return int(sample)
    places = [row for row, name in enumerate(ids) if name == sample]
    if len(places) == 1:
        return places[0]
    if places:
        raise ConfigError(f"{len(places)} samples are called {sample!r}.")
    some = ", ".join(map(repr, ids[:3]))
    raise ConfigError(
        f"no test sample {sample!r}.{did_you_mean(sample, ids)} There are {len(ids)}, "
        f"for instance {some}."
    )


def matter(outputs: Outputs, classes: int = CLASSES) -> np.ndarray:
    """List the classes that matter in each sample, [N, K], the highest prediction first; -1 fills.

    The decided and the true ones, then those with the highest prediction, ``classes`` in all;
    more only where more are decided or true, and every output for real values.
    """
    samples, width = outputs.prediction.shape
    if isinstance(outputs.task, Regression):
        return np.tile(np.arange(width), (samples, 1))
    must = np.zeros((samples, width), dtype=bool)
    if isinstance(outputs.task, Multilabel):
        must = (outputs.decided > 0) | (outputs.target > 0)
    else:
        every = np.arange(samples)
        must[every, outputs.decided] = must[every, outputs.target] = True
    # First those that must be shown, then the rest, each by prediction.
    order = np.lexsort((-outputs.prediction, ~must), axis=1)
    count = np.maximum(must.sum(1), min(classes, width))
    width = int(count.max(initial=0))
    order = order[:, :width]
    shown = np.arange(width) < count[:, None]
    score = np.where(shown, np.take_along_axis(outputs.prediction, order, 1), -np.inf)
    by_score = np.argsort(-score, axis=1, kind="stable")
    return np.take_along_axis(np.where(shown, order, -1), by_score, 1)


def probability(outputs: Outputs) -> np.ndarray:
    """Compute the probability of each class or label, [N, C]; NaN for real values."""
    prediction = outputs.prediction.astype(np.float64)
    if isinstance(outputs.task, Regression):
        return np.full(prediction.shape, np.nan)
    if isinstance(outputs.task, Multilabel):
        return np.asarray(0.5 * (1 + np.tanh(prediction / 2)))
    scores = np.exp(prediction - prediction.max(1, keepdims=True))
    return np.asarray(scores / scores.sum(1, keepdims=True))


def pushes(outputs: Outputs) -> tuple[np.ndarray, list[str]]:
    """Compute what each expert adds to each decision, [N, E], and what it is decided against.

    See :attr:`Explanation.push`; the runner-up is empty where there is none.

    Raises:
        ConfigError: a vanilla run.
    """
    expert_outputs, weights = outputs.mixture()
    product = weights[:, :, None] * expert_outputs
    if isinstance(outputs.task, Classification):
        order = np.argsort(-outputs.prediction, axis=1, kind="stable")[:, :2]
        both = np.take_along_axis(product, order[:, None, :], 2)
        return both[:, :, 0] - both[:, :, 1], [outputs.class_names[c] for c in order[:, 1]]
    against = [""] * len(outputs)
    if isinstance(outputs.task, Multilabel):
        towards = np.where(outputs.decided > 0, 1, -1)
        return (product * towards[:, None, :]).mean(2), against
    return product[:, :, 0], against
