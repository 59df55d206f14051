"""Tensor fusion (Zadeh et al., EMNLP 2017, "Tensor Fusion Network")."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from i2moe_plugin.backbones.entry import register_backbone
from i2moe_plugin.errors import ConfigError


@register_backbone(
    "tensor",
    latents="vector",
    paper="Zadeh et al., EMNLP 2017 (arXiv 1707.07250)",
    upstream="MultiBench fusions/common_fusions.py: TensorFusion",
)
class TensorFusion(nn.Module):
    r"""The full outer product of all latents: fused = [1; z_1] x [1; z_2] x ... x [1; z_M].

    Every product of features, one from each of any subset of modalities, is an entry of its own;
    the entries come in row-major order, the last modality running fastest. The width grows as the
    product of all D_m + 1, so large latents are projected first, or refused.

    Args:
        input_dims: D_m of each modality.
        project_dim: width that every latent is first projected to by a linear layer; 0: none.
        max_width: largest fused width that is built.

    Raises:
        ConfigError: the fused width would exceed ``max_width``, or ``project_dim`` is negative.

    Example:
        >>> import torch
        >>> TensorFusion([3, 4])([torch.ones(5, 3), torch.ones(5, 4)]).shape
        torch.Size([5, 20])
    """

    def __init__(
        self, input_dims: Sequence[int], *, project_dim: int = 0, max_width: int = 100_000
    ) -> None:
        super().__init__()
        if project_dim < 0:
            raise ConfigError(f"project_dim must be 0 (none) or a width, not {project_dim}.")
        widths = [project_dim] * len(input_dims) if project_dim else list(input_dims)
        width = math.prod(dim + 1 for dim in widths)
        if width > max_width:
            raise ConfigError(
                f"tensor fusion of latents of widths {widths} is {width:,} wide; at most "
                f"max_width={max_width:,} is built. Set project_dim to a smaller width "
                f"(--set fusion.project_dim=8), make the encoders' outputs narrower, or use lrtf."
            )
        self.projections = nn.ModuleList(
            nn.Linear(dim, project_dim) if project_dim else nn.Identity() for dim in input_dims
        )

    def forward(self, latents: Sequence[Tensor]) -> Tensor:
        """Fuse M latents [B, D_m] -> [B, prod_m (D_m + 1)]."""
        first, *rest = (
            F.pad(project(latent), (1, 0), value=1.0)  # [1; z], [B, D + 1]
            for project, latent in zip(self.projections, latents, strict=True)
        )
        for factor in rest:
            first = (first.unsqueeze(-1) * factor.unsqueeze(-2)).flatten(-2)
        return first
