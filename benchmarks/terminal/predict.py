"""What `predict` shows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.text import Text

from i2moe_plugin.benchmarks.report.text import without_controls
from i2moe_plugin.benchmarks.terminal.output import plain_console
from i2moe_plugin.benchmarks.terminal.tables import Table
from i2moe_plugin.errors import counted

if TYPE_CHECKING:
    from i2moe_plugin.benchmarks.run.predicted import Predicted

ROWS = 10


def show_predictions(found: Predicted, output: Path | None) -> None:
    """Show the first samples, and where all of them are."""
    console, frame = plain_console(), found.table
    table = Table(box=None)
    table.add_column("id", no_wrap=True)
    names = [name for name in frame if str(name).partition(":")[0] in ("prediction", "label")]
    for name in names:
        table.add_column(Text(without_controls(str(name), 24)))
    chances = frame.filter(regex="^probability:")
    single = found.outputs.task.name != "multilabel" and len(chances.columns) > 0
    if single:
        table.add_column("probability", justify="right")
    weights = found.outputs.weights
    if weights is not None:
        table.add_column("largest weight", no_wrap=True)
    for place in range(min(ROWS, len(frame))):
        cells = [Text(without_controls(str(frame["id"].iloc[place]), 32))]
        cells += [Text(_cell(frame[name].iloc[place])) for name in names]
        if single:
            cells.append(Text(f"{chances.iloc[place].max():.1%}"))
        if weights is not None:
            largest = int(np.argmax(weights[place]))
            label = without_controls(found.outputs.expert_labels[largest], 32)
            cells.append(Text(f"{label} {weights[place, largest]:.2f}"))
        table.add_row(*cells)
    console.print(table)
    if len(frame) > ROWS:
        where = "-o FILE writes them all" if output is None else "all are in the file"
        console.print(Text(f"and {len(frame) - ROWS} more; {where}.", style="dim"))
    if output is not None:
        console.print(Text(f"wrote {output}: {counted(len(frame), 'sample')}"), soft_wrap=True)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, (float, np.floating)):
        return f"{value:.4g}"
    return without_controls(str(value), 32)
