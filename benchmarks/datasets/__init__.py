"""The data sets, one file each, found through the entry point group ``i2moe_plugin.datasets``."""

from i2moe_plugin.benchmarks.datasets.base import (
    MultimodalDataset,
    Status,
    datasets,
    find_dataset,
    open_dataset,
    register_dataset,
)
from i2moe_plugin.benchmarks.datasets.manifest import Card

__all__ = [
    "Card",
    "MultimodalDataset",
    "Status",
    "datasets",
    "find_dataset",
    "open_dataset",
    "register_dataset",
]
