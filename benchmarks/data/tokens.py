"""Tokens of frozen text and vision models, computed once and kept on disk.

A picture has as many patches as any other, so patches are kept as one array [N, P, F]. Texts differ
in length: the tokens of all of them lie one after another in an array [sum of T, F], and the
lengths, which the tokenizer gives at once, say where each text begins.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from i2moe_plugin.benchmarks.data.files import digests
from i2moe_plugin.benchmarks.data.frozen import (
    Inputs,
    frozen_features,
    kept_rows,
    progress_bar,
)
from i2moe_plugin.benchmarks.encoders.pretrained import (
    ModelFolder,
    TextModel,
    TextTokens,
    VisionModel,
)
from i2moe_plugin.benchmarks.formats.readers import Rows


class Ragged:
    """Sequences of different lengths that lie one after another in one array.

    Args:
        rows: [sum of T, F].
        lengths: [N], the T of each.

    Attributes:
        shape: (N, longest T, F).
        dtype: of the numbers.
    """

    def __init__(self, rows: Rows, lengths: Sequence[int] | NDArray[Any]) -> None:
        self.rows = rows
        self.lengths = np.asarray(lengths, dtype=np.int64)
        self.starts = np.cumsum(self.lengths) - self.lengths
        if len(rows) != self.lengths.sum() or (self.lengths < 1).any():
            raise ValueError(f"{len(rows)} rows do not hold {len(self.lengths)} sequences.")
        self.shape = (len(self.lengths), int(self.lengths.max(initial=0)), *rows.shape[1:])
        self.dtype = rows.dtype

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, numbers: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """These sequences [B, T of the longest of all, F], zeros behind, and their lengths [B].

        Every batch has the same T, so that models may have a position for each token.
        """
        numbers = np.asarray(numbers)
        lengths = self.lengths[numbers]
        there = np.arange(self.shape[1]) < lengths[:, None]
        places = (self.starts[numbers][:, None] + np.arange(there.shape[1]))[there]
        values = np.zeros((*there.shape, *self.rows.shape[1:]), self.dtype)
        values[there] = self.rows[places]
        return values, lengths


class Repeated:
    """Rows of an array in another order, or several times, without a copy.

    Args:
        array: [N, ...], or :class:`Ragged`.
        places: [M], the row of each.
    """

    def __init__(self, array: Any, places: NDArray[Any]) -> None:
        self.array, self.places = array, np.asarray(places)
        self.shape, self.dtype = (len(self.places), *array.shape[1:]), array.dtype

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, rows: Any) -> Any:
        return self.array[self.places[rows]]


def padded(pair: tuple[NDArray[Any], NDArray[np.int64]]) -> tuple[Tensor, Tensor]:
    """A batch of :class:`Ragged` as tensors: values [B, T, F] in single precision, lengths [B]."""
    values, lengths = pair
    return torch.from_numpy(values.astype(np.float32)), torch.from_numpy(lengths)


def text_states(
    name: str,
    model: TextModel,
    texts: Sequence[TextTokens],
    *,
    device: torch.device | str = "cpu",
    progress: bool = False,
    cache: bool = True,
) -> Ragged:
    """A state for each token of each text: from the cache, or computed and put there.

    They are kept in half precision, as :func:`frozen_features` keeps them.

    Args:
        name: what the cache file's name starts with.
        model: the frozen model.
        texts: N texts as the model's tokens.
        device: where to compute.
        progress: show a progress bar, if standard error is a terminal.
        cache: take what is kept; else compute again, and keep that.

    Raises:
        DatasetError: a model that cannot be loaded or that gives NaN.
    """
    content = hashlib.sha256(repr([text.ids for text in texts]).encode()).hexdigest()
    key = {"tokens": content, "device": torch.device(device).type, **_facts(model.model)}
    lengths = [len(text.ids) for text in texts]

    def compute() -> Any:
        with progress_bar(f"{name}: tokens of texts", sum(lengths), progress) as advance:
            for block in model.states(texts, device):
                yield block
                advance(len(block))

    return Ragged(kept_rows(f"{name}-text", sum(lengths), compute, key, cache=cache), lengths)


def picture_states(
    name: str,
    model: VisionModel,
    pictures: Inputs,
    content: str,
    *,
    device: torch.device | str = "cpu",
    progress: bool = False,
    cache: bool = True,
) -> Rows:
    """A state for each patch of each picture, [N, P, F]: from the cache, or computed and put there.

    Args:
        name: what the cache file's name starts with.
        model: the frozen model.
        pictures: N pictures [3, H, W] in [0, 1].
        content: a hash of the pictures.
        device, progress, cache: as in :func:`text_states`.

    Raises:
        DatasetError: see :func:`frozen_features`, and a model that cannot be loaded.
    """
    key = {"pictures": content, "size": str(model.size), **_facts(model.model)}
    return frozen_features(
        f"{name}-patches",
        pictures,
        model.network,
        key,
        device=device,
        progress=progress,
        cache=cache,
    )


def model_digest(model: ModelFolder) -> str:
    """One hash of all files that decide what a model computes."""
    return hashlib.sha256(json.dumps(_facts(model), sort_keys=True).encode()).hexdigest()


def _facts(model: ModelFolder) -> dict[str, str]:
    """The hash of each file that decides what a model computes, by its name."""
    return digests(model.path, model.files)
