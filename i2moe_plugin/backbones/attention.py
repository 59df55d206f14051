"""Where attention probabilities can be seen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn


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
