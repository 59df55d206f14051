"""``--loader multibench``: a data set's batches from MultiBench's own loader, out of a checkout.

Task, encoders, splits' names and everything else stay ours, so that a difference in figures is the
loader's. Where that loader cannot run, or where a figure from it could not be trusted, the data
set says why.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from i2moe_plugin.adapters.checkout import Checkout, open_checkout
from i2moe_plugin.benchmarks.data.batches import Loaders
from i2moe_plugin.benchmarks.data.source import DataFolder
from i2moe_plugin.benchmarks.data.splits import SPLITS, SplitName
from i2moe_plugin.errors import ConfigError, DatasetError, I2MoEError
from i2moe_plugin.injection import MultiBenchBatches

NOTE = "Batches come from MultiBench's own loader, with what it does to the data."


@dataclass(frozen=True)
class CheckoutLoader:
    """MultiBench's loader of a data set.

    Attributes:
        load: (checkout, folder, all of the data set's settings, batch size) -> its train, valid and
            test loader.
        packed: its batches are ([x_1, ..., x_M], [lengths_1, ...], ..., y).
    """

    load: Callable[[Checkout, DataFolder, Mapping[str, Any], int], Loaders]
    packed: bool = False

    def batches(
        self, folder: DataFolder, settings: Mapping[str, Any]
    ) -> Callable[..., CheckoutBatches]:
        """What gives the batches of a split; the checkout is the one in ``$MULTIBENCH_ROOT``."""
        root = os.environ.get("MULTIBENCH_ROOT")
        if not root:
            raise ConfigError("loader=multibench needs a checkout: --multibench PATH.")
        checkout = open_checkout(root)
        made: dict[int, dict[SplitName, Any]] = {}

        def loader(split: SplitName, *, batch_size: int, **_: Any) -> CheckoutBatches:
            if batch_size not in made:
                three = guarded(folder.name, self.load, checkout, folder, settings, batch_size)
                made[batch_size] = dict(zip(SPLITS, three, strict=True))
            return CheckoutBatches(made[batch_size][split], folder.name, self.packed)

        return loader


class CheckoutBatches:
    """Batches of a MultiBench loader as the native loop takes them; what fails there is said."""

    def __init__(self, loader: Any, name: str, packed: bool) -> None:
        self.loader, self.name = loader, name
        self.batches = MultiBenchBatches(loader, is_packed=packed)

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        batches = iter(self.batches)
        while (batch := guarded(self.name, next, batches, None)) is not None:
            yield batch


def guarded(name: str, call: Callable[..., Any], *arguments: Any) -> Any:
    """Return what a call into code that is not ours gives; its warnings are not for the user."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return call(*arguments)
    except I2MoEError:
        raise
    except (Exception, SystemExit) as error:
        raise DatasetError(
            f"MultiBench's loader of {name} fails on these files: {type(error).__name__}: "
            f"{error}. Without --loader multibench they are read by ours."
        ) from error
