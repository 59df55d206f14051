"""Tables as wide as the terminal; without lines where they are read by another program."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table as RichTable

from i2moe_plugin.benchmarks.terminal.output import plain_console


class Table(RichTable):
    """A table that is drawn with lines on a terminal, and plain where the output is piped."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if not console.is_terminal:
            self.box, self.pad_edge, self.title_justify = None, False, "left"
        yield from super().__rich_console__(console, options)


def print_in_parts(console: Console, count: int, make: Callable[[slice], Table]) -> None:
    """Print a table of many columns as several, each with as many as the console is wide for.

    Args:
        console: where to.
        count: how many columns there are, beside the first.
        make: gives the table of some of them.
    """
    start = 0
    while start < count:
        stop = count
        while stop - start > 1 and _width(make(slice(start, stop))) > console.width:
            stop -= 1
        console.print(make(slice(start, stop)))
        start = stop


def _width(table: Table) -> int:
    """Measure what a table takes where nothing is wrapped, without its title."""
    table.title = None
    wide = plain_console(width=10_000)
    return Measurement.get(wide, wide.options, table).maximum
