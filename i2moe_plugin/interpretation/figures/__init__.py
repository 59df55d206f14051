"""Figures of what the other functions of this package return, as plotly figures.

Each has a text alternative in ``figure.layout.meta["alt"]``. Colours are Okabe and Ito's, told
apart by colour-blind people; experts also differ in place, and lines in dash. Densities and boxes
are computed here, so that a figure's size does not grow with the number of samples.
"""

from i2moe_plugin.interpretation.figures.across import (
    agreement,
    calibration,
    curves,
    experts_alone,
    similarity,
    weights,
    weights_by_class,
)
from i2moe_plugin.interpretation.figures.bits import parts
from i2moe_plugin.interpretation.figures.honesty import control, deletion, stability
from i2moe_plugin.interpretation.figures.judging import (
    class_metrics,
    confusion,
    precision_recall,
    residuals,
    roc,
)

__all__ = [
    "agreement",
    "calibration",
    "class_metrics",
    "confusion",
    "control",
    "curves",
    "deletion",
    "experts_alone",
    "parts",
    "precision_recall",
    "residuals",
    "roc",
    "similarity",
    "stability",
    "weights",
    "weights_by_class",
]
