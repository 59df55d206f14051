"""What a run said of every test sample: all that interpretation looks at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2moe_plugin.errors import ConfigError, ShapeError, did_you_mean
from i2moe_plugin.interactions.experts import Expert
from i2moe_plugin.interactions.fitted import Fitted
from i2moe_plugin.tasks import Classification, Multilabel, Regression, Task

#: A mean that is no further from 0 than so many standard errors is not claimed; nor is one that is
#: not larger than these and its margin together.
ERRORS = 2.0
#: A probe that knows less than so many bits more is not worth a word.
WORTH_SAYING = 0.01


@dataclass(frozen=True)
class Probe:
    """A simple model of one modality's features, beside the unimodal expert of that modality.

    Attributes:
        modality: its name.
        probe: the model's.
        bits, expert_bits: what each knows on test data.
        difference: how many bits the probe knows more.
        error: the standard error of the difference; None of a single sample.
    """

    modality: str
    probe: str
    bits: float
    expert_bits: float
    difference: float
    error: float | None

    @property
    def knows_more(self) -> bool:
        """Whether the probe knows more, beyond two standard errors."""
        return self.error is not None and self.difference > max(ERRORS * self.error, WORTH_SAYING)


@dataclass(frozen=True, eq=False)
class Outputs:
    """Stored outputs of a test split; rows are samples.

    Attributes:
        task: what is predicted; it decides and judges.
        prediction: [N, C].
        target: [N], or [N, C].
        sample_id: [N] of str.
        class_names: the names of the C outputs.
        modalities: the names of the M modalities.
        experts: the names of the E experts in order; empty for vanilla.
        expert_outputs: [N, E, C], or None for vanilla.
        weights: [N, E], or None for vanilla.
        model_outputs: [N, models, C] of the evidence method, or None.
        fitted: the calibrations of the evidence method, or None.
        probes: simple models beside its unimodal experts, where they were tried.
        group: [N] of str: what each sample belongs to, where samples are not independent.

    Raises:
        ShapeError: columns that do not fit together.

    Example:
        >>> import numpy as np
        >>> from i2moe_plugin import Classification
        >>> outputs = Outputs(
        ...     task=Classification(2),
        ...     prediction=np.array([[2.0, 0.0], [0.5, 0.0]]),
        ...     target=np.array([0, 1]),
        ...     sample_id=np.array(["a", "b"]),
        ...     class_names=("no", "yes"),
        ...     modalities=("audio", "video"),
        ... )
        >>> outputs.correct
        array([ True, False])
    """

    task: Task
    prediction: NDArray[Any]
    target: NDArray[Any]
    sample_id: NDArray[Any]
    class_names: tuple[str, ...]
    modalities: tuple[str, ...]
    experts: tuple[str, ...] = ()
    expert_outputs: NDArray[Any] | None = None
    weights: NDArray[Any] | None = None
    model_outputs: NDArray[Any] | None = None
    fitted: Fitted | None = None
    probes: tuple[Probe, ...] = ()
    group: NDArray[Any] | None = None

    def __post_init__(self) -> None:
        samples, width = len(self.prediction), self.task.num_outputs
        experts = len(self.experts)
        expected: dict[str, tuple[int, ...]] = {
            "prediction": (samples, width),
            "sample_id": (samples,),
        }
        if experts:
            expected |= {"expert_outputs": (samples, experts, width), "weights": (samples, experts)}
        if self.group is not None:
            expected["group"] = (samples,)
        if self.fitted is not None:
            expected["model_outputs"] = (samples, self.fitted.members.count, width)
        problems = [
            f"{name} is {list(np.shape(getattr(self, name)))}, expected {list(shape)}"
            for name, shape in expected.items()
            if np.shape(getattr(self, name)) != shape
        ]
        if len(self.target) != samples:
            problems.append(f"target has {len(self.target)} rows, expected {samples}")
        if len(self.class_names) != width:
            problems.append(f"{len(self.class_names)} class names for {width} outputs")
        if problems:
            raise ShapeError(f"outputs that do not fit together: {'; '.join(problems)}.")

    def __len__(self) -> int:
        return len(self.prediction)

    @property
    def units(self) -> int:
        """How many independent things there are: groups, or samples where there are none."""
        return len(self) if self.group is None else len(np.unique(self.group))

    @property
    def expert_labels(self) -> tuple[str, ...]:
        """The names of the experts for people: ``uniqueness_1`` becomes ``unique: audio``."""
        return tuple(_label(name, self.modalities) for name in self.experts)

    @property
    def decided(self) -> NDArray[Any]:
        """The decision of the whole ensemble, as the task makes it."""
        return self.task.decide(self.prediction)

    @property
    def correct(self) -> NDArray[np.bool_] | None:
        """Whether each decision is right, all labels at once; None for real values."""
        return self._equal(self.decided, self.target)

    @property
    def dominant(self) -> NDArray[np.intp]:
        """The expert with the largest weight in each sample, [N]."""
        return np.asarray(self.mixture()[1].argmax(1))

    @property
    def agree(self) -> NDArray[np.bool_] | None:
        """Whether all experts, each alone, decide the same; None for real values.

        The same class; for multilabel the same yes or no for every label.
        """
        if isinstance(self.task, Regression):
            return None
        outputs, _ = self.mixture()
        decisions = [self.task.decide(outputs[:, e]) for e in range(len(self.experts))]
        same = [self._equal(decisions[0], other) for other in decisions[1:]]
        return np.logical_and.reduce(
            [np.ones(len(self), bool), *(s for s in same if s is not None)]
        )

    def mixture(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the expert outputs [N, E, C] and weights [N, E].

        Raises:
            ConfigError: a run whose method does not weight experts.
        """
        if self.expert_outputs is None or self.weights is None:
            raise ConfigError(
                "vanilla has no experts, and evidence does not weight its own; take a run of i2moe."
            )
        return self.expert_outputs, self.weights

    def evidence(self) -> tuple[Fitted, NDArray[Any]]:
        """Return the calibrations and all models' outputs [N, models, C] of the evidence method.

        Raises:
            ConfigError: a run of another method, which has none.
        """
        if self.fitted is None or self.model_outputs is None:
            raise ConfigError("only a run of method evidence has parts in bits.")
        return self.fitted, self.model_outputs

    def groups(self, by: str, most: int | None = None) -> list[tuple[str, NDArray[np.bool_]]]:
        """Put the samples into named groups.

        ``class``: by target; for multilabel a sample is in the group of each of its labels, for
        real values in the lowest, middle or highest third of the first output's targets.
        ``correct``: right and wrong; for real values, absolute error below and above the median.

        Args:
            by: ``class`` or ``correct``.
            most: leave out all but so many groups, those with most samples.

        Raises:
            ConfigError: an unknown grouping.
        """
        if by == "class":
            groups = self._by_target()
            sizes = [-int(mask.sum()) for _, mask in groups]
            return [groups[place] for place in sorted(np.argsort(sizes, kind="stable")[:most])]
        if by != "correct":
            raise ConfigError(f"no grouping {by!r}.{did_you_mean(by, ('class', 'correct'))}")
        correct = self.correct
        if correct is not None:
            return [("correct", correct), ("wrong", ~correct)]
        error = np.abs(self.prediction - self.target.reshape(self.prediction.shape)).mean(1)
        small = error <= np.median(error) if len(error) else np.zeros(0, bool)
        return [("smaller error", small), ("larger error", ~small)]

    def rows(self, rows: Sequence[int] | NDArray[Any]) -> Outputs:
        """Take these samples alone."""
        index = np.asarray(rows)
        columns = (
            "prediction",
            "target",
            "sample_id",
            "expert_outputs",
            "weights",
            "model_outputs",
            "group",
        )
        kept: dict[str, Any] = {}
        for name in columns:
            values = getattr(self, name)
            kept[name] = None if values is None else values[index]
        return replace(self, **kept)

    def describe(self, decision: Any) -> str:
        """Say a decision or target in words."""
        if isinstance(self.task, Classification):
            return self.class_names[int(decision)]
        if isinstance(self.task, Multilabel):
            chosen = [name for name, yes in zip(self.class_names, decision, strict=True) if yes]
            return ", ".join(chosen) or "none"
        return ", ".join(f"{value:.3g}" for value in np.atleast_1d(decision))

    def _equal(self, one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.bool_] | None:
        if isinstance(self.task, Regression):
            return None
        same = np.asarray(one == other)
        return np.asarray(same.all(1)) if same.ndim == 2 else same

    def _by_target(self) -> list[tuple[str, NDArray[np.bool_]]]:
        if isinstance(self.task, Multilabel):
            columns = self.target.astype(bool).T
            return list(zip(self.class_names, columns, strict=True))
        if isinstance(self.task, Classification):
            return [(name, self.target == i) for i, name in enumerate(self.class_names)]
        values = self.target.reshape(len(self), -1)[:, 0] if len(self) else np.zeros(0)
        low, high = np.quantile(values, [1 / 3, 2 / 3]) if len(values) else (0.0, 0.0)
        return [
            (f"target up to {low:.3g}", values <= low),
            (f"{low:.3g} to {high:.3g}", (values > low) & (values <= high)),
            (f"above {high:.3g}", values > high),
        ]


def _label(name: str, modalities: Sequence[str]) -> str:
    """Name an expert for people; a name that none of ours has stays as it is."""
    try:
        return Expert.parse(name).label(modalities)
    except ConfigError:
        return name
