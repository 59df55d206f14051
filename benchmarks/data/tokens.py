"""Tokens of frozen text and vision models, computed once and kept on disk.

A picture has as many patches as any other, so patches are kept as one array [N, P, F]. Texts differ
in length: the tokens of all of them lie one after another in an array [sum of T, F], and the
lengths, which the tokenizer gives at once, say where each text begins.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from i2moe_plugin.benchmarks.data.batches import Values, as_is
from i2moe_plugin.benchmarks.data.cache import digest_of, digests
from i2moe_plugin.benchmarks.data.contents import Later, Modality, Preparation
from i2moe_plugin.benchmarks.data.frozen import frozen_features, progress_bar
from i2moe_plugin.benchmarks.data.layouts import Layout
from i2moe_plugin.benchmarks.data.preview import Preview
from i2moe_plugin.benchmarks.data.source import DataFolder
from i2moe_plugin.benchmarks.encoders import EncoderSettings
from i2moe_plugin.benchmarks.encoders.pretrained import (
    ModelFolder,
    Projected,
    TextModel,
    TextTokens,
    VisionModel,
)
from i2moe_plugin.benchmarks.encoders.sequences import TokenEncoder
from i2moe_plugin.benchmarks.formats.reading import Rows

#: For each row of a data set, which of the distinct texts or pictures it has.
Places = NDArray[np.int64]
#: A row's number -> for each token, whether it carries the label; None where that is not known.
Truth = Callable[[int], "tuple[bool, ...] | None"]


class Ragged:
    """Sequences of different lengths that lie one after another in one array.

    Args:
        rows: [sum of T, ...].
        lengths: [N], the T of each.

    Attributes:
        longest: the largest T.
    """

    def __init__(self, rows: Rows, lengths: Sequence[int] | NDArray[Any]) -> None:
        self.rows = rows
        self.lengths = np.asarray(lengths, dtype=np.int64)
        self.starts = np.cumsum(self.lengths) - self.lengths
        self.longest = int(self.lengths.max(initial=0))
        if len(rows) != self.lengths.sum() or (self.lengths < 1).any():
            raise ValueError(f"{len(rows)} rows do not hold {len(self.lengths)} sequences.")

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, numbers: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """These sequences [B, T of the longest of all, ...], zeros behind, and their lengths [B].

        Every batch has the same T, so that models may have a position for each token.
        """
        numbers = np.asarray(numbers)
        lengths = self.lengths[numbers]
        there = np.arange(self.longest) < lengths[:, None]
        places = (self.starts[numbers][:, None] + np.arange(self.longest))[there]
        values = np.zeros((*there.shape, *self.rows.shape[1:]), self.rows.dtype)
        values[there] = self.rows[places]
        return values, lengths


@dataclass(frozen=True)
class Padded:
    """A column of sequences: values [B, T, ...] and lengths [B].

    Attributes:
        sequences: of the distinct texts, :class:`Ragged` or one that is made later.
        places: which of them a row has.
        dtype: of the values in a batch.
    """

    sequences: Any
    places: Places
    dtype: type[np.generic]

    @property
    def longest(self) -> int:
        """The largest number of tokens."""
        found = self.sequences.value if isinstance(self.sequences, Later) else self.sequences
        return int(found.longest)

    def __getitem__(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        values, lengths = self.sequences[self.places[rows]]
        return torch.from_numpy(values.astype(self.dtype)), torch.from_numpy(lengths)


class Repeated:
    """Rows of an array in another order, or several times, without a copy.

    Args:
        array: [N, ...].
        places: [M], the row of each.
    """

    def __init__(self, array: Rows, places: Places) -> None:
        self.array, self.places = array, places

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, rows: Any) -> Any:
        return self.array[self.places[rows]]


class Scaled:
    """Pictures held as bytes, as numbers in [0, 1]; by number, or by an array of numbers.

    Args:
        pictures: uint8 [N, 3, H, W].
    """

    def __init__(self, pictures: Tensor) -> None:
        self.pictures = pictures

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, rows: Any) -> Tensor:
        return self.pictures[rows].float() / 255

    def digest(self) -> str:
        """A hash of all pictures."""
        return hashlib.sha256(self.pictures.numpy().tobytes()).hexdigest()


@dataclass(frozen=True, eq=False)
class Texts:
    """Texts, and the frozen model that gives a state for each of their tokens.

    States are kept in half precision, as :func:`frozen_features` keeps them.

    Attributes:
        folder: of the data set whose texts they are.
        model: the model's folder.
        texts: the distinct texts.
        limit: tokens of a text; the rest is cut off.
    """

    folder: DataFolder
    model: ModelFolder
    texts: Sequence[str]
    limit: int
    _computed: dict[Preparation, Ragged] = field(default_factory=dict, repr=False)

    @cached_property
    def opened(self) -> TextModel:
        """The tokenizer, and what builds the network.

        Raises:
            DatasetError: they cannot be used.
        """
        return TextModel(self.model, self.limit)

    @cached_property
    def tokens(self) -> list[TextTokens]:
        """Each text's tokens.

        Raises:
            DatasetError: an empty text, where the tokenizer adds no token of its own.
        """
        return self.opened.tokens(self.texts)

    @property
    def notes(self) -> tuple[str, ...]:
        """What must stand beside results: how many texts were cut."""
        # A token is at least a byte, so short texts need not be cut into tokens to know it.
        longest = max((len(text.encode(errors="replace")) for text in self.texts), default=0)
        if longest + 8 <= self.limit:
            return ()
        cut = sum(text.left_out > 0 for text in self.tokens)
        if not cut:
            return ()
        return (f"{cut} of {len(self.tokens)} texts were cut at {self.opened.limit} tokens.",)

    def states(self, preparation: Preparation) -> Ragged:
        """A state for each token of each text: from the cache, or computed and put there.

        Raises:
            DatasetError: a model that cannot be loaded or that gives NaN.
        """
        if preparation not in self._computed:
            lengths = [len(text.ids) for text in self.tokens]

            def compute() -> Iterator[NDArray[Any]]:
                title = f"{self.folder.name}: tokens of texts"
                with progress_bar(title, sum(lengths), preparation.progress) as advance:
                    for block in self.opened.states(self.tokens, preparation.device):
                        yield block
                        advance(len(block))

            content = repr([text.ids for text in self.tokens]).encode()
            key = {"tokens": hashlib.sha256(content).hexdigest(), "device": preparation.device}
            rows = self.folder.kept("text", sum(lengths), compute, **key, **_facts(self.model))
            self._computed[preparation] = Ragged(rows, lengths)
        return self._computed[preparation]

    def modality(self, name: str, places: Places, truth: Truth = lambda row: None) -> Modality:
        """The modality whose row i has the text ``places[i]``: states, or token numbers.

        Args:
            name: the modality's.
            places: [N].
            truth: which tokens carry the label.
        """

        def encoder(settings: EncoderSettings) -> TokenEncoder:
            return TokenEncoder(self.opened.width, settings)

        def prepare(preparation: Preparation) -> Modality | None:
            if not preparation.frozen:
                return None
            column = Padded(self.states(preparation), places, np.float32)
            return replace(raw, column=column, encoder=encoder)

        raw = Modality(
            name,
            Padded(Later(partial(_numbers, self)), places, np.int64),
            lambda settings: Projected(self.opened.network(), encoder(settings)),
            preview=lambda row: self.texts[places[row]],
            prepare=prepare,
            layout=lambda row: Layout(self.tokens[places[row]], truth=truth(row)),
        )
        return raw


@dataclass(frozen=True, eq=False)
class Patches:
    """Pictures, and the frozen model that gives a state for each of their patches.

    Attributes:
        folder: of the data set whose pictures they are.
        model: the opened model.
        pictures: N pictures [3, H, W] in [0, 1] by number; by an array of numbers, [B, 3, H, W].
        size: H and W.
        digest: gives a hash of all pictures.
    """

    folder: DataFolder
    model: VisionModel
    pictures: Any
    size: tuple[int, int]
    digest: Callable[[], str]
    _computed: dict[Preparation, Rows] = field(default_factory=dict, repr=False)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return self.model.grid(*self.size)

    def states(self, preparation: Preparation) -> Rows:
        """A state for each patch of each picture, [N, P, F]: kept, or computed and kept.

        Raises:
            DatasetError: damaged pictures, or a model that cannot be loaded or that gives NaN.
        """
        if preparation not in self._computed:
            key = {"pictures": self.digest(), "size": str(self.model.size)}
            self._computed[preparation] = frozen_features(
                f"{self.folder.name}-patches",
                self.pictures,
                self.model.network,
                key | _facts(self.model.model),
                device=preparation.device,
                progress=preparation.progress,
                cache=self.folder.cache,
            )
        return self._computed[preparation]

    def modality(self, name: str, places: Places, truth: Truth = lambda row: None) -> Modality:
        """The modality whose row i has the picture ``places[i]``: states, or the picture.

        Args:
            name: the modality's.
            places: [N].
            truth: which patches carry the label.
        """

        def encoder(settings: EncoderSettings) -> TokenEncoder:
            return TokenEncoder(self.model.width, settings)

        def prepare(preparation: Preparation) -> Modality | None:
            if not preparation.frozen:
                return None
            column = Values(Repeated(self.states(preparation), places))
            return replace(raw, column=column, encoder=encoder)

        def preview(row: int) -> NDArray[np.uint8]:
            shown: Tensor = (self.pictures[int(places[row])] * 255).round().byte()
            return np.ascontiguousarray(shown.permute(1, 2, 0).numpy())

        raw = Modality(
            name,
            Values(Repeated(self.pictures, places), as_is),
            lambda settings: Projected(self.model.network(), encoder(settings)),
            preview=lambda row: Preview(name, "image", preview(row)),
            prepare=prepare,
            layout=lambda row: Layout(grid=self.grid, truth=truth(row)),
        )
        return raw


def model_digest(model: ModelFolder) -> str:
    """One hash of all files that decide what a model computes."""
    return digest_of(model.path, model.files)


def _facts(model: ModelFolder) -> dict[str, str]:
    """The hash of each file that decides what a model computes, by its name."""
    return digests(model.path, model.files)


def _numbers(texts: Texts) -> Ragged:
    rows = np.concatenate([np.array(text.ids) for text in texts.tokens])
    return Ragged(rows, [len(text.ids) for text in texts.tokens])
