"""Curves of robustness as a picture, SVG or PNG, with a text alternative inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from i2moe_plugin.benchmarks.run.files import disk_errors_explained
from i2moe_plugin.benchmarks.statistics.metrics import method_title, metric_title
from i2moe_plugin.errors import ConfigError

ENDINGS = (".svg", ".png")
COLOURS = ("#7F7F7F", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKS = "osx^v*D"


def check_ending(path: Path) -> None:
    """Refuse a file that is neither SVG nor PNG.

    Raises:
        ConfigError: another ending.
    """
    if path.suffix.lower() not in ENDINGS:
        raise ConfigError(f"{path}: a plot ends in {' or '.join(ENDINGS)}.")


def draw_robustness(record: Mapping[str, Any], path: Path) -> str:
    """Draw a row for each group and a panel for each modality: the mean metric at each level.

    Bands are 95 % intervals over seeds, where there are at least three.

    Args:
        record: what :func:`~i2moe_plugin.benchmarks.robustness.summary.curves_record` gave.
        path: where to; its ending says SVG or PNG.

    Returns:
        the text alternative, which is also in the file.

    Raises:
        ConfigError: another ending.
        RunError: the file cannot be written.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    check_ending(path)
    groups = [group for group in record["groups"] if group["curves"]]
    if not groups:
        raise ConfigError("there is no curve to draw: no modality of these runs can be corrupted.")
    panels = [list(dict.fromkeys(one["modality"] for one in group["curves"])) for group in groups]
    rows, columns = len(groups), max(map(len, panels))
    figure = Figure(figsize=(3.4 * columns + 0.6, 3 * rows + 0.5), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes: Any = figure.subplots(rows, columns, squeeze=False)
    for line, group, names in zip(axes, groups, panels, strict=True):
        for one in line[len(names) :]:
            one.set_axis_off()
        for one, name in zip(line, names, strict=False):
            curves = [curve for curve in group["curves"] if curve["modality"] == name]
            _panel(one, record["levels"], curves)
            kind = curves[0]["kind"]
            title = f"{name} ({kind})" if kind else name
            one.set(title=title, xlabel="level of corruption", ylim=(None, None))
        line[0].set_ylabel(f"{group['name']}\n{metric_title(group['metric'])}")
        line[0].legend(fontsize=8)
    said = alternative(groups)
    described = {"Description": said}
    if path.suffix.lower() == ".svg":
        described |= {"Date": None}  # type: ignore[dict-item]
    with disk_errors_explained(path), mpl.rc_context({"svg.hashsalt": "robustness"}):
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, format=path.suffix[1:].lower(), metadata=described)
    return said


def _panel(axes: Any, levels: Sequence[float], curves: Sequence[Mapping[str, Any]]) -> None:
    for number, curve in enumerate(curves):
        colour, mark = COLOURS[number % len(COLOURS)], MARKS[number % len(MARKS)]
        if curve["low"][0] is not None:
            axes.fill_between(levels, curve["low"], curve["high"], color=colour, alpha=0.15)
        name = method_title(curve["method"])
        axes.plot(levels, curve["mean"], color=colour, marker=mark, markersize=4, label=name)
    axes.set_xticks(levels[::2])


def alternative(groups: Sequence[Mapping[str, Any]]) -> str:
    """Say in words what the curves show: the metric without corruption, at half, and at full."""
    parts = []
    for group in groups:
        for curve in group["curves"]:
            start, half, end = (curve["mean"][place] for place in (0, len(curve["mean"]) // 2, -1))
            parts.append(
                f"{group['name']}, {curve['modality']}, {method_title(curve['method'])}: "
                f"{metric_title(group['metric'])} {start:.3g} without corruption, {half:.3g} at "
                f"half, {end:.3g} at full"
            )
    return "; ".join(parts) + "."
