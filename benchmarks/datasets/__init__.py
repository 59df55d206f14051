"""The data sets, one file each, found through the entry point group ``i2moe_plugin.datasets``.

Here stands all that a data set's author needs, besides readers (``formats``) and encoders; see
docs/adding_a_dataset.md.
"""

from i2moe_plugin.benchmarks.data.batches import Column, Values
from i2moe_plugin.benchmarks.data.cards import Card, Download, File, Key
from i2moe_plugin.benchmarks.data.classes import (
    ArraySplit,
    BatchSplit,
    FileDataset,
    LazySplit,
    MultimodalDataset,
)
from i2moe_plugin.benchmarks.data.contents import Contents, Modality, Preparation
from i2moe_plugin.benchmarks.data.multibench import CheckoutLoader
from i2moe_plugin.benchmarks.data.open import (
    OpenedDataset,
    PreparedDataset,
    dataloader_of,
    open_dataset,
)
from i2moe_plugin.benchmarks.data.preview import Preview
from i2moe_plugin.benchmarks.data.registry import datasets, find_dataset, register_dataset
from i2moe_plugin.benchmarks.data.source import DataFolder
from i2moe_plugin.benchmarks.data.splits import coded, consecutive, listed

__all__ = [
    "ArraySplit",
    "BatchSplit",
    "Card",
    "CheckoutLoader",
    "Column",
    "Contents",
    "DataFolder",
    "Download",
    "File",
    "FileDataset",
    "Key",
    "LazySplit",
    "Modality",
    "MultimodalDataset",
    "OpenedDataset",
    "Preparation",
    "PreparedDataset",
    "Preview",
    "Values",
    "coded",
    "consecutive",
    "dataloader_of",
    "datasets",
    "find_dataset",
    "listed",
    "open_dataset",
    "register_dataset",
]
