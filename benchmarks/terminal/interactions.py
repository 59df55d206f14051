"""What `interactions` shows."""

from __future__ import annotations

from rich.text import Text

from i2moe_plugin.benchmarks.report.text import without_controls
from i2moe_plugin.benchmarks.terminal.output import plain_console
from i2moe_plugin.benchmarks.terminal.tables import Table
from i2moe_plugin.benchmarks.truth.interactions import Estimates
from i2moe_plugin.interactions.experts import interaction_experts


def show_estimates(found: Estimates) -> None:
    """Show each estimator's parts, and what the model makes of interactions."""
    console = plain_console()
    console.print(Text(without_controls(found.subject), style="bold"))
    if found.parts:
        table = Table(title="Bits", title_justify="left")
        table.add_column("estimator, definition")
        for expert in interaction_experts(len(found.modalities)):
            name = without_controls(expert.label(found.modalities), 24).replace(": ", ":\n")
            table.add_column(Text(name), justify="right")
        table.add_column("sum", justify="right")
        for name, (definition, bits) in found.parts.items():
            errors = found.errors.get(name, [])
            cells = [f"{value + 0.0:.3f}" for value in bits]
            if errors:
                cells = [f"{c}\n± {e:.3f}" for c, e in zip(cells, errors, strict=True)]
            table.add_row(f"{without_controls(name)}, {definition}", *cells, f"{sum(bits):.3f}")
        console.print(table)
        console.print(
            "Definitions differ: of the same distribution BROJA's redundancy and synergy are at "
            "least the additive ones. Where they are estimated to be smaller, an estimator missed "
            "bits or invented some."
        )
    for name, value in found.model.items():
        console.print(f"{name}: {value:.3f}")
    for name, reason in found.missing.items():
        console.print(Text(f"{name}: {reason}.", style="yellow"))
