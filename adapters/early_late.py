"""Early and late fusion: concatenate first, per token or flattened, and learn afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from i2moe_plugin.adapters.tokens import require_positive
from i2moe_plugin.adapters.transformer import Transformer
from i2moe_plugin.backbones.entry import register_backbone
from i2moe_plugin.backbones.latents import LatentSpec, lengthen, pool_tokens, zero_padding
from i2moe_plugin.backbones.wrapper import MLPHead
from i2moe_plugin.errors import ConfigError, I2MoEError, ShapeError

Head = Literal["transformer", "mlp"]


class ConcatEarly(nn.Module):
    """Concatenate features token by token: M x [B, T, D_m] -> [B, T, sum_m D_m].

    Example:
        >>> ConcatEarly()([torch.zeros(2, 4, 3), torch.zeros(2, 4, 5)]).shape
        torch.Size([2, 4, 8])
    """

    def forward(self, latents: Sequence[Tensor]) -> Tensor:
        """Fuse M latents [B, T, D_m] -> [B, T, sum_m D_m].

        Raises:
            ShapeError: numbers of tokens differ.
        """
        _require_pairs([latent.shape[1] for latent in latents], ShapeError)
        return torch.cat(list(latents), 2)


class Stack(nn.Module):
    """Flatten every latent and stack: M x [B, ...] of one size S -> [B, S, M].

    Example:
        >>> Stack()([torch.zeros(2, 6), torch.zeros(2, 3, 2)]).shape
        torch.Size([2, 6, 2])
    """

    def forward(self, latents: Sequence[Tensor]) -> Tensor:
        """Fuse M latents of one size -> [B, S, M]."""
        return torch.stack([latent.flatten(1) for latent in latents], 2)


class ConcatLinear(nn.Module):
    """Concatenate the last dimension and apply one linear layer.

    Example:
        >>> ConcatLinear([3, 5], 7)([torch.zeros(2, 3), torch.zeros(2, 5)]).shape
        torch.Size([2, 7])
    """

    def __init__(self, input_dims: Sequence[int], output_dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(sum(input_dims), output_dim)

    def forward(self, latents: Sequence[Tensor]) -> Tensor:
        """Fuse M latents [B, D_m] or [B, T, D_m] -> [B, output_dim] or [B, T, output_dim]."""
        return self.linear(torch.cat(list(latents), -1))


@register_backbone(
    "ef",
    latents="tokens",
    padding=True,
    upstream="MultiBench fusions/common_fusions.py: ConcatEarly, EarlyFusionTransformer",
)
class EarlyFusion(nn.Module):
    r"""Concatenate the features of all modalities at each token, then one network over tokens.

    x_t = W [z_1t; ...; z_Mt] + c. With a ``transformer`` head, x with learned positions goes
    through pre-norm blocks, the mean over tokens and one linear layer (:class:`Transformer` of one
    modality); with an ``mlp`` head, output = V mean_t ReLU(x_t) + b. A token is padding where it is
    padding in every modality; where it is in some, those features are zero.

    Args:
        latents: token latents with as many tokens in every modality.
        num_outputs: C.
        head: ``transformer`` or ``mlp``.
        hidden_dim: width of x.
        num_layers, num_heads: of the transformer head.
        dropout: in the transformer's blocks, or behind the ReLU.

    Raises:
        ConfigError: numbers of tokens differ, or a setting is out of range.

    Example:
        >>> fusion = EarlyFusion([LatentSpec(3, 4), LatentSpec(5, 4)], 2)
        >>> fusion([torch.zeros(6, 4, 3), torch.zeros(6, 4, 5)]).shape
        torch.Size([6, 2])
    """

    def __init__(
        self,
        latents: Sequence[LatentSpec],
        num_outputs: int,
        *,
        head: Head = "transformer",
        hidden_dim: int = 64,
        num_layers: int = 1,
        num_heads: int = 4,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        require_positive(hidden_dim=hidden_dim, num_layers=num_layers, num_heads=num_heads)
        _require_pairs([spec.tokens for spec in latents], ConfigError)
        self.project = nn.Linear(sum(spec.dim for spec in latents), hidden_dim)
        tokens = LatentSpec(hidden_dim, latents[0].tokens)
        self.transformer = _transformer(head, tokens, num_outputs, num_layers, num_heads, dropout)
        self.mlp: nn.Module | None = None
        if self.transformer is None:
            self.activation = nn.Sequential(nn.ReLU(), nn.Dropout(dropout))
            self.mlp = nn.Linear(hidden_dim, num_outputs)

    def forward(
        self, latents: Sequence[Tensor], padding_masks: Sequence[Tensor | None] | None = None
    ) -> Tensor:
        """Fuse M latents [B, T, D_m], masks None or [B, T] (True: padding) -> [B, C]."""
        padding = None
        if padding_masks is not None:
            latents, padding_masks = _of_one_length(latents, padding_masks)
            latents = zero_padding(latents, padding_masks)
            known = [mask for mask in padding_masks if mask is not None]
            if len(known) == len(padding_masks):
                padding = torch.stack(known).all(0)
        _require_pairs([latent.shape[1] for latent in latents], ShapeError)
        tokens = self.project(torch.cat(list(latents), -1))
        if self.transformer is not None:
            output: Tensor = self.transformer([tokens], [padding])
            return output
        assert self.mlp is not None
        output = self.mlp(pool_tokens(self.activation(tokens), padding))
        return output


@register_backbone(
    "lf",
    padding=True,
    upstream="MultiBench fusions/common_fusions.py: Concat, LateFusionTransformer",
)
class LateFusion(nn.Module):
    r"""Flatten every latent, concatenate, and decide.

    With an ``mlp`` head, output = MLP([flat z_1; ...; flat z_M]) with one hidden layer; with a
    ``transformer`` head, each flattened latent becomes one token, W_m flat(z_m) + c_m, and
    pre-norm blocks over these M tokens, their mean and one linear layer decide. A latent whose
    number of tokens varies (it comes with padding) enters as the mean of its tokens.

    Args:
        latents: latents of any shape.
        num_outputs: C.
        head: ``mlp`` or ``transformer``.
        hidden_dim: width of the hidden layer, or of a token.
        num_layers, num_heads: of the transformer head.
        dropout: on the hidden layer, or in the transformer's blocks.

    Raises:
        ConfigError: a setting is out of range.

    Example:
        >>> fusion = LateFusion([LatentSpec(3), LatentSpec(5, 4)], 2)
        >>> fusion([torch.zeros(6, 3), torch.zeros(6, 4, 5)]).shape
        torch.Size([6, 2])
    """

    def __init__(
        self,
        latents: Sequence[LatentSpec],
        num_outputs: int,
        *,
        head: Head = "mlp",
        hidden_dim: int = 128,
        num_layers: int = 1,
        num_heads: int = 4,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        require_positive(hidden_dim=hidden_dim, num_layers=num_layers, num_heads=num_heads)
        self.padded = [spec.padded for spec in latents]
        widths = [spec.dim * (1 if spec.padded else spec.tokens or 1) for spec in latents]
        self.widths = widths
        self.mlp: MLPHead | None = None
        if head == "mlp":
            self.mlp = MLPHead(sum(widths), num_outputs, hidden_dim, dropout)
        else:
            self.projections = nn.ModuleList(nn.Linear(width, hidden_dim) for width in widths)
        tokens = LatentSpec(hidden_dim, len(widths))
        self.transformer = _transformer(head, tokens, num_outputs, num_layers, num_heads, dropout)

    def forward(
        self, latents: Sequence[Tensor], padding_masks: Sequence[Tensor | None] | None = None
    ) -> Tensor:
        """M latents, masks None or [B, T_m] (True: padding) -> [B, C]."""
        masks = [None] * len(latents) if padding_masks is None else padding_masks
        pairs = zip(latents, masks, strict=True)
        return self.combine([self.encode_modality(m, *pair) for m, pair in enumerate(pairs)])

    def encode_modality(
        self, modality: int, latent: Tensor, padding_mask: Tensor | None = None
    ) -> tuple[Tensor]:
        """Compute what a flattened latent adds to the hidden layer, or its token: [B, H]."""
        (latent,) = zero_padding([latent], [padding_mask])
        flat = pool_tokens(latent, padding_mask) if self.padded[modality] else latent.flatten(1)
        if self.mlp is not None:
            first, start = self.mlp[0], sum(self.widths[:modality])
            assert isinstance(first, nn.Linear)
            return (F.linear(flat, first.weight[:, start : start + self.widths[modality]]),)
        return (self.projections[modality](flat),)

    def combine(
        self,
        parts: Sequence[tuple[Tensor, ...]],
        padding_masks: Sequence[Tensor | None] | None = None,
    ) -> Tensor:
        """Decide from the modalities' parts."""
        if self.mlp is not None:
            first, *rest = self.mlp
            assert isinstance(first, nn.Linear)
            hidden: Tensor = sum((part for (part,) in parts), start=first.bias)
            for layer in rest:
                hidden = layer(hidden)
            return hidden
        assert self.transformer is not None
        output: Tensor = self.transformer([torch.stack([part for (part,) in parts], 1)])
        return output


class LastTokenTransformer(nn.Module):
    """Project each token, run torch's transformer encoder, read the last token.

    x = P tokens, without bias; then ``nn.TransformerEncoder`` with torch's defaults (post-norm,
    ReLU, 2048 hidden units) and no positions; output = W x_last + b.

    Args:
        in_features: width of a token.
        num_outputs: C.
        hidden_dim, num_heads, num_layers, dropout: of the encoder.

    Raises:
        ConfigError: ``num_heads`` does not divide ``hidden_dim``.
    """

    def __init__(
        self,
        in_features: int,
        num_outputs: int,
        *,
        hidden_dim: int,
        num_heads: int,
        num_layers: int,
        dropout: float,
    ) -> None:
        super().__init__()
        require_positive(hidden_dim=hidden_dim)
        if hidden_dim % num_heads:
            raise ConfigError(f"hidden_dim={hidden_dim} must be a multiple of {num_heads}.")
        self.project = nn.Linear(in_features, hidden_dim, bias=False)
        layer = nn.TransformerEncoderLayer(hidden_dim, num_heads, dropout=dropout, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, num_layers, enable_nested_tensor=False)
        self.linear = nn.Linear(hidden_dim, num_outputs)

    def forward(self, tokens: Tensor) -> Tensor:
        """Compute [B, T, in_features] -> [B, C]."""
        return self.linear(self.encoder(self.project(tokens))[:, -1])


@register_backbone(
    "ef-released",
    latents="tokens",
    paper="Xin et al., ICML 2025 (arXiv 2505.19190), baseline EF",
    upstream="I2MoE src/common/fusion_models/early_fusion.py: EarlyFusionTransformer",
)
class ReleasedEarlyFusion(nn.Module):
    """The paper's early-fusion baseline as its code computes it, for reproducing its tables only.

    Features are concatenated token by token, squeezed to 9 channels and run through 3 encoder
    layers of 3 heads; only the last token is read. Use ``ef`` for anything else.

    Args:
        latents: token latents with as many tokens in every modality.
        num_outputs: C.
        dropout: of the encoder.

    Example:
        >>> fusion = ReleasedEarlyFusion([LatentSpec(8, 3), LatentSpec(8, 3)], 2)
        >>> fusion([torch.zeros(6, 3, 8), torch.zeros(6, 3, 8)]).shape
        torch.Size([6, 2])
    """

    def __init__(
        self, latents: Sequence[LatentSpec], num_outputs: int, *, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.concat = ConcatEarly()
        self.network = LastTokenTransformer(
            sum(spec.dim for spec in latents),
            num_outputs,
            hidden_dim=9,
            num_heads=3,
            num_layers=3,
            dropout=dropout,
        )

    def forward(self, latents: Sequence[Tensor]) -> Tensor:
        """Fuse M latents [B, T, D_m] -> [B, C]."""
        return self.network(self.concat(latents))


@register_backbone(
    "lf-released",
    latents="tokens",
    paper="Xin et al., ICML 2025 (arXiv 2505.19190), baseline LF",
    upstream="I2MoE src/common/fusion_models/late_fusion.py: LateFusionTransformer",
)
class ReleasedLateFusion(nn.Module):
    """The paper's late-fusion baseline as its code computes it, for reproducing its tables only.

    All latents are flattened and concatenated; every single number becomes a token, projected from
    width 1, and 2 encoder layers of 2 heads run over them; only the last is read. Attention costs
    the square of the number of features. Use ``lf`` for anything else.

    Args:
        latents: latents of any shape.
        num_outputs: C.
        hidden_dim: width of a token, even; the sum of the latents' widths by default, as in the
            release.
        dropout: of the encoder.

    Example:
        >>> fusion = ReleasedLateFusion([LatentSpec(8, 3), LatentSpec(8, 3)], 2)
        >>> fusion([torch.zeros(6, 3, 8), torch.zeros(6, 3, 8)]).shape
        torch.Size([6, 2])
    """

    def __init__(
        self,
        latents: Sequence[LatentSpec],
        num_outputs: int,
        *,
        hidden_dim: int | None = None,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.network = LastTokenTransformer(
            1,
            num_outputs,
            hidden_dim=hidden_dim or sum(spec.dim for spec in latents),
            num_heads=2,
            num_layers=2,
            dropout=dropout,
        )

    def forward(self, latents: Sequence[Tensor]) -> Tensor:
        """Fuse M latents -> [B, C]."""
        flat = torch.cat([latent.flatten(1) for latent in latents], 1)
        return self.network(flat.unsqueeze(-1))


def _of_one_length(
    latents: Sequence[Tensor], masks: Sequence[Tensor | None]
) -> tuple[list[Tensor], list[Tensor | None]]:
    """Pad what varies in length: the longest sample of a batch may lack a modality."""
    longest = max(latent.shape[1] for latent in latents)
    given: list[tuple[Tensor, Tensor | None]] = [
        (latent, None) if mask is None else lengthen(latent, mask, longest)
        for latent, mask in zip(latents, masks, strict=True)
    ]
    return [latent for latent, _ in given], [mask for _, mask in given]


def _require_pairs(tokens: Sequence[int | None], error: type[I2MoEError]) -> None:
    if len(set(tokens)) != 1:
        raise error(
            "early fusion pairs tokens, so all modalities need as many; got "
            f"{list(tokens)}. Use lf or transformer."
        )


def _transformer(
    head: str, tokens: LatentSpec, num_outputs: int, num_layers: int, num_heads: int, dropout: float
) -> Transformer | None:
    """Build the transformer head over tokens; None for an MLP head."""
    if head not in ("transformer", "mlp"):
        raise ConfigError(f"head is transformer or mlp, not {head!r}.")
    if head == "mlp":
        return None
    options = {"num_layers": num_layers, "num_heads": num_heads}
    return Transformer([tokens], num_outputs, dropout=dropout, **options)
