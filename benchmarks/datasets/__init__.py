"""The data sets, one file each, found through the entry point group ``i2moe_plugin.datasets``."""

from i2moe_plugin.benchmarks.datasets.base import (
    ArraySplit,
    BatchSplit,
    MultimodalDataset,
    Status,
    datasets,
    find_dataset,
    open_dataset,
    register_dataset,
)
from i2moe_plugin.benchmarks.datasets.files import FileDataset, LazySplit
from i2moe_plugin.benchmarks.datasets.manifest import Card, Download, File, Key

__all__ = [
    "ArraySplit",
    "BatchSplit",
    "Card",
    "Download",
    "File",
    "FileDataset",
    "Key",
    "LazySplit",
    "MultimodalDataset",
    "Status",
    "datasets",
    "find_dataset",
    "open_dataset",
    "register_dataset",
]
