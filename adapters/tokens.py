"""What the token backbones share: attention, and modalities joined into one sequence."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from i2moe_plugin.backbones.attention import AttentionWeights
from i2moe_plugin.backbones.latents import LatentSpec, pool_tokens, zero_padding
from i2moe_plugin.errors import ConfigError, ShapeError


def require_positive(**settings: int) -> None:
    """Refuse settings that count something and are below 1.

    Raises:
        ConfigError: lists every one of them.
    """
    problems = [
        f"{name} must be at least 1, not {value}." for name, value in settings.items() if value < 1
    ]
    if problems:
        raise ConfigError(problems)


def common_width(latents: Sequence[LatentSpec]) -> int:
    """Return the width H that all token latents share.

    Raises:
        ConfigError: the widths differ, or a latent is a vector.
    """
    widths = {spec.dim for spec in latents}
    if len(widths) != 1:
        raise ConfigError(
            f"all modalities must have latents of one width here, not {sorted(widths)}; give every "
            "encoder the same output width."
        )
    if any(spec.tokens is None for spec in latents):
        raise ConfigError(f"token latents [B, T, D] are needed; got {list(latents)}.")
    return widths.pop()


#: Queries, keys and values by head, each [B, heads, ..., T, d].
Projected = tuple[Tensor, Tensor, Tensor]


class Attention(nn.Module):
    r"""Multi-head attention: softmax(Q K^T / sqrt(d)) V, heads joined by a linear layer.

    Written out rather than through ``F.scaled_dot_product_attention``: that one has no batching
    rule for ``torch.func.vmap`` on the CPU, and leaves open what a query that may look at nothing
    gets. Here it gets zeros. Within :func:`~i2moe_plugin.backbones.attention.fused_attention` that
    function is used all the same.

    Args:
        dim: width of queries, context and output.
        num_heads: divides ``dim``.
        dropout: on the attention weights.
        bias: on queries, keys and values.

    Raises:
        ConfigError: ``num_heads`` does not divide ``dim``.

    Example:
        >>> Attention(8, 2)(torch.zeros(3, 4, 8), torch.zeros(3, 5, 8)).shape
        torch.Size([3, 4, 8])
    """

    def __init__(
        self, dim: int, num_heads: int, *, dropout: float = 0.0, bias: bool = False
    ) -> None:
        super().__init__()
        require_positive(num_heads=num_heads)
        if dim % num_heads:
            raise ConfigError(f"num_heads={num_heads} does not divide the width {dim}.")
        self.num_heads = num_heads
        self.query = nn.Linear(dim, dim, bias=bias)
        self.key_value = nn.Linear(dim, 2 * dim, bias=bias)
        self.output = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)
        self.weights = AttentionWeights()

    def forward(self, queries: Tensor, context: Tensor, blocked: Tensor | None = None) -> Tensor:
        """Attend from queries to context.

        Args:
            queries: [B, ..., T, D].
            context: [B, ..., S, D].
            blocked: bool, broadcastable to [B, ..., T, S]; True where a query must not look.

        Returns:
            [B, ..., T, D].
        """
        return self.attend(self.project(queries, context), blocked)

    def project(self, queries: Tensor, context: Tensor) -> Projected:
        """Compute queries, keys and values by head, of each token by itself."""
        keys, values = self.key_value(context).chunk(2, -1)
        q, k, v = (
            x.unflatten(-1, (self.num_heads, -1)).movedim(-2, 1)
            for x in (self.query(queries), keys, values)
        )
        return q, k, v

    def attend(self, projected: Projected, blocked: Tensor | None = None) -> Tensor:
        """Do the rest of :meth:`forward`, from what :meth:`project` returned."""
        q, k, v = projected
        if self.weights.unseen and not self.training:
            return self.output(_fused(q, k, v, blocked).movedim(1, -2).flatten(-2))
        scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
        if blocked is None:
            weights = scores.softmax(-1)
        else:
            blocked = blocked.unsqueeze(1)
            # The second fill matters where a whole row is blocked: its softmax would be uniform.
            weights = scores.masked_fill(blocked, torch.finfo(scores.dtype).min).softmax(-1)
            weights = weights.masked_fill(blocked, 0)
        mixed = (self.dropout(self.weights(weights)) @ v).movedim(1, -2).flatten(-2)
        return self.output(mixed)


def _fused(q: Tensor, k: Tensor, v: Tensor, blocked: Tensor | None) -> Tensor:
    if blocked is None:
        return F.scaled_dot_product_attention(q, k, v)
    blocked = blocked.unsqueeze(1)
    mixed = F.scaled_dot_product_attention(q, k, v, ~blocked)
    return mixed.masked_fill(blocked.all(-1, keepdim=True), 0)


class AttentionResidual(nn.Module):
    """The first half of a pre-norm transformer block: x + dropout(attention(norm(x)))."""

    def __init__(self, dim: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.attention = Attention(dim, num_heads, dropout=dropout)
        self.dropout = nn.Dropout(dropout)

    def project(self, tokens: Tensor) -> Projected:
        """Do the part of :meth:`forward` that is each token's own."""
        normed = self.norm(tokens)
        return self.attention.project(normed, normed)

    def forward(
        self, tokens: Tensor, padding: Tensor | None = None, projected: Projected | None = None
    ) -> Tensor:
        """Attend from tokens [B, ..., N, H] to each other; the shape stays.

        Args:
            tokens: [B, ..., N, H].
            padding: [B, ..., N], True where nobody looks at a token.
            projected: what :meth:`project` returned for these tokens, where it is known.
        """
        blocked = None if padding is None else padding.unsqueeze(-2)
        attended = self.attention.attend(projected or self.project(tokens), blocked)
        return tokens + self.dropout(attended)


def feed_forward(dim: int, dropout: float) -> nn.Sequential:
    """Make a feed-forward part: linear to twice the width, GELU, dropout, linear back."""
    return nn.Sequential(
        nn.Linear(dim, 2 * dim), nn.GELU(), nn.Dropout(dropout), nn.Linear(2 * dim, dim)
    )


class JointTokens(nn.Module):
    """The base of fusions that run blocks over all modalities' tokens as one sequence.

    It joins the tokens and adds learned positions (zero at the start, one for each modality and
    place); at the end it takes each modality's mean over its tokens, concatenates the means and
    decides by one linear layer, M x H -> C. A token's place is counted among the tokens that are
    not padding, so a sample's output does not depend on how far its batch was padded.

    Args:
        latents: token latents of one width H; numbers of tokens may differ.
        num_outputs: C.

    Raises:
        ConfigError: widths differ, or a latent is a vector.
    """

    def __init__(self, latents: Sequence[LatentSpec], num_outputs: int) -> None:
        super().__init__()
        self.dim = common_width(latents)
        self.places = [spec.tokens or 0 for spec in latents]
        self.positions = nn.Parameter(torch.zeros(1, sum(self.places), self.dim))
        self.head = nn.Linear(len(latents) * self.dim, num_outputs)

    def join(
        self, latents: Sequence[Tensor], padding_masks: Sequence[Tensor | None] | None
    ) -> tuple[Tensor, Tensor | None]:
        """Join M latents [B, T_m, H] to tokens with positions [B, N, H], padding [B, N] or None.

        Raises:
            ShapeError: more tokens than there are positions.
        """
        masks = _masks(latents, padding_masks)
        placed = self.place(list(enumerate(latents)), masks)
        return torch.cat(placed, 1), join_padding(latents, masks)

    def place(
        self, latents: Sequence[tuple[int, Tensor]], masks: Sequence[Tensor | None]
    ) -> list[Tensor]:
        """Add the positions to latents [B, T_m, H], each given with its modality's place.

        Raises:
            ShapeError: more tokens than there are positions.
        """
        tables = self.positions[0].split(self.places)
        return [_placed(m, latent, masks[m], tables[m]) for m, latent in latents]

    def decide(
        self,
        tokens: Tensor,
        latents: Sequence[Tensor],
        padding_masks: Sequence[Tensor | None] | None,
    ) -> Tensor:
        """Decide from the tokens [B, N, H] of these latents: outputs [B, C]."""
        parts = tokens.split([latent.shape[1] for latent in latents], 1)
        masks = _masks(latents, padding_masks)
        pooled = [pool_tokens(part, mask) for part, mask in zip(parts, masks, strict=True)]
        return self.head(torch.cat(pooled, 1))


def _placed(modality: int, latent: Tensor, mask: Tensor | None, table: Tensor) -> Tensor:
    length = latent.shape[1]
    if length > len(table):
        raise ShapeError(
            f"modality {modality + 1} came with {length} tokens, but positions were made for "
            f"{len(table)}; build the backbone for the largest number of tokens."
        )
    if mask is None:
        return latent + table[:length]
    # Whatever stands in padding, even NaN, goes no further than this.
    (filled,) = zero_padding([latent], [mask])
    return filled + table[((~mask).cumsum(1) - 1).clamp_min(0)]


def join_padding(latents: Sequence[Tensor], masks: Sequence[Tensor | None]) -> Tensor | None:
    """Join the masks of M latents [B, T_m, H] to the sequence's, [B, N]; None without any."""
    if all(mask is None for mask in masks):
        return None
    padding = [
        latent.new_zeros(latent.shape[:2], dtype=torch.bool) if mask is None else mask
        for latent, mask in zip(latents, masks, strict=True)
    ]
    return torch.cat(padding, 1)


def _masks(
    latents: Sequence[Tensor], padding_masks: Sequence[Tensor | None] | None
) -> Sequence[Tensor | None]:
    return [None] * len(latents) if padding_masks is None else padding_masks
