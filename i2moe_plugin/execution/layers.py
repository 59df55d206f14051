"""Linear layers and dropout that cost what the machine allows, in place of torch's own.

On a CPU torch draws dropout masks one number at a time, which is a large part of a transformer's
training step, and multiplies matrices by a library that some processors run far below their peak.
:func:`quicken` puts both right in a module's own layers; on other devices, while compiling and for
small tensors they are torch's own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

#: Elements below which torch's dropout is as fast.
SMALL_DROPOUT = 2_048
#: Elements from which on a mask of probability 1/2 takes one bit an element, not eight.
LARGE_DROPOUT = 32_768
#: Multiply-adds a thread below which torch's linear layer is faster.
SMALL_LINEAR = 8_000_000


def quicken(module: nn.Module) -> None:
    """Give a module's linear and dropout layers (of exactly torch's types) our forward.

    Parameters, names, hooks and what else they hold stay as they are.
    """
    for layer in module.modules():
        if type(layer) is nn.Linear:
            layer.__class__ = Linear
        elif type(layer) is nn.Dropout:
            layer.__class__ = Dropout


class Dropout(nn.Dropout):
    """``nn.Dropout`` whose mask on a CPU comes from one call of the generator.

    An element is kept where a random integer is below a threshold: 1 bit of it where that will do
    (0.5), 8 where they give the probability exactly (0.25, ...), otherwise 16, which miss it by at
    most 2^-17; what is kept is scaled by the probability that is in fact used, so the mean is
    exact. Masks follow the global generator's seed, and differ between elements, experts and views.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Any shape -> the same."""
        if (
            not self.training
            or self.inplace
            or not 0 < self.p < 1
            or input.device.type != "cpu"
            or input.numel() < SMALL_DROPOUT
            or torch.compiler.is_compiling()
        ):
            return super().forward(input)
        if not _batched(input):
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
    if p == 0.5 and count >= LARGE_DROPOUT:
        words = _random_words(count)
        mask = torch.empty(words.numel() * 64, dtype=dtype)
        # A row for each place in a byte: rows are long, and the elements' order means nothing.
        places = 1 << torch.arange(8, dtype=torch.uint8).unsqueeze(1)
        torch.ne(words.view(torch.uint8) & places, 0, out=mask.view(8, -1))
        return mask.mul_(2)[:count].view(*shape)
    bits = 8 if ((1 - p) * 256).is_integer() else 16
    threshold = min(max(round((1 - p) * 2**bits), 1), 2**bits - 1)
    # torch reads bytes as unsigned, pairs of bytes as signed.
    lanes = _random_words(count * bits).view(torch.uint8 if bits == 8 else torch.int16)[:count]
    mask = torch.empty(count, dtype=dtype)
    torch.lt(lanes, threshold if bits == 8 else threshold - 2**15, out=mask)
    return mask.mul_(2**bits / threshold).view(*shape)


def _random_words(bits: int) -> Tensor:
    """So many random bits, in words of 64."""
    return torch.empty(-(-bits // 64), dtype=torch.int64).random_(-(2**63), None)


class Linear(nn.Linear):
    """``nn.Linear`` that multiplies through oneDNN where a CPU's float32 matrices are large.

    torch takes MKL for these, which on some processors is the slower by a third.
    """

    def forward(self, input: Tensor) -> Tensor:
        """[..., in] -> [..., out]."""
        if (
            input.numel() * self.out_features < SMALL_LINEAR * torch.get_num_threads()
            or input.device.type != "cpu"
            or input.dtype != torch.float32
            or self.weight.dtype != torch.float32
            or torch.compiler.is_compiling()
            or torch.is_autocast_enabled("cpu")
            or _batched(input)
            or _batched(self.weight)
            or not _ONEDNN
        ):
            return super().forward(input)
        if torch.is_grad_enabled():
            return _Linear.apply(input, self.weight, self.bias)
        return _multiply(input, self.weight, self.bias)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(input, weight)
        return _multiply(input, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        input, weight = ctx.saved_tensors
        flat = gradient.flatten(0, -2)
        to_input = to_weight = to_bias = None
        if ctx.needs_input_grad[0]:
            # oneDNN's result has no derivative of its own; who asks for a second one gets torch's.
            twice = torch.is_grad_enabled()
            to_input = gradient @ weight if twice else _multiply(gradient, weight.t(), None)
        if ctx.needs_input_grad[1]:
            to_weight = flat.t() @ input.flatten(0, -2)
        if ctx.needs_input_grad[2]:
            to_bias = flat.sum(0)
        return to_input, to_weight, to_bias


def _multiply(input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The product x W^T + b."""
    return torch.ops.mkldnn._linear_pointwise(input, weight, bias, "none", [], "")


def _has_onednn() -> bool:
    """The operator is torch's own, but not public: it is tried before it is relied on."""
    try:
        x, w, b = torch.ones(2, 3), torch.full((4, 3), 2.0), torch.ones(4)
        return bool((_multiply(x, w, b) == 7).all())
    except (AttributeError, RuntimeError, TypeError):
        return False


_ONEDNN = _has_onednn()
_batched = torch._C._functorch.is_batchedtensor
