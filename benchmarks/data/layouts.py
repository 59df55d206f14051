"""What the tokens of a modality stand for: words of a text, patches of a picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from i2moe_plugin.benchmarks.encoders.pretrained.text import TextTokens


@dataclass(frozen=True, eq=False)
class Layout:
    """What the tokens of one modality of one sample stand for.

    Attributes:
        text: the tokens of a text; None where it is a picture.
        grid: rows and columns of a picture's patches, which are tokens row by row; None where it is
            a text.
        truth: for each token, whether it carries the label; None where that is not known.
    """

    text: TextTokens | None = None
    grid: tuple[int, int] | None = None
    truth: tuple[bool, ...] | None = None

    def __post_init__(self) -> None:
        if (self.text is None) == (self.grid is None):
            raise ValueError("a layout is of a text or of a picture.")

    @property
    def candidates(self) -> NDArray[np.bool_]:
        """For each token, whether it stands for something that the sample shows, [T].

        Special tokens, such as the mark of a text's start, do not.
        """
        if self.text is not None:
            return ~np.array(self.text.special, dtype=bool)
        rows, columns = self.grid or (0, 0)
        return np.ones(rows * columns, dtype=bool)
