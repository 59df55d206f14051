"""Encoders of volumes."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from i2moe_plugin.benchmarks.encoders.features import PatchEmbedding
from i2moe_plugin.benchmarks.encoders.settings import EncoderSettings
from i2moe_plugin.errors import ShapeError

POOLS = (2, 3, 4)  # edges of the three max-pooling windows
CELLS = (3, 4, 3)  # what is left of a volume of 91 x 109 x 91 voxels
DROPOUT = 0.2  # of whole channels, after each pooling


class VolumeCNN(nn.Module):
    """A 3-D convolutional encoder: [B, X, Y, Z] -> [B, D] (I2MoE ``Custom3DCNN``).

    Six convolutions of 3x3x3 with ReLU, a max-pooling after every second, with windows of 2, 3 and
    4 voxels; then one linear layer on D x 3 x 4 x 3 values. That is what pooling leaves of
    91 x 109 x 91 voxels. Volumes of other sizes are brought to 3 x 4 x 3 by adaptive mean pooling,
    and a window is no larger than what it pools.

    Args:
        dim: D, also the width of the last convolution.
        channels: widths of the other five.
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
    """A :class:`VolumeCNN`; its vector is cut into patches where tokens are asked for."""
    network = VolumeCNN(settings.dim)
    if settings.latents == "vector":
        return network
    return nn.Sequential(network, PatchEmbedding(settings.dim, settings.patches, settings.dim))
