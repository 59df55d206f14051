"""One batch in the shares of several processes, so that it counts as one.

Each process (a *rank*) runs the model on its share of a batch. What a loss looks at, the outputs,
is small: every rank gathers those of all, and computes the loss of the joined batch. So a loss may
couple the samples of a batch in any way, and its gradient is that of one process. Outside
:func:`shares`, a batch is whole and all functions give back what they are given.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed


@dataclass(frozen=True)
class Shares:
    """How a batch is shared out.

    Attributes:
        sizes: how many samples each rank has, in the ranks' order.
        rank: of this process.
    """

    sizes: tuple[int, ...]
    rank: int

    @property
    def batch(self) -> int:
        """How many samples the joined batch has."""
        return sum(self.sizes)


_now: Shares | None = None


@contextmanager
def shares(size: int, like: Tensor, ranks: int) -> Iterator[None]:
    """Let the block run on this rank's share of a batch, as all ranks do at the same time.

    Args:
        size: samples of this rank's share.
        like: a tensor on the device that ranks talk through.
        ranks: how many share the batch; of one alone nothing is asked.
    """
    global _now
    before = _now
    if ranks > 1:
        sizes = of_ranks(size, like)
        _now = Shares(tuple(sizes), distributed.get_rank())
    try:
        yield
    finally:
        _now = before


def is_shared() -> bool:
    """Whether this rank has a share of a batch alone."""
    return _now is not None


def joined_sum(value: Tensor) -> Tensor:
    """Return the sum over ranks, which carries no gradient."""
    if _now is None:
        return value
    total = value.detach().clone()
    distributed.all_reduce(total)
    return total


def joined_mean(mean: Tensor) -> Tensor:
    """Make of the mean over a share's samples the mean over the joined batch, without gradient."""
    return mean if _now is None else joined_sum(mean * share_of_batch())


def share_of_batch() -> float:
    """Return which part of the joined batch this rank has; 1 where it has all."""
    return 1.0 if _now is None else _now.sizes[_now.rank] / _now.batch


def shared_draw(drawn: list[int]) -> list[int]:
    """Return what the first rank has drawn."""
    if _now is None:
        return drawn
    found: list[Any] = [drawn]
    distributed.broadcast_object_list(found, src=0)
    chosen: list[int] = found[0]
    return chosen


class _Gather(torch.autograd.Function):
    """Put the ranks' tensors behind one another; the gradient of a rank's own is its slice."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, dim: int, now: Shares) -> Tensor:
        ctx.dim, ctx.now = dim, now
        rows = own.movedim(dim, 0)
        # Ranks gather tensors of one size: with zeros behind them, which are cut off.
        padded = rows.new_zeros((max(now.sizes), *rows.shape[1:]))
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in now.sizes]
        distributed.all_gather(parts, padded)
        whole = torch.cat([part[:size] for part, size in zip(parts, now.sizes, strict=True)])
        return whole.movedim(0, dim)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        start = sum(ctx.now.sizes[: ctx.now.rank])
        size = ctx.now.sizes[ctx.now.rank]
        return gradients[0].narrow(ctx.dim, start, size), None, None


def gathered(own: Tensor, dim: int) -> Tensor:
    """Gather the ranks' tensors, which differ in one dimension alone: the samples.

    Args:
        own: this rank's tensor.
        dim: the dimension of the samples.
    """
    if _now is None:
        return own
    joined: Tensor = _Gather.apply(own, dim, _now)
    return joined


def of_ranks(number: int, like: Tensor) -> list[int]:
    """Return every rank's number, in the ranks' order.

    Args:
        number: of this rank.
        like: a tensor on the device that ranks talk through.
    """
    own = torch.tensor([number], device=like.device)
    found = [torch.zeros_like(own) for _ in range(distributed.get_world_size())]
    distributed.all_gather(found, own)
    return [int(each) for each in found]
