"""Tasks: classification, multilabel, regression; each with its loss, decision and metrics."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from i2moe_plugin.errors import ConfigError, ShapeError
from i2moe_plugin.losses import InteractionKind

#: For each metric, whether a larger value is better.
HIGHER_IS_BETTER = {
    "accuracy": True,
    "macro_f1": True,
    "micro_f1": True,
    "auroc": True,
    "correlation": True,
    "mae": False,
    "mse": False,
    "loss": False,
}


@dataclass(frozen=True)
class Task(ABC):
    """What is predicted, and how a prediction is judged.

    Attributes:
        num_outputs: C, the width of a prediction.
    """

    num_outputs: int
    name = "task"
    interaction: InteractionKind = "classification"

    @abstractmethod
    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Mean loss of prediction [B, C] against the target; a scalar."""

    @abstractmethod
    def prepare(self, target: Tensor) -> Tensor:
        """The target in the type and shape that the loss takes.

        Raises:
            ShapeError: it does not fit the task.
        """

    @abstractmethod
    def decide(self, prediction: NDArray[Any]) -> NDArray[Any]:
        """The decision from outputs [N, C]."""

    @abstractmethod
    def metrics(self, prediction: NDArray[Any], target: NDArray[Any]) -> dict[str, float]:
        """Every metric of outputs [N, C] against targets, by name; NaN where it is undefined."""


@dataclass(frozen=True)
class Classification(Task):
    """One of C classes: cross entropy on logits, argmax.

    Attributes:
        class_weights: weight of each class in the loss.
        auroc: ``ovr`` (one class against the rest) or ``ovo`` (every pair), macro mean. With two
            classes it is the AUROC of the second class's probability.

    Raises:
        ConfigError: fewer than 2 classes, or weights that do not match.
    """

    class_weights: tuple[float, ...] | None = None
    auroc: Literal["ovr", "ovo"] = "ovr"
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

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        weight = None
        if self.class_weights is not None:
            weight = torch.as_tensor(
                self.class_weights, dtype=prediction.dtype, device=prediction.device
            )
        return F.cross_entropy(prediction, target, weight)

    def prepare(self, target: Tensor) -> Tensor:
        target = target.squeeze(-1) if target.dim() == 2 and target.shape[1] == 1 else target
        if target.dim() != 1:
            raise ShapeError(f"a classification target is [B]; got {list(target.shape)}.")
        return target.long()

    def decide(self, prediction: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(prediction.argmax(1))

    def metrics(self, prediction: NDArray[Any], target: NDArray[Any]) -> dict[str, float]:
        from scipy.special import softmax
        from sklearn.metrics import accuracy_score, f1_score

        decided = self.decide(prediction)
        scores = softmax(prediction.astype(np.float64), axis=1)
        return {
            "accuracy": float(accuracy_score(target, decided)),
            "macro_f1": float(f1_score(target, decided, average="macro", zero_division=0)),
            "auroc": self._auroc(scores, target),
        }

    def _auroc(self, scores: NDArray[Any], target: NDArray[Any]) -> float:
        from sklearn.metrics import roc_auc_score

        # Undefined where a class has no sample here: NaN, never a number for fewer classes.
        if len(np.unique(target)) < self.num_outputs:
            return float("nan")
        if self.num_outputs == 2:
            return float(roc_auc_score(target, scores[:, 1]))
        return float(
            roc_auc_score(
                target,
                scores,
                multi_class=self.auroc,
                average="macro",
                labels=np.arange(self.num_outputs),
            )
        )


@dataclass(frozen=True)
class Multilabel(Task):
    """Any of C labels: mean binary cross entropy on logits, probability above one half.

    Raises:
        ConfigError: fewer than 2 labels (the interaction losses compare directions over labels).
    """

    name = "multilabel"

    def __post_init__(self) -> None:
        if self.num_outputs < 2:
            raise ConfigError(
                "multilabel needs at least 2 labels; a single yes/no label is a classification "
                "with 2 outputs."
            )

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(prediction, target)

    def prepare(self, target: Tensor) -> Tensor:
        if target.dim() != 2 or target.shape[1] != self.num_outputs:
            raise ShapeError(
                f"a multilabel target is [B, {self.num_outputs}]; got {list(target.shape)}."
            )
        return target if target.is_floating_point() else target.float()

    def decide(self, prediction: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(prediction > 0, dtype=np.int64)

    def metrics(self, prediction: NDArray[Any], target: NDArray[Any]) -> dict[str, float]:
        from sklearn.metrics import accuracy_score, f1_score

        decided, truth = self.decide(prediction), target.astype(np.int64)
        return {
            "micro_f1": float(f1_score(truth, decided, average="micro", zero_division=0)),
            "macro_f1": float(f1_score(truth, decided, average="macro", zero_division=0)),
            "accuracy": float(accuracy_score(truth, decided)),
        }


@dataclass(frozen=True)
class Regression(Task):
    """C real values: smooth L1 (beta 1), MAE, MSE and the Pearson correlation."""

    name = "regression"
    interaction: InteractionKind = "regression"

    def __post_init__(self) -> None:
        if self.num_outputs < 1:
            raise ConfigError(f"regression needs at least 1 output, not {self.num_outputs}.")

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        if target.shape != prediction.shape:  # [B] against [B, 1] would broadcast to [B, B]
            raise ShapeError(
                f"target {list(target.shape)} does not match prediction {list(prediction.shape)}."
            )
        return F.smooth_l1_loss(prediction, target)

    def prepare(self, target: Tensor) -> Tensor:
        if target.numel() != target.shape[0] * self.num_outputs:
            raise ShapeError(
                f"a regression target is [B, {self.num_outputs}]; got {list(target.shape)}."
            )
        target = target.reshape(target.shape[0], self.num_outputs)
        return target if target.is_floating_point() else target.float()

    def decide(self, prediction: NDArray[Any]) -> NDArray[Any]:
        return prediction

    def metrics(self, prediction: NDArray[Any], target: NDArray[Any]) -> dict[str, float]:
        from scipy.stats import pearsonr
        from sklearn.metrics import mean_absolute_error, mean_squared_error

        truth = target.reshape(prediction.shape)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a constant column has no correlation: NaN says so
            correlations = [
                pearsonr(prediction[:, c], truth[:, c]).statistic if len(truth) > 1 else np.nan
                for c in range(self.num_outputs)
            ]
        return {
            "mae": float(mean_absolute_error(truth, prediction)),
            "mse": float(mean_squared_error(truth, prediction)),
            "correlation": float(np.mean(correlations)),
        }
