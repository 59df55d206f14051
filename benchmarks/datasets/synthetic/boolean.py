"""Boolean functions of two bits, each bit in a modality of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from i2moe_plugin.benchmarks.datasets.synthetic.drawn import (
    Array,
    Drawn,
    Truth,
    amount_problem,
    check,
    drawn,
    flipped,
    share_problem,
    size_problem,
    target_of,
)
from i2moe_plugin.benchmarks.statistics.information.decompositions import DEFINITIONS
from i2moe_plugin.benchmarks.statistics.information.joint import Joint
from i2moe_plugin.errors import UnknownNameError
from i2moe_plugin.seeding import derive_seed

#: Name -> the label of the two bits; ``copy`` gives both modalities the same bit.
FUNCTIONS: Mapping[str, Callable[[Array, Array], Array]] = MappingProxyType(
    {
        "and": lambda a, b: a & b,
        "or": lambda a, b: a | b,
        "xor": lambda a, b: a ^ b,
        "copy": lambda a, b: a,
        "unique": lambda a, b: a,
    }
)


@dataclass(frozen=True)
class Boolean:
    """Settings of a Boolean data set.

    Two fair bits; the label is a function of them, so ``and`` and ``or`` have three of one class to
    one of the other. Each modality is a random rotation of (±1 for its bit, normal noise), so it
    tells its bit exactly and nothing else.

    Attributes:
        function: one of ``FUNCTIONS``.
        samples: N.
        dim: of each modality.
        label_noise: share of labels that are turned over.
        feature_noise: share of bits that are turned over in each modality, independently.

    Raises:
        UnknownNameError, ConfigError: settings out of range.
    """

    function: str
    samples: int = 6000
    dim: int = 10
    label_noise: float = 0.0
    feature_noise: float = 0.0

    def __post_init__(self) -> None:
        if self.function not in FUNCTIONS:
            raise UnknownNameError("Boolean function", self.function, FUNCTIONS)
        check(
            {
                **size_problem(self.samples),
                f"dim must be at least 1, not {self.dim}.": self.dim < 1,
                # A rotation has dim x dim numbers.
                **amount_problem(max(self.samples, self.dim), 2 * self.dim),
                **share_problem("label_noise", self.label_noise),
                **share_problem("feature_noise", self.feature_noise),
            }
        )

    @property
    def joint(self) -> Joint:
        """P(bit in x_1, bit in x_2, label), with all noise."""
        table = np.zeros((2, 2, 2))
        seen = np.array([[1 - self.feature_noise, self.feature_noise]] * 2)
        seen[1] = seen[1, ::-1]  # [bit, bit seen]
        for a, b in np.ndindex(2, 2):
            if self.function == "copy" and a != b:
                continue
            label = int(FUNCTIONS[self.function](np.array(a), np.array(b)))
            says = np.array([self.label_noise, self.label_noise])
            says[label] = 1 - self.label_noise
            table += np.einsum("i,j,y->ijy", seen[a], seen[b], says)
        return Joint.from_table(table)

    def truth(self, seed: int = 0) -> Truth:
        """In closed form, up to the optimisation in the definitions; no seed changes it."""
        parts, *others = (define(self.joint) for define in DEFINITIONS.values())
        return Truth(
            parts=parts,
            readings=tuple(others),
            redundancy_most=others[-1].redundancy,
            how="from the exact joint distribution of the two bits and the label",
            error=1e-4,
            target=target_of(parts),
        )

    def draw(self, seed: int) -> Drawn:
        """Draw the data set; equal settings and seeds give equal arrays."""
        rng = np.random.default_rng(derive_seed(seed, "synthetic", "boolean", self.function))
        bits = rng.integers(2, size=(2, self.samples))
        if self.function == "copy":
            bits[1] = bits[0]
        labels = flipped(FUNCTIONS[self.function](*bits), self.label_noise, rng)
        modalities = []
        for bit in bits:
            noise = rng.normal(size=(self.samples, self.dim))
            noise[:, 0] = 2 * flipped(bit, self.feature_noise, rng) - 1
            rotation = np.linalg.qr(rng.normal(size=(self.dim, self.dim)))[0]
            modalities.append(noise @ rotation)
        return drawn(modalities, labels, seed)
