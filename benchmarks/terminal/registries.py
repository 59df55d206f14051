"""What `list` and `check` show of what is registered."""

from __future__ import annotations

import dataclasses
import inspect
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from i2moe_plugin.backbones.entry import backbones as backbone_registry
from i2moe_plugin.backbones.entry import list_backbones
from i2moe_plugin.benchmarks.data.registry import datasets
from i2moe_plugin.benchmarks.run.settings import default_of, setting_names
from i2moe_plugin.benchmarks.terminal.output import plain_console, print_json
from i2moe_plugin.benchmarks.terminal.tables import Table
from i2moe_plugin.benchmarks.terminal.verbosity import verbose

if TYPE_CHECKING:
    from i2moe_plugin.testing import CheckResult


def show_backbones(as_json: bool) -> None:
    """Show every backbone with its facts."""
    rows = [
        {
            "name": entry.name,
            "latents": entry.latents,
            "modalities": f"{entry.min_modalities}+"
            if entry.max_modalities is None
            else f"{entry.min_modalities}"
            if entry.max_modalities == entry.min_modalities
            else f"{entry.min_modalities}-{entry.max_modalities}",
            "what": entry.description,
            "settings": _settings(entry.settings),
            "source": "; ".join(filter(None, (entry.paper, entry.upstream))),
        }
        for entry in list_backbones()
    ]
    _show(rows, as_json, backbone_registry.broken)


def show_datasets(as_json: bool) -> None:
    """Show every data set with its facts."""
    rows = [
        {
            "name": entry.name,
            "what": entry.card.title,
            "modalities": ", ".join(entry.modalities),
            "metric": entry.metric,
            "data": "in the package" if entry.card.embedded else "published files",
            "settings": _settings(entry.settings),
            "source": entry.card.source,
        }
        for entry in datasets
    ]
    _show(rows, as_json, datasets.broken)


def show_settings(as_json: bool) -> None:
    """Show every plain setting with its default."""
    rows = [
        {"name": name, "default": str(default_of(name)), "what": what}
        for name, what in setting_names().items()
    ]
    rows.append({"name": "fusion.NAME", "default": "", "what": "a setting of the backbone"})
    rows.append({"name": "data.NAME", "default": "", "what": "a setting of the data set"})
    _show(rows, as_json, {})


def show_methods(as_json: bool) -> None:
    """Show every method with what it changes."""
    from i2moe_plugin.methods import METHODS

    rows = [{"name": method.name, "what": method.description} for method in METHODS.values()]
    _show(rows, as_json, {})


#: What each of the ``list`` commands shows.
LISTS: dict[str, Callable[[bool], None]] = {
    "backbones": show_backbones,
    "datasets": show_datasets,
    "settings": show_settings,
    "methods": show_methods,
}


def _settings(parameters: Mapping[str, inspect.Parameter]) -> str:
    """Write ``rank=32, width``: each with its default, if it has one."""
    return ", ".join(
        name if p.default is inspect.Parameter.empty else f"{name}={p.default}"
        for name, p in parameters.items()
    )


def _show(rows: list[dict[str, str]], as_json: bool, broken: Mapping[str, str]) -> None:
    """Show a table of what fits, or with ``-v`` all: a name, then each fact it has."""
    if as_json:
        print_json(rows)
        return
    console = plain_console(highlight=False)
    if not verbose():
        _show_table(console, rows)
    for row in rows if verbose() else ():
        console.print(Text(row["name"], style="bold"))
        for key, value in row.items():
            if key != "name" and value:
                fact = Text.assemble((f"{key}: ", "dim"), value)
                console.print(Padding(fact, (0, 0, 0, 4)))
    for name, reason in broken.items():
        console.print(f"{name} is installed but cannot be loaded: {reason}", markup=False)


def _show_table(console: Console, rows: list[dict[str, str]]) -> None:
    names = [name for name in rows[0] if name not in _LONG]
    table = Table()
    for name in names:
        table.add_column(name, no_wrap=name == "name", overflow="fold")
    for row in rows:
        table.add_row(*(Text(row.get(name, "")) for name in names))
    console.print(table)
    if set(rows[0]) & _LONG:
        left = " and ".join(name for name in rows[0] if name in _LONG)
        console.print(f"-v shows {left} as well; --json has everything.", style="dim")


#: Facts that would make a table too wide.
_LONG = {"settings", "source"}
MOST_ALIKE = 3  # checks that are not run for one reason, each in a row of its own
STYLE = {"passed": "green", "failed": "bold red", "skipped": "dim"}


def show_checks(found: Mapping[str, Sequence[CheckResult]], as_json: bool) -> None:
    """Show a table of checks for each backbone, or print all of them as JSON."""
    if as_json:
        print_json(
            [
                {"backbone": name, "checks": [dataclasses.asdict(result) for result in results]}
                for name, results in found.items()
            ]
        )
        return
    for name, results in found.items():
        _show_results(plain_console(), name, results)


def _alike_together(results: Sequence[CheckResult]) -> list[CheckResult]:
    """Put checks that were not run for one reason into one row, where there are many."""
    reasons = Counter(result.detail for result in results if result.outcome == "skipped")
    shown: dict[object, CheckResult] = {}
    for place, result in enumerate(results):
        many = result.outcome == "skipped" and reasons[result.detail] > MOST_ALIKE
        if many and result.detail not in shown:
            count = reasons[result.detail]
            shown[result.detail] = dataclasses.replace(result, name=f"{count} others")
        elif not many:
            shown[place] = result
    return list(shown.values())


def _show_results(console: Console, name: str, results: Sequence[CheckResult]) -> None:
    table = Table(title=f"Backbone {name}", show_lines=False)
    table.add_column("check", no_wrap=True)
    table.add_column("result", no_wrap=True)
    table.add_column("what was found, and what to do", overflow="fold")
    for result in _alike_together(results):
        found = Text(result.detail)
        if result.advice:
            found.append(f"\n{result.advice}", style="yellow")
        table.add_row(result.name, Text(result.outcome, STYLE[result.outcome]), found)
    console.print(table)
    counts = Counter[str](result.outcome for result in results)
    console.print(
        Text(f"{name}: " + ", ".join(f"{counts[outcome]} {outcome}" for outcome in STYLE))
    )
