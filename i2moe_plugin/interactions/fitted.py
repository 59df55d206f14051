"""What is fitted to an evidence network once it is trained: its calibrations, and what follows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2moe_plugin.errors import ConfigError
from i2moe_plugin.interactions.evidence import Calibration, both_priors, calibrate
from i2moe_plugin.interactions.sets import additive_models, modality_sets, standard_errors
from i2moe_plugin.tasks import Task

Array = NDArray[Any]
#: The numbers of a calibration, in the order in which they are written.
_NUMBERS = tuple(field.name for field in fields(Calibration) if field.name != "task")


@dataclass(frozen=True)
class Members:
    """The models of an evidence network, in the order of its outputs.

    First those of each unimodal bank, one for each set of modalities in the order of
    :func:`~i2moe_plugin.interactions.sets.modality_sets`; then the joint experts.

    Attributes:
        modalities: M.
        copies: how many unimodal banks there are, each with weights of its own.
        joint: how many joint experts.

    Raises:
        ConfigError: none of a kind, or a number of modalities that no bank is made for.

    >>> Members(modalities=2, copies=2, joint=3).count
    9
    """

    modalities: int
    copies: int
    joint: int

    def __post_init__(self) -> None:
        modality_sets(self.modalities)
        few = [name for name in ("copies", "joint") if getattr(self, name) < 1]
        if few:
            raise ConfigError([f"evidence.{name} must be at least 1." for name in few])

    @property
    def sets(self) -> tuple[tuple[int, ...], ...]:
        """The sets of modalities that a bank has a model of."""
        return modality_sets(self.modalities)

    @property
    def count(self) -> int:
        """How many models there are."""
        return self.copies * len(self.sets) + self.joint

    @property
    def trainings(self) -> int:
        """How many copies of all models there are, from which an error of training is told."""
        return min(self.copies, self.joint)

    @property
    def calibrated_apart(self) -> int:
        """How many copies are calibrated by themselves too: none where there is only one."""
        return self.trainings if self.trainings > 1 else 0

    def pooled(self, outputs: Array, training: int | None = None) -> Array:
        """Mean over the copies of each model.

        Args:
            outputs: [N, count, C].
            training: take these copies alone, from 0; all by default.

        Returns:
            [N, 2^M, C], as :func:`~i2moe_plugin.interactions.evidence.calibrate` takes it.
        """
        values = np.asarray(outputs, dtype=np.float64)
        split = self.copies * len(self.sets)
        banks = values[:, :split].reshape(len(values), self.copies, len(self.sets), -1)
        joint = values[:, split:]
        if training is not None:
            banks = banks[:, training :: self.trainings]
            joint = joint[:, training :: self.trainings]
        return np.concatenate([banks.mean(1), joint.mean(1)[:, None]], 1)


@dataclass(frozen=True, eq=False)
class Fitted:
    """The calibrations of a trained evidence network.

    Attributes:
        members: its models.
        calibration: of their means over copies; the prediction and the parts are by it.
        copies: of each copy of all models by itself, with the same choices; none where there is
            only one.
        trained_bits: [L, 2^M]: mean information of each reading on training data; None where it
            is not known.
    """

    members: Members
    calibration: Calibration
    copies: tuple[Calibration, ...]
    trained_bits: Array | None = None

    @classmethod
    def fit(
        cls,
        members: Members,
        task: Task,
        outputs: Array,
        target: Array,
        totals: Array,
        samples: float,
    ) -> Fitted:
        """Fit the calibrations on validation data.

        Args:
            members: the models.
            task: what is predicted.
            outputs: [N, count, C] of validation data.
            target: what came true there, as the task's ``truth`` gives it.
            totals, samples: of the training targets, see
                :func:`~i2moe_plugin.interactions.evidence.target_totals`.

        Raises:
            ConfigError: there is no validation data.
        """
        priors = both_priors(task, totals, samples)
        whole = calibrate(task, members.pooled(outputs), target, *priors)
        several = range(members.calibrated_apart)
        copies = tuple(
            calibrate(task, members.pooled(outputs, number), target, *priors, like=whole)
            for number in several
        )
        return cls(members, whole, copies)

    def with_training(self, outputs: Array, target: Array) -> Fitted:
        """The same, with what the models know of their training data: [N, count, C] and targets."""
        found = self.calibration.information(self.members.pooled(outputs), target)
        return replace(self, trained_bits=found.mean(0))

    @property
    def margins(self) -> Array:
        """[L, M + 2]: bits by which each part may be too large, since models learn from few data.

        A part is what some models know beyond others. The others know less than there is to learn:
        by half of what they know less of validation data than of training data, if they are fitted
        by maximum likelihood (Akaike 1974; Stone 1977: the optimism is twice the excess risk). NaN
        where the training data's information is not known.
        """
        calibration = self.calibration
        if self.trained_bits is None:
            return np.full(calibration.coefficients.shape[:2], np.nan)
        gaps = np.maximum(self.trained_bits - calibration.bits, 0)
        against = np.maximum(-calibration.coefficients, 0)
        return np.asarray(np.einsum("lpm,lm->lp", against, gaps) / 2)

    def rescaled(self, mean: Array, deviation: Array) -> Fitted:
        """The same for real values in other units: ``value * deviation + mean`` of each [C]."""

        def changed(one: Calibration) -> Calibration:
            return replace(
                one,
                prior=one.prior * deviation + mean,
                trained_prior=one.trained_prior * deviation + mean,
                variances=one.variances * np.asarray(deviation) ** 2,
            )

        copies = tuple(map(changed, self.copies))
        return replace(self, calibration=changed(self.calibration), copies=copies)

    def predict(self, outputs: Array) -> Array:
        """The prediction [N, C] from the outputs [N, count, C] of all models."""
        return self.calibration.predict(self.members.pooled(outputs))

    def predict_without(self, outputs: Array, absent: Array | list[int]) -> Array:
        """The prediction [N, C] of the additive model of the modalities that are there.

        Args:
            outputs: [N, count, C]; those of models that see absent modalities are not looked at.
            absent: the modalities (0-based) that are not there.
        """
        present = tuple(m for m in range(self.members.modalities) if m not in set(absent))
        row = self.members.sets.index(present)
        bits = self.calibration.bits.mean(0)
        model = int(additive_models(bits)[row].argmax())
        usable = np.nan_to_num(self.members.pooled(outputs))
        shift = self.calibration.trained_prior - self.calibration.prior
        return np.asarray(self.calibration.readings(usable)[:, model] + shift)

    def parts(self, outputs: Array, target: Array) -> Array:
        """[N, L, M + 2]: bits of each part about what came true."""
        calibration = self.calibration
        return calibration.parts(calibration.information(self.members.pooled(outputs), target))

    def parts_of_classes(self, outputs: Array) -> Array:
        """[N, L, K, M + 2]: bits of each part about all that may come true.

        Raises:
            ConfigError: real values.
        """
        calibration = self.calibration
        information = calibration.information_of_classes(self.members.pooled(outputs))
        return calibration.parts(information)

    def parts_of_copies(self, outputs: Array, target: Array) -> list[Array]:
        """[N, L, M + 2] of each copy by itself; none where there is only one."""
        return [
            one.parts(one.information(self.members.pooled(outputs, number), target))
            for number, one in enumerate(self.copies)
        ]

    def explained(self, outputs: Array, target: Array) -> tuple[Array, list[Array]]:
        """Parts of R^2 of real values, and of each copy by itself: [N, L, M + 2] each.

        Raises:
            ConfigError: of a task other than real values.
        """
        whole = self.calibration.parts(
            self.calibration.explained(self.members.pooled(outputs), target)
        )
        copies = [
            one.parts(one.explained(self.members.pooled(outputs, number), target))
            for number, one in enumerate(self.copies)
        ]
        return whole, copies

    def errors(self, outputs: Array, target: Array) -> Array:
        """[L, M + 2]: standard errors of the mean parts, over samples and trainings."""
        copies = self.parts_of_copies(outputs, target)
        return standard_errors(self.parts(outputs, target), copies)

    def record(self) -> dict[str, Any]:
        """Write all numbers as lists; :meth:`read` reads them."""
        every = (self.calibration, *self.copies)
        return {
            "modalities": self.members.modalities,
            "copies": self.members.copies,
            "joint": self.members.joint,
            "sets": [[m + 1 for m in one] for one in self.members.sets],
            "trained_bits": None if self.trained_bits is None else self.trained_bits.tolist(),
            "calibrations": [
                {name: np.asarray(getattr(one, name)).tolist() for name in _NUMBERS}
                for one in every
            ],
        }

    @classmethod
    def read(cls, task: Task, record: Mapping[str, Any]) -> Fitted:
        """Read what :meth:`record` wrote.

        Raises:
            ConfigError: it is not such a record.
        """
        try:
            members = Members(record["modalities"], record["copies"], record["joint"])
            whole, *copies = (
                Calibration(
                    task,
                    **{name: np.asarray(one[name], dtype=float) for name in _NUMBERS[:-1]},
                    samples=int(one["samples"]),
                )
                for one in record["calibrations"]
            )
            known = record.get("trained_bits")  # earlier versions did not look
            trained = None if known is None else np.asarray(known, dtype=float)
            if trained is not None and trained.shape != whole.bits.shape:
                raise ValueError(f"trained_bits has the shape {list(trained.shape)}")
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"not the record of an evidence network ({error}).") from error
        return cls(members, whole, tuple(copies), trained)

    def numbers(self) -> Array:
        """All numbers in one row; :meth:`of_numbers` takes them."""
        every = (self.calibration, *self.copies)
        rows = [np.asarray(getattr(one, name), float) for one in every for name in _NUMBERS]
        rows += [] if self.trained_bits is None else [self.trained_bits]
        return np.concatenate([row.ravel() for row in rows])

    @classmethod
    def of_numbers(cls, members: Members, task: Task, numbers: Array) -> Fitted:
        """Read what :meth:`numbers` wrote."""
        shapes = _shapes(members, task)
        size = sum(int(np.prod(shape)) for shape in shapes.values())
        every = []
        count = 1 + members.calibrated_apart
        fitted, rest = np.split(np.asarray(numbers, float), [count * size])
        for row in fitted.reshape(count, size):
            ends = np.cumsum([int(np.prod(shape)) for shape in shapes.values()])
            pieces = np.split(row, ends[:-1])
            found: dict[str, Any] = {
                name: piece.reshape(shape)
                for (name, shape), piece in zip(shapes.items(), pieces, strict=True)
            }
            every.append(Calibration(task, **{**found, "samples": int(found["samples"])}))
        trained = rest.reshape(shapes["bits"]) if len(rest) else None
        return cls(members, every[0], tuple(every[1:]), trained)


def _shapes(members: Members, task: Task) -> dict[str, tuple[int, ...]]:
    from i2moe_plugin.tasks import Classification, Regression

    outputs, models = task.num_outputs, len(members.sets) + 1
    columns = 1 if isinstance(task, Classification) else outputs
    real = isinstance(task, Regression)
    return {
        "prior": (outputs,),
        "trained_prior": (outputs,),
        "weights": (columns, models, models),
        "variances": (models + 1, columns) if real else (0, 0),
        "bits": (columns, models),
        "coefficients": (columns, members.modalities + 2, models),
        "samples": (),
    }
