"""Features of a frozen network, computed once and kept on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from i2moe_plugin.benchmarks.data.batches import Augment, Values, as_is
from i2moe_plugin.benchmarks.data.cache import kept_rows
from i2moe_plugin.benchmarks.data.contents import Modality, Preparation
from i2moe_plugin.benchmarks.data.preview import Preview
from i2moe_plugin.benchmarks.data.source import DataFolder
from i2moe_plugin.benchmarks.encoders import EncoderSettings, Frozen, vgg
from i2moe_plugin.benchmarks.formats.arrays import Section
from i2moe_plugin.benchmarks.formats.pictures import ImageFiles, read_picture
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
    """Return the extractor's output for N inputs: from the cache, or computed and put there.

    It is [N, F] in half precision, whose rounding (a relative 5e-4) is far below the difference
    between two seeds. ``key`` holds everything that decides it but the kind of device.
    """
    device = torch.device(device)
    facts = {**key, "device": device.type}

    def compute() -> Iterator[NDArray[Any]]:
        return _compute(name, inputs, extractor, device, batch_size, progress)

    return kept_rows(name, len(inputs), compute, facts, cache=cache)


def check_inputs(inputs: Any, progress: bool = False) -> None:
    """Read every input once."""
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
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not (show and console.is_terminal):
        yield lambda steps: None
        return
    # A data set's name is shown as it is, whatever rich's markup makes of it.
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
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
    """Give the features, batch by batch; after the first bad input the rest is only checked."""
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
    """Return an input; where it cannot be read, the reason is added to the problems."""
    try:
        return inputs[index]
    except DatasetError as error:
        problems.append(str(error))
        return None


def _refuse(problems: list[str]) -> None:
    if problems:
        raise DatasetError(f"{len(problems)} inputs cannot be read:\n{listed(problems)}")


MIDDLE = (224, 224)  # height, width


def missing_weights(network: vgg.Network, folder: DataFolder) -> Iterable[str]:
    """Why a run on the folder cannot start with the network's published weights, if it cannot."""
    try:
        vgg.find_weights(network, random_allowed=folder.is_sample)
    except DatasetError as error:
        yield str(error)


def middles_by_vgg16(
    folder: DataFolder, paths: Sequence[Path], weights: str | Path
) -> FrozenPictures:
    """Return the middles of pictures, [3, 224, 224], read by a frozen VGG16."""
    return FrozenPictures(
        folder,
        ImageFiles(paths, MIDDLE, crop=True),
        vgg.VGG16,
        weights,
        transform=f"upright RGB over white, middle, PIL bilinear {MIDDLE}, ImageNet's scale",
        digest=partial(folder.digest, paths),
    )


@dataclass(frozen=True)
class FrozenPictures:
    """The pictures of a data set, and the frozen network that reads them.

    Attributes:
        folder: where they lie.
        files: all of them.
        network: reads them.
        choice: its weights; see :func:`~i2moe_plugin.benchmarks.encoders.vgg.find_weights`.
        transform: what ``files`` makes of a picture, in words; part of the cache's key.
        digest: gives a hash of all pictures.
    """

    folder: DataFolder
    files: ImageFiles
    network: vgg.Network
    choice: str | Path
    transform: str
    digest: Callable[[], str]
    _computed: dict[Preparation, Rows | None] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        _ = self.weights

    @cached_property
    def weights(self) -> Path | None:
        """The file of the weights; None: random ones."""
        return vgg.find_weights(self.network, self.choice, random_allowed=self.folder.is_sample)

    @cached_property
    def weights_digest(self) -> str:
        """A hash of the weights."""
        return vgg.weights_fingerprint(self.network, self.weights)

    @property
    def notes(self) -> tuple[str, ...]:
        """What must stand beside results."""
        return () if self.weights is not None else (vgg.random_note(self.network),)

    def features(self, preparation: Preparation) -> Rows:
        """Return the features [N, F] of all pictures, from the cache if they are there."""
        if preparation not in self._computed:
            key = {
                "images": self.digest(),
                "extractor": self.network.extractor,
                "weights": self.weights_digest,
                "transform": self.transform,
            }
            self._computed[preparation] = frozen_features(
                self.folder.name,
                self.files,
                partial(vgg.frozen, self.network, self.weights),
                key,
                device=preparation.device,
                progress=preparation.progress,
                cache=self.folder.cache,
            )
        found = self._computed[preparation]
        assert found is not None
        return found

    def modality(
        self,
        name: str,
        encoder: Callable[[EncoderSettings], nn.Module],
        start: int = 0,
        stop: int | None = None,
        augment: Augment | None = None,
        preview: Callable[[int], Any] | None = None,
    ) -> Modality:
        """Make a modality of the pictures from ``start`` to ``stop``.

        Where ``augment`` changes training pictures there are no features to keep: pictures are read
        once in their place, so that damage shows before training.
        """
        numbers = np.arange(len(self.files))[start:stop]

        def behind(settings: EncoderSettings) -> nn.Module:
            network = Frozen(vgg.frozen(self.network, self.weights))
            return nn.Sequential(network, encoder(settings))

        def prepare(preparation: Preparation) -> Modality | None:
            if not preparation.frozen:
                return None
            if augment is not None:
                if preparation not in self._computed:
                    check_inputs(self.files, preparation.progress)
                    self._computed[preparation] = None
                return None
            features = Section(self.features(preparation), numbers)
            return replace(raw, column=Values(features), encoder=encoder)

        def picture(row: int) -> Preview:
            return Preview(
                name,
                "image",
                read_picture(self.files.paths[start + row], formats=self.files.formats),
            )

        raw = Modality(
            name,
            Values(Section(self.files, numbers), as_is),
            behind,
            preview=preview or picture,
            augment=augment,
            prepare=prepare,
        )
        return raw
