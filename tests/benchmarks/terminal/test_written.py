"""``--format``: what is shown as a table can be had as Markdown, LaTeX and csv, and alone."""

import csv
import io
import json
import re

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

from i2moe_plugin.benchmarks.cli import main
from i2moe_plugin.benchmarks.terminal.tables import Table
from i2moe_plugin.benchmarks.terminal.written import TablesAlone, written

CELLS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp", "Zs"]))


def table(head, rows, right=(), title=None):
    made = Table(title=title)
    for name in head:
        made.add_column(name, justify="right" if name in right else "left")
    for row in rows:
        made.add_row(*map(Text, row))
    return made


@given(st.lists(st.tuples(CELLS, CELLS), max_size=4))
def test_csv_reads_back(rows):
    text = written(table(["name", "value"], rows), "csv")
    assert [*csv.reader(io.StringIO(text))] == [["name", "value"], *map(list, rows)]


def test_sides_are_those_of_the_table():
    made = table(["name", "value", "why"], [["a|b", "1", "x_y"]], right=["value"])
    assert written(made, "markdown").splitlines() == [
        "| name | value | why |",
        "| --- | ---: | --- |",
        "| a\\|b | 1 | x_y |",
    ]
    assert written(made, "latex").splitlines() == [
        r"\begin{tabular}{lrl}",
        r"\toprule",
        r"name & value & why \\",
        r"\midrule",
        r"a|b & 1 & x\_y \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


@pytest.mark.parametrize(
    ("form", "start"),
    [("csv", "# of what\na\n1\n"), ("markdown", "**of what**\n\n| a |"), ("latex", "% of what\n")],
)
def test_a_title_stands_before_its_table(form, start):
    assert written(table(["a"], [["1"]], title="of what"), form).startswith(start)


def test_nothing_but_tables_is_written(capsys):
    console = TablesAlone("csv")
    console.print("a sentence")
    console.print(table(["a"], [["1"]]))
    console.print(Text("another"), table(["b"], [["2"]]))
    assert capsys.readouterr().out == "a\n1\n\nb\n2\n"


def with_a_format(group=main, path=()):
    """The names of all commands that take ``--format``."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from with_a_format(command, (*path, name))
        elif any("--format" in getattr(one, "opts", ()) for one in command.params):
            yield (*path, name)


def test_commands_that_show_tables_take_it():
    names = {" ".join(path) for path in with_a_format()}
    assert names >= {"run", "suite", "compare", "audit", "parity", "tune", "robustness"}
    assert names >= {"list backbones", "data status", "runs list", "explain", "check"}


@pytest.mark.parametrize("command", ["list backbones", "list methods", "list settings"])
def test_what_stands_in_a_table_is_what_json_has(command):
    shown = CliRunner().invoke(main, [*command.split(), "--format", "csv"]).stdout
    by_json = json.loads(CliRunner().invoke(main, [*command.split(), "--json"]).stdout)
    same = CliRunner().invoke(main, [*command.split(), "--format", "json"]).stdout
    assert json.loads(same) == by_json
    _, *rows = csv.reader(io.StringIO(shown))
    assert [row[0] for row in rows] == [item["name"] for item in by_json]


@pytest.mark.parametrize("form", ["markdown", "csv"])
def test_json_beside_another_form_is_refused(form):
    found = CliRunner().invoke(main, ["list", "methods", "--json", "--format", form])
    assert found.exit_code == 2
    assert re.search(f"--json and --format {form} cannot be given together", found.stderr)
