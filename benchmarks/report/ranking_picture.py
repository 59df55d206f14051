"""The critical-difference diagram of a ranking, as a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from i2moe_plugin.benchmarks.report.drawing import new_axes, save
from i2moe_plugin.benchmarks.statistics.ranking import Ranking


def draw_ranking(ranking: Ranking, path: Path) -> None:
    """Draw mean ranks on a line, the best at the left; bars join what is not told apart.

    Args:
        ranking: over data sets.
        path: its ending is svg, png or pdf.

    Raises:
        ConfigError: another ending.
        RunError: the file cannot be written.
    """
    ordered, many = ranking.ordered, len(ranking.names)
    place = dict(ordered)
    left = (many + 1) // 2
    rows = max(left, many - left)
    bars = len(ranking.cliques)
    depth = 1.0 + 0.35 * bars
    figure, ((axes,),) = new_axes(8.0, 1.6 + 0.35 * (rows + bars), 1, 1)
    axes.set_axis_off()
    low, high, room = 1.0, float(many), 0.14 * max(many - 1, 1)
    axes.set(xlim=(low - 4 * room, high + 4 * room), ylim=(-depth - rows, 2.2))
    axes.hlines(0, low, high, color="black", linewidth=1.2)
    for rank in range(1, many + 1):
        axes.vlines(rank, 0, 0.25, color="black", linewidth=1.2)
        axes.text(rank, 0.4, str(rank), ha="center", va="bottom")
    if many > 2:
        width = min(ranking.critical_difference, high - low)
        axes.hlines(1.5, low, low + width, color="black", linewidth=2)
        cut = " (wider than the scale)" if width < ranking.critical_difference else ""
        said = f"critical difference {ranking.critical_difference:.2f}{cut}"
        axes.text(low, 1.65, said, ha="left", va="bottom", fontsize=9)
        for number, group in enumerate(ranking.cliques):
            ends = [place[group[0]] - 0.03, place[group[-1]] + 0.03]
            axes.hlines(-0.45 - 0.35 * number, *ends, color="#D55E00", linewidth=4)
    for number, (name, mean) in enumerate(ordered):
        _name(axes, name, mean, number, (left, many), (low - room, high + room), depth)
    alt = " ".join(ranking.sentences)
    save(figure, path, alt)


def _name(
    axes: Any,
    name: str,
    rank: float,
    number: int,
    counts: tuple[int, int],
    ends: tuple[float, float],
    depth: float,
) -> None:
    """Write a method's name at the side, with a line to its mean rank."""
    left, many = counts
    first = number < left
    y = -depth - (number if first else many - 1 - number)
    x = ends[0] if first else ends[1]
    axes.plot([rank, rank, x], [0, y, y], color="#7F7F7F", linewidth=1)
    axes.plot([rank], [0], "o", color="#0072B2", markersize=5)
    text = f"{name}  {rank:.2f}" if first else f"{rank:.2f}  {name}"
    axes.text(x, y, f" {text} ", ha="right" if first else "left", va="center", parse_math=False)
