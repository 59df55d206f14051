"""Joint self-attention over all modalities' tokens: what the I2MoE paper calls MulT."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from i2moe_plugin.adapters.tokens import (
    Attention,
    AttentionResidual,
    JointTokens,
    Projected,
    feed_forward,
    join_padding,
    require_positive,
)
from i2moe_plugin.backbones.entry import register_backbone
from i2moe_plugin.backbones.latents import LatentSpec


class TransformerBlock(nn.Module):
    """Pre-norm block: y = x + attention(norm(x)); y + feed_forward(norm(y))."""

    def __init__(self, dim: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.attend = AttentionResidual(dim, num_heads, dropout)
        self.norm = nn.LayerNorm(dim)
        self.feed_forward = feed_forward(dim, dropout)
        self.dropout = nn.Dropout(dropout)

    def project(self, tokens: Tensor) -> Projected:
        """Do the part of :meth:`forward` that is each token's own."""
        return self.attend.project(tokens)

    def forward(
        self, tokens: Tensor, padding: Tensor | None = None, projected: Projected | None = None
    ) -> Tensor:
        """Run tokens [B, ..., N, H], padding [B, ..., N], through the block."""
        tokens = self.attend(tokens, padding, projected)
        return tokens + self.dropout(self.feed_forward(self.norm(tokens)))


@register_backbone(
    "transformer",
    latents="tokens",
    padding=True,
    paper="Xin et al., ICML 2025 (arXiv 2505.19190), there called MulT",
    upstream="I2MoE src/common/fusion_models/transformer.py: Transformer, dense",
)
class Transformer(JointTokens):
    r"""Self-attention over the tokens of all modalities, with pre-norm residual blocks.

    x = [z_1; ...; z_M] + p, with learned positions p of shape (1, sum_m T_m, H) that start at 0;
    each of L blocks computes x = x + A(LN(x)), x = x + F(LN(x)), where A is self-attention over all
    tokens without bias on queries, keys and values, and F is Linear(H, 2H)-GELU-Linear(2H, H);
    output = W [mean_t x_1; ...; mean_t x_M] + b. The parameter counts of the paper's Table 6 are
    those of this module.

    The released block has no way around attention (``transformer-released``); this one has.

    Args:
        latents: token latents of one width H; numbers of tokens may differ between modalities.
        num_outputs: C.
        num_layers: L.
        num_heads: divides H.
        dropout: on attention weights, inside the feed-forward layer and on both branches.

    Raises:
        ConfigError: widths differ, ``num_heads`` does not divide H, or no layer or head.
        ShapeError: more tokens came than the backbone was built for.

    Example:
        >>> import torch
        >>> fusion = Transformer([LatentSpec(8, 3), LatentSpec(8, 5)], 2, num_heads=2)
        >>> fusion([torch.zeros(6, 3, 8), torch.zeros(6, 5, 8)]).shape
        torch.Size([6, 2])
    """

    def __init__(
        self,
        latents: Sequence[LatentSpec],
        num_outputs: int,
        *,
        num_layers: int = 2,
        num_heads: int = 4,
        dropout: float = 0.5,
    ) -> None:
        super().__init__(latents, num_outputs)
        require_positive(num_layers=num_layers)
        self.blocks = nn.ModuleList(
            self.block(self.dim, num_heads, dropout) for _ in range(num_layers)
        )

    def block(self, dim: int, num_heads: int, dropout: float) -> nn.Module:
        """Build one block of this transformer."""
        return TransformerBlock(dim, num_heads, dropout)

    def forward(
        self, latents: Sequence[Tensor], padding_masks: Sequence[Tensor | None] | None = None
    ) -> Tensor:
        """Fuse M latents [B, T_m, H], masks None or [B, T_m] (True: padding) -> [B, C]."""
        tokens, padding = self.join(latents, padding_masks)
        for block in self.blocks:
            tokens = block(tokens, padding)
        return self.decide(tokens, latents, padding_masks)

    def forward_views(
        self,
        views: Sequence[Sequence[Tensor]],
        padding_masks: Sequence[Tensor | None] | None = None,
    ) -> Tensor:
        """Fuse V views of M latents -> [V, B, C].

        What the first block makes of a token by itself (its norm, query, key and value) is
        computed once for each tensor, in however many views it stands.
        """
        count, latents = len(views), views[0]
        masks = padding_masks or [None] * len(latents)
        padding = join_padding(latents, masks)
        order = [(m, latent) for view in views for m, latent in enumerate(view)]
        distinct = {(m, id(latent)): (m, latent) for m, latent in order}
        lengths = [latent.shape[1] for _, latent in distinct.values()]
        placed = torch.cat(self.place(list(distinct.values()), masks), 1)
        first: Any = self.blocks[0]
        joined = []
        for tensor in (placed, *first.project(placed)):
            parts = dict(zip(distinct, tensor.split(lengths, -2), strict=True))
            # One view's tokens behind another's: a block for each view without one more copy.
            row = torch.cat([parts[m, id(latent)] for m, latent in order], -2)
            joined.append(row.unflatten(-2, (count, -1)))
        tokens = joined[0]  # [B, V, N, H]
        projected: Any = joined[1:]  # [B, heads, V, N, d]
        for block in self.blocks:
            tokens = block(tokens, None if padding is None else padding.unsqueeze(1), projected)
            projected = None
        rows = [None if mask is None else mask.repeat_interleave(count, 0) for mask in masks]
        output = self.decide(tokens.flatten(0, 1), latents, rows)
        return output.unflatten(0, (-1, count)).transpose(0, 1)


@register_backbone(
    "token-transformer",
    latents="tokens",
    padding=True,
    paper="Kim et al., FL-I2MoE, arXiv 2603.13326",
)
class TokenTransformer(Transformer):
    """The transformer with sinusoidal positions, which fits long texts and pictures of patches.

    As :class:`Transformer`, but the positions are those of Vaswani et al. (2017), counted over the
    joined sequence, and nothing of them is learned. It is what FL-I2MoE puts in the place of each
    expert, as far as its paper and its authors' later code say; see docs/feature_interactions.md.

    Example:
        >>> import torch
        >>> fusion = TokenTransformer([LatentSpec(8, 3), LatentSpec(8, 5)], 2, num_heads=2)
        >>> fusion([torch.zeros(6, 3, 8), torch.zeros(6, 5, 8)]).shape
        torch.Size([6, 2])
    """

    def __init__(
        self,
        latents: Sequence[LatentSpec],
        num_outputs: int,
        *,
        num_layers: int = 2,
        num_heads: int = 4,
        dropout: float = 0.5,
    ) -> None:
        super().__init__(
            latents, num_outputs, num_layers=num_layers, num_heads=num_heads, dropout=dropout
        )
        del self.positions
        table = sinusoids(sum(self.places), self.dim)[None]
        self.register_buffer("positions", table, persistent=False)


def sinusoids(length: int, dim: int) -> Tensor:
    """Sinusoidal positions [length, dim] (Vaswani et al., 2017).

    Of place p the numbers 2i and 2i + 1 are the sine and the cosine of p / 10000^(2i / dim).
    """
    place = torch.arange(length, dtype=torch.float64)[:, None]
    pair = torch.arange(dim) // 2
    angle = place / 10000 ** (2 * pair / dim)
    return torch.where(torch.arange(dim) % 2 == 0, angle.sin(), angle.cos()).float()


class ReleasedBlock(nn.Module):
    """The released block: a = attention(norm(x)); y = a + dropout(a); y + feed_forward(norm(y)).

    The block's input reaches its output through attention alone (defect D5 of the release).
    """

    def __init__(self, dim: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = Attention(dim, num_heads, dropout=dropout)
        self.feed_forward = feed_forward(dim, dropout)
        self.dropout = nn.Dropout(dropout)

    def project(self, tokens: Tensor) -> Projected:
        """Do the part of :meth:`forward` that is each token's own."""
        normed = self.norm1(tokens)
        return self.attention.project(normed, normed)

    def forward(
        self, tokens: Tensor, padding: Tensor | None = None, projected: Projected | None = None
    ) -> Tensor:
        """Run tokens [B, ..., N, H], padding [B, ..., N], through the block."""
        blocked = None if padding is None else padding.unsqueeze(-2)
        attended = self.attention.attend(projected or self.project(tokens), blocked)
        attended = self.dropout(attended)
        tokens = attended + self.dropout(attended)
        return tokens + self.dropout(self.feed_forward(self.norm2(tokens)))


@register_backbone(
    "transformer-released",
    latents="tokens",
    padding=True,
    paper="Xin et al., ICML 2025 (arXiv 2505.19190), there called MulT",
    upstream="I2MoE src/common/modules/transformer.py: TransformerEncoderLayer, dense",
)
class ReleasedTransformer(Transformer):
    """The paper's "MulT" as its code computes it, for reproducing its tables only.

    As :class:`Transformer`, but each block computes a = A(LN(x)), y = a + dropout(a),
    x = y + F(LN(y)): no residual from the block's input. In evaluation y = 2a. Use ``transformer``
    for anything else.

    Example:
        >>> import torch
        >>> fusion = ReleasedTransformer([LatentSpec(8, 3), LatentSpec(8, 3)], 2, num_heads=2)
        >>> fusion([torch.zeros(6, 3, 8), torch.zeros(6, 3, 8)]).shape
        torch.Size([6, 2])
    """

    def block(self, dim: int, num_heads: int, dropout: float) -> nn.Module:
        return ReleasedBlock(dim, num_heads, dropout)
