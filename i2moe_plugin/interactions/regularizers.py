"""Penalties on the similarity of the experts' representations.

All take [E, B, D], what E experts computed of a batch, and give the mean over the pairs of experts.
Source: the code of FL-I2MoE's follow-up (``src/imoe/regularizers.py``), arXiv 2606.29613.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


def rep_cos(latents: Tensor) -> Tensor:
    """Compute the mean squared cosine between two experts' representations of a sample.

    >>> rep_cos(torch.tensor([[[1.0, 0.0]], [[0.0, 2.0]]]))
    tensor(0.)
    """
    unit = F.normalize(latents, dim=-1)
    return torch.stack([(a * b).sum(-1).square().mean() for a, b in _pairs(unit)]).mean()


def rep_barlow(latents: Tensor) -> Tensor:
    """Compute the mean square of what is off the diagonal of two experts' cross-correlation.

    >>> rep_barlow(torch.ones(2, 4, 3))
    tensor(0.)
    """
    centred = latents - latents.mean(1, keepdim=True)
    unit = centred / (latents.std(1, correction=0, keepdim=True) + 1e-5)
    batch, width = latents.shape[1:]
    off = 1 - torch.eye(width, dtype=latents.dtype, device=latents.device)
    count = max(width * (width - 1), 1)
    terms = [((a.T @ b / batch) * off).square().sum() / count for a, b in _pairs(unit)]
    return torch.stack(terms).mean()


def rep_cka(latents: Tensor) -> Tensor:
    """Compute the linear centred kernel alignment of two experts' representations, in [0, 1].

    >>> latents = torch.tensor([[0.0, 1.0], [2.0, 0.0], [1.0, 1.0]])
    >>> round(rep_cka(torch.stack([latents, 3 * latents])).item(), 4)
    1.0
    """
    centred = latents - latents.mean(1, keepdim=True)
    norms = [torch.linalg.matrix_norm(x.T @ x) for x in centred]
    terms = [
        (centred[i].T @ centred[j]).square().sum() / (norms[i] * norms[j] + 1e-8)
        for i in range(len(centred))
        for j in range(i + 1, len(centred))
    ]
    return torch.stack(terms).mean()


@dataclass(frozen=True)
class Penalty:
    """A term of the loss that keeps experts apart.

    Attributes:
        name: as in the method's name, ``rep-NAME``.
        similarity: [E, B, D] -> a scalar.
        weight: of the term; the defaults are the follow-up's, which searches the one of CKA and
            names none.
        warmup_epochs: over so many epochs the weight grows from 0 to its value.
    """

    name: str
    similarity: Callable[[Tensor], Tensor]
    weight: float
    warmup_epochs: int = 0

    def __call__(self, fused: Tensor, epoch: int | None = None) -> Tensor:
        """Compute the term from what E experts computed of a batch, [E, B, D].

        Args:
            fused: the experts' representations.
            epoch: of training, from 1; None: after the warm-up.
        """
        scale = 1.0
        if epoch is not None and self.warmup_epochs > 1:
            scale = min(1.0, (epoch - 1) / (self.warmup_epochs - 1))
        return self.weight * scale * self.similarity(fused)


PENALTIES = {
    penalty.name: penalty
    for penalty in (
        Penalty("cos", rep_cos, weight=3e-3),
        Penalty("cka", rep_cka, weight=1e-2),
        Penalty("barlow", rep_barlow, weight=10.0, warmup_epochs=5),
    )
}


def _pairs(latents: Tensor) -> list[tuple[Tensor, Tensor]]:
    count = len(latents)
    return [(latents[i], latents[j]) for i in range(count) for j in range(i + 1, count)]
