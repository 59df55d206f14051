"""Features of a frozen network, computed once and kept on disk."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from i2moe_plugin.benchmarks.formats.readers import H5Array, Rows
from i2moe_plugin.errors import DatasetError, listed

log = logging.getLogger(__name__)

FORMAT = 1  # of the cache files; part of their key
BLOCK = 1 << 24  # bytes of features that are looked at together


class Inputs(Protocol):
    """Tensors of one shape, by number; reading one may raise DatasetError."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Tensor: ...


def cache_dir() -> Path:
    """The user's cache folder: ``$I2MOE_CACHE``, else ``i2moe-plugin`` in ``$XDG_CACHE_HOME``."""
    own = os.environ.get("I2MOE_CACHE")
    if own:
        return Path(own).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "i2moe-plugin"


def frozen_features(
    name: str,
    inputs: Inputs,
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
        inputs: N tensors [...].
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


def kept_rows(
    name: str,
    count: int,
    compute: Callable[[], Iterator[NDArray[Any]]],
    key: Mapping[str, str],
    *,
    cache: bool = True,
) -> Rows:
    """An array that takes long to compute: from the cache, or computed and put there.

    It is never in memory as a whole, unless the cache folder cannot be written.

    Args:
        name: what the cache file's name starts with.
        count: N.
        compute: gives the array in blocks of rows; called only where there is no cache.
        key: everything that decides the array.
        cache: take what is kept; else compute again, and keep that.

    Returns:
        [N, ...]; rows are read from disk when asked for.

    Raises:
        DatasetError: what ``compute`` raises.
    """
    facts = {**key, "count": str(count), "format": str(FORMAT)}
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    path = cache_dir() / "features" / f"{name}-{digest[:16]}.h5"
    rows = _read(path, digest) if cache else None
    if rows is not None:
        return rows
    try:
        _write(path, digest, count, compute)
        return H5Array(path, "features")
    except OSError as error:
        log.warning(
            "features cannot be kept in %s (%s); they are held in memory, and will be computed "
            "again next time. Another folder is chosen with the environment variable I2MOE_CACHE.",
            path.parent,
            error,
        )
    return np.concatenate(list(compute()))


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
    inputs: Inputs,
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
            batch = []
            for index in range(start, min(start + batch_size, len(inputs))):
                try:
                    batch.append(inputs[index])
                except DatasetError as error:
                    problems.append(str(error))
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
    if problems:
        raise DatasetError(f"{len(problems)} inputs cannot be read:\n{listed(problems)}")


def _read(path: Path, digest: str) -> Rows | None:
    """What the file holds, if it is whole and was written for this key."""
    import h5py

    if not path.is_file():
        return None
    try:
        with h5py.File(path, "r") as file:
            key, content = file.attrs["key"], file.attrs["sha256"]
        rows = H5Array(path, "features")
        if key == digest and content == _hash(rows):
            return rows
        reason = "its content does not match its checksum"
    except Exception as error:  # h5py meets damage with nearly any exception
        reason = f"{type(error).__name__}: {error}"
    log.warning("%s is damaged and is computed again (%s).", path, reason)
    return None


def _write(
    path: Path, digest: str, count: int, compute: Callable[[], Iterator[NDArray[Any]]]
) -> None:
    """Write aside and rename.

    Raises:
        OSError: the folder cannot be written.
    """
    import h5py

    path.parent.mkdir(parents=True, exist_ok=True)
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        content, done = hashlib.sha256(), 0
        with h5py.File(aside, "w") as file:
            for block in compute():
                if not done:  # in one piece, uncompressed: rows are read at their place
                    array = file.create_dataset("features", (count, *block.shape[1:]), block.dtype)
                array[done : done + len(block)] = block
                content.update(block.tobytes())
                done += len(block)
            file.attrs["key"], file.attrs["sha256"] = digest, content.hexdigest()
        os.replace(aside, path)
    finally:
        with suppress(OSError):
            os.unlink(aside)


def _hash(rows: Rows) -> str:
    content = hashlib.sha256()
    step = max(1, BLOCK * len(rows) // max(1, int(np.prod(rows.shape)) * rows.dtype.itemsize))
    for start in range(0, len(rows), step):
        content.update(rows[start : start + step].tobytes())
    return content.hexdigest()
