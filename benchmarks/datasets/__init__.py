"""The data sets, one file each, found through the entry point group ``i2moe_plugin.datasets``."""

from i2moe_plugin.benchmarks.data.base import (
    ArraySplit,
    BatchSplit,
    MultimodalDataset,
    Status,
    datasets,
    find_dataset,
    open_dataset,
    register_dataset,
)
from i2moe_plugin.benchmarks.data.cards import Card, Download, File, Key
from i2moe_plugin.benchmarks.data.files import FileDataset, LazySplit

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
