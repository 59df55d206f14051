"""Concatenation (MultiBench ``fusions/common_fusions.py``, Concat)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from i2moe_plugin.backbones.entry import register_backbone


@register_backbone("concat", upstream="MultiBench fusions/common_fusions.py: Concat")
class Concat(nn.Module):
    """Flatten every latent and concatenate: M x [B, ...] -> [B, sum of sizes]; MLP head.

    Example:
        >>> Concat()([torch.zeros(2, 3), torch.zeros(2, 4, 5)]).shape
        torch.Size([2, 23])
    """

    def forward(self, latents: Sequence[Tensor]) -> Tensor:
        """Fuse M latents [B, D_m] or [B, T_m, D_m] -> [B, sum_m T_m D_m]."""
        return torch.cat([latent.flatten(1) for latent in latents], 1)
