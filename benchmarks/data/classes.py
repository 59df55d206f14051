"""Data sets that are classes, behind the door."""

from __future__ import annotations

import copy

import torch

from i2moe_plugin.benchmarks.data.base import MultimodalDataset


def prepared_copy(
    data: MultimodalDataset, device: torch.device | str, progress: bool
) -> MultimodalDataset:
    """A copy of the data set that is prepared; the data set stays as it is."""
    made = copy.copy(data)
    made.prepare(device, progress)
    return made
