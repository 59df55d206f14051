"""The pictures of a task: drawn when asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from i2moe_plugin.benchmarks.datasets.icons.collection import Collection
from i2moe_plugin.benchmarks.datasets.icons.tasks import Samples


class Pictures:
    """The pictures of a task in [0, 1]: by number [3, 112, 112], by numbers [B, 3, 112, 112]."""

    def __init__(self, made: Samples, icons: Collection) -> None:
        self.made, self.icons = made, icons

    def __len__(self) -> int:
        return len(self.made.pictures)

    def __getitem__(self, number: Any) -> Tensor:
        if np.ndim(number):
            return torch.stack([self[int(one)] for one in number])
        one = self.made.pictures[number]
        grey = self.icons.picture(one.row, one.word, one.below)
        return torch.from_numpy(grey).float().div(255).expand(3, -1, -1)
