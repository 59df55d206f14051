"""Simple models that keep everybody honest: a constant, a linear model, gradient boosting.

Each is fitted on training rows, validation rows choose what there is to choose, and the metrics are
those of the chosen one on test rows.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2moe_plugin.tasks import HIGHER_IS_BETTER, Classification, Multilabel, Regression, Task

#: Strengths that validation rows choose from: C of logistic regression; of ridge regression, alpha
#: is a thousandth of the number of training rows over it.
STRENGTHS = (0.001, 0.01, 0.1, 1.0, 10.0)
#: The order in which logistic regression tries them, as far as time allows.
TRIED = (0.1, 10.0, 1.0, 0.01, 0.001)
#: Trees (of each class or output) that validation rows choose from; fewer where they take long.
TREES, FEWEST_TREES = 100, 10
#: Multiply-adds that fitting linear models may take, and the iterations that each row is worth;
#: what would take more sees fewer rows.
MOST_WORK, FEWEST_ITERATIONS = 2e11, 10
#: Multiply-adds that last as long as a row's probability of a class.
WORK_OF_A_PROBABILITY = 300
#: Most iterations of a strength.
MOST_ITERATIONS = 2000
#: As many splits of a histogram (rows and bins, of a feature, class and tree) for boosting.
MOST_SPLITS = 2e9
#: Splits that a tree takes whatever its rows: 31 leaves, 63 bins; and to predict a row.
SPLITS_OF_BINS, SPLITS_OF_A_ROW = 2000, 2
#: Fewer training rows than these are not worth fitting.
FEWEST_ROWS = 200
#: The log-odds of what training rows never, or always, show.
CERTAIN = 20.0
#: The features [N, F] and the targets [N] or [N, C] of a split.
Rows = tuple[NDArray[Any], NDArray[Any]]
#: What was chosen, and the outputs [N, C] for validation and test rows that go with it.
Option = tuple[dict[str, Any], NDArray[Any], NDArray[Any]]


@dataclass(frozen=True)
class Fitted:
    """A simple model that has been fitted, chosen and tested.

    Attributes:
        name: as it stands in a table.
        test: its metrics on test rows, by name.
        chosen: what validation rows chose.
        note: what to know of it, such as rows that were left out; empty: nothing.
    """

    name: str
    test: dict[str, float]
    chosen: dict[str, Any]
    note: str = ""


def constant(task: Task, metric: str, train: Rows, valid: Rows, test: Rows) -> Fitted:
    """Give every row the same outputs, which training targets alone decide.

    They are the shares of the classes or of the labels; the mean of real values, or their median
    where methods are compared by ``mae``.

    Args:
        task: what is predicted.
        metric: what methods are compared by, and what validation rows choose by.
        train, valid, test: features and targets of each split.
    """
    targets = np.asarray(task.truth(train[1]))
    if isinstance(task, Classification):
        counts = np.bincount(targets.reshape(-1).astype(int), minlength=task.num_outputs)
        name, outputs = "majority class", np.log(counts / counts.sum() + 1e-12)
    elif isinstance(task, Multilabel):
        shares = targets.mean(0).clip(1e-9, 1 - 1e-9)
        name, outputs = "majority of each label", np.log(shares) - np.log1p(-shares)
    else:
        values = targets.reshape(len(targets), -1).astype(np.float64)
        name = "training median" if metric == "mae" else "training mean"
        outputs = np.median(values, 0) if metric == "mae" else values.mean(0)
    prediction = np.tile(outputs, (len(test[0]), 1))
    return Fitted(name, task.metrics(prediction, test[1]), {})


def linear(
    task: Task, metric: str, train: Rows, valid: Rows, test: Rows, share: float = 1.0
) -> Fitted:
    """Fit logistic regression, one a label where there are several, or ridge regression.

    Features are standardised on training rows.

    Args:
        task, metric, train, valid, test: see :func:`constant`.
        share: of the work that a linear model may take.
    """
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    regression = isinstance(task, Regression)
    name = "ridge regression" if regression else "logistic regression"
    # Of one row in one iteration.
    step = task.num_outputs * (4.0 * train[0].shape[1] + WORK_OF_A_PROBABILITY)
    work = MOST_WORK * share
    train, note = _bounded(train, work / FEWEST_ITERATIONS / step)
    iterations = left = max(int(work / (step * len(train[0]))), 1)
    tried: list[float] = []

    def ridge() -> Iterable[Option]:
        for strength in STRENGTHS:
            model = make_pipeline(StandardScaler(), Ridge(len(train[0]) / 1000 / strength))
            predict, _ = _fit(task, train, model, "predict")
            yield {"strength": strength}, predict(valid[0]), predict(test[0])

    def logistic() -> Iterable[Option]:
        nonlocal left
        for strength in TRIED:
            model = LogisticRegression(C=strength, max_iter=min(left, MOST_ITERATIONS))
            predict, models = _fit(
                task, train, make_pipeline(StandardScaler(), model), "decision_function"
            )
            tried.append(strength)
            yield {"C": strength}, predict(valid[0]), predict(test[0])
            left -= math.ceil(np.mean([one[-1].n_iter_.max() for one in models] or [0]))
            if left < 1:
                return

    options = ridge() if regression else logistic()
    found = _chosen(name, task, metric, valid, test, options, note)
    if regression or left > 0:
        return found
    words = f"fitted with C={', '.join(map(str, tried))} in {iterations} iterations in all"
    return replace(found, note="; ".join(filter(None, [found.note, words])))


def boosting(task: Task, metric: str, train: Rows, valid: Rows, test: Rows) -> Fitted:
    """Fit gradient boosted trees (histograms), one model a label or real value.

    Validation rows choose how many trees. See :func:`constant` for the arguments.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    regression, name = isinstance(task, Regression), "gradient boosting"
    splits = train[0].shape[1] * task.num_outputs  # of a row and a tree
    others = SPLITS_OF_BINS + SPLITS_OF_A_ROW * (len(valid[0]) + len(test[0])) / train[0].shape[1]
    most = MOST_SPLITS / FEWEST_TREES / splits - others
    if most < min(FEWEST_ROWS, len(train[0])):
        note = f"not fitted, since {task.num_outputs:,} trees in each of its rounds take too long"
        return Fitted(name, dict.fromkeys(task.metric_names, math.nan), {"trees": 0}, note)
    train, note = _bounded(train, most)
    trees = MOST_SPLITS / splits / (len(train[0]) + others)
    kind = HistGradientBoostingRegressor if regression else HistGradientBoostingClassifier
    model = kind(
        max_iter=int(np.clip(trees, FEWEST_TREES, TREES)),
        max_bins=63,
        max_features=0.3,
        early_stopping=False,
        random_state=0,
    )
    method = "staged_predict" if regression else "staged_decision_function"
    predict, _ = _fit(task, train, model, method)
    stages = zip(predict(valid[0]), predict(test[0]), strict=True)
    options = (({"trees": trees}, *outputs) for trees, outputs in enumerate(stages, 1))
    return _chosen(name, task, metric, valid, test, options, note)


SIMPLE_MODELS: dict[str, Callable[[Task, str, Rows, Rows, Rows], Fitted]] = {
    "constant": constant,
    "linear": linear,
    "boosting": boosting,
}


def _bounded(train: Rows, most: float) -> tuple[Rows, str]:
    """Take that many rows (or the fewest), evenly, and say so where some are left out."""
    count, kept = len(train[0]), max(int(most), FEWEST_ROWS)
    if count <= kept:
        return train, ""
    rows = np.linspace(0, count - 1, kept).astype(int)
    return (train[0][rows], train[1][rows]), f"fitted on {kept:,} of {count:,} training rows"


def _fit(
    task: Task, train: Rows, model: Any, method: str
) -> tuple[Callable[[NDArray[Any]], Any], list[Any]]:
    """Fit a model of each output; return what maps rows to outputs [N, C], or stages, and models.

    Args:
        task: what is predicted.
        train: features and targets.
        model: of scikit-learn, not fitted.
        method: gives scores for rows; a ``staged_`` one gives them stage by stage.
    """
    from sklearn.base import clone

    targets = np.asarray(task.truth(train[1]))
    if isinstance(task, Classification):
        columns = [targets.reshape(-1)]
    else:
        columns = list(targets.reshape(len(targets), -1).T)
    varied = [isinstance(task, Regression) or len(np.unique(column)) > 1 for column in columns]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a simple model may stop early, or doubt its many classes
        models = [
            clone(model).fit(train[0], column) if varies else None
            for column, varies in zip(columns, varied, strict=True)
        ]
    fitted = [one for one in models if one is not None]

    classes = np.unique(columns[0]).astype(int)

    def outputs(scores: Iterable[NDArray[Any]], rows: int) -> NDArray[Any]:
        """Scores of the models that there are, as outputs of the task."""
        found = iter(scores)
        if isinstance(task, Classification):
            score = np.asarray(next(found, CERTAIN))
            if len(classes) == 2:
                score = np.stack([-score.reshape(rows) / 2, score.reshape(rows) / 2], 1)
            elif len(classes) == task.num_outputs:
                return score
            result = np.full((rows, task.num_outputs), -CERTAIN)
            result[:, classes] = score
            return result
        constants = [CERTAIN if column[0] else -CERTAIN for column in columns]
        filled = [
            np.full(rows, value) if one is None else next(found).reshape(rows)
            for one, value in zip(models, constants, strict=True)
        ]
        return np.stack(filled, 1)

    def predict(rows: NDArray[Any]) -> Any:
        there = [getattr(one, method)(rows) for one in fitted]
        if not method.startswith("staged"):
            return outputs(there, len(rows))
        if not there:
            return iter([outputs((), len(rows))])
        return (outputs(stage, len(rows)) for stage in zip(*there, strict=True))

    return predict, fitted


def _chosen(
    name: str,
    task: Task,
    metric: str,
    valid: Rows,
    test: Rows,
    options: Iterable[Option],
    note: str,
) -> Fitted:
    """The option that is best on validation rows, tested.

    Of options that are equally good, or where the metric is undefined, it is the one of the
    smallest strength, or of the fewest trees.

    Args:
        name, note: see :class:`Fitted`.
        task, metric, valid, test: see :func:`constant`.
        options: at least one.
    """
    sign = 1 if HIGHER_IS_BETTER[metric] else -1
    best_rank, best = (-math.inf, -math.inf), None
    for option in options:
        value = sign * task.metric(metric, option[1], valid[1])
        rank = (-math.inf if math.isnan(value) else value, -next(iter(option[0].values())))
        if best is None or rank > best_rank:
            best_rank, best = rank, option
    assert best is not None
    return Fitted(name, task.metrics(best[2], test[1]), best[0], note)
