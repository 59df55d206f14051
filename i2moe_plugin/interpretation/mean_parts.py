"""Mean parts in bits: what may be claimed of them, and how it is said."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2moe_plugin.errors import counted
from i2moe_plugin.interpretation.outputs import ERRORS, Probe

#: Bits that are shown as nothing, and not claimed however small their error is.
NEGLIGIBLE = 0.0005
DEFINITION = "additive"
#: Below so many validation samples weights and choices are chance, and nothing is claimed.
FEWEST_VALIDATION = 20
CLAIMED, DOUBTFUL = "claimed", "doubtful"
UNCLEAR = "not distinguishable from zero"


@dataclass(frozen=True, eq=False)
class Explained:
    """Parts of R^2 of one real value: of its squared distance from the training mean.

    The readings that bits are made of, in the same sums: parts add up to ``total``, which is
    1 - sum (y - prediction)^2 / sum (y - training mean)^2 over the test samples.

    Attributes:
        parts: [M + 2], as :class:`MeanParts` has them.
        errors: [M + 2] standard errors, over samples and trainings.
        total, total_error: R^2.
    """

    parts: NDArray[np.float64]
    errors: NDArray[np.float64]
    total: float
    total_error: float


@dataclass(frozen=True)
class MeanParts:
    """Mean parts of one predicted thing: the class, one label, or one real value.

    Attributes:
        output: the name of the label or value; empty where a class is predicted.
        parts: the names of the parts for people: those of experts, in order.
        bits: [M + 2] means over test samples, and over runs where there are several.
        errors: [M + 2] standard errors, over samples and trainings.
        margins: [M + 2] bits by which each part may be too large, since the models that it is
            measured against have not learned all there is; NaN where a run does not know. See
            :attr:`~i2moe_plugin.interactions.fitted.Fitted.margins`.
        total, total_error: of their sum: what the prediction knows beyond the prior.
        alone: [M]: what the unimodal expert of each modality knows.
        redundancy_most: redundancy by the minimum rule: what the modality knows that is second
            best; of two modalities the largest that definitions give.
        ahead: the probes that know more than the unimodal expert beside them.
        validation: samples that the calibration was fitted on.
        runs: how many runs.
        samples: of the test split.
        groups: how many groups they are in, where samples are not independent.
        explained: of a real value the parts of R^2; None of classes and labels, and where all
            targets are the training mean.
    """

    output: str
    parts: tuple[str, ...]
    bits: NDArray[np.float64]
    errors: NDArray[np.float64]
    margins: NDArray[np.float64]
    total: float
    total_error: float
    alone: NDArray[np.float64]
    redundancy_most: float
    ahead: tuple[Probe, ...]
    validation: int
    runs: int
    samples: int
    groups: int | None = None
    explained: Explained | None = None

    @property
    def tested(self) -> str:
        """How many samples were tested, in words."""
        several = "" if self.groups is None else f" in {self.groups:,} groups"
        return f"{self.samples:,} test samples{several}"

    @property
    def validated(self) -> str:
        """How many samples the calibration was fitted on, in words."""
        return counted(self.validation, "validation sample")

    @property
    def something(self) -> bool:
        """Whether anything beyond the prior is known."""
        return self.total > max(ERRORS * self.total_error, NEGLIGIBLE)

    @property
    def worse(self) -> bool:
        """Whether the prediction is worse than the prior."""
        return self.total < -max(ERRORS * self.total_error, NEGLIGIBLE)

    @property
    def enough(self) -> bool:
        """Whether there were validation samples enough to claim anything of a part."""
        return self.validation >= FEWEST_VALIDATION

    @property
    def claimed(self) -> tuple[bool, ...]:
        """Whether each part is claimed; none is where nothing is known, or was hardly validated."""
        above = self.bits > ERRORS * self.errors + np.nan_to_num(self.margins)
        beyond = above | (self.bits < -ERRORS * self.errors)
        seen = beyond & (np.abs(self.bits) >= NEGLIGIBLE)
        return tuple(bool(one) and self.something and self.enough for one in seen)

    @property
    def doubtful(self) -> tuple[bool, ...]:
        """Whether each part is beyond its errors, but not claimed: its margin is larger, say."""
        beyond = self.bits > np.maximum(ERRORS * self.errors, NEGLIGIBLE)
        pairs = zip(beyond, self.claimed, strict=True)
        return tuple(bool(one) and self.something and not sure for one, sure in pairs)

    @property
    def states(self) -> tuple[str, ...]:
        """What is to be said of each part, and last of the total."""
        margins = np.append(ERRORS * self.errors, ERRORS * self.total_error)
        beyond = np.abs([*self.bits, self.total]) > np.maximum(margins, NEGLIGIBLE)
        states = [UNCLEAR if not one else "not claimed" for one in beyond]
        for place, (sure, doubt) in enumerate(zip(self.claimed, self.doubtful, strict=True)):
            states[place] = CLAIMED if sure else DOUBTFUL if doubt else states[place]
        states[-1] = (
            CLAIMED if self.something else "worse than the prior" if self.worse else UNCLEAR
        )
        return tuple(states)

    @property
    def ranking(self) -> tuple[int, ...]:
        """The places of the claimed positive parts, largest first."""
        order = np.argsort(-self.bits, kind="stable")
        return tuple(int(k) for k in order if self.claimed[k] and self.bits[k] > 0)

    @property
    def redundancy(self) -> tuple[float, float]:
        """The redundancy of the additive definition and of the minimum rule, smaller one first."""
        low, high = sorted((float(self.bits[-1]), self.redundancy_most))
        return low, high

    def as_dict(self) -> dict[str, Any]:
        """Return everything, for JSON."""
        low, high = self.redundancy
        margins = [None if np.isnan(margin) else float(margin) for margin in self.margins]
        values = zip(self.parts, self.bits, self.errors, margins, self.claimed, strict=True)
        return {
            "output": self.output,
            "definition": DEFINITION,
            "parts": [
                {
                    "part": part,
                    "bits": float(bits),
                    "error": float(error),
                    "margin": margin,
                    "claimed": claimed,
                }
                for part, bits, error, margin, claimed in values
            ],
            "total": {"bits": self.total, "error": self.total_error, "claimed": self.something},
            "ranking": [self.parts[place] for place in self.ranking],
            "redundancy": {"low": low, "high": high},
            "r_squared": self._r_squared(),
            "unimodal": [float(bits) for bits in self.alone],
            "probes_ahead": [asdict(one) for one in self.ahead],
            "samples": self.samples,
            "groups": self.groups,
            "validation_samples": self.validation,
            "runs": self.runs,
            "sentences": self.sentences(),
        }

    def sentences(self) -> list[str]:
        """Say what may be claimed, and what may not, for people."""
        about = f"{self.output}: " if self.output else ""
        if not self.something:
            nothing = (
                f"{about}Nothing is known beyond the {_prior(self)}: "
                f"{_with_error(self.total, self.total_error)} in all"
            )
            if not self.worse:
                return [f"{nothing}."]
            return [
                f"{nothing}, worse than the {_prior(self)} alone: test data are not as the "
                f"{self.validated} are, or these are too few. No part means anything."
            ]
        said = [
            f"{about}{_with_error(self.total, self.total_error)} beyond the {_prior(self)}, over "
            f"{self.tested}."
        ]
        if not self.enough:
            said.append(
                f"No part is claimed: weights and choices were made on {self.validated}, and of "
                f"fewer than {FEWEST_VALIDATION} they are chance."
            )
        ranked = [f"{self.parts[k]} {self.bits[k]:.3f}" for k in self.ranking]
        if ranked:
            said.append(f"Claimed, largest first: {', '.join(ranked)} bit.")
        below = [
            f"{name} {bits:.3f}"
            for name, bits, sure in zip(self.parts, self.bits, self.claimed, strict=True)
            if sure and bits < 0
        ]
        if below:
            said.append(
                f"Below zero: {', '.join(below)} bit: there the models do worse on test data than "
                "on the validation data that they were calibrated on."
            )
        doubts = [
            f"{self.parts[k]} {self.bits[k]:.3f} (by {self.margins[k]:.3f})"
            for k, doubt in enumerate(self.doubtful)
            if doubt and self.enough
        ]
        if doubts:
            said.append(
                f"Doubtful: {', '.join(doubts)} bit: the models that they are measured against may "
                "learn so much more from more data, and the parts shrink by it."
            )
        unclear = [
            part
            for part, state in zip(self.parts, self.states[:-1], strict=True)
            if state == UNCLEAR
        ]
        if unclear:
            said.append(f"Not distinguishable from zero: {', '.join(unclear)}.")
        said += [
            f"{one.probe.capitalize()} knows {one.difference:.3f} bit more from {one.modality} "
            "than its unimodal expert: synergy may be overstated."
            for one in self.ahead
        ]
        said.append(
            f"Redundancy is {in_bits(self.bits[-1])} bit by the {DEFINITION} definition and "
            f"{in_bits(self.redundancy_most)} by the minimum rule{_between(self)}."
        )
        if self.explained is not None:
            one = self.explained
            pairs = zip(self.parts, one.parts, one.errors, strict=True)
            parts = ", ".join(
                f"{name} {in_bits(value)} ± {error:.3f}" for name, value, error in pairs
            )
            said.append(
                f"R^2 about the training mean is {one.total:.3f} ± {one.total_error:.3f}: {parts}."
            )
            if self.bits[-2] > max(ERRORS * self.errors[-2], NEGLIGIBLE):
                said.append(self._synergy_of_real_values(one))
        return said

    def _synergy_of_real_values(self, one: Explained) -> str:
        """Say how synergy in bits is to be read where values are real."""
        shown = one.parts[-2] > ERRORS * one.errors[-2]
        return (
            "Bits of real values count as synergy that effects which only add up are seen the more "
            "precisely the more of them are known; R^2 does not"
            + (": go by its synergy." if shown else ", and its synergy shows no interaction here.")
        )

    def _r_squared(self) -> dict[str, Any] | None:
        one = self.explained
        if one is None:
            return None
        rows = zip(self.parts, one.parts, one.errors, strict=True)
        return {
            "parts": [
                {"part": part, "value": float(value), "error": float(error)}
                for part, value, error in rows
            ],
            "total": {"value": one.total, "error": one.total_error},
        }


def _between(one: MeanParts) -> str:
    """How the two definitions of redundancy differ, for people."""
    if len(one.alone) == 2:
        return (
            "; other definitions lie between, and where redundancy is larger by one, each "
            "uniqueness is smaller and synergy larger by as much"
        )
    return (
        ", by which what all but the strongest modality know is known to stronger ones; the "
        f"{DEFINITION} one also counts what pairs of modalities share"
    )


def _prior(one: MeanParts) -> str:
    return "prior" if one.output else "classes' shares"


def _with_error(bits: float, error: float) -> str:
    return f"{in_bits(bits)} ± {error:.3f} bit"


def in_bits(value: float) -> str:
    """Write bits with three decimals.

    >>> in_bits(-0.0001)
    '0.000'
    """
    return f"{round(float(value), 3) + 0.0:.3f}"
