"""Pictures of runs as files: what `i2moe-bench plot` draws, by matplotlib."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from i2moe_plugin import interpretation as interpret
from i2moe_plugin.benchmarks.grid.runs import run_title
from i2moe_plugin.benchmarks.report.drawing import kind_of, new_axes, save
from i2moe_plugin.benchmarks.run.store import Run
from i2moe_plugin.benchmarks.statistics.metrics import method_title, metric_title
from i2moe_plugin.errors import ConfigError, did_you_mean
from i2moe_plugin.interpretation.mean_parts import DEFINITION

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#E69F00", "#009E73", "#7F7F7F"
COLOURS = (BLUE, "#56B4E9", "#CC79A7", "#D55E00", ORANGE, GREEN)
STYLES = ("-", "--", ":", "-.")
#: A picture with more rows than these cannot be read.
MOST_RUNS = 8
#: That are written into cells and legends.
MOST_CLASSES = 12


def draw_runs(runs: Sequence[Run], what: str, path: Path) -> list[str]:
    """Draw one thing of some runs into a file, a row for each run.

    Args:
        runs: at least one.
        what: a key of :data:`PICTURES`.
        path: its ending is svg, png or pdf.

    Returns:
        a sentence for each run, which together are the picture's text alternative.

    Raises:
        ConfigError: an unknown kind or ending, too many runs, or a run that has nothing of it.
        RunError: runs that are damaged, or a file that cannot be written.
    """
    kind_of(path)
    if what not in PICTURES:
        raise ConfigError(
            f"there is no picture {what!r}.{did_you_mean(what, PICTURES)} There are: "
            f"{', '.join(PICTURES)}."
        )
    if len(runs) > MOST_RUNS:
        raise ConfigError(
            f"{len(runs)} runs do not fit into one picture; name at most {MOST_RUNS} of them."
        )
    draw, columns = PICTURES[what]
    figure, axes = new_axes(4.6 * columns + 0.8, 3.9 * len(runs), columns, len(runs))
    said = []
    for run, row in zip(runs, axes, strict=True):
        settings = run.settings
        name = f"{settings['fusion']} on {settings['dataset']}, {method_title(run.method)}"
        title = f"{name}, {run_title(run)}"
        try:
            sentence = draw(run, row)
        except ConfigError as error:
            raise ConfigError(f"{run.name}: {error}") from error
        row[0].set_title(title, fontsize=10, loc="left")
        said.append(f"{title}: {sentence}")
    save(figure, path, " ".join(said))
    return said


def _curves(run: Run, axes: Any) -> str:
    frame = interpret.training_curves(run.history(), run.interpretable().expert_labels)
    metric, best = str(run.result["metric"]), int(run.result["best_epoch"])
    shown = {"loss": axes[0], metric: axes[1]}
    for term, place in shown.items():
        parts = [("train", BLUE, "-"), ("valid", ORANGE, "--")]
        for part, colour, style in parts:
            rows = frame[(frame["part"] == part) & (frame["term"] == term)]
            if len(rows):
                place.plot(rows["epoch"], rows["value"], style, color=colour, label=part)
        place.axvline(best, color=GREY, linewidth=1, linestyle=":", label="chosen epoch")
        place.set(xlabel="epoch", ylabel=metric_title(term))
        place.legend(fontsize=8)
        place.xaxis.get_major_locator().set_params(integer=True)
    valid = frame[(frame["part"] == "valid") & (frame["term"] == metric)]
    chosen = valid[valid["epoch"] == best]["value"]
    value = f"{chosen.iloc[0]:.3f}" if len(chosen) else "undefined"
    return (
        f"{run.result['epochs']} epochs; epoch {best} was chosen by validation "
        f"{metric_title(metric)}, {value}."
    )


def _confusion(run: Run, axes: Any) -> str:
    frame = interpret.confusion(run.interpretable())
    counts = frame.to_numpy()
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    image = axes[0].imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    places = range(len(frame))
    turned = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    axes[0].set_xticks(places, list(frame.columns), fontsize=7, parse_math=False, **turned)
    axes[0].set_yticks(places, list(frame.index), fontsize=7, parse_math=False)
    axes[0].set(xlabel="decided", ylabel="true")
    if len(frame) <= MOST_CLASSES:
        for row in places:
            for column in places:
                colour = "white" if shares[row, column] > 0.55 else "black"
                text = str(counts[row, column])
                axes[0].text(column, row, text, ha="center", va="center", color=colour, fontsize=7)
    axes[0].figure.colorbar(image, ax=axes[0], label="share of row")
    return f"{np.trace(counts)} of {counts.sum()} decisions are right."


def _calibration(run: Run, axes: Any) -> str:
    frame = interpret.calibration(run.interpretable())
    error = interpret.calibration_error(frame)
    both = frame[["predicted", "true"]].to_numpy(dtype=float)
    ends = [min(0.0, both.min()), max(1.0, both.max())]
    axes[0].plot(ends, ends, ":", color=GREY, label="perfect")
    axes[0].plot(frame["predicted"], frame["true"], "-", color=BLUE)
    size = 15 + 150 * frame["samples"] / frame["samples"].max()
    axes[0].scatter(frame["predicted"], frame["true"], s=size, color=BLUE, label="bins, by samples")
    axes[0].set(xlabel="predicted", ylabel="true")
    axes[0].legend(fontsize=8, title=f"expected error {error:.3f}", title_fontsize=8)
    return f"expected calibration error {error:.3f} in {len(frame)} bins."


def _ranked(frame: pd.DataFrame, axes: Any, columns: tuple[str, str, str], title: str) -> str:
    x, y, area = columns
    if not len(frame):
        raise ConfigError("no class has samples with and without it, so there is no curve.")
    said = []
    groups = frame.groupby("class", sort=False)
    for place, (name, rows) in enumerate(groups):
        value = float(rows[area].iloc[0])
        style = STYLES[place // len(COLOURS) % len(STYLES)]
        colour = COLOURS[place % len(COLOURS)]
        label = f"{name} {value:.3f}".replace("$", r"\$")
        axes[0].plot(rows[x], rows[y], style, color=colour, label=label, linewidth=1.3)
        said.append(f"{name} {value:.3f}")
    axes[0].set(
        xlabel=x.replace("_", " "),
        ylabel=y.replace("_", " "),
        xlim=(-0.02, 1.02),
        ylim=(-0.02, 1.02),
    )
    if len(said) <= MOST_CLASSES:
        axes[0].legend(fontsize=7, title=title, title_fontsize=8)
    mean = float(groups[area].first().mean())
    return f"{title}: {', '.join(said)}; mean {mean:.3f}."


def _roc(run: Run, axes: Any) -> str:
    axes[0].plot([0, 1], [0, 1], ":", color=GREY)
    columns = ("false_positive_rate", "true_positive_rate", "area")
    return _ranked(interpret.roc(run.interpretable()), axes, columns, "area under the curve")


def _precision_recall(run: Run, axes: Any) -> str:
    frame = interpret.precision_recall(run.interpretable())
    columns = ("recall", "precision", "average_precision")
    return _ranked(frame, axes, columns, "average precision")


def _weights(run: Run, axes: Any) -> str:
    outputs = run.interpretable()
    _, weights = outputs.mixture()
    names = list(outputs.expert_labels)
    axes[0].boxplot(weights, orientation="horizontal", showmeans=True, whis=(0, 100))
    axes[0].set_yticks(range(1, len(names) + 1), names, fontsize=8, parse_math=False)
    axes[0].invert_yaxis()
    axes[0].set(xlabel="weight (box: quartiles; whiskers: extremes; triangle: mean)", xlim=(0, 1))
    said = (f"{name} {value:.2f}" for name, value in zip(names, weights.mean(0), strict=True))
    return f"mean weights: {', '.join(said)}."


def _parts(run: Run, axes: Any) -> str:
    frame = interpret.part_summary(run.interpretable())
    first = frame[frame["output"] == frame["output"].iloc[0]]
    places = np.arange(len(first))
    colours = [BLUE if claimed else "white" for claimed in first["claimed"]]
    axes[0].barh(
        places, first["bits"], xerr=first["error"], color=colours, edgecolor=BLUE, capsize=3
    )
    axes[0].set_yticks(places, list(first["part"]), fontsize=8, parse_math=False)
    axes[0].invert_yaxis()
    axes[0].axvline(0, color="black", linewidth=0.6)
    axes[0].set_xlabel(f"bits, {DEFINITION} definition, ± standard error; white: not claimed")
    said = (f"{row['part']} {row['bits']:.3f}" for _, row in first.iterrows())
    return f"mean parts in bits: {', '.join(said)}."


def _residuals(run: Run, axes: Any) -> str:
    frame = interpret.residuals(run.interpretable())
    ends = [frame[["true", "predicted"]].min().min(), frame[["true", "predicted"]].max().max()]
    axes[0].plot(ends, ends, ":", color=GREY, label="perfect")
    axes[1].axhline(0, color=GREY, linestyle=":")
    for place, (name, rows) in enumerate(frame.groupby("output", sort=False)):
        colour, label = COLOURS[place % len(COLOURS)], str(name).replace("$", r"\$")
        axes[0].plot(rows["true"], rows["predicted"], ".", color=colour, alpha=0.5, label=label)
        axes[1].plot(rows["predicted"], rows["residual"], ".", color=colour, alpha=0.5)
    axes[0].set(xlabel="true", ylabel="predicted")
    axes[1].set(xlabel="predicted", ylabel="residual (predicted - true)")
    axes[0].legend(fontsize=8)
    mean, spread = frame["residual"].mean(), frame["residual"].std(ddof=0)
    return f"residuals: mean {mean:.3g}, deviation {spread:.3g}."


#: What can be drawn: a function that draws a run into a row of axes, and how many of them.
PICTURES: Mapping[str, tuple[Callable[[Run, Any], str], int]] = {
    "curves": (_curves, 2),
    "confusion": (_confusion, 1),
    "calibration": (_calibration, 1),
    "roc": (_roc, 1),
    "pr": (_precision_recall, 1),
    "weights": (_weights, 1),
    "parts": (_parts, 1),
    "residuals": (_residuals, 2),
}
