"""Encoders of pictures."""

from __future__ import annotations

from torch import Tensor, nn

from i2moe_plugin.benchmarks.encoders.features import PatchEmbedding
from i2moe_plugin.benchmarks.encoders.settings import EncoderSettings


class ImageCNN(nn.Module):
    """A small convolutional encoder for small pictures: [B, 3, H, W] -> [B, D].

    Three stages of convolution 3x3 with stride 2, batch norm and ReLU, then a global mean over
    positions and one linear layer. Pictures come as uint8 or as floats in [0, 1].
    """

    def __init__(self, channels: int, dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        width = 3
        for out in (channels, 2 * channels, 4 * channels):
            stages += [
                nn.Conv2d(width, out, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(out),
                nn.ReLU(),
            ]
            width = out
        self.stages = nn.Sequential(*stages)
        self.features = width
        self.dropout = nn.Dropout(dropout)
        self.projection = nn.Linear(width, dim)

    def forward(self, x: Tensor) -> Tensor:
        """[B, 3, H, W] -> [B, D]."""
        if not x.is_floating_point():
            x = x.to(self.projection.weight.dtype) / 255
        return self.projection(self.dropout(self.stages(x).mean((2, 3))))


def picture_encoder(channels: int, settings: EncoderSettings) -> nn.Module:
    """An :class:`ImageCNN` for the kind of latent that is asked for."""
    if settings.latents == "vector":
        return ImageCNN(channels, settings.dim, settings.dropout)
    features = settings.patches * settings.dim
    return nn.Sequential(
        ImageCNN(channels, features, settings.dropout),
        PatchEmbedding(features, settings.patches, settings.dim),
    )
