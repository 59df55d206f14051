"""The pictures of a task: drawn when asked for, one by one or as an array's rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from i2moe_plugin.benchmarks.datasets.icons.collection import SIZE, Collection
from i2moe_plugin.benchmarks.datasets.icons.tasks import Samples


class Pictures:
    """The pictures of a task, [3, 112, 112] in [0, 1], by number."""

    def __init__(self, made: Samples, icons: Collection) -> None:
        self.made, self.icons = made, icons

    def __len__(self) -> int:
        return len(self.made.pictures)

    def __getitem__(self, number: int) -> Tensor:
        one = self.made.pictures[number]
        grey = self.icons.picture(one.row, one.word, one.below)
        return torch.from_numpy(grey).float().div(255).expand(3, -1, -1)


class PictureRows:
    """The same as an array [N, 3, 112, 112] whose rows are drawn when asked for."""

    def __init__(self, pictures: Pictures) -> None:
        self.pictures = pictures
        self.shape, self.dtype = (len(pictures), 3, SIZE, SIZE), np.dtype(np.float32)

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, rows: Any) -> NDArray[Any]:
        return np.stack([self.pictures[int(row)].numpy() for row in np.atleast_1d(rows)])
