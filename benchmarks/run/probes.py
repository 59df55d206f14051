"""Whether a unimodal expert knows as much of its modality as simple models do."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from i2moe_plugin.benchmarks.data.open import OpenedDataset
from i2moe_plugin.benchmarks.statistics.probes import MOST_FEATURES, probe_bits
from i2moe_plugin.interactions.fitted import Fitted
from i2moe_plugin.interactions.sets import sampling_variance
from i2moe_plugin.tasks import Classification


def compare_with_probes(
    fitted: Fitted, outputs: NDArray[Any], data: OpenedDataset, device: Any, seed: int
) -> list[dict[str, Any]]:
    """Compare each unimodal expert with simple models of the same features, on test data.

    Args:
        fitted: the calibrations of the trained network.
        outputs: [N, models, C] on test data.
        data: the data set that it was trained on.
        device: what the data was prepared for.
        seed: of the probes.

    Returns:
        for each modality that is plain features ``modality``, ``probe``, ``bits`` of the probe,
        ``expert_bits``, ``difference`` and its standard ``error``; none where no classes are
        predicted.
    """
    task = data.task
    if not isinstance(task, Classification) or not len(outputs):
        return []
    splits = {name: data.labels(name) for name in ("train", "valid", "test")}
    labels = {name: np.asarray(task.truth(values)).astype(int) for name, values in splits.items()}
    if len(labels["test"]) != len(outputs):  # a checkout's loader left some out
        return []
    groups = data.groups("test")
    known = fitted.calibration.information(fitted.members.pooled(outputs), labels["test"])[:, 0]
    units = len(known) if groups is None else len(np.unique(groups))
    found = []
    features = data.prepare(device).features()
    for place, (modality, arrays) in enumerate(zip(data.modalities, features, strict=True)):
        if arrays is None or arrays["train"].shape[1] > MOST_FEATURES:
            continue
        pairs = [(arrays[name], labels[name]) for name in ("train", "valid", "test")]
        name, bits = probe_bits(pairs[0], pairs[1], pairs[2], task.num_outputs, seed=seed)
        gain = bits - known[:, place]
        found.append(
            {
                "modality": modality,
                "probe": name,
                "bits": float(bits.mean()),
                "expert_bits": float(known[:, place].mean()),
                "difference": float(gain.mean()),
                "error": float(sampling_variance(gain, groups) ** 0.5) if units > 1 else None,
            }
        )
    return found
