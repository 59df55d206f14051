"""A sample for people: what ``explain`` and ``report`` show of each modality."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

PreviewKind = Literal["image", "text", "series", "features"]


@dataclass(frozen=True)
class Preview:
    """One modality of one sample.

    Attributes:
        modality: its name.
        kind: what ``value`` is.
        value: image: uint8 [H, W, 3]; text: a str, as the data holds it; series: floats [T, F];
            features: floats [F].
        names: of the series' or the features' F columns, where they have any.
    """

    modality: str
    kind: PreviewKind
    value: Any
    names: tuple[str, ...] = ()


def preview_of(modality: str, x: Any, names: Sequence[str] = ()) -> Preview:
    """Return a sample's value by its type and shape.

    A str is a text, [F] features, [T, F] a series, [1 or 3, H, W] an image; of a volume [..., H, W]
    the slice in the middle is shown. A tuple is values and their number of time steps, or their
    padding mask (true where padded); padded steps are left out.
    """
    if isinstance(x, str):
        return Preview(modality, "text", x)
    values, length = (x[0], x[1]) if isinstance(x, (tuple, list)) else (x, None)
    array = np.asarray(values)
    if array.ndim <= 1:
        return Preview(modality, "features", array.reshape(-1).astype(float), tuple(names))
    if array.ndim == 2:
        if length is not None:
            steps = np.asarray(length)
            array = array[: int(steps)] if steps.ndim == 0 else array[~steps.astype(bool)]
        return Preview(modality, "series", array.astype(float), tuple(names))
    while array.ndim > 3 or (array.ndim == 3 and array.shape[0] not in (1, 3)):
        array = array[len(array) // 2]
        if array.ndim == 2:
            array = array[None]
    return Preview(modality, "image", _picture(array))


def _picture(array: NDArray[Any]) -> NDArray[np.uint8]:
    """[1 or 3, H, W] -> uint8 [H, W, 3]; floats in [0, 1], or stretched to that range."""
    if array.dtype != np.uint8:
        low, high = float(np.nanmin(array)), float(np.nanmax(array))
        if low < 0 or high > 1:
            array = (array - low) / ((high - low) or 1.0)
        array = np.nan_to_num(array * 255).round().clip(0, 255).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(array, (3, *array.shape[1:])).transpose(1, 2, 0))
