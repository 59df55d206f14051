"""HTAD: seven home activities from sound and a wrist accelerometer."""

from __future__ import annotations

from i2moe_plugin.benchmarks.data.cards import Card
from i2moe_plugin.benchmarks.data.packaged import FeatureDataset
from i2moe_plugin.benchmarks.data.registry import register_dataset


@register_dataset("htad")
class HTAD(FeatureDataset):
    """1,386 windows; 36 MFCC features of sound, 16 features of wrist acceleration; 7 activities."""

    modalities = arrays = ("audio", "accelerometer")
    file = "htad.npz"
    card = Card(
        title="HTAD: Home-Tasks Activities Dataset",
        source="Garcia-Ceja et al., MMM 2021; as shipped in multiviewstacking 0.7.5. No subject "
        "ids: the random split can mix subjects.",
        licence="MIT",
        embedded=True,
    )


get_dataloader = HTAD.get_dataloader
