"""Pictures whose features a frozen network of torchvision gives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from torch import nn

from i2moe_plugin.benchmarks.data.batches import Augment, Values, as_is
from i2moe_plugin.benchmarks.data.contents import Modality, Preparation
from i2moe_plugin.benchmarks.data.frozen import check_inputs, frozen_features
from i2moe_plugin.benchmarks.data.preview import Preview
from i2moe_plugin.benchmarks.data.source import DataFolder
from i2moe_plugin.benchmarks.encoders import EncoderSettings, Frozen, vgg
from i2moe_plugin.benchmarks.formats.arrays import Section
from i2moe_plugin.benchmarks.formats.pictures import ImageFiles, read_picture
from i2moe_plugin.benchmarks.formats.reading import Rows
from i2moe_plugin.errors import DatasetError

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
    """The middles of pictures, [3, 224, 224], read by a frozen VGG16.

    Raises:
        DatasetError: there are no weights.
    """
    return FrozenPictures(
        folder,
        ImageFiles(paths, MIDDLE, crop=True),
        vgg.VGG16,
        weights,
        transform=f"RGB, middle, PIL bilinear {MIDDLE}, ImageNet mean and deviation",
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

    Raises:
        DatasetError: there are no weights.
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
        """The features [N, F] of all pictures, from the cache if they are there.

        Raises:
            DatasetError: pictures or weights that are damaged; all damaged pictures are named.
        """
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
        """One modality of some of the pictures.

        Args:
            name: the modality's.
            encoder: of features [F].
            start, stop: which pictures; all by default.
            augment: changes training pictures; then there are no features to keep, and pictures
                are read once in their place, so that damage shows before training.
            preview: see :class:`Modality`; the picture itself by default.
        """
        stop = len(self.files) if stop is None else stop

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
            features = Section(self.features(preparation), start, stop)
            return replace(raw, column=Values(features), encoder=encoder)

        def picture(row: int) -> Preview:
            return Preview(name, "image", read_picture(self.files.paths[start + row]))

        raw = Modality(
            name,
            Values(Section(self.files, start, stop), as_is),
            behind,
            preview=preview or picture,
            augment=augment,
            prepare=prepare,
        )
        return raw
