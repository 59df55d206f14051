"""Tasks: classification, multilabel, regression; each with its loss, decision and metrics.

torch is imported by what computes losses alone: stored outputs are read and judged without it.
"""

from __future__ import annotations

import functools
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from i2moe_plugin.auroc import MANY_CLASSES, auroc_of_many
from i2moe_plugin.errors import ConfigError, DatasetError, ShapeError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

#: For each metric, whether a larger value is better.
HIGHER_IS_BETTER = {
    "accuracy": True,
    "accuracy_nonzero": True,
    "macro_f1": True,
    "micro_f1": True,
    "auroc": True,
    "auprc": True,
    "correlation": True,
    "mae": False,
    "mse": False,
}


@dataclass(frozen=True)
class Task(ABC):
    """What is predicted, and how a prediction is judged.

    Attributes:
        num_outputs: C, the width of a prediction.
        name: of the kind of task.
        objective: the name of the interaction losses that fit its outputs.
    """

    num_outputs: int
    name: ClassVar[str] = "task"
    objective: ClassVar[str] = "classification"

    @property
    def metric_names(self) -> tuple[str, ...]:
        """The metrics it is judged by."""
        return ()

    @abstractmethod
    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Compute the mean loss of prediction [B, C] against the target; a scalar."""

    @abstractmethod
    def prepare(self, target: Tensor) -> Tensor:
        """Bring the target into the type and shape that the loss takes.

        Raises:
            ShapeError: its shape does not fit the task.
            DatasetError: it holds labels that are none of the task's.
        """

    @abstractmethod
    def decide(self, prediction: NDArray[Any]) -> NDArray[Any]:
        """Decide from outputs [N, C]."""

    def truth(self, target: NDArray[Any]) -> NDArray[Any]:
        """Make of targets the decisions that would be right; they are kept beside outputs."""
        return target

    @abstractmethod
    def metric(self, name: str, prediction: NDArray[Any], target: NDArray[Any]) -> float:
        """Compute one of :attr:`metric_names` from outputs [N, C] and targets; NaN if undefined."""

    def metrics(self, prediction: NDArray[Any], target: NDArray[Any]) -> dict[str, float]:
        """Compute every metric, by name."""
        return {name: self.metric(name, prediction, target) for name in self.metric_names}

    def describe(self) -> dict[str, Any]:
        """Write the kind of task and its settings for JSON; :func:`task_from` reads it."""
        return {"name": self.name, **asdict(self)}


def task_from(record: Mapping[str, Any]) -> Task:
    """Make the task that :meth:`Task.describe` wrote.

    Raises:
        ConfigError: no such task, or settings that it does not have.

    >>> task_from(Classification(3, auroc="ovo").describe())
    Classification(num_outputs=3, class_weights=None, auroc='ovo', auprc=False)
    """
    kinds = {kind.name: kind for kind in _kinds() if "name" in vars(kind)}
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in record.items()
    }
    name = values.pop("name", None)
    if name not in kinds:
        raise ConfigError(f"{name!r} is no task. Known: {', '.join(sorted(kinds))}.")
    try:
        return kinds[name](**values)
    except TypeError as error:
        raise ConfigError(f"not the settings of a {name} task: {error}.") from error


def _kinds(base: Any = Task) -> Iterator[type[Task]]:
    for kind in base.__subclasses__():
        yield kind
        yield from _kinds(kind)


@dataclass(frozen=True)
class Classification(Task):
    """One of C classes: cross entropy on logits, argmax.

    Attributes:
        class_weights: weight of each class in the loss.
        auroc: ``ovr`` (one class against the rest) or ``ovo`` (every pair), macro mean. With two
            classes it is the AUROC of the second class's probability.
        auprc: judge by the average precision too: of the second of two classes; of more, the mean
            of each against the rest.

    Raises:
        ConfigError: fewer than 2 classes, or weights that do not match.
    """

    class_weights: tuple[float, ...] | None = None
    auroc: Literal["ovr", "ovo"] = "ovr"
    auprc: bool = False
    name = "classification"

    def __post_init__(self) -> None:
        if self.num_outputs < 2:
            raise ConfigError(
                f"classification needs at least 2 outputs, not {self.num_outputs}: a binary label "
                "takes 2."
            )
        if self.class_weights is not None and len(self.class_weights) != self.num_outputs:
            raise ConfigError(
                f"{len(self.class_weights)} class weights for {self.num_outputs} classes."
            )

    @property
    def metric_names(self) -> tuple[str, ...]:
        return ("accuracy", "macro_f1", "auroc", *(["auprc"] if self.auprc else []))

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        from torch.nn import functional as F

        weight = None
        if self.class_weights is not None:
            weight = _constant(self.class_weights, prediction.dtype, prediction.device)
        return F.cross_entropy(prediction, target, weight)

    def prepare(self, target: Tensor) -> Tensor:
        target = target.squeeze(-1) if target.dim() == 2 and target.shape[1] == 1 else target
        if target.dim() != 1:
            raise ShapeError(f"a classification target is [B]; got {list(target.shape)}.")
        labels = target.long()
        # Looking costs nothing on a CPU, and would stall other devices at every step.
        if target.device.type == "cpu":
            wrong = target[(labels != target) | (labels < 0) | (labels >= self.num_outputs)]
            if len(wrong):
                raise DatasetError(
                    f"a label is a whole number from 0 to {self.num_outputs - 1}; this batch has "
                    f"{', '.join(map(str, wrong.unique().tolist()[:5]))}."
                )
        return labels

    def decide(self, prediction: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(prediction.argmax(1))

    def metric(self, name: str, prediction: NDArray[Any], target: NDArray[Any]) -> float:
        from scipy.special import softmax
        from sklearn.metrics import (
            accuracy_score,
            average_precision_score,
            f1_score,
            roc_auc_score,
        )

        if name == "accuracy":
            return float(accuracy_score(target, self.decide(prediction)))
        if name == "macro_f1":
            decided = self.decide(prediction)
            return float(f1_score(target, decided, average="macro", zero_division=0))
        # Undefined where a class has no sample here: NaN, never a number for fewer classes.
        if len(np.unique(target)) < self.num_outputs:
            return float("nan")
        scores = softmax(prediction.astype(np.float64), axis=1)
        scores = scores[:, 1] if self.num_outputs == 2 else scores
        if name == "auprc":
            return float(average_precision_score(target, scores))
        if self.num_outputs > MANY_CLASSES:
            return auroc_of_many(scores, target, self.auroc)
        classes = np.arange(self.num_outputs)
        return float(roc_auc_score(target, scores, multi_class=self.auroc, labels=classes))


@dataclass(frozen=True)
class SignClassification(Classification):
    """Whether a score is above zero: two classes, and targets [B] that are the scores themselves.

    So beside the accuracy, for which a score of zero is not above zero (I2MoE's), stands the
    accuracy without zero scores, ``accuracy_nonzero`` (MultiBench's, ``eval_affect``). Kept outputs
    are judged as any classification is, by the classes that :meth:`truth` gives.
    """

    num_outputs: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_outputs != 2:
            raise ConfigError(f"a sign is one of 2 classes, not of {self.num_outputs}.")

    @property
    def metric_names(self) -> tuple[str, ...]:
        first, *more = super().metric_names
        return (first, "accuracy_nonzero", *more)

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        return super().loss(prediction, (target > 0).long())

    def prepare(self, target: Tensor) -> Tensor:
        return _scores(target, "sign classification")

    def truth(self, target: NDArray[Any]) -> NDArray[Any]:
        return (np.asarray(target) > 0).astype(np.int64)

    def metric(self, name: str, prediction: NDArray[Any], target: NDArray[Any]) -> float:
        if name == "accuracy_nonzero":
            return _sign_accuracy(self.decide(prediction) > 0, target, zeros=False)
        return super().metric(name, prediction, self.truth(target))


@dataclass(frozen=True)
class Multilabel(Task):
    """Any of C labels: mean binary cross entropy on logits, probability above one half.

    Raises:
        ConfigError: fewer than 2 labels (the interaction losses compare directions over labels).
    """

    name = "multilabel"
    metric_names = ("micro_f1", "macro_f1", "accuracy")

    def __post_init__(self) -> None:
        if self.num_outputs < 2:
            raise ConfigError(
                "multilabel needs at least 2 labels; a single yes/no label is a classification "
                "with 2 outputs."
            )

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        from torch.nn import functional as F

        return F.binary_cross_entropy_with_logits(prediction, target.to(prediction.dtype))

    def prepare(self, target: Tensor) -> Tensor:
        if target.dim() != 2 or target.shape[1] != self.num_outputs:
            raise ShapeError(
                f"a multilabel target is [B, {self.num_outputs}]; got {list(target.shape)}."
            )
        return target if target.is_floating_point() else target.float()

    def decide(self, prediction: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(prediction > 0, dtype=np.int64)

    def metric(self, name: str, prediction: NDArray[Any], target: NDArray[Any]) -> float:
        from sklearn.metrics import accuracy_score, f1_score

        decided, truth = self.decide(prediction), target.astype(np.int64)
        if name == "accuracy":
            return float(accuracy_score(truth, decided))
        average = name.removesuffix("_f1")
        return float(f1_score(truth, decided, average=average, zero_division=0))


@dataclass(frozen=True)
class Regression(Task):
    """C real values; MAE, MSE and the Pearson correlation.

    Attributes:
        criterion: the loss: ``smooth_l1`` (beta 1), ``mae`` or ``mse``.
    """

    criterion: Literal["smooth_l1", "mae", "mse"] = "smooth_l1"
    name = "regression"
    metric_names: ClassVar[tuple[str, ...]] = ("mae", "mse", "correlation")
    objective = "regression"

    def __post_init__(self) -> None:
        if self.num_outputs < 1:
            raise ConfigError(f"regression needs at least 1 output, not {self.num_outputs}.")
        if self.criterion not in ("smooth_l1", "mae", "mse"):
            raise ConfigError(f"criterion {self.criterion!r} is not smooth_l1, mae or mse.")

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        from torch.nn import functional as F

        if target.shape != prediction.shape:  # [B] against [B, 1] would broadcast to [B, B]
            raise ShapeError(
                f"target {list(target.shape)} does not match prediction {list(prediction.shape)}."
            )
        losses = {"smooth_l1": F.smooth_l1_loss, "mae": F.l1_loss, "mse": F.mse_loss}
        return losses[self.criterion](prediction, target)

    def prepare(self, target: Tensor) -> Tensor:
        if not target.dim() or target.numel() != target.shape[0] * self.num_outputs:
            raise ShapeError(
                f"a regression target is [B, {self.num_outputs}]; got {list(target.shape)}."
            )
        target = target.reshape(target.shape[0], self.num_outputs)
        return target if target.is_floating_point() else target.float()

    def decide(self, prediction: NDArray[Any]) -> NDArray[Any]:
        return prediction

    def metric(self, name: str, prediction: NDArray[Any], target: NDArray[Any]) -> float:
        from scipy.stats import pearsonr
        from sklearn.metrics import mean_absolute_error, mean_squared_error

        truth = target.reshape(prediction.shape)
        if name == "mae":
            return float(mean_absolute_error(truth, prediction))
        if name == "mse":
            return float(mean_squared_error(truth, prediction))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a constant column has no correlation: NaN says so
            several = len(truth) > 1
            pairs = zip(prediction.T, truth.T, strict=True)
            return float(np.mean([pearsonr(*p).statistic if several else np.nan for p in pairs]))


@dataclass(frozen=True)
class SignedRegression(Regression):
    """One real value whose sign matters: a regression judged also by the sign.

    ``accuracy``: the share of predictions on the right side, above zero or not (I2MoE's);
    ``accuracy_nonzero``: the same without targets of zero (MultiBench's, ``eval_affect``).
    """

    num_outputs: int = 1
    name = "signed-regression"
    metric_names = ("mae", "mse", "correlation", "accuracy", "accuracy_nonzero")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_outputs != 1:
            raise ConfigError(f"a signed regression has 1 output, not {self.num_outputs}.")

    def metric(self, name: str, prediction: NDArray[Any], target: NDArray[Any]) -> float:
        if name not in ("accuracy", "accuracy_nonzero"):
            return super().metric(name, prediction, target)
        return _sign_accuracy(prediction > 0, target, zeros=name == "accuracy")


@functools.lru_cache(maxsize=16)
def _constant(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Make a tensor once: copied to a device at every step, it would stall it."""
    import torch

    with torch.inference_mode(False):
        return torch.tensor(values, dtype=dtype, device=device)


def _scores(target: Tensor, kind: str) -> Tensor:
    if not target.dim() or target.numel() != target.shape[0]:
        raise ShapeError(f"a target of {kind} is [B]; got {list(target.shape)}.")
    target = target.reshape(-1)
    return target if target.is_floating_point() else target.float()


def _sign_accuracy(above: NDArray[Any], target: NDArray[Any], *, zeros: bool) -> float:
    """Compute the share of samples rightly said to be above zero or not; NaN where none are."""
    scores = np.asarray(target).reshape(-1)
    kept = np.ones(len(scores), bool) if zeros else scores != 0
    right = above.reshape(-1) == (scores > 0)
    return float(right[kept].mean()) if kept.any() else float("nan")
