"""``--loader multibench``: a data set's batches from MultiBench's own loader, out of a checkout.

Task, encoders, splits' names and everything else stay ours, so that a difference in figures is the
loader's. Where that loader cannot run, or where a figure from it could not be trusted, the reason
is said.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from i2moe_plugin.adapters.checkout import Checkout, open_checkout
from i2moe_plugin.benchmarks.data.base import SPLITS, MultimodalDataset, SplitName
from i2moe_plugin.errors import ConfigError, DatasetError, I2MoEError
from i2moe_plugin.injection import MultiBenchBatches

Loaders = tuple[Any, Any, Any]
NOTE = "Batches come from MultiBench's own loader, with what it does to the data."

#: Why MultiBench's loader of a data set is not taken; each was found by running or reading it.
REASONS = {
    "enrico": "its 'test' loaders are built from the training split, so no test figure of it could "
    "be trusted (datasets/enrico/get_data.py, mode is never 'test')",
    "mmimdb": "it needs theano, which current Python cannot install, and folders that are written "
    "into its source (datasets/imdb/get_data.py)",
    "push": "it needs fannypack and downloads at every start (datasets/gentle_push)",
    "vision-touch": "it gives the validation split as test split (datasets/robotics/get_data.py)",
    "stocks": "it downloads prices at every start and reads no files (datasets/stocks/get_data.py)",
}


def checkout_loader(data: MultimodalDataset) -> Callable[..., Batches]:
    """What gives a data set's batches from MultiBench's loader, by split.

    The checkout is the one in ``$MULTIBENCH_ROOT``.

    Raises:
        ConfigError: no checkout was named.
        DatasetError: MultiBench has no such loader, or it cannot be used; says why.
        PluginError: the folder is no checkout, or its module cannot be imported.
    """
    root = os.environ.get("MULTIBENCH_ROOT")
    if not root:
        raise ConfigError("loader=multibench needs a checkout: --multibench PATH.")
    if data.name in REASONS:
        raise DatasetError(
            f"MultiBench's loader of {data.name} cannot be used: {REASONS[data.name]}."
        )
    build = BUILDERS.get(data.name)
    if build is None:
        raise DatasetError(
            f"MultiBench has no loader of {data.name}; it has {', '.join([*BUILDERS, *REASONS])}."
        )
    checkout = open_checkout(root)
    made: dict[int, dict[SplitName, Any]] = {}

    def loader(split: SplitName, *, batch_size: int, **_: Any) -> Batches:
        if batch_size not in made:
            three = _guarded(build, data, checkout, data, batch_size)
            made[batch_size] = dict(zip(SPLITS, three, strict=True))
        return Batches(made[batch_size][split], data)

    return loader


class Batches:
    """Batches of a MultiBench loader as the native loop takes them; what fails there is said."""

    def __init__(self, loader: Any, data: MultimodalDataset) -> None:
        self.loader, self.data = loader, data
        self.batches = MultiBenchBatches(loader, is_packed=data.name in PACKED)

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        batches = iter(self.batches)
        while (batch := _guarded(next, self.data, batches, None)) is not None:
            yield batch


def _guarded(call: Callable[..., Any], data: MultimodalDataset, *arguments: Any) -> Any:
    """What a call into code that is not ours gives; its warnings are not for the user."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return call(*arguments)
    except I2MoEError:
        raise
    except (Exception, SystemExit) as error:
        raise DatasetError(
            f"MultiBench's loader of {data.name} fails on these files: {type(error).__name__}: "
            f"{error}. Without --loader multibench they are read by ours."
        ) from error


def _avmnist(checkout: Checkout, data: MultimodalDataset, batch_size: int) -> Loaders:
    module = checkout.module("datasets.avmnist.get_data")
    three: Loaders = module.get_dataloader(str(data.root), batch_size=batch_size, num_workers=0)
    return three


def _mimic3(checkout: Checkout, data: Any, batch_size: int) -> Loaders:
    module = checkout.module("datasets.mimic.get_data")
    train, valid, tests = module.get_dataloader(
        data._group,
        batch_size=batch_size,
        num_workers=0,
        flatten_time_series=data.flatten_time_series,
        imputed_path=str(Path(data.folder, "im.pk")),
        tabular_robust=False,
        timeseries_robust=False,
    )
    return train, valid, tests["timeseries"][0]  # the one without noise


def _affect(checkout: Checkout, data: Any, batch_size: int) -> Loaders:
    if data.file.suffix == ".h5":
        raise DatasetError(f"MultiBench reads the published pickle; {data.file} is the HDF5 of it.")
    # torchtext has no build for current torch; noise on words alone needs it.
    module = checkout.module("datasets.affect.get_data", without=("torchtext",))
    three: Loaders = module.get_dataloader(
        str(data.file),
        batch_size=batch_size,
        num_workers=0,
        max_seq_len=data.max_seq_len,
        z_norm=data.z_norm,
        data_type=data.multibench,
        task="classification" if data.labels_are == "classes" else None,
    )
    return three


PACKED = ("mosi", "mosi-regression", "mosei", "mustard", "urfunny")
#: The pickles that these unpickle have been read by our allow-list when the data set was opened.
BUILDERS: dict[str, Callable[..., Loaders]] = {
    "avmnist": _avmnist,
    "mimic3": _mimic3,
    **dict.fromkeys(PACKED, _affect),
}
