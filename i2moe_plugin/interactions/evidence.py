"""Parts of a prediction in bits that sum up exactly: the mathematics of the ``evidence`` method.

Models that see some modalities each say something of the target. For every set A of modalities
there is an *additive* model, log p(y|x_A) = sum over m in A of f_m(x_m, y) + const, which cannot
hold an interaction; and there is one *joint* model that may. After calibration on validation data,
the information of a set about a target y is

    i_A(y) = log2 p_A(y|x) - log2 p(y)

and parts are differences of them (I_A is the mean of i_A over validation data; modalities k are
ordered by I_k, largest first):

    g_k          = i_k, or i_(those before and k) - i_(those before): whichever has the smaller mean
    uniqueness_k = g_k, or i_all - i_(all but k): whichever has the smaller mean
    redundancy   = sum_k (g_k - uniqueness_k)
    synergy      = i_joint - sum_k g_k

(An additive model that is worse than one of its subsets' is replaced by it.) So
uniqueness_1..M, synergy and redundancy sum to log2 p(y|x) - log2 p(y) of the joint model for
every sample and every y, whatever the models. The choices are made once, on validation data, and
are stored as a matrix of coefficients. Their population limit is the *additive* decomposition of
``benchmarks/statistics/information``.

Arrays are numpy's; torch is not needed.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_expit, log_softmax, logit

from i2moe_plugin.errors import ConfigError, ShapeError
from i2moe_plugin.tasks import Classification, Multilabel, Regression, Task

Array = NDArray[Any]
LN2 = float(np.log(2))
#: Every set has a model: more modalities would have too many.
MOST_MODALITIES = 8
LARGEST_WEIGHT = 4.0


def modality_sets(modalities: int) -> tuple[tuple[int, ...], ...]:
    """All non-empty sets of modalities, small ones first: the order of additive models.

    Raises:
        ConfigError: fewer than 2 modalities, or more than 8.

    >>> modality_sets(2)
    ((0,), (1,), (0, 1))
    """
    if not 2 <= modalities <= MOST_MODALITIES:
        raise ConfigError(
            f"evidence needs 2 to {MOST_MODALITIES} modalities, since each set of them has a "
            f"model; not {modalities}."
        )
    sizes = range(1, modalities + 1)
    return tuple(
        chosen for size in sizes for chosen in itertools.combinations(range(modalities), size)
    )


def prior_outputs(task: Task, target: Array, *, weighted: bool = False) -> Array:
    """[C]: what a model would say that sees nothing, in the units of the task's outputs.

    Logarithms of the classes' shares, log odds of the labels' shares, or means; half a sample is
    added to every count, so that a class without samples is not impossible.

    Args:
        task: what is predicted.
        target: [N], or [N, C], of the training data.
        weighted: shares as a loss with class weights sees them.

    >>> prior_outputs(Classification(2), np.array([0, 0, 0, 1])).round(3)
    array([-0.357, -1.204])
    """
    if isinstance(task, Classification):
        counts = np.bincount(np.asarray(target).astype(int), minlength=task.num_outputs) + 0.5
        if weighted and task.class_weights is not None:
            counts = counts * np.asarray(task.class_weights)
        return np.asarray(np.log(counts / counts.sum()))
    target = _columns(task, target)
    if isinstance(task, Multilabel):
        return np.asarray(logit((target.sum(0) + 0.5) / (len(target) + 1)))
    return np.asarray(target.mean(0))


@dataclass(frozen=True, eq=False)
class Calibration:
    """How much each model is to be believed, and what the parts are made of.

    A *column* is what is predicted as one: the class, one label of several, one real value. Models
    are the additive ones in the order of :func:`modality_sets`, then the joint one: S + 1 of them.

    Attributes:
        task: what is predicted.
        prior: [C]: :func:`prior_outputs` of the training data.
        trained_prior: [C]: the same as the training loss saw it: with class weights, other shares.
        weights: [S + 1, L]: a model's outputs are prior + weight (outputs - trained prior).
        variances: [S + 2, L]: of real values, mean squared errors of the models and of the prior
            on validation data; empty for other tasks.
        bits: [S + 1, L]: mean information of each model on validation data.
        coefficients: [L, M + 2, S + 1]: what models each part is the sum of.
        samples: of the validation data.
    """

    task: Task
    prior: Array
    trained_prior: Array
    weights: Array
    variances: Array
    bits: Array
    coefficients: Array
    samples: int

    @cached_property
    def modalities(self) -> int:
        """M."""
        return int(self.coefficients.shape[1]) - 2

    def believed(self, outputs: Array) -> Array:
        """Calibrated outputs [N, S + 1, C] from raw ones."""
        return _believed(self.task, outputs, self.prior, self.trained_prior, self.weights)

    def predict(self, outputs: Array) -> Array:
        """The prediction [N, C]: the joint model's calibrated outputs, which the parts sum to.

        Where classes were weighted in training, decisions are to be taken with the weights too:
        these outputs are then relative to the weighted shares.
        """
        shift = self.trained_prior - self.prior
        return np.asarray(self.believed(outputs)[:, -1] + shift)

    def information(self, outputs: Array, target: Array) -> Array:
        """[N, L, S + 1]: bits of each model about what came true."""
        return _information(self.task, self.believed(outputs), target, self.prior, self.variances)

    def information_of_classes(self, outputs: Array) -> Array:
        """Bits of each model about everything that may come true.

        Returns:
            [N, 1, C, S + 1] for classes, [N, C, 2, S + 1] (no and yes) for labels.

        Raises:
            ConfigError: real values, which are too many.
        """
        if isinstance(self.task, Classification):
            possible: list[Array] = [np.full(len(outputs), c) for c in range(self.task.num_outputs)]
        elif isinstance(self.task, Multilabel):
            shape = (len(outputs), self.task.num_outputs)
            possible = [np.zeros(shape), np.ones(shape)]
        else:
            raise ConfigError("real values cannot be gone through; ask for the observed target.")
        return np.stack([self.information(outputs, value) for value in possible], 2)

    def parts(self, information: Array) -> Array:
        """Uniqueness, synergy and redundancy [N, L, ..., M + 2] of information [..., S + 1]."""
        flat = np.moveaxis(information, 1, 0)
        found = np.stack(
            [values @ matrix.T for values, matrix in zip(flat, self.coefficients, strict=True)]
        )
        return np.moveaxis(found, 0, 1)


def calibrate(
    task: Task,
    outputs: Array,
    target: Array,
    prior: Array,
    trained_prior: Array | None = None,
    coefficients: Array | None = None,
) -> Calibration:
    """Fit each model's weight on validation data, and choose what parts are made of.

    A weight is the least of the mean loss (1 / ln 2 bits each) plus weight^2 / n, between 0 and 4.
    At 0 a model says the prior and so tells nothing: this is what lets noise claim nothing.

    Args:
        task: what is predicted.
        outputs: [N, S + 1, C]: raw outputs of the additive models, in the order of
            :func:`modality_sets`, and of the joint one, each the mean over its copies.
        target: [N], or [N, C].
        prior: [C]: :func:`prior_outputs` of the training data.
        trained_prior: [C]: the prior that minimises the training loss, where it is another one.
        coefficients: [L, M + 2, 2^M]: what parts are made of, where that is already chosen: for
            one copy of the models by itself, see :func:`standard_errors`.

    Raises:
        ShapeError: outputs that are not of 2^M models.
        ConfigError: no samples.
    """
    outputs = np.asarray(outputs, dtype=np.float64)
    models = outputs.shape[1] if outputs.ndim == 3 else 0
    modalities = models.bit_length() - 1
    if models != 2**modalities or modalities < 2 or outputs.shape[-1] != task.num_outputs:
        raise ShapeError(
            f"outputs are [N, 2^M, {task.num_outputs}], one for each set of modalities and the "
            f"joint model; got {list(np.shape(outputs))}."
        )
    if not len(outputs):
        raise ConfigError("evidence is calibrated on validation data, and there is none.")
    trained = prior if trained_prior is None else trained_prior
    columns = 1 if isinstance(task, Classification) else task.num_outputs
    weights = np.empty((models, columns))
    for model, column in np.ndindex(models, columns):
        weights[model, column] = _weight(task, outputs[:, model], target, prior, trained, column)
    believed = _believed(task, outputs, prior, trained, weights)
    variances = _variances(task, believed, target, prior)
    bits = _information(task, believed, target, prior, variances).mean(0).T
    if coefficients is None:
        coefficients = np.stack([part_coefficients(column) for column in bits.T])
    return Calibration(task, prior, trained, weights, variances, bits, coefficients, len(outputs))


def part_coefficients(bits: Sequence[float] | Array) -> Array:
    """[M + 2, 2^M]: what sets' information each part is the sum of.

    An additive model that knows less on validation data than that of one of its subsets is
    replaced by it, so that a modality which adds nothing has a uniqueness of exactly 0. Rows are
    uniqueness_1..M, synergy and redundancy; they sum to the joint model's row.

    Args:
        bits: [2^M]: mean information of each set, in the order of :func:`modality_sets`, and of the
            joint model.

    Example: both modalities tell the same, and nothing more together.
        >>> part_coefficients([1.0, 1.0, 1.0, 1.0]) @ [1.0, 1.0, 1.0, 1.0]
        array([0., 0., 0., 1.])
    """
    means = np.asarray(bits, dtype=float)
    modalities = len(means).bit_length() - 1
    sets = modality_sets(modalities)
    rows = np.eye(len(means))
    model: dict[tuple[int, ...], Array] = {(): np.zeros(len(means))}  # no modality, no information
    for row, chosen in zip(rows[:-1], sets, strict=True):
        smaller = [model[tuple(k for k in chosen if k != left)] for left in chosen]
        # One modality alone is kept as it is. The first of equals is taken.
        model[chosen] = max([*smaller, row], key=means.dot) if len(chosen) > 1 else row
    everything = sets[-1]
    alone = [float(means @ model[k,]) for k in everything]
    order = sorted(everything, key=lambda k: -alone[k])

    def fewer(first: Array, second: Array) -> Array:
        return first if first @ means < second @ means else second

    gains, unique = np.zeros((2, modalities, len(means)))
    for place, k in enumerate(order):
        before, after = (tuple(sorted(order[:end])) for end in (place, place + 1))
        gains[k] = fewer(model[k,], model[after] - model[before])
        others = tuple(m for m in everything if m != k)
        unique[k] = fewer(gains[k], model[everything] - model[others])
    return np.stack([*unique, rows[-1] - gains.sum(0), (gains - unique).sum(0)])


def standard_errors(parts: Array, copies: Sequence[Array] = ()) -> Array:
    """[L, M + 2]: how far mean parts may be off, by the test samples and by training.

    Networks of another seed give other parts of the same samples. Copies of all models, trained
    with weights of their own, show by how much: the variance of the mean is that of the samples'
    parts over N, plus that of the copies' means over the number of copies. What more data would
    teach all copies alike is not in it.

    Args:
        parts: [N, L, M + 2] of the pooled models.
        copies: the same of each copy by itself, each calibrated with the pooled models'
            coefficients.

    >>> standard_errors(np.array([[[0.0]], [[2.0]]])).round(3), standard_errors(
    ...     np.array([[[0.0]], [[2.0]]]), [np.full((2, 1, 1), 0.0), np.full((2, 1, 1), 2.0)]
    ... ).round(3)
    (array([[1.]]), array([[1.414]]))
    """
    variance = parts.var(0, ddof=1) / len(parts)
    if len(copies) > 1:
        means = np.stack([copy.mean(0) for copy in copies])
        variance = variance + means.var(0, ddof=1) / len(copies)
    return np.asarray(np.sqrt(variance))


def _columns(task: Task, target: Array) -> Array:
    return np.asarray(target, dtype=float).reshape(-1, task.num_outputs)


def _believed(
    task: Task, outputs: Array, prior: Array, trained_prior: Array, weights: Array
) -> Array:
    scores = prior + weights * (np.asarray(outputs, dtype=np.float64) - trained_prior)
    return np.asarray(log_softmax(scores, -1)) if isinstance(task, Classification) else scores


def _losses(task: Task, scores: Array, target: Array) -> Array:
    """[N, S, L] in nats from calibrated outputs [N, S, C]; of real values squared errors."""
    if isinstance(task, Classification):
        rows = np.arange(len(scores))
        return -scores[rows, :, np.asarray(target).astype(int)][..., None]
    wanted = _columns(task, target)[:, None]
    if isinstance(task, Multilabel):
        return np.asarray(-wanted * log_expit(scores) - (1 - wanted) * log_expit(-scores))
    return np.asarray((wanted - scores) ** 2)


def _variances(task: Task, believed: Array, target: Array, prior: Array) -> Array:
    if not isinstance(task, Regression):
        return np.zeros((0, 0))
    errors = _losses(task, believed, target).mean(0)
    alone = _losses(task, prior[None, None], target).mean(0)
    # A model that is no better than the prior is as wide as the prior.
    return np.concatenate([np.minimum(errors, alone), alone]) + np.finfo(float).tiny


def _information(
    task: Task, believed: Array, target: Array, prior: Array, variances: Array
) -> Array:
    """[N, L, S] in bits."""
    reference = log_softmax(prior) if isinstance(task, Classification) else prior
    scores = np.concatenate([believed, np.broadcast_to(reference, believed[:, :1].shape)], 1)
    losses = _losses(task, scores, target)
    if isinstance(task, Regression):
        losses = (np.log(variances) + losses / variances) / 2
    return np.asarray(np.moveaxis(losses[:, -1:] - losses[:, :-1], 1, 2) / LN2)


def _weight(
    task: Task, outputs: Array, target: Array, prior: Array, trained_prior: Array, column: int
) -> float:
    """The weight of one model for one column: the least of a convex function."""
    count = len(outputs)
    if isinstance(task, Classification):
        excess, wanted = outputs - trained_prior, np.asarray(target).astype(int)
        rows = np.arange(count)

        def loss(weight: float) -> float:
            scores = log_softmax(prior + weight * excess, 1)
            return -float(scores[rows, wanted].mean()) + weight**2 / count

    else:
        excess = outputs[:, column] - trained_prior[column]
        wanted = _columns(task, target)[:, column]
        if isinstance(task, Regression):
            # Squared errors in units of the prior's: half their sum is the Gaussian loss.
            scale = ((wanted - prior[column]) ** 2).mean() or 1.0
            slope = (excess * (wanted - prior[column])).mean() / scale
            curve = (excess**2).mean() / scale + 2 / count
            return float(np.clip(slope / curve, 0.0, LARGEST_WEIGHT))
        sign = 2 * wanted - 1

        def loss(weight: float) -> float:
            return -float(log_expit(sign * (prior[column] + weight * excess)).mean()) + (
                weight**2 / count
            )

    found = minimize_scalar(
        loss, bounds=(0.0, LARGEST_WEIGHT), method="bounded", options={"xatol": 1e-6}
    )
    # The search never looks at the ends themselves.
    return min((0.0, float(found.x), LARGEST_WEIGHT), key=loss)
