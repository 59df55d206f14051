"""Features of a frozen network, computed once and kept on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn

from i2moe_plugin.benchmarks.data.cache import kept_rows
from i2moe_plugin.benchmarks.formats.reading import Rows
from i2moe_plugin.errors import DatasetError, listed


def frozen_features(
    name: str,
    inputs: Any,
    extractor: Callable[[], nn.Module],
    key: Mapping[str, str],
    *,
    device: torch.device | str = "cpu",
    batch_size: int = 16,
    progress: bool = False,
    cache: bool = True,
) -> Rows:
    """The extractor's output for every input: from the cache, or computed and put there.

    They are kept in half precision, whose rounding (a relative 5e-4) is far below the difference
    between two seeds.

    Args:
        name: what the cache file's name starts with.
        inputs: N tensors [...] by number; reading one may raise DatasetError.
        extractor: builds the network, [B, ...] -> [B, F]; called only where there is no cache.
        key: everything that decides the features: data, extractor, weights, transform.
        device: where to compute; features of one kind of device are not taken for another's.
        batch_size: inputs at once.
        progress: show a progress bar, if standard error is a terminal.
        cache: take what is kept; else compute again, and keep that.

    Returns:
        [N, F], float16; rows are read from disk when asked for.

    Raises:
        DatasetError: inputs that cannot be read (all of them are named), or features that are not
            finite.
    """
    device = torch.device(device)
    facts = {**key, "device": device.type}

    def compute() -> Iterator[NDArray[Any]]:
        return _compute(name, inputs, extractor, device, batch_size, progress)

    return kept_rows(name, len(inputs), compute, facts, cache=cache)


def check_inputs(inputs: Any, progress: bool = False) -> None:
    """Read every input once.

    Raises:
        DatasetError: some are damaged; names them.
    """
    problems: list[str] = []
    with progress_bar("checking inputs", len(inputs), progress) as advance:
        for index in range(len(inputs)):
            _try(inputs, index, problems)
            advance(1)
    _refuse(problems)


@contextmanager
def progress_bar(title: str, total: int, show: bool) -> Iterator[Callable[[int], None]]:
    """A bar on standard error, where that is a terminal; gives what tells it of steps done."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    if not (show and console.is_terminal):
        yield lambda steps: None
        return
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task(title, total=total)
        yield lambda steps: bar.advance(task, steps)


def _compute(
    name: str,
    inputs: Any,
    extractor: Callable[[], nn.Module],
    device: torch.device,
    batch_size: int,
    progress: bool,
) -> Iterator[NDArray[Any]]:
    """The features, batch by batch; after the first bad input the rest is only checked."""
    # Channels last: a fifth faster on a CPU, and what tensor cores want.
    network = extractor().eval().to(device).to(memory_format=torch.channels_last)
    problems: list[str] = []
    with progress_bar(f"{name}: features", len(inputs), progress) as advance:
        for start in range(0, len(inputs), batch_size):
            indices = range(start, min(start + batch_size, len(inputs)))
            batch = [_try(inputs, index, problems) for index in indices]
            if not problems:
                with torch.no_grad():
                    features = network(torch.stack(batch).to(device)).half().cpu()
                if not torch.isfinite(features).all():
                    raise DatasetError(
                        f"{name}: features hold NaN or infinite values: the extractor's weights "
                        "are damaged."
                    )
                yield features.numpy()
            advance(len(batch))
    _refuse(problems)


def _try(inputs: Any, index: int, problems: list[str]) -> Any:
    """An input; where it cannot be read, the reason is added to the problems."""
    try:
        return inputs[index]
    except DatasetError as error:
        problems.append(str(error))
        return None


def _refuse(problems: list[str]) -> None:
    if problems:
        raise DatasetError(f"{len(problems)} inputs cannot be read:\n{listed(problems)}")
