"""Tables as wide as the terminal: nothing is cut, and every column is printed once."""

import io

from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from rich.table import Table

from i2moe_plugin.benchmarks.terminal.tables import print_in_parts


@settings(deadline=None)
@given(st.lists(st.integers(4, 60), min_size=1, max_size=8), st.sampled_from([40, 80, 200]))
def test_every_cell_is_printed_whole_wherever_one_column_fits(widths, width):
    cells = [f"{number}{'x' * (size - 1)}" for number, size in enumerate(widths)]

    def part(columns):
        table = Table(title="a title that is longer than the table that it stands above " * 2)
        table.add_column("")
        for _ in cells[columns]:
            table.add_column("", no_wrap=True)
        table.add_row("row", *cells[columns])
        return table

    out = io.StringIO()
    print_in_parts(Console(file=out, width=width), len(cells), part)
    for cell in cells:
        if len(cell) + 10 <= width:  # beside the first column and the borders
            assert out.getvalue().count(cell) == 1
