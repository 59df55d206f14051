"""The Multimodal Transformer (Tsai et al., ACL 2019)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from i2moe_plugin.adapters.tokens import Attention, require_positive
from i2moe_plugin.backbones.entry import register_backbone
from i2moe_plugin.backbones.latents import LatentSpec, zero_padding
from i2moe_plugin.errors import ConfigError


def sinusoids(positions: Tensor, dim: int, dtype: torch.dtype) -> Tensor:
    r"""Embed positions in sinusoids, as in tensor2tensor and fairseq.

    With h = floor(dim / 2) and w_k = 10000^(-k / (h - 1)): sin(w_0 p) .. sin(w_(h-1) p), then the
    cosines; a zero last where dim is odd.

    Args:
        positions: integers of any shape.
        dim: at least 4.
        dtype: of the result.

    Returns:
        positions.shape + (dim,).

    Example:
        >>> sinusoids(torch.tensor([0, 1]), 5, torch.float32)[0]
        tensor([0., 0., 1., 1., 0.])
    """
    half = dim // 2
    steps = torch.arange(half, device=positions.device, dtype=dtype)
    angles = positions.unsqueeze(-1) * torch.exp(steps * (-math.log(10000) / (half - 1)))
    return F.pad(torch.cat([angles.sin(), angles.cos()], -1), (0, dim - 2 * half))


class CrossLayer(nn.Module):
    """Pre-norm block whose queries look at a context: attention, then ReLU feed-forward.

    Queries and context share the first norm, as in the original.
    """

    def __init__(
        self, dim: int, num_heads: int, *, dropout: float, attention_dropout: float
    ) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = Attention(dim, num_heads, dropout=attention_dropout, bias=True)
        self.feed_forward = nn.Sequential(
            nn.Linear(dim, 4 * dim), nn.ReLU(), nn.Dropout(dropout), nn.Linear(4 * dim, dim)
        )
        self.dropout = nn.Dropout(dropout)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, tokens: Tensor, context: Tensor, blocked: Tensor) -> Tensor:
        """Attend: tokens [B, T, D], context [B, S, D], blocked [B, T, S] -> [B, T, D]."""
        attended = self.attention(self.norm1(tokens), self.norm1(context), blocked)
        tokens = tokens + self.dropout(attended)
        return tokens + self.dropout(self.feed_forward(self.norm2(tokens)))


class CrossTransformer(nn.Module):
    """Layers in which one modality's tokens look at another's, or at themselves.

    Tokens are scaled by sqrt(D) and get sinusoidal positions. A context of another modality is the
    same for every layer; without one, each layer looks at its own tokens.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        num_layers: int,
        *,
        dropout: float,
        attention_dropout: float,
        embed_dropout: float,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            CrossLayer(dim, num_heads, dropout=dropout, attention_dropout=attention_dropout)
            for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(embed_dropout)

    def forward(
        self,
        tokens: Tensor,
        places: Tensor,
        blocked: Tensor,
        context: Tensor | None = None,
        context_places: Tensor | None = None,
    ) -> Tensor:
        """Run tokens [B, T, D] at places [B, T], blocked [B, T, S], through all layers."""
        tokens = self._embed(tokens, places)
        if context is not None:
            assert context_places is not None
            context = self._embed(context, context_places)
        for layer in self.layers:
            tokens = layer(tokens, tokens if context is None else context, blocked)
        return self.norm(tokens)

    def _embed(self, tokens: Tensor, places: Tensor) -> Tensor:
        dim = tokens.shape[-1]
        positions = sinusoids(places, dim, tokens.dtype)
        return self.dropout(math.sqrt(dim) * tokens + positions)


@register_backbone(
    "mult",
    latents="tokens",
    padding=True,
    paper="Tsai et al., ACL 2019 (arXiv 1906.00295)",
    upstream="MultiBench fusions/mult.py: MULTModel",
)
class MultimodalTransformer(nn.Module):
    r"""Every modality looks at every other, then at what it has seen, and its last token decides.

    x_m = P_m z_m; for each ordered pair, h_mn = CrossTransformer(x_m looks at x_n), [B, T_m, H];
    h_m = MemoryTransformer([h_m1; ...; h_mM]); l = [last token of h_1; ...; h_M]; output =
    W (l + W_2 ReLU(W_1 l)).

    A token at place t looks at places up to t + |T_m - T_n| (causal). Places are counted from 1
    among the tokens that are not padding, and nothing else decides them: in MultiBench a token
    whose first feature is exactly 0 loses its position. Modalities may differ in their number of
    tokens. The default size is one that M + 2 experts can share a laptop with; MultiBench's example
    on affect data has 40 channels, 8 heads and 4 layers.

    Args:
        latents: token latents of any widths.
        num_outputs: C.
        hidden_dim: H, at least 4.
        num_layers: layers of each cross-modal transformer.
        memory_layers: layers of each memory transformer, of width H times the number of pairs a
            modality is in.
        num_heads: divides H.
        dropout: on both branches of a layer and inside its feed-forward part.
        attention_dropout: on the memory transformers' attention weights.
        embed_dropout: on embedded tokens.
        causal: tokens do not look ahead.
        self_pairs: count (m, m) as a pair, as MultiBench does; the paper has only m != n.

    Raises:
        ConfigError: a setting out of range.

    Example:
        >>> fusion = MultimodalTransformer([LatentSpec(6, 4), LatentSpec(5, 3)], 2)
        >>> fusion([torch.zeros(7, 4, 6), torch.zeros(7, 3, 5)]).shape
        torch.Size([7, 2])
    """

    def __init__(
        self,
        latents: Sequence[LatentSpec],
        num_outputs: int,
        *,
        hidden_dim: int = 24,
        num_layers: int = 2,
        memory_layers: int = 2,
        num_heads: int = 4,
        dropout: float = 0.1,
        attention_dropout: float = 0.1,
        embed_dropout: float = 0.25,
        causal: bool = True,
        self_pairs: bool = True,
    ) -> None:
        super().__init__()
        require_positive(num_layers=num_layers, memory_layers=memory_layers)
        if hidden_dim < 4:
            raise ConfigError(f"hidden_dim must be at least 4, not {hidden_dim}.")
        self.causal = causal
        modalities = range(len(latents))
        self.contexts = [[n for n in modalities if self_pairs or n != m] for m in modalities]
        self.project = nn.ModuleList(nn.Linear(s.dim, hidden_dim, bias=False) for s in latents)
        self.cross = nn.ModuleDict(
            {
                f"{m}-{n}": CrossTransformer(
                    hidden_dim,
                    num_heads,
                    num_layers,
                    dropout=dropout,
                    attention_dropout=0.0,
                    embed_dropout=embed_dropout,
                )
                for m, contexts in enumerate(self.contexts)
                for n in contexts
            }
        )
        self.memory = nn.ModuleList(
            CrossTransformer(
                hidden_dim * len(contexts),
                num_heads,
                memory_layers,
                dropout=dropout,
                attention_dropout=attention_dropout,
                embed_dropout=embed_dropout,
            )
            for contexts in self.contexts
        )
        width = hidden_dim * sum(len(contexts) for contexts in self.contexts)
        self.residual = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
        self.head = nn.Linear(width, num_outputs)

    def forward(
        self, latents: Sequence[Tensor], padding_masks: Sequence[Tensor | None] | None = None
    ) -> Tensor:
        """Fuse M latents [B, T_m, D_m], masks None or [B, T_m] (True: padding) -> [B, C]."""
        masks = [None] * len(latents) if padding_masks is None else padding_masks
        padding = [
            latent.new_zeros(latent.shape[:2], dtype=torch.bool) if mask is None else mask
            for latent, mask in zip(latents, masks, strict=True)
        ]
        places = [(~mask).cumsum(1) for mask in padding]
        projected = [
            project(latent)
            for project, latent in zip(self.project, zero_padding(latents, padding), strict=True)
        ]
        last = []
        for m, contexts in enumerate(self.contexts):
            seen = [
                self.cross[f"{m}-{n}"](
                    projected[m],
                    places[m],
                    self._blocked(places[m], places[n], padding[n]),
                    projected[n],
                    places[n],
                )
                for n in contexts
            ]
            blocked = self._blocked(places[m], places[m], padding[m])
            remembered = self.memory[m](torch.cat(seen, 2), places[m], blocked)
            last.append(_last_token(remembered, places[m]))
        joined = torch.cat(last, 1)
        return self.head(joined + self.residual(joined))

    def _blocked(self, places: Tensor, context_places: Tensor, padding: Tensor) -> Tensor:
        """Tell which context tokens a token must not look at, [B, T, S]."""
        blocked = padding.unsqueeze(1)
        if not self.causal:
            return blocked
        ahead = (places[:, -1:] - context_places[:, -1:]).abs()
        return blocked | (context_places.unsqueeze(1) > (places + ahead).unsqueeze(2))


def _last_token(tokens: Tensor, places: Tensor) -> Tensor:
    """Take the last token [B, D] that is not padding."""
    # Places stay at the count behind the last real token, so it is the first to reach it.
    index = (places < places[:, -1:]).sum(1, keepdim=True).unsqueeze(2)
    return torch.take_along_dim(tokens, index, 1).squeeze(1)
