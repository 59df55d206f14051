"""Corrupted columns: what a model reads of one modality, changed sample by sample."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from i2moe_plugin.benchmarks.data.batches import (
    Column,
    IncompleteColumn,
    SplitDataset,
    Values,
)
from i2moe_plugin.benchmarks.robustness import noise
from i2moe_plugin.benchmarks.robustness.pictures import corrupt_picture
from i2moe_plugin.benchmarks.robustness.words import corrupt_text
from i2moe_plugin.errors import ConfigError
from i2moe_plugin.seeding import derive_seed

Kind = Literal["table", "series", "audio", "image", "text", "array"]
KINDS: tuple[Kind, ...] = get_args(Kind)
#: Training rows that tell a modality's kind, deviation and range.
LOOKED_AT = 256
_OF_NUMBERS: dict[Kind, Callable[..., NDArray[np.float32]]] = {
    "table": noise.corrupt_table,
    "series": noise.corrupt_series,
    "audio": noise.corrupt_audio,
    "array": noise.corrupt_array,
}


@dataclass(frozen=True)
class Corruption:
    """How one modality is corrupted; made by :meth:`of`.

    Attributes:
        modality: its name.
        kind: what it is corrupted as.
        deviation: of training values, for each feature; of pictures' channels nothing.
        low, high: values that become black and white, [C, 1, 1].
    """

    modality: str
    kind: Kind
    deviation: NDArray[np.float32]
    low: NDArray[np.float32]
    high: NDArray[np.float32]

    @classmethod
    def of(cls, modality: str, split: SplitDataset, place: int) -> Corruption:
        """Find out what a modality is, from training rows.

        Args:
            modality: its name; audio has it in its name.
            split: the training split, as a model reads it.
            place: of the modality.

        Raises:
            ConfigError: it is read as numbers of words, or of no kind that can be corrupted.
        """
        column, every = split.columns[place], split.rows
        if isinstance(column, IncompleteColumn):
            every, column = column.present(every), column.column
        nothing = np.zeros(0, np.float32)
        if texts_of(column) is not None:
            return cls(modality, "text", nothing, nothing, nothing)
        places = np.linspace(0, len(every) - 1, min(len(every), LOOKED_AT)).round().astype(int)
        values, extent = _parts(column[every[np.unique(places)]])
        if not (values.is_floating_point() or values.dtype == torch.uint8) or values.dim() < 2:
            raise ConfigError(
                f"{modality} cannot be corrupted: it is read as numbers of words, and its data set "
                "does not give the words themselves."
            )
        if extent is not None and (extent.dim() != 1 or values.dim() != 3):
            raise ConfigError(
                f"{modality} cannot be corrupted: it is read as {list(values.shape)} with "
                f"{list(extent.shape)} beside it; expected series [B, T, F] with lengths [B]."
            )
        kind = _kind(modality, values)
        rows = values.float()
        axes = (0, 2, 3) if values.dim() == 4 else tuple(range(values.dim() - 1))
        if kind == "image":
            low, high = rows.amin(axes), rows.amax(axes)
            if values.dtype == torch.uint8:
                low, high = torch.zeros_like(low), torch.full_like(high, 255)
            high = torch.where(high > low, high, low + 1)
            shaped = [x.reshape(-1, 1, 1).numpy() for x in (low, high)]
            return cls(modality, kind, nothing, *shaped)
        flat = rows.reshape(-1, rows.shape[-1])
        if extent is not None:
            flat = flat[_real(rows, extent).reshape(-1)]
        if kind == "array" or (kind == "audio" and rows.dim() == 4):
            flat = flat.reshape(-1, 1)
        return cls(modality, kind, flat.std(0, correction=0).numpy(), nothing, nothing)

    def apply(self, values: Tensor, level: float, seeds: Sequence[int], extent: Any) -> Tensor:
        """Corrupt a batch.

        Args:
            values: [B, ...].
            level: from 0 to 1.
            seeds: B, of the samples.
            extent: lengths [B], or None; padding stays as it is.
        """
        real = None if extent is None else _real(values, extent)
        changed = []
        for row, (sample, seed) in enumerate(zip(values, seeds, strict=True)):
            random = np.random.default_rng(seed)
            if self.kind == "image":
                changed.append(self._picture(sample, level, random))
                continue
            array = sample.numpy()
            if self.kind == "audio" and array.ndim == 3:  # a spectrogram [1, F, T]
                steps = np.moveaxis(array, -1, 0).reshape(array.shape[-1], -1)
                made = self._numbers(steps, level, random).reshape(
                    array.shape[-1], *array.shape[:2]
                )
                changed.append(torch.from_numpy(np.ascontiguousarray(np.moveaxis(made, 0, -1))))
                continue
            if real is None:
                made = self._numbers(array, level, random)
            else:
                kept = real[row].numpy()
                made = array.copy()
                made[kept] = self._numbers(array[kept], level, random)
            changed.append(torch.from_numpy(made))
        return torch.stack(changed).to(values.dtype)

    def _numbers(
        self, sample: NDArray[Any], level: float, random: np.random.Generator
    ) -> NDArray[np.float32]:
        return _OF_NUMBERS[self.kind](sample, level, random, self.deviation)

    def _picture(self, sample: Tensor, level: float, random: np.random.Generator) -> Tensor:
        """Change a picture [C, H, W] by way of 8 bits a channel."""
        scaled = (sample.float().numpy() - self.low) / (self.high - self.low)
        pixels = (255 * scaled).round().clip(0, 255).astype(np.uint8).transpose(1, 2, 0)
        grey = pixels.shape[2] == 1
        made = corrupt_picture(pixels[..., 0] if grey else pixels, level, random)
        made = (made[..., None] if grey else made).transpose(2, 0, 1)
        if sample.dtype == torch.uint8:
            return torch.from_numpy(np.ascontiguousarray(made))
        back = made.astype(np.float32) / 255 * (self.high - self.low) + self.low
        return torch.from_numpy(np.ascontiguousarray(back, dtype=np.float32))


@dataclass(frozen=True)
class Corrupted:
    """A column whose samples are corrupted; each sample the same whatever stands beside it.

    Attributes:
        column: what is read without.
        corruption: how.
        level: above 0, up to 1.
        seed: of all draws, with the level, the modality and the row.
    """

    column: Column
    corruption: Corruption
    level: float
    seed: int

    def __getitem__(self, rows: NDArray[np.int64]) -> Any:
        seeds = [
            derive_seed(self.seed, "corrupt", self.corruption.modality, f"{self.level:.2f}", row)
            for row in rows.tolist()
        ]
        texts = texts_of(self.column)
        if texts is not None:
            words = [
                corrupt_text(texts[row], self.level, np.random.default_rng(seed))
                for row, seed in zip(rows.tolist(), seeds, strict=True)
            ]
            return torch.as_tensor(self.column.transform(words))  # type: ignore[attr-defined]
        batch = self.column[rows]
        values, extent = _parts(batch)
        made = self.corruption.apply(values, self.level, seeds, extent)
        return made if extent is None else (made, extent)


def corrupt(
    split: SplitDataset, corruptions: dict[int, Corruption], level: float, seed: int
) -> SplitDataset:
    """Return a split with some modalities corrupted; at level 0 the split itself.

    Args:
        split: as a model reads it.
        corruptions: by the modality's place.
        level: from 0 to 1.
        seed: of all draws.
    """
    if level == 0:
        return split
    columns: list[Any] = list(split.columns)
    for place, how in corruptions.items():
        column = columns[place]
        if isinstance(column, IncompleteColumn):
            inner = Corrupted(column.column, how, level, seed)
            columns[place] = IncompleteColumn(inner, column.missing)
        else:
            columns[place] = Corrupted(column, how, level, seed)
    return SplitDataset(columns, split.target, split.rows)


def texts_of(column: Any) -> Sequence[str] | None:
    """Return the texts that a column makes numbers of, by row; None where it reads no text."""
    if not isinstance(column, Values) or not isinstance(column.values, (list, tuple)):
        return None
    texts = column.values
    return texts if len(texts) and isinstance(texts[0], str) else None


def _parts(batch: Any) -> tuple[Tensor, Any]:
    """Split a modality's batch into values and lengths, or None."""
    if isinstance(batch, (tuple, list)):
        values, extent = batch
        return torch.as_tensor(values), torch.as_tensor(extent)
    return torch.as_tensor(batch), None


def _real(values: Tensor, extent: Tensor) -> Tensor:
    """Which steps [B, T] are no padding, of lengths [B]."""
    return torch.arange(values.shape[1]) < extent[:, None]


def _kind(modality: str, values: Tensor) -> Kind:
    if values.dim() == 2:
        return "table"
    audio = "audio" in modality.lower()
    if values.dim() == 3:
        return "audio" if audio else "series"
    if values.dim() == 4 and values.shape[1] in (1, 3):
        return "audio" if audio else "image"
    return "array"
