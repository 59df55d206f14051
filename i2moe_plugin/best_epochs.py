"""The best epochs of a training: which they are, and their weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from i2moe_plugin.multimodal import MultimodalModel


@dataclass
class BestEpochs:
    """What is kept of a training: the weights of the best epoch of each part.

    A model is kept as a whole, under no name, unless it says that parts are kept apart
    (:attr:`~i2moe_plugin.multimodal.MultimodalModel.separate_parts`).

    Attributes:
        epochs: the epoch of each part, from 1.
        values: by which it was the best.
        loss: the validation loss of the last one that was kept.
        state: the weights.
    """

    epochs: dict[str, int] = field(default_factory=dict)
    values: dict[str, float] = field(default_factory=dict)
    loss: float = math.nan
    state: dict[str, Tensor] = field(default_factory=dict)

    @property
    def last(self) -> int:
        """The last epoch at which any part was better than ever; 0 before the first."""
        return max(self.epochs.values(), default=0)

    def keep(
        self,
        model: MultimodalModel,
        epoch: int,
        value: float,
        loss: float,
        apart: Mapping[str, float],
        *,
        higher: bool,
        ties: bool,
    ) -> None:
        """Keep this epoch's weights of each part that is better than ever; NaN never is.

        Args:
            model: as it is after the epoch.
            epoch: its number.
            value: of the metric that selects, on validation data.
            loss: on validation data.
            apart: the validation loss of each part that is kept apart.
            higher: a higher value is better; what is kept apart is judged by its loss.
            ties: of equal values the one with the lower loss is better.
        """
        parts = model.separate_parts or {"": ()}
        named = tuple(prefix for prefixes in parts.values() for prefix in prefixes)
        state = model.state_dict()
        for part, prefixes in parts.items():
            sign = 1 if higher and not apart else -1
            new, old = apart.get(part, value), self.values.get(part, math.nan)
            better = sign * new > sign * old  # False where either is NaN
            if ties and not apart and new == old:
                better = loss < self.loss  # few validation samples tie often
            if part in self.epochs and not (better or (math.isnan(old) and new == new)):
                continue
            self.epochs[part], self.values[part], self.loss = epoch, new, loss
            own = {
                key: tensor
                for key, tensor in state.items()
                if (key.startswith(prefixes) if prefixes else not key.startswith(named))
            }
            self.state |= on_cpu(own)


def on_cpu(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copy a state to the CPU."""
    return {key: tensor.detach().to("cpu", copy=True) for key, tensor in state.items()}
