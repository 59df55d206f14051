"""Batches shared out to the processes that train one model together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch.utils.data import BatchSampler, DataLoader, Sampler

from i2moe_plugin.errors import ConfigError


class ShareOfBatches(Sampler[list[Any]]):
    """One rank's share of every batch: its rows in their order, so that all ranks' make the batch.

    Args:
        batches: lists of rows; a sampler with ``set_epoch`` behind them is told the epoch.
        rank: from 0.
        ranks: how many there are; shares differ by at most one sample.
    """

    def __init__(self, batches: BatchSampler, rank: int, ranks: int) -> None:
        self.batches, self.rank, self.ranks = batches, rank, ranks

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order the next pass has."""
        order = self.batches.sampler
        if hasattr(order, "set_epoch"):
            order.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[Any]]:
        for batch in self.batches:
            start, end = (len(batch) * rank // self.ranks for rank in (self.rank, self.rank + 1))
            yield batch[start:end]


def share_of(loader: Any, rank: int, ranks: int) -> Any:
    """Return the loader of one rank's share of every batch; the loader itself where it is alone.

    Args:
        loader: of whole batches.
        rank: from 0.
        ranks: how many there are.

    Raises:
        ConfigError: batches that come from no ``DataLoader``, and cannot be shared out.
    """
    if ranks == 1:
        return loader
    if not isinstance(loader, DataLoader) or not isinstance(loader.batch_sampler, BatchSampler):
        raise ConfigError(
            "the batches of this data set cannot be shared out to devices: leave --devices out."
        )
    return DataLoader(
        loader.dataset,
        batch_sampler=ShareOfBatches(loader.batch_sampler, rank, ranks),
        num_workers=loader.num_workers,
        pin_memory=loader.pin_memory,
        collate_fn=loader.collate_fn,
    )
