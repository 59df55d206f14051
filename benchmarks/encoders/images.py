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
        self.width = width
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


class LeNet(nn.Module):
    """MultiBench's LeNet: one-channel pictures [B, 1, H, W] -> [B, F] (``common_models.LeNet``).

    Each layer is a convolution (5x5, then 3x3) that doubles the channels, batch norm, ReLU and
    maximum pooling by 2; weights start as there (Kaiming, uniform).

    Args:
        channels: of the first layer.
        layers: how many; the last leaves fewer than 2 x 2 pixels of the published sizes.
        size: H, W.

    Attributes:
        width: F.
    """

    def __init__(self, channels: int, layers: int, size: tuple[int, int]) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        width = 1
        for layer in range(layers):
            kernel = 3 if layer else 5
            out = channels * 2**layer
            convolution = nn.Conv2d(width, out, kernel, padding=kernel // 2, bias=False)
            nn.init.kaiming_uniform_(convolution.weight)
            stages += [convolution, nn.BatchNorm2d(out), nn.ReLU(), nn.MaxPool2d(2)]
            width = out
        self.stages = nn.Sequential(*stages, nn.Flatten())
        self.width = width * (size[0] >> layers) * (size[1] >> layers)

    def forward(self, x: Tensor) -> Tensor:
        """[B, 1, H, W] -> [B, F]."""
        return self.stages(x)
