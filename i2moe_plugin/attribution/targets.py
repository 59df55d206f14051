"""What is explained of a prediction: which class, which labels, which value."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from i2moe_plugin.errors import ConfigError, ShapeError
from i2moe_plugin.tasks import Classification, Multilabel, Regression, Task


@dataclass(frozen=True, eq=False)
class Targets:
    """The outputs that each sample is explained by, chosen once from the complete input.

    Attributes:
        task: the kind of prediction.
        chosen: [B, C], True for the outputs that count.
        complete: [B, C], the outputs of the complete input.
    """

    task: Task
    chosen: Tensor
    complete: Tensor

    def score(self, outputs: Tensor) -> Tensor:
        """The mean of the chosen outputs (logits, or real values): [B, C] -> [B]."""
        return self._mean(outputs)

    def support(self, outputs: Tensor) -> Tensor:
        """How far other outputs stand by what was predicted: [B, C] -> [B].

        Of a class the softmax probability; of labels the mean of their sigmoids; of real values
        minus the distance from the complete input's, since they have no probability.
        """
        if isinstance(self.task, Classification):
            return self._mean(outputs.softmax(-1))
        if isinstance(self.task, Multilabel):
            return self._mean(outputs.sigmoid())
        return -self._mean((outputs - self.complete).abs())

    def of(self, row: int) -> Targets:
        """The targets of one sample, for any number of its versions: B = 1 broadcasts."""
        return self.rows(slice(row, row + 1))

    def rows(self, rows: slice) -> Targets:
        """The targets of some of the samples."""
        return Targets(self.task, self.chosen[rows], self.complete[rows])

    def _mean(self, values: Tensor) -> Tensor:
        if values.ndim != 2 or values.shape[1] != self.chosen.shape[1]:
            raise ShapeError(
                f"outputs must be [B, {self.chosen.shape[1]}], not {list(values.shape)}."
            )
        return (values * self.chosen).sum(1) / self.chosen.sum(1)


def choose_targets(task: Task, outputs: Tensor, truth: Tensor | None = None) -> Targets:
    """Choose what is explained: what was predicted, or what is true.

    One of several classes: the predicted or the true one. Several labels: those with a probability
    above one half, or the true ones, and where there are none the most probable one. Real
    values: all outputs.

    Args:
        task: the kind of prediction.
        outputs: [B, C], of the complete input.
        truth: [B] classes or [B, C] labels, to explain the truth in place of the prediction.

    Raises:
        ShapeError: shapes that do not fit the task.
        ConfigError: a kind of task that is not known, or the truth of real values.
    """
    if outputs.ndim != 2 or outputs.shape[1] != task.num_outputs:
        raise ShapeError(f"outputs must be [B, {task.num_outputs}], not {list(outputs.shape)}.")
    outputs = outputs.detach()
    best = torch.nn.functional.one_hot(outputs.argmax(1), task.num_outputs).bool()
    if isinstance(task, Regression):
        if truth is not None:
            raise ConfigError("of real values the prediction is explained; the truth is no output.")
        chosen = torch.ones_like(best)
    elif isinstance(task, Multilabel):
        wanted = outputs > 0 if truth is None else truth.bool()
        if wanted.shape != best.shape:
            raise ShapeError(f"true labels must be {list(best.shape)}, not {list(wanted.shape)}.")
        chosen = torch.where(wanted.any(1, keepdim=True), wanted, best)
    elif isinstance(task, Classification):
        if truth is not None and truth.shape != outputs.shape[:1]:
            raise ShapeError(f"true classes must be [{len(outputs)}], not {list(truth.shape)}.")
        chosen = (
            best if truth is None else torch.nn.functional.one_hot(truth, task.num_outputs).bool()
        )
    else:
        raise ConfigError(f"{task.name} is no task whose predictions are explained.")
    return Targets(task, chosen, outputs)
