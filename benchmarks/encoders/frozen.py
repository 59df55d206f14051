"""Networks that are never trained."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Frozen(nn.Module):
    """A module that is never trained: evaluation mode whatever is asked, no gradient.

    Its buffers (batch norm's running statistics) therefore stay as they are.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> Frozen:
        """Stay in evaluation mode."""
        self.training = mode
        self.module.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        """The module's output, without gradient."""
        with torch.no_grad():
            out: Tensor = self.module(x)
            return out
