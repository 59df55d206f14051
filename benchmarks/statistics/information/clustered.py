"""CVX: the decomposition of clustered features (Liang et al., NeurIPS 2023)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2moe_plugin.benchmarks.statistics.information.decompositions import Decomposition, broja
from i2moe_plugin.benchmarks.statistics.information.joint import Joint
from i2moe_plugin.errors import ConfigError

Array = NDArray[Any]


def clustered(
    modalities: Sequence[Array],
    labels: Array,
    *,
    clusters: int = 20,
    components: int = 5,
    seed: int = 0,
) -> Decomposition:
    """Estimate BROJA's decomposition of two modalities from clusters of their features.

    Each modality's rows are scaled to unit length, projected on their principal components and
    clustered by k-means; the counts of (cluster, cluster, label) are decomposed. Clusters lose what
    lies within them, and few samples in many cells look like information: with N samples, counts
    alone invent about clusters^2 (labels - 1) / (2 N ln 2) bits, mostly as synergy.

    Args:
        modalities: two arrays [N, d_m].
        labels: [N] of int.
        clusters: of each modality; fewer where a modality has fewer different rows.
        components: principal components kept.
        seed: of k-means.

    Raises:
        ConfigError: not two modalities.
    """
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import normalize

    if len(modalities) != 2:
        raise ConfigError(f"CVX decomposes 2 modalities, not {len(modalities)}.")
    symbols = []
    for x in modalities:
        rows = normalize(np.reshape(x, (len(x), -1)).astype(np.float64))
        if not np.ptp(rows, 0).any():  # all the same: no directions to project on
            symbols.append(np.zeros(len(rows), dtype=int))
            continue
        kept = min(components, *rows.shape)
        reduced = PCA(kept, random_state=seed).fit_transform(rows)
        different = len(np.unique(reduced.round(9), axis=0))
        kmeans = KMeans(min(clusters, different), n_init=4, random_state=seed)
        symbols.append(kmeans.fit_predict(reduced))
    return broja(Joint.from_samples(np.stack(symbols, 1), np.asarray(labels)))
