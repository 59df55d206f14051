"""How a run's predictions are right and wrong: confusion, classes, curves, residuals."""

from __future__ import annotations

import numpy as np
import pandas as pd

from i2moe_plugin.errors import ConfigError
from i2moe_plugin.interpretation.local import probability
from i2moe_plugin.interpretation.outputs import Outputs
from i2moe_plugin.tasks import Classification, Regression


def confusion(outputs: Outputs) -> pd.DataFrame:
    """Count decisions: a row for each true class, a column for each class that was decided.

    Raises:
        ConfigError: a task other than classification.
    """
    from sklearn.metrics import confusion_matrix

    if not isinstance(outputs.task, Classification):
        raise ConfigError("a confusion matrix is of classes; this run predicts something else.")
    counts = confusion_matrix(
        outputs.target, outputs.decided, labels=np.arange(len(outputs.class_names))
    )
    names = list(outputs.class_names)
    return pd.DataFrame(counts, index=pd.Index(names, name="true"), columns=names)


def class_metrics(outputs: Outputs) -> pd.DataFrame:
    """Judge each class, or each label, alone.

    Returns:
        A row for each: ``class``, ``samples`` (true ones), ``decided`` (so often), ``precision``
        and ``recall`` (NaN where nothing is decided, or true), ``f1``.

    Raises:
        ConfigError: real values.
    """
    truth, decided, _ = _labels(outputs)
    hits = (truth & decided).sum(0)
    samples, chosen = truth.sum(0), decided.sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        frame = {
            "class": list(outputs.class_names),
            "samples": samples,
            "decided": chosen,
            "precision": hits / chosen,
            "recall": hits / samples,
            "f1": 2 * hits / (samples + chosen),
        }
    return pd.DataFrame(frame)


def roc(outputs: Outputs) -> pd.DataFrame:
    """Return each class's ROC curve, the class against the rest.

    Returns:
        ``class``, ``false_positive_rate``, ``true_positive_rate`` and ``area`` (of the whole
        curve); of two classes the second alone. A class that no sample, or every one, has has none.

    Raises:
        ConfigError: real values.
    """
    from sklearn.metrics import roc_auc_score, roc_curve

    parts = []
    for name, truth, scores in _ranked(outputs):
        false, true, _ = roc_curve(truth, scores)
        area = roc_auc_score(truth, scores)
        columns = {"class": name, "false_positive_rate": false, "true_positive_rate": true}
        parts.append(pd.DataFrame({**columns, "area": area}))
    names = ["class", "false_positive_rate", "true_positive_rate", "area"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=names)


def precision_recall(outputs: Outputs) -> pd.DataFrame:
    """Return each class's curve of precision over recall, the class against the rest.

    Returns:
        ``class``, ``recall``, ``precision``, ``average_precision`` (of the whole curve) and
        ``share`` (of samples that have the class: the precision of chance); see :func:`roc`.

    Raises:
        ConfigError: real values.
    """
    from sklearn.metrics import average_precision_score, precision_recall_curve

    parts = []
    for name, truth, scores in _ranked(outputs):
        precision, recall, _ = precision_recall_curve(truth, scores)
        facts = {
            "average_precision": average_precision_score(truth, scores),
            "share": truth.mean(),
        }
        parts.append(
            pd.DataFrame({"class": name, "recall": recall, "precision": precision, **facts})
        )
    columns = ["class", "recall", "precision", "average_precision", "share"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def residuals(outputs: Outputs) -> pd.DataFrame:
    """List what was predicted and what was true: ``output``, ``true``, ``predicted``, ``residual``.

    A residual is predicted - true; there is a row for each sample and output.

    Raises:
        ConfigError: a task other than regression.
    """
    if not isinstance(outputs.task, Regression):
        raise ConfigError("residuals are of real values; this run predicts classes or labels.")
    predicted = outputs.prediction.astype(np.float64)
    true = outputs.target.reshape(predicted.shape).astype(np.float64)
    frame = {
        "output": np.tile(np.array(outputs.class_names, dtype=object), len(outputs)),
        "true": true.reshape(-1),
        "predicted": predicted.reshape(-1),
        "residual": (predicted - true).reshape(-1),
    }
    return pd.DataFrame(frame)


def _labels(outputs: Outputs) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return truth and decisions as booleans [N, C], and probabilities [N, C]."""
    if isinstance(outputs.task, Regression):
        raise ConfigError("this run predicts real values, which have no classes; see residuals.")
    scores = probability(outputs)
    if isinstance(outputs.task, Classification):
        one_hot = np.eye(len(outputs.class_names), dtype=bool)
        return one_hot[outputs.target], one_hot[outputs.decided], scores
    return outputs.target.astype(bool), outputs.decided.astype(bool), scores


def _ranked(outputs: Outputs) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Return each class with its truth and scores [N], where both kinds of samples are there."""
    truth, _, scores = _labels(outputs)
    two = isinstance(outputs.task, Classification) and len(outputs.class_names) == 2
    found = enumerate(outputs.class_names)
    return [
        (name, truth[:, place], scores[:, place])
        for place, name in found
        if 0 < truth[:, place].sum() < len(truth) and not (two and place == 0)
    ]
