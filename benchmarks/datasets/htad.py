"""HTAD: seven home activities from sound and a wrist accelerometer."""

from __future__ import annotations

from i2moe_plugin.benchmarks.data.cards import Card
from i2moe_plugin.benchmarks.data.contents import Contents
from i2moe_plugin.benchmarks.data.open import dataloader_of
from i2moe_plugin.benchmarks.data.packaged import feature_modality, located, read_packaged
from i2moe_plugin.benchmarks.data.registry import register_dataset
from i2moe_plugin.benchmarks.data.source import DataFolder
from i2moe_plugin.benchmarks.datasets.embedded import EMBEDDED

MODALITIES = ("audio", "accelerometer")


@register_dataset(
    "htad",
    card=Card(
        title="HTAD: Home-Tasks Activities Dataset",
        source="Garcia-Ceja et al., MMM 2021; as shipped in multiviewstacking 0.7.5. No subject "
        "ids: the random split can mix subjects.",
        licence="MIT",
        embedded=True,
    ),
    modalities=MODALITIES,
    locate=located(EMBEDDED, "htad.npz", MODALITIES),
)
def read(folder: DataFolder) -> Contents:
    """1,386 windows; 36 MFCC features of sound, 16 features of wrist acceleration; 7 activities."""
    data = read_packaged(folder)
    return data.contents(*(feature_modality(data, name) for name in MODALITIES))


get_dataloader = dataloader_of("htad")
