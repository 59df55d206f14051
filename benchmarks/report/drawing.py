"""Pictures as files: figures of matplotlib without a display, the same bytes every time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from i2moe_plugin.benchmarks.run.files import replacing
from i2moe_plugin.errors import ConfigError

ENDINGS = ("svg", "png", "pdf")


def new_axes(width: float, height: float, columns: int, rows: int) -> tuple[Any, Any]:
    """Return a figure of that size in inches, and its axes, [rows, columns]."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)


def kind_of(path: Path) -> str:
    """Return the format of a picture by its ending.

    Raises:
        ConfigError: none that is known.
    """
    kind = path.suffix.lower().removeprefix(".")
    if kind not in ENDINGS:
        raise ConfigError(f"{path}: the file must end in .{', .'.join(ENDINGS)}.")
    return kind


def save(figure: Any, path: Path, alt: str) -> None:
    """Write a figure with its text alternative inside; equal figures are equal in every byte.

    Raises:
        ConfigError: an ending that is not known.
        RunError: the file cannot be written.
    """
    import matplotlib as mpl

    kind = kind_of(path)
    facts: dict[str, Any] = {
        "svg": {"Description": alt, "Date": None},
        "png": {"Description": alt, "Software": None},
        "pdf": {"Subject": alt, "CreationDate": None},
    }[kind]
    settings: dict[Any, Any] = {
        "svg.hashsalt": "i2moe",
        "svg.fonttype": "none",
        "text.parse_math": False,
    }
    with mpl.rc_context(settings), replacing(path) as aside:
        figure.savefig(aside, format=kind, metadata=facts)
