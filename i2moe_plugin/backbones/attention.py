"""Where attention probabilities can be seen, and where they need not be."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, nn

_FUSED = ContextVar("attention by PyTorch's kernel", default=False)


@contextmanager
def fused_attention() -> Iterator[None]:
    """Compute attention by PyTorch's kernel, which keeps no probabilities, within the block.

    It counts where nothing needs them: no gradient, no dropout, nobody who looks at them. Of many
    small evaluations it took less than three quarters of the time. Last digits differ from those of
    training and testing, so it is for numbers that are compared with one another alone.
    """
    token = _FUSED.set(True)
    try:
        with torch.no_grad():
            yield
    finally:
        _FUSED.reset(token)


class AttentionWeights(nn.Module):
    """Gives attention probabilities back unchanged, so that others can look at what comes by.

    A backbone whose attention goes over the tokens of all modalities, in their order, lets its
    probabilities [B, heads, N, N] (after the softmax, before dropout) pass through one of these in
    each layer; attention rollout then works on it.

    >>> import torch
    >>> layer = AttentionWeights()
    >>> with seen_attention(layer) as seen:
    ...     _ = layer(torch.ones(1, 1, 1, 1))
    >>> [list(weights.shape) for weights in seen]
    [[1, 1, 1, 1]]
    """

    def forward(self, weights: Tensor) -> Tensor:
        """Any shape -> the same tensor."""
        return weights

    @property
    def unseen(self) -> bool:
        """Whether probabilities need not be computed: within :func:`fused_attention`."""
        return _FUSED.get() and not self._forward_hooks and not torch.is_grad_enabled()


@contextmanager
def seen_attention(module: nn.Module) -> Iterator[list[Tensor]]:
    """Collect the attention probabilities of a module's layers, in the order of their use.

    Args:
        module: with :class:`AttentionWeights` inside, or without any: then nothing is collected.
    """
    seen: list[Tensor] = []
    handles = [
        layer.register_forward_hook(lambda _layer, _inputs, weights: seen.append(weights))
        for layer in module.modules()
        if isinstance(layer, AttentionWeights)
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
