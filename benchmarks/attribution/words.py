"""The headline of a study in words."""

from __future__ import annotations

from typing import Any

import numpy as np

from i2moe_plugin.attribution.names import MIXTURE
from i2moe_plugin.benchmarks.attribution.intervals import in_words, share
from i2moe_plugin.errors import counted
from i2moe_plugin.interpretation import Outputs
from i2moe_plugin.tasks import Classification


def headline(record: dict[str, Any], explainer: str = "") -> str:
    """Say whether an explainer finds what the prediction goes by, better than chance.

    Args:
        record: of :func:`~i2moe_plugin.benchmarks.attribution.study.study_features`.
        explainer: one of the record's, not the control; the one that its pairs go by, if empty.
    """
    explainer = explainer or record["usual_explainer"]
    area = record["scopes"][MIXTURE]["explainers"][explainer]["area_above_random"]
    one = area["comprehensiveness"]
    rounding = record["rounding"]
    if one["low"] is None:
        verdict = "is not judged by one sample"
    elif one["low"] > rounding:
        verdict = "masks what the prediction goes by more than random masking does"
    elif one["high"] < -rounding:
        verdict = "masks what the prediction goes by less than random masking does"
    else:
        verdict = "is not distinguishable from random masking"
    caution, numbers = record.get("caution", ""), in_words(one)
    return f"{explainer} {verdict}: area between the curves {numbers}. {caution}".rstrip()


def samples_in_words(record: dict[str, Any]) -> str:
    """Say how many test samples a study is of."""
    count = len(record["samples"])
    return counted(count, "test sample")


def at_chance(outputs: Outputs) -> str:
    """Say so where a model of classes is not told from one that always says the largest class.

    Args:
        outputs: of the whole test split.

    Returns:
        a sentence; empty where the model is better (its accuracy's 95 % interval, by Wilson, lies
        above the largest class's share), or predicts something else.
    """
    if not isinstance(outputs.task, Classification) or not len(outputs):
        return ""
    right = outputs.decided == outputs.target
    largest = np.unique(outputs.target, return_counts=True)[1].max() / len(right)
    if share(right)["low"] > largest:
        return ""
    return (
        f"Caution: {100 * right.mean():.1f} % of test samples are decided rightly, and "
        f"{100 * largest:.1f} % belong to the largest class: explanations show what the model goes "
        "by, which is not what carries the label."
    )
