"""The native training loop, over Lightning Fabric (CPU, GPU, mixed precision).

Batches are MultiBench's: ``(x_1, ..., x_M, y)``. Each epoch is seeded from the run's seed and its
number, so that a run that goes on from a saved state gives the numbers of one that never stopped.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor, nn

from i2moe_plugin.best_epochs import BestEpochs, on_cpu
from i2moe_plugin.errors import BackboneError, ConfigError, TrainingError, did_you_mean
from i2moe_plugin.joined import join
from i2moe_plugin.multimodal import Losses, ModelOutput, MultimodalModel, in_full
from i2moe_plugin.seeding import seeded
from i2moe_plugin.shares import shares
from i2moe_plugin.target_scale import TargetScale
from i2moe_plugin.tasks import HIGHER_IS_BETTER
from i2moe_plugin.training_state import check_fits

Batches = Iterable[Sequence[Any]]
Schedule = Literal["constant", "cosine"]
#: So many training samples are predicted at the end, to see what was learned by heart.
TRAINING_SAMPLES = 10_000


@dataclass(frozen=True)
class Predictions:
    """What a model said of a whole split; rows in the loader's order.

    Attributes:
        prediction: [N, C].
        target: [N] or [N, C].
        loss: mean task loss over samples; of standardised targets, where the trainer has a scale.
        outputs: each expert's output on the complete view, [N, E, C]; None without experts.
        weights: [N, E]; None without a weighted mixture.
    """

    prediction: NDArray[Any]
    target: NDArray[Any]
    loss: float
    outputs: NDArray[Any] | None = None
    weights: NDArray[Any] | None = None


class Trainer:
    """Trains one model and keeps its best epoch.

    Args:
        model: vanilla or I2MoE; it is moved to the device.
        metric: what the validation split selects the epoch by (strict improvement; the first epoch
            is kept whatever its value): a metric of the task, or ``loss``, the task's loss.
        lr, weight_decay: of AdamW (Adam, where there is no decay).
        clip_grad_norm: clip the gradient's norm before the step; None: never.
        seed: the run's.
        patience: stop after so many epochs in a row of which none was better; among epochs of equal
            value the one with the lower loss is then the better one. None: train them all.
        schedule: ``constant``, or ``cosine``: the learning rate falls from epoch to epoch as half a
            cosine does, to 0 after the last.
        target_scale: train on standardised targets; predictions and experts' outputs are in the
            targets' own units, losses in standardised ones. None: targets as they are.
        fabric: devices and precision; by default one device, the best there is, in float32. Of
            several (ddp, without the synchronisation of buffers) each has a process, a rank, of its
            own: its training batches are its shares of the joined ones, and the first rank alone
            predicts.

    Raises:
        ConfigError: an unknown metric.
    """

    def __init__(
        self,
        model: MultimodalModel,
        *,
        metric: str,
        lr: float = 1e-3,
        weight_decay: float = 0.0,
        clip_grad_norm: float | None = None,
        seed: int = 0,
        patience: int | None = None,
        schedule: Schedule = "constant",
        target_scale: TargetScale | None = None,
        fabric: Fabric | None = None,
    ) -> None:
        names = (*model.task.metric_names, "loss")
        if metric not in names:
            raise ConfigError(
                f"{model.task.name} has no metric {metric!r}.{did_you_mean(metric, names)} "
                f"It has: {', '.join(names)}."
            )
        self.model, self.metric, self.seed = model, metric, seed
        self.clip_grad_norm, self.patience = clip_grad_norm, patience
        self.lr, self.schedule = lr, schedule
        self.target_scale = target_scale
        self.fabric = fabric if fabric is not None else Fabric(devices=1)
        # One kernel for all parameters; a scaled fp16 gradient could not be clipped before it.
        scaled = self.fabric._precision.precision == "16-mixed"
        optimizer = torch.optim.AdamW(
            [p for p in model.parameters() if p.requires_grad],
            lr=lr,
            weight_decay=weight_decay,
            fused=self.fabric.device.type in ("cpu", "cuda") and not scaled,
        )
        self._wrapped, self._optimizer = self.fabric.setup(model, optimizer)
        self.history: list[dict[str, Any]] = []
        rank = self.fabric.global_rank
        self._own_place = ("rank", rank) if rank else ()  # its masking noise and dropout
        self._best = BestEpochs()
        self._last_state: dict[str, Tensor] = {}  # while the model holds the best epoch's

    def fit(
        self,
        train: Batches,
        valid: Batches,
        epochs: int,
        on_epoch: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        """Train up to ``epochs`` epochs in all, then take the best epoch's weights.

        Called again with more epochs, it goes on from the last epoch, not from the best one.

        Args:
            train: training batches; a sampler or data set with ``set_epoch`` is told the epoch.
            valid: validation batches.
            epochs: the number of the last epoch.
            on_epoch: called with each epoch's record.

        Raises:
            BackboneError: the model's first prediction is not finite.
            TrainingError: the loss is not finite, or there is nothing to train on.
        """
        if self._last_state:
            self.model.load_state_dict(self._last_state)
            self._last_state = {}
        if not self.history:
            self._probe(train)
        for epoch in range(len(self.history) + 1, epochs + 1):
            if self.patience is not None and epoch - 1 - self._best.last >= self.patience:
                break
            start = time.perf_counter()
            self.model.set_epoch(epoch)
            if self.schedule == "cosine":
                for group in self._optimizer.param_groups:
                    group["lr"] = self.lr * (1 + math.cos(math.pi * (epoch - 1) / epochs)) / 2
            with seeded(self.seed, "epoch", epoch, *self._own_place):
                record = {"epoch": epoch, **self._train_epoch(train, epoch)}
            value, loss, apart = self.fabric.broadcast(
                self._validate(valid) if self.fabric.is_global_zero else (math.nan, math.nan, {})
            )
            record["valid"] = {"loss": loss, self.metric: value, **apart}
            record["seconds"] = time.perf_counter() - start
            self.history.append(record)
            self._best.keep(
                self.model,
                epoch,
                value,
                loss,
                apart,
                higher=bool(HIGHER_IS_BETTER.get(self.metric)),  # the loss: lower
                ties=self.patience is not None,
            )
            if on_epoch is not None:
                on_epoch(record)
        if self._best.state:
            self._last_state = on_cpu(self.model.state_dict())
            self.model.load_state_dict(self._best.state)
            if self.model.separate_parts and self.fabric.is_global_zero:
                self.model.conclude(*self._in_training_units(self.predict(valid)))
                again = self.predict(train, most=TRAINING_SAMPLES)
                self.model.conclude_training(*self._in_training_units(again))

    def _validate(self, valid: Batches) -> tuple[float, float, dict[str, float]]:
        """Compute what selects an epoch: the metric's value, the loss, and that of parts."""
        result = self.predict(valid)
        if not len(result.prediction):
            raise TrainingError("the validation split is empty: no epoch can be selected.")
        # Only what selects: AUROC over 20 classes would cost more than a small epoch.
        value = result.loss
        if self.metric != "loss":
            value = self.model.task.metric(self.metric, result.prediction, result.target)
        return value, result.loss, self.model.separate_losses(*self._in_training_units(result))

    def predict(
        self, batches: Batches, absent: Sequence[int] = (), most: float = math.inf
    ) -> Predictions:
        """Run the model over batches in evaluation mode, complete view only.

        Args:
            batches: ``(x_1, ..., x_M, y)``.
            absent: modalities (0-based) to do without.
            most: stop after the batch with which there are so many samples.

        Raises:
            TrainingError: a prediction is not finite.
        """
        self._wrapped.eval()
        rows, count = list[dict[str, Tensor]](), 0
        with torch.no_grad(), seeded(self.seed, "predict"):
            for *inputs, target in self._batches(batches):
                output: ModelOutput = self._wrapped(inputs, absent)
                row = {
                    "prediction": in_full(output.prediction),
                    "target": self.model.task.prepare(target),
                }
                if output.outputs is not None:
                    row["outputs"] = output.outputs[:, 0].transpose(0, 1).float()
                if output.weights is not None:
                    row["weights"] = output.weights.float()
                rows.append({name: tensor.cpu() for name, tensor in row.items()})
                if (count := count + len(target)) >= most:
                    break
        if not rows:
            empty = np.zeros((0, self.model.task.num_outputs), dtype=np.float32)
            return Predictions(empty, np.zeros(0), math.nan)
        columns = {name: torch.cat([row[name] for row in rows]) for name in rows[0]}
        prediction = columns["prediction"]
        bad = int((~torch.isfinite(prediction)).any(1).sum())
        if bad:
            raise TrainingError(
                f"{bad} of {len(prediction)} predictions are not finite: the model has diverged. "
                "A lower learning rate, or clip_grad_norm=1, usually helps."
            )
        # Over the whole split at once: a mean of batches' means would depend on the batch size.
        loss = float(self.model.task.loss(prediction, self._target(columns["target"])))
        if self.target_scale is not None:
            for name in {"prediction", "outputs"} & columns.keys():
                columns[name] = self.target_scale.restore(columns[name])
        return Predictions(loss=loss, **{name: value.numpy() for name, value in columns.items()})

    def state_dict(self) -> dict[str, Any]:
        """Copy all that :meth:`fit` needs to go on after the last epoch."""
        return copy.deepcopy(
            {
                "model": self._last_state or self.model.state_dict(),
                "optimizer": self._optimizer.state_dict(),
                "best_state": self._best.state,
                "best_epochs": self._best.epochs,
                "best_values": self._best.values,
                "best_loss": self._best.loss,
                "history": self.history,
                "plan": self.model.plan,
                "precision": self.fabric._precision.state_dict(),
            }
        )

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state_dict` gave, which stays as it is.

        Raises:
            TrainingError: it is not a state of this model and optimizer; then nothing is changed.
        """
        before, last = self.state_dict(), self._last_state
        parameters = [p for group in self._optimizer.param_groups for p in group["params"]]
        try:
            check_fits(state, before, parameters)
            self._take(copy.deepcopy(state))
        # A module's own way of loading may raise anything, after it has taken a part.
        except Exception as error:
            self._take(before)
            if last:  # fitted: the model holds the best epoch
                self._last_state = last
                self.model.load_state_dict(self._best.state)
            reason = f"it has no {error}" if isinstance(error, KeyError) else error
            raise TrainingError(f"this state does not fit the model: {reason}") from error

    def _take(self, state: dict[str, Any]) -> None:
        self._last_state = {}
        self.model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        if state["precision"]:
            self.fabric._precision.load_state_dict(state["precision"])
        self._best = BestEpochs(
            **{name: state[f"best_{name}"] for name in ("epochs", "values", "loss", "state")}
        )
        self.history = state["history"]
        self.model.plan = state["plan"]  # another one would not go on with the same digits

    @property
    def best_epochs(self) -> dict[str, int]:
        """The best epoch of each part that is kept apart; of the whole model under no name."""
        return self._best.epochs

    @property
    def best_epoch(self) -> int:
        """The epoch that was kept; of parts that are kept apart, the last one's."""
        return next(reversed(self.best_epochs.values()), 0)

    @property
    def plan(self) -> dict[str, Any]:
        """How the model was run, and why: for the record of a run."""
        return dict(self.model.plan or {})

    def _train_epoch(self, train: Batches, epoch: int) -> dict[str, Any]:
        for name in ("sampler", "batch_sampler", "dataset"):
            part = getattr(train, name, None)
            if part is not None and hasattr(part, "set_epoch"):
                part.set_epoch(epoch)
        self._wrapped.train()
        sums: dict[str, Tensor] = {}
        count, ranks = 0, self.fabric.world_size
        for *inputs, target in self._batches(train):
            with shares(len(target), target, ranks):
                output, target = join(self._wrapped(inputs), target)
            losses = self.model.losses(output, self._target(target))
            self._optimizer.zero_grad()
            # The ranks' gradients are to be summed, and Fabric takes their mean.
            self.fabric.backward(losses.total if ranks == 1 else losses.total * ranks)
            if self.clip_grad_norm is not None:
                # A gradient that is not finite shows in the loss, and is reported there.
                self.fabric.clip_gradients(
                    self._wrapped,
                    self._optimizer,
                    max_norm=self.clip_grad_norm,
                    error_if_nonfinite=False,
                )
            self._optimizer.step()
            # Sums stay on the device: reading them here would stall it at every step.
            for key, value in _terms(losses, output).items():
                value = value.detach() * len(target)
                sums[key] = sums[key] + value if key in sums else value
            count += len(target)
        if not count:
            raise TrainingError("the training split is empty.")
        means: dict[str, Any] = {key: (value / count).tolist() for key, value in sums.items()}
        if not math.isfinite(means["loss"]):
            raise TrainingError(
                f"the training loss is not finite in epoch {epoch} ({_describe(means)}). "
                "A lower learning rate, or clip_grad_norm=1, usually helps."
            )
        return {"train": means}

    def _in_training_units(self, found: Predictions) -> tuple[Any, NDArray[Any]]:
        """Experts' outputs and targets as the model knows them: standardised, where they are."""
        if self.target_scale is None or found.outputs is None:
            return found.outputs, found.target
        outputs, target = torch.from_numpy(found.outputs), torch.from_numpy(found.target)
        scale = self.target_scale
        prepared = self.model.task.prepare(target)
        return scale.standardise(outputs).numpy(), scale.standardise(prepared).numpy()

    def _target(self, target: Tensor) -> Tensor:
        """Bring a batch's target to what the model is trained on."""
        if self.target_scale is None:
            return target
        return self.target_scale.standardise(self.model.task.prepare(target))

    def _batches(self, batches: Batches) -> Iterator[list[Any]]:
        for batch in batches:
            yield list(self.fabric.to_device(tuple(batch)))

    def _probe(self, train: Batches) -> None:
        """Predict once before training, so that a broken part is named and not just 'NaN'."""
        with seeded(self.seed, "probe"), torch.no_grad():
            batch = next(self._batches(train), None)
            if batch is None:
                raise TrainingError("the training split is empty.")
            *inputs, _ = batch
            self._wrapped.eval()
            output = self._wrapped(inputs)
            if torch.isfinite(output.prediction).all():
                return
            latents = self.model.encode(inputs).latents
        for index, latent in enumerate(latents):
            if not torch.isfinite(latent).all():
                raise TrainingError(
                    f"the latent of modality {index + 1} is not finite before training: "
                    "its inputs or its encoder hold NaN or infinity."
                )
        raise BackboneError(
            "the backbone's output is not finite before training, although its latents are."
        )


def count_parameters(module: nn.Module) -> int:
    """Count the trainable parameters."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def _terms(losses: Losses, output: ModelOutput) -> dict[str, Tensor]:
    terms = {"loss": losses.total, "task": losses.task, "auxiliary": losses.auxiliary}
    if losses.interaction is not None:
        terms["interaction"] = losses.interaction
    if output.weights is not None:
        terms["weights"] = output.weights.mean(0)
    return terms


def _describe(means: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in means.items() if key != "weights")
