"""Dropout whose masks on a CPU are drawn many at a time.

torch draws one number after another there, which is a fifth of a transformer's training step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

#: Elements below which torch's dropout is as fast.
SMALL_DROPOUT = 2_048


def quicken(module: nn.Module) -> None:
    """Give a module's dropout layers (of exactly torch's type) our forward.

    Names, hooks and what else they hold stay as they are.
    """
    for layer in module.modules():
        if type(layer) is nn.Dropout:
            layer.__class__ = Dropout


class Dropout(nn.Dropout):
    """``nn.Dropout`` whose mask on a CPU comes from one call of the generator.

    An element is kept where a random integer is below a threshold: of 8 bits where they give the
    probability exactly (0.5, 0.25, ...), otherwise of 16, which miss it by at most 2^-17; what is
    kept is scaled by the probability that is in fact used, so the mean is exact. Masks follow the
    global generator's seed, and differ between elements, experts and views. On other devices, in
    evaluation and for small tensors it is torch's own.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Any shape -> the same."""
        batched = torch._C._functorch.is_batchedtensor(input)
        inside = torch._C._functorch.maybe_current_level() is not None
        if (
            not self.training
            or self.inplace
            or not 0 < self.p < 1
            or input.device.type != "cpu"
            or input.numel() < SMALL_DROPOUT
            # Under vmap no generator may fill a tensor that is the same for all.
            or (inside and not batched)
        ):
            return super().forward(input)
        if not batched:
            return input * keep_mask(input.shape, self.p, input.dtype)
        output, _ = _Dropout.apply(input, self.p)
        return output


class _Dropout(torch.autograd.Function):
    """One mask over a whole tensor under ``vmap``, where no generator may be called directly."""

    @staticmethod
    def forward(input: Tensor, p: float) -> tuple[Tensor, Tensor]:
        mask = keep_mask(input.shape, p, input.dtype)
        return input * mask, mask

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.save_for_backward(output[1])
        ctx.mark_non_differentiable(output[1])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, None]:
        (mask,) = ctx.saved_tensors
        return None if gradient is None else gradient * mask, None

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], input: Tensor, p: float
    ) -> tuple[tuple[Tensor, Tensor], tuple[int | None, int | None]]:
        place = in_dims[0]
        if info.randomness == "error":
            raise RuntimeError("vmap: dropout draws numbers; say randomness='different' or 'same'.")
        if info.randomness == "same" and place is not None:
            mask = keep_mask(input.select(place, 0).shape, p, input.dtype)
            first = input.movedim(place, 0)
            return (first * mask, mask.expand_as(first)), (0, 0)
        return _Dropout.apply(input, p), (place, place)


def keep_mask(shape: Sequence[int], p: float, dtype: torch.dtype) -> Tensor:
    """A CPU tensor that is 0 with probability ``p`` (0 < p < 1) and 1 / (1 - p) otherwise.

    To within 2^-17 of the probability; the mean is exactly 1.
    """
    count = math.prod(shape)
    bits = 8 if ((1 - p) * 256).is_integer() else 16
    threshold = min(max(round((1 - p) * 2**bits), 1), 2**bits - 1)
    words = torch.empty(-(-count * bits // 64), dtype=torch.int64).random_(-(2**63), None)
    # torch reads bytes as unsigned, pairs of bytes as signed.
    lanes = words.view(torch.uint8 if bits == 8 else torch.int16)[:count]
    mask = torch.empty(count, dtype=dtype)
    torch.lt(lanes, threshold if bits == 8 else threshold - 2**15, out=mask)
    return mask.mul_(2**bits / threshold).view(*shape)
