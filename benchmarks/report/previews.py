"""A sample's own modalities, for JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from i2moe_plugin.benchmarks.data.preview import Preview


def as_record(item: Preview) -> dict[str, Any]:
    """Return a modality of a sample for JSON: of a picture its size alone."""
    value = item.value
    if item.kind == "image":
        value = {"height": value.shape[0], "width": value.shape[1]}
    elif item.kind != "text":
        value = np.asarray(value, dtype=float).tolist()
    return {"modality": item.modality, "kind": item.kind, "names": list(item.names), "value": value}
