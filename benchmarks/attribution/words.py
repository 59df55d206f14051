"""The headline of a study in words."""

from __future__ import annotations

from typing import Any

from i2moe_plugin.attribution.names import MIXTURE


def headline(record: dict[str, Any], explainer: str = "") -> str:
    """Say whether an explainer finds what the prediction goes by, better than chance.

    Args:
        record: of :func:`~i2moe_plugin.benchmarks.attribution.study.study_features`.
        explainer: one of the record's, not the control; the one that its pairs go by, if empty.
    """
    explainer = explainer or record["usual_explainer"]
    area = record["scopes"][MIXTURE]["explainers"][explainer]["area_above_random"]
    one = area["comprehensiveness"]
    numbers = f"{one['mean']:.3f} ({one['low']:.3f} to {one['high']:.3f})"
    if one["low"] > 0:
        verdict = "masks what the prediction goes by more than random masking does"
    elif one["high"] < 0:
        verdict = "masks what the prediction goes by less than random masking does"
    else:
        verdict = "is not distinguishable from random masking"
    return f"{explainer} {verdict}: area between the curves {numbers}."
