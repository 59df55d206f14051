"""The Maxout network of MM-IMDb (Arevalo et al., ICLR workshop 2017), as MultiBench has it."""

from __future__ import annotations

from torch import Tensor, nn

from i2moe_plugin.benchmarks.encoders.features import (
    EncoderSettings,
    PatchEmbedding,
    feature_encoder,
)


class Maxout(nn.Module):
    """[B, F] -> [B, D]: the largest of ``pool`` linear maps, output by output."""

    def __init__(self, in_features: int, out_features: int, pool: int = 2) -> None:
        super().__init__()
        self.pool = pool
        self.linear = nn.Linear(in_features, out_features * pool)

    def forward(self, x: Tensor) -> Tensor:
        """[B, F] -> [B, D]."""
        return self.linear(x).unflatten(-1, (-1, self.pool)).amax(-1)


class RowNorm(nn.BatchNorm1d):
    """Batch norm of [B, F] that takes a single row by its running statistics, even in training.

    The last batch of an epoch may be a single row, which has no deviation.
    """

    def forward(self, input: Tensor) -> Tensor:
        """[B, F] -> the same."""
        if len(input) > 1 or not self.training:
            return super().forward(input)
        return nn.functional.batch_norm(
            input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
        )


class MaxoutMLP(nn.Sequential):
    """[B, F] -> [B, D]: batch norm, then Maxout, batch norm and dropout, twice; then linear.

    Without ``dim`` there is no linear layer, and D is the second of the two hidden widths.
    """

    def __init__(
        self, in_features: int, hidden: tuple[int, int], dim: int | None, dropout: float
    ) -> None:
        layers: list[nn.Module] = [RowNorm(in_features, eps=1e-4)]
        for size, width in zip((in_features, hidden[0]), hidden, strict=True):
            layers += [Maxout(size, width), RowNorm(width), nn.Dropout(dropout)]
        super().__init__(*layers, *([nn.Linear(hidden[1], dim)] if dim is not None else []))


def maxout_encoder(in_features: int, first: int, settings: EncoderSettings) -> nn.Module:
    """Encoder of a feature vector, for the kind of latent that is asked for.

    Its second layer is ``settings.hidden`` wide, its first ``first`` times that; where tokens are
    wanted, the second layer's output is cut into patches. Without a hidden layer it is linear.
    """
    if not settings.hidden:
        return feature_encoder(in_features, settings)
    hidden = (first * settings.hidden, settings.hidden)
    drop = nn.Dropout(settings.input_dropout)
    if settings.latents == "vector":
        return nn.Sequential(drop, MaxoutMLP(in_features, hidden, settings.dim, settings.dropout))
    return nn.Sequential(
        drop,
        MaxoutMLP(in_features, hidden, None, settings.dropout),
        PatchEmbedding(settings.hidden, settings.patches, settings.dim),
    )
