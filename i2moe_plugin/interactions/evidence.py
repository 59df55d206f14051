"""Parts of a prediction in bits that sum up exactly: the mathematics of the ``evidence`` method.

Models that see some modalities each say something of the target. For every set A of modalities
there is an *additive* model, log p(y|x_A) = sum over m in A of f_m(x_m, y) + const, which cannot
hold an interaction; and there is a *joint* model that may. After calibration on validation data,
the information of a set about a target y is

    i_A(y) = log2 p_A(y|x) - log2 p(y)

where an additive model that is worse than one of its subsets' is replaced by it. The *prediction*
is a pool of the joint and the additive model of all modalities, log-linear with two weights. Parts
are differences of informations (I_A is the mean of i_A over validation data; modalities k are
ordered by I_k, largest first):

    g_k          = i_k, or i_(those before and k) - i_(those before): whichever has the smaller mean
    uniqueness_k = g_k, or i_all - i_(all but k): whichever has the smaller mean
    redundancy   = sum_k (g_k - uniqueness_k)
    synergy      = i_prediction - sum_k g_k

so uniqueness_1..M, synergy and redundancy sum to log2 p(y|x) - log2 p(y) of the prediction for
every sample and every y, whatever the models. The choices are made once, on validation data, and
are stored as a matrix of coefficients. Their population limit is the *additive* decomposition of
``benchmarks/statistics/information``.

Arrays are numpy's; torch is not needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, log_expit, log_softmax, logit

from i2moe_plugin.errors import ConfigError, ShapeError
from i2moe_plugin.interactions.sets import additive_models, part_coefficients
from i2moe_plugin.tasks import Classification, Multilabel, Regression, Task

Array = NDArray[Any]
LN2 = float(np.log(2))
LARGEST_WEIGHT = 4.0


def target_totals(task: Task, target: Array) -> Array:
    """[C]: how many samples of each class or with each label there are, or the sum of real values.

    >>> target_totals(Classification(2), np.array([0, 0, 0, 1]))
    array([3., 1.])
    """
    if isinstance(task, Classification):
        return np.bincount(np.asarray(target).astype(int), minlength=task.num_outputs) + 0.0
    return np.asarray(_columns(task, target).sum(0))


def prior_outputs(task: Task, totals: Array, samples: float, *, weighted: bool = False) -> Array:
    """[C]: what a model would say that sees nothing, in the units of the task's outputs.

    Logarithms of the classes' shares, log odds of the labels' shares, or means; half a sample is
    added to every count, so that a class without samples is not impossible.

    Args:
        task: what is predicted.
        totals: [C]: :func:`target_totals` of the training data.
        samples: how many there are.
        weighted: shares as a loss with class weights sees them.

    >>> prior_outputs(Classification(2), np.array([3.0, 1.0]), 4).round(3)
    array([-0.357, -1.204])
    """
    totals = np.asarray(totals, dtype=float)
    if isinstance(task, Classification):
        counts = totals + 0.5
        if weighted and task.class_weights is not None:
            counts = counts * np.asarray(task.class_weights)
        return np.asarray(np.log(counts / counts.sum()))
    if isinstance(task, Multilabel):
        return np.asarray(logit((totals + 0.5) / (samples + 1)))
    return totals / samples


def both_priors(task: Task, totals: Array, samples: float) -> tuple[Array, Array]:
    """:func:`prior_outputs` of the data, and as the training loss sees them."""
    plain = prior_outputs(task, totals, samples)
    return plain, prior_outputs(task, totals, samples, weighted=True)


@dataclass(frozen=True, eq=False)
class Calibration:
    """How much each model is to be believed, and what the parts are made of.

    A *column* is what is predicted as one: the class, one label of several, one real value. Models
    are the additive ones in the order of :func:`modality_sets`, then the joint one: 2^M of them.
    What they say is calibrated to as many *readings*, one of each set and the prediction.

    Attributes:
        task: what is predicted.
        prior: [C]: :func:`prior_outputs` of the training data.
        trained_prior: [C]: the same as the training loss saw it: with class weights, other shares.
        weights: [L, 2^M, 2^M]: a reading is prior + sum over models of weight (outputs - trained
            prior). An additive model's reading is its own alone.
        variances: [2^M + 1, L]: of real values, mean squared errors of the readings and of the
            prior on validation data; empty for other tasks.
        bits: [L, 2^M]: mean information of each reading on validation data.
        coefficients: [L, M + 2, 2^M]: what readings each part is the sum of.
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

    @property
    def modalities(self) -> int:
        """M."""
        return int(self.coefficients.shape[1]) - 2

    def readings(self, outputs: Array) -> Array:
        """Calibrated outputs [N, 2^M, C] from raw ones: log probabilities, log odds, or means."""
        return _readings(self.task, outputs, self.prior, self.trained_prior, self.weights)

    def predict(self, outputs: Array) -> Array:
        """The prediction [N, C], which the parts sum to.

        Where classes were weighted in training, decisions are to be taken with the weights too:
        these outputs are then relative to the weighted shares.
        """
        shift = self.trained_prior - self.prior
        return np.asarray(self.readings(outputs)[:, -1] + shift)

    def information(self, outputs: Array, target: Array) -> Array:
        """[N, L, 2^M]: bits of each reading about what came true."""
        return _information(self.task, self.readings(outputs), target, self.prior, self.variances)

    def explained(self, outputs: Array, target: Array) -> Array:
        """[N, L, 2^M]: each reading's R^2 about the prior, linearised at every sample.

        The mean over samples is 1 - sum (y - reading)^2 / sum (y - prior)^2, and the spread is that
        of this ratio; NaN where every target is the prior.

        Raises:
            ConfigError: of a task other than real values.
        """
        if not isinstance(self.task, Regression):
            raise ConfigError("only real values have an R^2.")
        errors = _losses(self.task, self.readings(outputs), target)
        before = _losses(self.task, self.prior[None, None], target)
        whole = before.mean(0)
        gains = (before - errors) / np.where(whole > 0, whole, np.nan)
        ratio = gains.mean(0)
        values = gains + ratio * (1 - before / np.where(whole > 0, whole, np.nan))
        return np.asarray(np.moveaxis(values, 1, 2))

    def information_of_classes(self, outputs: Array) -> Array:
        """Bits of each reading about everything that may come true.

        Returns:
            [N, 1, C, 2^M] for classes, [N, C, 2, 2^M] (no and yes) for labels.

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
        """Uniqueness, synergy and redundancy [N, L, ..., M + 2] of information [..., 2^M]."""
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
    like: Calibration | None = None,
) -> Calibration:
    """Fit each model's weight on validation data, and choose what parts are made of.

    Weights minimise the mean loss (in nats) plus their squares over n, between 0 and 4. At 0 a
    model says the prior and so tells nothing: this is what lets noise claim nothing.

    Args:
        task: what is predicted.
        outputs: [N, 2^M, C]: raw outputs of the additive models, in the order of
            :func:`modality_sets`, and of the joint one, each the mean over its copies.
        target: [N], or [N, C].
        prior: [C]: :func:`prior_outputs` of the training data.
        trained_prior: [C]: the prior that minimises the training loss, where it is another one.
        like: a calibration whose choices are kept: of the pooled models, for one copy of them by
            itself; see :func:`standard_errors`.

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
    excess = outputs - trained
    weights = np.zeros((columns, models, models))
    weights[:, range(models), range(models)] = _own_weights(task, excess, target, prior)
    alone = _readings(task, outputs, prior, trained, weights)
    bits = _bits(task, alone, target, prior)
    for column in range(columns):
        whole = additive_models(bits[column] if like is None else like.bits[column])[-1]
        pool = [int(whole.argmax()), models - 1]
        scale = np.diagonal(weights[column])[pool]
        shown = excess[:, pool] * scale[:, None]
        weights[column, -1, pool] = _fit(task, shown, target, prior, column) * scale
    readings = _readings(task, outputs, prior, trained, weights)
    bits = _bits(task, readings, target, prior)
    coefficients = (
        np.stack([part_coefficients(column) for column in bits])
        if like is None
        else like.coefficients
    )
    variances = _variances(task, readings, target, prior)
    return Calibration(task, prior, trained, weights, variances, bits, coefficients, len(outputs))


def calibrated_losses(
    task: Task, outputs: Array, target: Array, prior: Array, trained_prior: Array | None = None
) -> Array:
    """[models]: the mean loss of each model once it is multiplied by its own weight.

    A model that is too sure of itself, as networks that are trained on are, has a high loss and may
    know more than it did before; this loss says so. It is in nats, or of real values in squares.

    Args:
        task: what is predicted.
        outputs: [N, models, C]: raw outputs of any models.
        target, prior, trained_prior: see :func:`calibrate`.

    >>> sure = np.array([[[9.0, -9.0]], [[9.0, -9.0]], [[9.0, -9.0]], [[-9.0, 9.0]]])
    >>> prior = prior_outputs(Classification(2), np.array([1.0, 1.0]), 2)
    >>> calibrated_losses(Classification(2), sure, np.array([0, 0, 1, 1]), prior).round(2)
    array([0.56])
    """
    outputs = np.asarray(outputs, dtype=np.float64)
    trained = prior if trained_prior is None else trained_prior
    own = _own_weights(task, outputs - trained, target, prior)
    weights = own[:, :, None] * np.eye(outputs.shape[1])
    readings = _readings(task, outputs, prior, trained, weights)
    return np.asarray(_losses(task, readings, target).mean((0, 2)))


def _own_weights(task: Task, excess: Array, target: Array, prior: Array) -> Array:
    """[L, models]: the weight of each model by itself."""
    models = range(excess.shape[1])
    columns = range(1 if isinstance(task, Classification) else task.num_outputs)
    return np.array(
        [
            [_fit(task, excess[:, [model]], target, prior, column)[0] for model in models]
            for column in columns
        ]
    )


def _columns(task: Task, target: Array) -> Array:
    return np.asarray(target, dtype=float).reshape(-1, task.num_outputs)


def _readings(
    task: Task, outputs: Array, prior: Array, trained_prior: Array, weights: Array
) -> Array:
    excess = np.asarray(outputs, dtype=np.float64) - trained_prior
    if isinstance(task, Classification):
        return np.asarray(log_softmax(prior + weights[0] @ excess, -1))
    return np.asarray(prior + np.einsum("lrm,nml->nrl", weights, excess))


def _losses(task: Task, scores: Array, target: Array) -> Array:
    """[N, R, L] in nats from readings [N, R, C]; of real values squared errors."""
    if isinstance(task, Classification):
        rows = np.arange(len(scores))
        return -scores[rows, :, np.asarray(target).astype(int)][..., None]
    wanted = _columns(task, target)[:, None]
    if isinstance(task, Multilabel):
        return np.asarray(-log_expit((2 * wanted - 1) * scores))
    return np.asarray((wanted - scores) ** 2)


def _variances(task: Task, readings: Array, target: Array, prior: Array) -> Array:
    if not isinstance(task, Regression):
        return np.zeros((0, 0))
    errors = _losses(task, readings, target).mean(0)
    alone = _losses(task, prior[None, None], target).mean(0)
    # A reading that is no better than the prior is as wide as the prior.
    found = np.concatenate([np.minimum(errors, alone), alone]) + np.finfo(float).tiny
    return np.where(_varies(_columns(task, target), prior), found, 1.0)


def _varies(values: Array, prior: Array) -> Array:
    """[L]: whether real values [N, L] are more than the prior and the dust of rounding."""
    dust = np.finfo(np.float32).eps * np.maximum(np.abs(values).max(0), np.abs(prior))
    return np.asarray(np.abs(values - prior).max(0) > dust)


def _information(
    task: Task, readings: Array, target: Array, prior: Array, variances: Array
) -> Array:
    """[N, L, R] in bits."""
    reference = log_softmax(prior) if isinstance(task, Classification) else prior
    scores = np.concatenate([readings, np.broadcast_to(reference, readings[:, :1].shape)], 1)
    losses = _losses(task, scores, target)
    if isinstance(task, Regression):
        losses = (np.log(variances) + losses / variances) / 2
    return np.asarray(np.moveaxis(losses[:, -1:] - losses[:, :-1], 1, 2) / LN2)


def _bits(task: Task, readings: Array, target: Array, prior: Array) -> Array:
    """[L, R]: mean information."""
    variances = _variances(task, readings, target, prior)
    return np.asarray(_information(task, readings, target, prior, variances).mean(0))


def _fit(task: Task, excess: Array, target: Array, prior: Array, column: int) -> Array:
    """[K]: the weights of what models [N, K, C] say beyond the prior, for one column."""
    count = len(excess)
    if isinstance(task, Classification):
        wanted = np.eye(task.num_outputs)[np.asarray(target).astype(int)]
    else:
        excess, prior = excess[..., [column]], prior[[column]]
        wanted = _columns(task, target)[:, [column]]
    scale = 1.0
    if isinstance(task, Regression):
        if not _varies(wanted, prior).all():  # nothing is to be known: every model says the prior
            return np.zeros(excess.shape[1])
        # so that half the squared error is Gaussian, in nats
        scale = float(((wanted - prior) ** 2).mean())

    def loss(weights: Array) -> tuple[float, Array]:
        scores = prior + np.einsum("k,nkc->nc", weights, excess)
        if isinstance(task, Classification):
            logs = log_softmax(scores, 1)
            value, slope = -(wanted * logs).sum(1), np.exp(logs) - wanted
        elif isinstance(task, Multilabel):
            value = -log_expit((2 * wanted - 1) * scores)[:, 0]
            slope = expit(scores) - wanted
        else:
            value, slope = (scores - wanted)[:, 0] ** 2 / (2 * scale), (scores - wanted) / scale
        gradient = np.einsum("nc,nkc->k", slope, excess) / count
        return float(value.mean() + weights @ weights / count), gradient + 2 * weights / count

    start = np.full(excess.shape[1], 0.5)
    found = minimize(
        loss,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=[(0.0, LARGEST_WEIGHT)] * len(start),
        options={"ftol": 1e-15, "gtol": 1e-9},
    )
    return np.asarray(found.x)
