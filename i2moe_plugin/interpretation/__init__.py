"""What carried a prediction: local, global, and how much a weight is worth.

Everything is computed from stored outputs, without torch and without retraining; functions return
pandas frames, and those in ``figures`` return plotly figures.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["figures"],
    submod_attrs={
        "outputs": ["Outputs", "Probe"],
        "local": ["Explanation", "explain"],
        "across": [
            "agreement",
            "calibration",
            "calibration_error",
            "expert_metrics",
            "similarity",
            "training_curves",
            "weight_summary",
        ],
        "coalitions": ["additive_projection", "coalition_values", "intershap"],
        "mean_parts": ["Explained", "MeanParts"],
        "bits": ["Waterfall", "evidence", "part_labels", "part_summary", "waterfall"],
        "judging": ["class_metrics", "confusion", "precision_recall", "residuals", "roc"],
        "honesty": ["deletion", "permuted_labels", "stability"],
        "verdict": ["CAVEAT", "WeightVerdict", "weight_verdict", "worth"],
    },
)
