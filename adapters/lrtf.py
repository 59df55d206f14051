"""Low-rank tensor fusion (Liu et al., ACL 2018, "Efficient Low-rank Multimodal Fusion")."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from i2moe_plugin.backbones.entry import register_backbone
from i2moe_plugin.errors import ConfigError


@register_backbone(
    "lrtf",
    latents="vector",
    paper="Liu et al., ACL 2018 (arXiv 1806.00064)",
    upstream="MultiBench fusions/common_fusions.py: LowRankTensorFusion",
)
class LowRankTensorFusion(nn.Module):
    r"""The outer product of all latents, contracted with a weight tensor of given rank.

    fused = sum_r w_r * prod_m ([1; z_m]^T F_m^(r)) + b, with factors F_m
    [rank, D_m + 1, output_dim] (eq. 7 of the paper); the 1 keeps every lower-order product. Unlike
    MultiBench's and the released I2MoE's class, all factors are parameters and are trained.

    Args:
        input_dims: D_m of each modality.
        output_dim: width of the fused vector.
        rank: number of terms.

    Example:
        >>> fusion = LowRankTensorFusion([3, 4], output_dim=6, rank=2)
        >>> fusion([torch.ones(5, 3), torch.ones(5, 4)]).shape
        torch.Size([5, 6])
    """

    def __init__(self, input_dims: Sequence[int], output_dim: int = 64, rank: int = 32) -> None:
        super().__init__()
        if output_dim < 1 or rank < 1:
            raise ConfigError(
                f"output_dim and rank must be at least 1, not {output_dim} and {rank}."
            )
        self.factors = nn.ParameterList(
            nn.init.xavier_normal_(torch.empty(rank, dim + 1, output_dim)) for dim in input_dims
        )
        self.fusion_weights = nn.Parameter(nn.init.xavier_normal_(torch.empty(1, rank)))
        self.fusion_bias = nn.Parameter(torch.zeros(1, output_dim))

    def forward(self, latents: Sequence[Tensor]) -> Tensor:
        """Fuse M latents [B, D_m] -> [B, output_dim]."""
        return self.combine([self.encode_modality(m, latent) for m, latent in enumerate(latents)])

    def encode_modality(self, modality: int, latent: Tensor) -> tuple[Tensor]:
        """Compute [1; z] F of every rank, [B, rank * output_dim]."""
        # All ranks in one matrix product. The 1 goes to the latent: taking its row out of the
        # factor instead would fill a second gradient of the factor's size with zeros.
        factor = self.factors[modality]
        if not modality:  # where the weights of the ranks multiply least
            factor = factor * self.fusion_weights[0, :, None, None]
        rows = factor.movedim(0, 1).flatten(1)  # [D + 1, rank * output_dim]
        return (F.pad(latent.flatten(1), (1, 0), value=1.0) @ rows,)

    def combine(self, parts: Sequence[tuple[Tensor, ...]]) -> Tensor:
        """Multiply the modalities' terms, and sum over ranks: [B, output_dim]."""
        product = parts[0][0]
        for (term,) in parts[1:]:
            product = product * term
        ranks = product.unflatten(1, (self.fusion_weights.shape[1], -1))  # [B, rank, output_dim]
        return ranks.sum(1) + self.fusion_bias
