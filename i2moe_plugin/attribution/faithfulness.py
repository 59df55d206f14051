"""Whether importance is faithful: features are masked by it, and the prediction is looked at.

Masks are [B, T] of one modality, True where a feature is taken away; curves are over the shares of
features that were chosen. Comprehensiveness is how much the probability falls when the most
important features are taken away, sufficiency how much when only they are kept (DeYoung et al.,
ACL 2020).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from i2moe_plugin.errors import ConfigError, ShapeError
from i2moe_plugin.seeding import derive_seed

SHARES = (0.05, 0.10, 0.15, 0.20, 0.25)
REPEATS = 10


def counts(candidates: Tensor, share: float) -> Tensor:
    """How many features of each sample a share of them is: at least 1, rounded up, [B].

    A sample without any candidate gets 0.

    Args:
        candidates: [B, T], True where a feature may be chosen.
        share: above 0, at most 1.

    Raises:
        ConfigError: another share.

    >>> counts(torch.ones(1, 100, dtype=torch.bool), 0.07)  # 0.07 * 100 is a hair above 7
    tensor([7])
    """
    if not 0 < share <= 1:
        raise ConfigError(f"a share of features must lie above 0 and not above 1, not {share}.")
    numbers = [
        min(number, max(1, math.ceil(round(share * number, 9))))
        for number in candidates.sum(1).tolist()
    ]
    return torch.tensor(numbers, device=candidates.device)


def top(importance: Tensor, candidates: Tensor, number: Tensor) -> Tensor:
    """The most important candidates of each sample, [B, T]; of equal ones the first.

    Args:
        importance: [B, T].
        candidates: [B, T], True where a feature may be chosen.
        number: [B], how many.

    Raises:
        ShapeError: shapes that do not fit, or importance that is NaN.
    """
    if importance.shape != candidates.shape or number.shape != candidates.shape[:1]:
        raise ShapeError(
            f"importance {list(importance.shape)}, candidates {list(candidates.shape)} and number "
            f"{list(number.shape)} should be [B, T], [B, T] and [B]."
        )
    if importance.isnan().any():
        raise ShapeError("importance holds NaN: it does not order features.")
    order = importance.masked_fill(~candidates, -torch.inf).sort(
        dim=1, descending=True, stable=True
    )
    first = torch.arange(candidates.shape[1], device=candidates.device) < number[:, None]
    chosen = torch.zeros_like(candidates).scatter(1, order.indices, first)
    return chosen & candidates


def chosen_at_random(candidates: Tensor, number: Tensor, seed: int, repeat: int = 0) -> Tensor:
    """As many candidates of each sample, drawn evenly without replacement, [B, T].

    Args:
        candidates: [B, T], True where a feature may be chosen.
        number: [B], how many.
        seed, repeat: decide the draw.
    """
    generator = torch.Generator().manual_seed(derive_seed(seed, "random features", repeat))
    drawn = torch.rand(candidates.shape, generator=generator, dtype=torch.float64)
    return top(drawn.to(candidates.device), candidates, number)


def filled(tokens: Tensor, mask: Tensor, fill: Tensor | float = 0.0) -> Tensor:
    """Tokens with others in the place of those that are masked; they can still be attended to.

    Args:
        tokens: [B, T, D].
        mask: [B, T], True where a token is taken away.
        fill: what stands there: the training data's mean token [D], or 0.
    """
    return torch.where(mask[..., None], torch.as_tensor(fill, dtype=tokens.dtype), tokens)


@dataclass(frozen=True, eq=False)
class Curves:
    """What masking did to each sample's target probability, at each share.

    Attributes:
        shares: K.
        comprehensiveness: [..., K], p(x) - p(x without the chosen features).
        sufficiency: [..., K], p(x) - p(the chosen features alone).
    """

    shares: tuple[float, ...]
    comprehensiveness: Tensor
    sufficiency: Tensor

    def aopc(self) -> tuple[Tensor, Tensor]:
        """The mean over shares of either curve, [...]."""
        return self.comprehensiveness.mean(-1), self.sufficiency.mean(-1)

    def area(self) -> tuple[Tensor, Tensor]:
        """The area under either curve, [...], divided by the range of shares: a mean height.

        With a single share it is the curve's one value.
        """
        return area(self.comprehensiveness, self.shares), area(self.sufficiency, self.shares)


def curves(
    full: Tensor, without: Tensor, alone: Tensor, shares: Sequence[float] = SHARES
) -> Curves:
    """Curves from probabilities.

    Args:
        full: [B], of the complete input.
        without: [..., B, K], with the chosen features taken away.
        alone: [..., B, K], with only them kept.
        shares: K of them, increasing.

    Raises:
        ShapeError: shapes that do not fit.
        ConfigError: shares that do not increase.
    """
    wanted = (len(full), len(shares))
    for name, values in (("without", without), ("alone", alone)):
        if values.shape[-2:] != wanted:
            raise ShapeError(
                f"{name} must be [..., {wanted[0]}, {wanted[1]}], not {list(values.shape)}."
            )
    if any(later <= earlier for earlier, later in itertools.pairwise(shares)):
        raise ConfigError(f"shares must increase, not {list(shares)}.")
    return Curves(tuple(shares), full[:, None] - without, full[:, None] - alone)


def area(curve: Tensor, shares: Sequence[float]) -> Tensor:
    """The trapezoid area under a curve [..., K] over its shares, divided by their range: [...].

    >>> area(torch.tensor([0.0, 1.0]), (0.1, 0.3))
    tensor(0.5000)
    """
    if len(shares) == 1:
        return curve[..., 0]
    at = torch.tensor(shares, dtype=curve.dtype, device=curve.device)
    return torch.trapezoid(curve, at) / (at[-1] - at[0])
