"""Four definitions of what modalities tell of a target: unique, redundant and synergistic bits.

Partial information decomposition has no agreed definition. For two modalities, with the same joint
distribution, their redundancies are ordered:

    additive <= dependency <= BROJA <= minimum

All are I(x_1;y) + I(x_2;y) - I_q, where I_q is the least I_q(x_1,x_2;y) over some distributions q
that keep P(x_1,y) and P(x_2,y): over the additive model alone; over it, conditional independence
and either modality alone; over all such q; and no q can give less than the larger of I(x_1;y) and
I(x_2;y).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy

from i2moe_plugin.benchmarks.statistics.information.joint import LN2, Joint, entropy
from i2moe_plugin.errors import ConfigError

Array = NDArray[Any]
#: Rounds of alternating projections; the gap that is left after them is checked.
ROUNDS = 100_000
SWEEPS = 3
#: Largest gap in bits between the optimum's bounds.
GAP = 1e-5
LARGEST_GAP = 1e-3


@dataclass(frozen=True)
class Decomposition:
    """Parts in bits; they sum to I(x_1..x_M; y).

    Attributes:
        uniqueness: of each modality.
        synergy: what only several modalities together tell.
        redundancy: what several modalities each tell.
        definition: the name of the definition.
    """

    uniqueness: tuple[float, ...]
    synergy: float
    redundancy: float
    definition: str

    @property
    def parts(self) -> tuple[float, ...]:
        """uniqueness_1..M, synergy, redundancy: the order of experts."""
        return (*self.uniqueness, self.synergy, self.redundancy)

    @property
    def total(self) -> float:
        """The sum of the parts."""
        return float(sum(self.parts))


def additive(joint: Joint) -> Decomposition:
    """Unique is what a modality adds to the best additive model of the others; for any M.

    With I+(A) the information of the best additive (interaction-free) model of the modalities A,
    and the modalities ordered by their own information, largest first:

        g_k = min(I(k), I+(those before and k) - I+(those before))
        uniqueness_k = min(g_k, I+(all) - I+(all but k))
        redundancy = sum_k (g_k - uniqueness_k),  synergy = I(all) - sum_k g_k

    For M = 2 it is :func:`dependency` with only those constraints of its lattice added that keep
    P(x_1, x_2).

    >>> copy = Joint(np.array([[0, 0], [1, 1]]), np.eye(2) / 2)
    >>> round(additive(copy).redundancy, 3)
    1.0
    """
    return additive_rule(joint.modalities, joint.information, joint.additive_information)


def additive_rule(
    modalities: int,
    information: Callable[[Sequence[int]], float],
    additive_information: Callable[[Sequence[int]], float],
) -> Decomposition:
    """:func:`additive` from the bits of sets of modalities, however they were obtained.

    Args:
        modalities: M.
        information: I(A) of a set A.
        additive_information: I+(A) of a set A.
    """
    everything = range(modalities)
    alone = [information([k]) for k in everything]
    order = sorted(everything, key=lambda k: -alone[k])
    whole = additive_information(order)
    gained, unique = [0.0] * modalities, [0.0] * modalities
    before = 0.0
    for place, k in enumerate(order):
        prefix = additive_information(order[: place + 1])
        gained[k] = min(alone[k], prefix - before)
        others = additive_information([m for m in everything if m != k])
        unique[k] = min(gained[k], whole - others)
        before = prefix
    redundancy = sum(gained) - sum(unique)
    synergy = information(order) - sum(gained)
    return Decomposition(tuple(unique), synergy, redundancy, "additive")


def dependency(joint: Joint) -> Decomposition:
    """I_dep of two modalities (James, Emenheiser and Crutchfield 2019, arXiv:1709.06653).

    Unique information of a modality is the least that its dependence on the target adds to
    I(x_1,x_2;y), over all places of the lattice of dependencies where it can be added.

    Raises:
        ConfigError: not two modalities.
    """
    table = _pair(joint, "dependency")
    first, second = joint.information([0]), joint.information([1])
    margins = table.sum(1), table.sum(0)  # P(x_1, y), P(x_2, y)
    target = np.where(joint.target > 0, joint.target, 1)
    independent = np.einsum("iy,jy->ijy", margins[0] / target, margins[1])  # given the target
    known = min(
        Joint.from_table(independent).information([0, 1]), joint.additive_information([0, 1])
    )
    return _from_redundancy(joint, max(0.0, first + second - known), "dependency")


def broja(joint: Joint) -> Decomposition:
    """BROJA of two modalities (Bertschinger, Rauh, Olbrich, Jost and Ay 2014).

    The least I_q(x_1,x_2;y) over all q that keep P(x_1,y) and P(x_2,y), by alternating
    projections (Banerjee, Rauh and Montúfar 2018): for each y a Sinkhorn scaling of q(x_1,x_2) to
    the two margins, then q(x_1,x_2) as their sum. The scaling factors give a lower bound, so the
    error is known.

    Raises:
        ConfigError: not two modalities, or the bounds did not meet.
    """
    table = _pair(joint, "BROJA")
    margins = table.sum(1).T, table.sum(0).T  # [Y, K_1], [Y, K_2]
    both = margins[0].T @ (margins[1] / np.where(joint.target > 0, joint.target, 1)[:, None])
    scales = [(margin > 0).astype(float) for margin in margins]
    lower, upper = -np.inf, np.inf
    for round_ in range(ROUNDS):
        for _ in range(SWEEPS):
            scales[0] = _ratio(margins[0], scales[1] @ both.T)
            scales[1] = _ratio(margins[1], scales[0] @ both)
        step = scales[0].T @ scales[1]
        if round_ % 25 == 0:
            found = scales[0][:, :, None] * scales[1][:, None, :] * both
            missed = float(np.abs(found.sum(2) - margins[0]).sum())
            # -H_q(y|x_1,x_2), and its dual: the factors, made feasible by their largest sum
            upper = entropy(found.sum(0)) - entropy(found)
            lower = sum(
                float(xlogy(margin, scale).sum())
                for margin, scale in zip(margins, scales, strict=True)
            )
            lower = (lower - float(np.log(step.max()))) / LN2
            if upper - lower < GAP and missed < GAP:
                break
        both *= step
        both /= both.sum()
    if upper - lower > LARGEST_GAP:
        raise ConfigError(
            f"BROJA's optimum was not found: after {ROUNDS} rounds {upper - lower:.5f} bits lie "
            "between its bounds. Use fewer symbols."
        )
    least = entropy(joint.target) + upper
    redundancy = joint.information([0]) + joint.information([1]) - least
    return _from_redundancy(joint, redundancy, "BROJA")


def minimum(joint: Joint) -> Decomposition:
    """Redundancy of two modalities is the smaller of what either tells (Barrett 2015).

    Raises:
        ConfigError: not two modalities.
    """
    _pair(joint, "minimum")
    smaller = min(joint.information([0]), joint.information([1]))
    return _from_redundancy(joint, smaller, "minimum")


#: Name -> function of a :class:`Joint`; from the smallest to the largest redundancy.
DEFINITIONS: Mapping[str, Callable[[Joint], Decomposition]] = MappingProxyType(
    {"additive": additive, "dependency": dependency, "BROJA": broja, "minimum": minimum}
)


def _pair(joint: Joint, definition: str) -> Array:
    if joint.modalities != 2:
        raise ConfigError(
            f"the {definition} decomposition is defined for 2 modalities, not {joint.modalities}; "
            "take the additive one."
        )
    return joint.table()


def _from_redundancy(joint: Joint, redundancy: float, definition: str) -> Decomposition:
    first, second = joint.information([0]) - redundancy, joint.information([1]) - redundancy
    synergy = joint.information([0, 1]) - first - second - redundancy
    return Decomposition((first, second), synergy, redundancy, definition)


def _ratio(above: Array, below: Array) -> Array:
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)
