"""Options that several commands take."""

from __future__ import annotations

import os
from pathlib import Path

import click

PLUGIN = click.option(
    "--plugin",
    "plugins",
    multiple=True,
    metavar="FILE|MODULE",
    help="A Python file or dotted module that registers backbones or data sets; repeatable.",
)


def load_plugins(plugins: tuple[str, ...]) -> None:
    """Import what the user named; nothing heavy is imported where there is none."""
    if plugins:
        from i2moe_plugin.registry import load_plugin

        for plugin in plugins:
            load_plugin(plugin)


def _checkout(_ctx: click.Context, _param: click.Parameter, value: str | None) -> None:
    """The environment is where worker processes find it too."""
    if value is not None:
        os.environ["MULTIBENCH_ROOT"] = str(Path(value).expanduser().absolute())


MULTIBENCH = click.option(
    "--multibench",
    metavar="PATH",
    callback=_checkout,
    expose_value=False,
    help="A MultiBench checkout, for --fusion multibench:MODULE.CLASS.  [env: MULTIBENCH_ROOT]",
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object, and no table.")
