"""Encoders of pictures and volumes."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from i2moe_plugin.benchmarks.encoders.features import EncoderSettings, PatchEmbedding
from i2moe_plugin.errors import ShapeError


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
    """Return an :class:`ImageCNN` for the kind of latent that is asked for."""
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
    maximum pooling by 2; weights start as there (Kaiming, uniform). ``width`` is F.
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


POOLS = (2, 3, 4)  # edges of the three max-pooling windows
CELLS = (3, 4, 3)  # what is left of a volume of 91 x 109 x 91 voxels
DROPOUT = 0.2  # of whole channels, after each pooling


class VolumeCNN(nn.Module):
    """A 3-D convolutional encoder: [B, X, Y, Z] -> [B, D] (I2MoE ``Custom3DCNN``).

    Six convolutions of 3x3x3 with ReLU, a max-pooling after every second, with windows of 2, 3 and
    4 voxels; then one linear layer on D x 3 x 4 x 3 values. That is what pooling leaves of
    91 x 109 x 91 voxels. Volumes of other sizes are brought to 3 x 4 x 3 by adaptive mean pooling,
    and a window is no larger than what it pools.
    """

    def __init__(self, dim: int, channels: tuple[int, ...] = (32, 32, 64, 64, 128)) -> None:
        super().__init__()
        widths = (1, *channels, dim)
        self.convolutions = nn.ModuleList(
            nn.Conv3d(before, after, 3, padding=1) for before, after in pairwise(widths)
        )
        self.dropout = nn.Dropout3d(DROPOUT)
        self.cells = nn.AdaptiveAvgPool3d(CELLS)
        self.projection = nn.Linear(dim * CELLS[0] * CELLS[1] * CELLS[2], dim)

    def forward(self, x: Tensor) -> Tensor:
        """[B, X, Y, Z] -> [B, D]."""
        if x.dim() != 4:
            raise ShapeError(f"volumes are [B, X, Y, Z]; got {list(x.shape)}.")
        x = x.unsqueeze(1)
        for stage, window in enumerate(POOLS):
            for convolution in self.convolutions[2 * stage : 2 * stage + 2]:
                x = F.relu(convolution(x))
            x = self.dropout(F.max_pool3d(x, [min(window, size) for size in x.shape[2:]]))
        return self.projection(self.cells(x).flatten(1))


def volume_encoder(settings: EncoderSettings) -> nn.Module:
    """Return a :class:`VolumeCNN`; its vector is cut into patches where tokens are asked for."""
    network = VolumeCNN(settings.dim)
    if settings.latents == "vector":
        return network
    return nn.Sequential(network, PatchEmbedding(settings.dim, settings.patches, settings.dim))
