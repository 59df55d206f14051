"""What a folder's modalities learn from training rows: enough to read samples of other files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from i2moe_plugin.benchmarks.data.batches import Values, as_is
from i2moe_plugin.benchmarks.data.contents import Modality
from i2moe_plugin.benchmarks.data.preprocessing import Standardiser, check_values, fit_standardiser
from i2moe_plugin.benchmarks.data.words import TfIdf, fit_tf_idf
from i2moe_plugin.benchmarks.datasets.folder.description import ModalityEntry
from i2moe_plugin.benchmarks.encoders import (
    EncoderSettings,
    feature_encoder,
    picture_encoder,
    recurrent_encoder,
)
from i2moe_plugin.benchmarks.encoders.sequences import TokenEncoder
from i2moe_plugin.benchmarks.formats.pictures import (
    OWN_FORMATS,
    Bounds,
    ImageFiles,
    depth_bounds,
    fit_bounds,
    spread,
)
from i2moe_plugin.benchmarks.formats.reading import Rows
from i2moe_plugin.errors import DatasetError

CHANNELS = 16
ENCODERS: dict[str, Callable[..., Any]] = {
    "features": feature_encoder,
    "series": recurrent_encoder,
    "tokens": TokenEncoder,
}
Encoder = Callable[[EncoderSettings], nn.Module]
LOOKED_AT = 256  # rows that tell the range of pixels
#: What pixels that are no uint8 are divided by, if they all fit below it.
DEPTHS = (1, 255, 1023, 4095, 16383, 65535)
#: The arrays of a :class:`Standardiser`, by which a run keeps it.
SCALER = ("fill", "mean", "deviation", "indicators")


@dataclass(frozen=True)
class Given:
    """The values of one modality as files, or a caller, give them; their shape fits the kind.

    Attributes:
        where: the file and the array, for messages.
        values: numbers [N, F] or [N, T, F]; N texts; N paths of pictures; pixels [N, H, W, 3] or
            [N, 3, H, W].
        lengths: [N], of sequences of varying length.
        missing: which samples lack the modality, [N]; None: none.
    """

    where: str
    values: Any
    lengths: NDArray[np.int64] | None = None
    missing: NDArray[np.bool_] | None = None

    def present(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return those of these rows that have the modality."""
        return rows if self.missing is None else rows[~self.missing[rows]]


class FittedModality(Protocol):
    """What one modality learned; it reads samples of any file as those of training."""

    def modality(self, name: str, given: Given) -> Modality:
        """Read samples.

        Raises:
            DatasetError: their shapes are not those of training.
        """

    def encoder(self) -> Encoder:
        """Return what builds an untrained encoder of its batches."""

    def example(self) -> Any:
        """Return a batch of two samples, all zeros, in the shapes that a model reads."""

    def facts(self) -> dict[str, Any]:
        """Return what it knows but for arrays, for JSON."""

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that it knows, by name."""


@dataclass(frozen=True)
class FittedNumbers:
    """Features, series and tokens.

    Attributes:
        kind: which of them.
        scaler: standardises them.
        steps: T of training's [N, T, F]; None for features.
        varying: they come with lengths, of at most ``steps``.
    """

    kind: Literal["features", "series", "tokens"]
    scaler: Standardiser
    steps: int | None
    varying: bool

    def modality(self, name: str, given: Given) -> Modality:
        """Read samples; see :class:`FittedModality`."""
        self._check(given)
        scaler = replace(self.scaler, where=given.where)
        column: Any = Values(given.values, scaler)
        if given.lengths is not None:
            column = Padded(given.values, given.lengths, scaler, self.steps or 0)
        return Modality(name, column, self.encoder(), tabular=self.kind == "features")

    def encoder(self) -> Encoder:
        """Return what builds an encoder; see :class:`FittedModality`."""
        return partial(ENCODERS[self.kind], self.scaler.width)

    def _check(self, given: Given) -> None:
        *_, width = given.values.shape
        if width != len(self.scaler.fill):
            raise DatasetError(
                f"{given.where}: {width} columns; the run was trained on {len(self.scaler.fill)}."
            )
        if self.varying != (given.lengths is not None):
            raise DatasetError(
                f"{given.where}: {'has no' if self.varying else 'has'} lengths, and in training "
                f"there were {'some' if self.varying else 'none'}."
            )
        steps = 0 if self.steps is None else given.values.shape[1]
        if given.lengths is not None:
            longest = int(given.lengths.max(initial=0))
            if longest > (self.steps or 0):
                raise DatasetError(
                    f"{given.where}: a sample of {longest} steps; the run was trained on at most "
                    f"{self.steps}. Cut it, or train on longer ones."
                )
        elif steps != (self.steps or 0):
            raise DatasetError(
                f"{given.where}: {steps} steps a sample; the run was trained on {self.steps}."
            )

    def example(self) -> Any:
        """Return two samples of zeros; see :class:`FittedModality`."""
        if self.steps is None:
            return torch.zeros(2, self.scaler.width)
        values = torch.zeros(2, self.steps, self.scaler.width)
        return (values, torch.full((2,), self.steps)) if self.varying else values

    def facts(self) -> dict[str, Any]:
        """Return what it knows but for arrays."""
        return {"kind": self.kind, "steps": self.steps, "varying": self.varying}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the scaler's arrays."""
        return {name: getattr(self.scaler, name) for name in SCALER}


@dataclass(frozen=True)
class FittedText:
    """Text.

    Attributes:
        words: makes TF-IDF of it.
    """

    words: TfIdf

    def modality(self, name: str, given: Given) -> Modality:
        """Read samples; see :class:`FittedModality`."""
        column = Values(given.values, self.words, held=self.words.rows(given.values))
        return Modality(name, column, self.encoder(), preview=given.values.__getitem__)

    def encoder(self) -> Encoder:
        """Return what builds an encoder; see :class:`FittedModality`."""
        return partial(feature_encoder, self.words.width)

    def example(self) -> Any:
        """Return two samples of zeros; see :class:`FittedModality`."""
        return torch.zeros(2, self.words.width)

    def facts(self) -> dict[str, Any]:
        """Return the words."""
        return {"kind": "text", "words": self.words.words, "letters": self.words.letters}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return how rare each word is."""
        return {"idf": self.words.idf}


@dataclass(frozen=True)
class FittedPictures:
    """Pictures.

    Attributes:
        files: they are files, and not pixels in an array.
        size: H, W that files are resized to, or that pixels have.
        whole: pixels are uint8.
        bounds: the values of deep pictures, or of other pixels, that become 0 and 1.
    """

    files: bool
    size: tuple[int, int]
    whole: bool = True
    bounds: Bounds | None = None

    def modality(self, name: str, given: Given) -> Modality:
        """Read samples; see :class:`FittedModality`."""
        return Modality(name, self._column(given), self.encoder())

    def encoder(self) -> Encoder:
        """Return what builds an encoder; see :class:`FittedModality`."""
        return partial(picture_encoder, CHANNELS)

    def _column(self, given: Given) -> Values:
        if self.files != isinstance(given.values, list):
            kinds = ("pixels in an array", "picture files")
            raise DatasetError(
                f"{given.where}: holds {kinds[not self.files]}; the run was trained on "
                f"{kinds[self.files]}."
            )
        if self.files:
            return Values(
                ImageFiles(given.values, self.size, bounds=self.bounds, formats=OWN_FORMATS), as_is
            )
        size, last = size_of(given.values)
        if size != self.size:
            raise DatasetError(
                f"{given.where}: pictures of {list(size)}; the run was trained on "
                f"{list(self.size)}."
            )
        if (given.values.dtype == np.uint8) != self.whole:
            raise DatasetError(
                f"{given.where}: pixels are {given.values.dtype}; in training they were "
                f"{'uint8' if self.whole else 'not uint8'}, and brightness would not compare."
            )
        return Values(given.values, partial(_pixels, given.where, last, self.bounds))

    def example(self) -> Any:
        """Return two samples of zeros; see :class:`FittedModality`."""
        kind = torch.uint8 if not self.files and self.whole else torch.float32
        return torch.zeros(2, 3, *self.size, dtype=kind)

    def facts(self) -> dict[str, Any]:
        """Return everything."""
        return {
            "kind": "image",
            "files": self.files,
            "size": list(self.size),
            "whole": self.whole,
            "bounds": None if self.bounds is None else list(self.bounds),
        }

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return none."""
        return {}


def fit(
    entry: ModalityEntry, given: Given, train: NDArray[np.int64], scale: bool
) -> FittedModality:
    """Fit what a modality of that kind needs on training rows.

    Args:
        entry: its description.
        given: all rows.
        train: the numbers of the training rows.
        scale: give features, series and tokens mean 0 and deviation 1.

    Raises:
        DatasetError: training rows that nothing can be learned from.
    """
    values, train = given.values, given.present(train)
    if entry.kind == "text":
        return FittedText(fit_tf_idf(given.where, [values[row] for row in train], entry.words))
    if entry.kind != "image":
        scaler = fit_standardiser(given.where, values, train, given.lengths, scale)
        steps = None if entry.kind == "features" else int(values.shape[1])
        return FittedNumbers(entry.kind, scaler, steps, given.lengths is not None)
    if isinstance(values, list):
        bounds = fit_bounds([values[row] for row in train], OWN_FORMATS)
        return FittedPictures(True, entry.size, bounds=bounds)
    size, _ = size_of(values)
    if values.dtype == np.uint8:
        return FittedPictures(False, size)
    some = np.asarray(values[train[spread(len(train), LOOKED_AT)]])
    _check_pixels(given.where, some)
    return FittedPictures(False, size, whole=False, bounds=depth_bounds(some, DEPTHS))


def restore(where: str, facts: Mapping[str, Any], arrays: Mapping[str, Any]) -> FittedModality:
    """Make a modality of what :meth:`FittedModality.facts` and ``arrays`` gave.

    Args:
        where: the file that holds them, for messages.
        facts: checked to be of one of the kinds.
        arrays: by name.

    Raises:
        DatasetError: arrays that are missing, or do not belong together.
    """
    kept, kind = dict(facts), facts["kind"]
    try:
        if kind == "text":
            return FittedText(TfIdf.of(kept["words"], kept["letters"], arrays["idf"]))
        if kind == "image":
            del kept["kind"]
            return FittedPictures(**kept)
        scaler = Standardiser(where, **{name: arrays[name] for name in SCALER})
    except (KeyError, ValueError) as error:
        raise DatasetError(
            f"{where}: what was fitted in training is not whole ({error})."
        ) from error
    shapes = {scaler.fill.shape, scaler.mean.shape, scaler.deviation.shape}
    inside = ((scaler.indicators >= 0) & (scaler.indicators < len(scaler.fill))).all()
    if shapes != {(len(scaler.fill),)} or not inside or (kind == "features") == bool(kept["steps"]):
        raise DatasetError(f"{where}: what was fitted in training does not fit together.")
    return FittedNumbers(kind, scaler, kept["steps"], kept["varying"])


@dataclass(frozen=True)
class Padded:
    """A column of sequences of varying length: values [B, T, F], and lengths [B].

    Attributes:
        values: all rows.
        lengths: of all rows.
        transform: standardises them.
        longest: steps of a batch at most; none of the lengths is above it.
    """

    values: Rows
    lengths: NDArray[np.int64]
    transform: Standardiser
    longest: int

    def __getitem__(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        lengths = self.lengths[rows]
        values = self.transform(np.asarray(self.values[rows])[:, : self.longest], lengths)
        return torch.from_numpy(values), torch.from_numpy(lengths)


def size_of(pixels: Rows) -> tuple[tuple[int, int], bool]:
    """Return H, W of pixels [N, H, W, 3] or [N, 3, H, W], and whether colours come last."""
    last = pixels.shape[3] == 3
    height, width = pixels.shape[1:3] if last else pixels.shape[2:]
    return (int(height), int(width)), last


def check_rows(entry: ModalityEntry, given: Given, rows: NDArray[np.int64]) -> None:
    """Check numbers that were not fitted on.

    Raises:
        DatasetError: values that are infinite or beyond single precision.
    """
    if entry.kind in ENCODERS:
        check_values(given.where, given.values, given.present(rows), given.lengths)


def pictures_of(given: Given) -> list[Path]:
    """Return the files that a modality's values name; none where they name none."""
    paths = given.values if isinstance(given.values, list) else []
    chosen = given.present(np.arange(len(paths))).tolist()
    return [paths[row] for row in chosen if isinstance(paths[row], Path)]


def _pixels(
    where: str, channels_last: bool, bounds: Bounds | None, values: NDArray[Any]
) -> NDArray[Any]:
    """Pixels as [B, 3, H, W], uint8, or floats whose training values lie in [0, 1]."""
    values = values.transpose(0, 3, 1, 2) if channels_last else values
    if bounds is not None:
        _check_pixels(where, values)
        low, high = bounds
        values = ((values.astype(np.float64) - low) / (high - low)).astype(np.float32)
    return np.ascontiguousarray(values)


def _check_pixels(where: str, values: NDArray[Any]) -> None:
    if not np.isfinite(values).all():
        raise DatasetError(f"{where}: holds pixels that are NaN or infinite.")
