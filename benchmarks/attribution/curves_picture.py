"""The curves of a study as a PNG, with a text alternative inside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from i2moe_plugin.attribution.names import MIXTURE
from i2moe_plugin.benchmarks.attribution.words import headline, samples_in_words
from i2moe_plugin.benchmarks.run.files import disk_errors_explained

COLOURS = {
    "random": "#7F7F7F",
    "rollout": "#56B4E9",
    "gradient-rollout": "#D55E00",
    "integrated-gradients": "#0072B2",
}
MARKS = {"random": "x", "rollout": "s", "gradient-rollout": "o", "integrated-gradients": "^"}
KINDS = {
    "comprehensiveness": "without the most important features",
    "sufficiency": "with them alone",
}


def draw_curves(record: dict[str, Any], path: Path) -> str:
    """Write the picture: both curves of the mixture, and pairs by importance.

    Returns:
        the text alternative, which is also in the file (``Description``).

    Raises:
        RunError: the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = 2 if record["pairs"] else 1
    figure = Figure(figsize=(10, 4 * rows + 0.6), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes: Any = figure.subplots(rows, 2, squeeze=False)
    shares = [100 * share for share in record["shares"]]
    for one, (kind, title) in zip(axes[0], KINDS.items(), strict=True):
        for explainer, curves in record["scopes"][MIXTURE]["explainers"].items():
            values = curves[kind]
            colour = COLOURS[explainer]
            if None not in values["low"]:  # of one sample there is no interval
                one.fill_between(shares, values["low"], values["high"], color=colour, alpha=0.15)
            one.plot(shares, values["mean"], color=colour, marker=MARKS[explainer], label=explainer)
        one.axhline(0, color="black", linewidth=0.6)
        one.set(
            xlabel="% of features of each modality",
            ylabel=f"fall of {record['measure']}\n{title}",
            xticks=shares,
        )
    axes[0][0].legend(fontsize=8)
    if record["pairs"]:
        for one, (score, found) in zip(axes[1], record["pairs"].items(), strict=False):
            _levels(one, score, found)
    alternative = headline(record)
    figure.suptitle(f"{samples_in_words(record)}: {alternative}", fontsize=10, wrap=True)
    with disk_errors_explained(path):
        figure.savefig(path, format="png", metadata={"Description": alternative})
    return alternative


def _levels(axes: Any, score: str, found: dict[str, Any]) -> None:
    levels = [level for level in found["levels"] if level["pairs"]]
    places = range(len(levels))
    mean, low, high = (
        np.array([level[part] for level in levels], dtype=float) for part in ("mean", "low", "high")
    )
    bars = np.stack([mean - low, high - mean]).clip(0)  # of one sample there are none
    axes.errorbar(places, mean, bars, fmt="o", color="#009E73", capsize=3)
    axes.axhline(0, color="black", linewidth=0.6)
    axes.set_xticks(places, [level["name"] for level in levels], fontsize=8)
    axes.set_title(f"{score} of pairs in the output of {found['scope']}", fontsize=9)
    axes.set(
        xlabel="importance of both members together",
        ylabel=f"mean {score}",
    )
