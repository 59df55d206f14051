"""Real targets in standard units: settings then mean the same whatever a target is measured in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class TargetScale:
    """Where real targets lie: a model is trained on ``(target - mean) / deviation``.

    Attributes:
        mean, deviation: of each of C outputs; the deviation is positive.
    """

    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    @classmethod
    def fit(cls, targets: NDArray[Any], num_outputs: int) -> TargetScale:
        """Measure training targets, [N] or [N, C]; an output that never varies has deviation 1."""
        values = np.asarray(targets, dtype=np.float64).reshape(-1, num_outputs)
        deviation = values.std(0)
        varies = deviation > 1e-12 * np.abs(values).max(0, initial=0)
        # The mean of equal values may be off by a rounding, and would leave that as the target.
        mean = np.where(varies, values.mean(0), values[:1])[0] if len(values) else values.mean(0)
        return cls(tuple(mean.tolist()), tuple(np.where(varies, deviation, 1.0).tolist()))

    def standardise(self, target: Tensor) -> Tensor:
        """Bring targets [..., C] to mean 0 and deviation 1."""
        mean, deviation = self._like(target)
        return ((target.double() - mean) / deviation).to(target.dtype)

    def restore(self, output: Tensor) -> Tensor:
        """Turn outputs [..., C] of a model back to the targets' units."""
        mean, deviation = self._like(output)
        return (output.double() * deviation + mean).to(output.dtype)

    def _like(self, tensor: Tensor) -> Tensor:
        values = [self.mean, self.deviation]
        return torch.tensor(values, dtype=torch.float64, device=tensor.device)
