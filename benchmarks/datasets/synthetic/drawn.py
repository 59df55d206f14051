"""What a generator gives: arrays, labels, splits, and the truth in bits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2moe_plugin.benchmarks.statistics.information.decompositions import Decomposition
from i2moe_plugin.errors import ConfigError
from i2moe_plugin.interactions.experts import expert_names

Array = NDArray[Any]
#: Shares of the test and of the validation split; the rest is for training.
HELD_OUT = 0.15
FEWEST_SAMPLES = 40
#: Numbers of 8 bytes that may be drawn: more are asked for by mistake, and would fill the memory.
MOST_NUMBERS = 10**9


@dataclass(frozen=True)
class Truth:
    """What the modalities of a drawn data set tell of its target.

    Attributes:
        parts: by the additive definition, which the ``evidence`` method estimates.
        readings: the same information by other definitions, where they are known.
        redundancy_most: redundancy by the minimum rule: the second largest of what each modality
            tells alone; of two modalities the largest that any of the definitions gives.
        how: how the bits were obtained: in closed form, or by which oracle.
        error: how far off the bits may be: a standard error, or the bound of a discretisation.
        target: the expert that carries the prediction, such as ``uniqueness_1``; None where
            several do or nothing can be predicted.
    """

    parts: Decomposition
    readings: tuple[Decomposition, ...]
    redundancy_most: float
    how: str
    error: float
    target: str | None


@dataclass(frozen=True, eq=False)
class Drawn:
    """One drawn data set.

    Attributes:
        modalities: [N, d_m] of float32 each.
        labels: [N] of int64.
        splits: ``train``, ``valid`` and ``test``: the rows of each; 70, 15 and 15 %, stratified.
    """

    modalities: tuple[Array, ...]
    labels: Array
    splits: Mapping[str, Array]


def drawn(modalities: list[Array], labels: Array, seed: int) -> Drawn:
    """Put a drawn data set together and split it."""
    from sklearn.model_selection import train_test_split

    rows = np.arange(len(labels))
    state = seed % 2**32
    train, rest = train_test_split(
        rows, test_size=2 * HELD_OUT, stratify=labels, random_state=state
    )
    valid, test = train_test_split(rest, test_size=0.5, stratify=labels[rest], random_state=state)
    splits = {
        name: np.sort(part) for name, part in (("train", train), ("valid", valid), ("test", test))
    }
    arrays = tuple(np.ascontiguousarray(x, dtype=np.float32) for x in modalities)
    return Drawn(arrays, labels.astype(np.int64), splits)


def flipped(labels: Array, share: float, rng: np.random.Generator) -> Array:
    """Binary labels, this share of them turned over by chance."""
    return np.where(rng.random(len(labels)) < share, 1 - labels, labels)


def in_shares(samples: int, positives: float, rng: np.random.Generator) -> Array:
    """Binary labels in random order, this share of them 1.

    >>> in_shares(6, 1 / 3, np.random.default_rng(0)).sum()
    np.int64(2)
    """
    reached = np.floor(np.arange(samples + 1) * positives + 1e-9)
    return rng.permutation(np.diff(reached).astype(int))


def noisy(conditional: Array, share: float) -> Array:
    """p(y = 1 | x) once this share of the labels is turned over."""
    return conditional + share * (1 - 2 * conditional)


def target_of(parts: Decomposition) -> str | None:
    """The expert of the largest part, where it holds more than half of all bits."""
    names = expert_names(len(parts.uniqueness))
    values = np.array(parts.parts)
    largest = int(values.argmax())
    return names[largest] if values[largest] > 0.5 * max(parts.total, 1e-9) else None


def check(problems: Mapping[str, bool]) -> None:
    """Raise a ConfigError with every sentence whose condition holds."""
    found = [sentence for sentence, wrong in problems.items() if wrong]
    if found:
        raise ConfigError(found)


def share_problem(name: str, value: float) -> dict[str, bool]:
    """A share of labels or bits that are turned over lies between 0 and one half."""
    return {f"{name} must lie between 0 and 0.5, not {value}.": not 0 <= value <= 0.5}


def size_problem(samples: int, positives: float = 0.5) -> dict[str, bool]:
    """So few samples, in all or of a class, that a split would lack a class."""
    few = samples * min(positives, 1 - positives)
    return {
        f"samples must be at least {FEWEST_SAMPLES}, not {samples}: splits need every class.": (
            samples < FEWEST_SAMPLES
        ),
        f"positives={positives} of {samples} samples leave {max(int(few), 0)} of a class; splits "
        f"need at least {FEWEST_SAMPLES // 2} of each.": (
            samples >= FEWEST_SAMPLES and few < FEWEST_SAMPLES / 2
        ),
    }


def amount_problem(samples: int, numbers: int) -> dict[str, bool]:
    """More numbers than a data set may have: so many of each sample."""
    return {
        f"{samples:,} samples of {numbers:,} numbers are more than the {MOST_NUMBERS:,} that are "
        "drawn at most: ask for fewer samples or dimensions.": samples * numbers > MOST_NUMBERS
    }
