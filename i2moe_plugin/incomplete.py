"""Batches in which some samples lack a modality."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Incomplete(NamedTuple):
    """One modality of a batch that some of its samples lack; it stands where its batch would.

    What a sample lacks is nowhere: encoders see the samples alone that have the modality.

    Attributes:
        x: the batch of the n samples that have it, as their encoder takes it; None where n is 0.
        rows: their places in the batch, ascending, [n].
        size: B, the samples of the batch.
    """

    x: Any
    rows: Tensor
    size: int


def rows_with(inputs: Sequence[Any], absent: Sequence[int] = ()) -> list[Tensor | None]:
    """Return for each modality the places of the samples that have it; None where all do.

    Args:
        inputs: M batches.
        absent: the modalities that are absent from the whole batch.
    """
    nothing = torch.zeros(0, dtype=torch.long)
    return [
        nothing if index in absent else x.rows if isinstance(x, Incomplete) else None
        for index, x in enumerate(inputs)
    ]


def has_modality(present: Sequence[Tensor | None], size: int, device: torch.device) -> Tensor:
    """Return which samples have which modality, [M, B], of what :func:`rows_with` gives."""
    found = torch.ones(len(present), size, dtype=torch.bool, device=device)
    for modality, rows in enumerate(present):
        if rows is not None:
            found[modality] = False
            found[modality].index_fill_(0, rows.to(device), True)
    return found
