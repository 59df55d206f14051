"""The data sets, one file each, found through the entry point group ``i2moe_plugin.datasets``."""

from i2moe_plugin.benchmarks.data.base import ArraySplit, BatchSplit, MultimodalDataset, Status
from i2moe_plugin.benchmarks.data.cards import Card, Download, File, Key
from i2moe_plugin.benchmarks.data.files import FileDataset, LazySplit
from i2moe_plugin.benchmarks.data.open import OpenedDataset, PreparedDataset, open_dataset
from i2moe_plugin.benchmarks.data.registry import datasets, find_dataset, register_dataset

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
    "OpenedDataset",
    "PreparedDataset",
    "Status",
    "datasets",
    "find_dataset",
    "open_dataset",
    "register_dataset",
]
