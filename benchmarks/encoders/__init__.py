"""Encoders: one modality's input -> a latent, a vector [B, D] or tokens [B, T, D]."""

from i2moe_plugin.benchmarks.encoders.features import (
    EncoderSettings,
    MLPEncoder,
    PatchEmbedding,
    feature_encoder,
)
from i2moe_plugin.benchmarks.encoders.images import (
    ImageCNN,
    LeNet,
    VolumeCNN,
    picture_encoder,
    volume_encoder,
)
from i2moe_plugin.benchmarks.encoders.maxout import MaxoutMLP, maxout_encoder
from i2moe_plugin.benchmarks.encoders.sequences import RecurrentEncoder, recurrent_encoder
from i2moe_plugin.benchmarks.encoders.vgg import Frozen

__all__ = [
    "EncoderSettings",
    "Frozen",
    "ImageCNN",
    "LeNet",
    "MLPEncoder",
    "MaxoutMLP",
    "PatchEmbedding",
    "RecurrentEncoder",
    "VolumeCNN",
    "feature_encoder",
    "maxout_encoder",
    "picture_encoder",
    "recurrent_encoder",
    "volume_encoder",
]
