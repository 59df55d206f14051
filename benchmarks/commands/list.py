"""``i2moe-bench list``: what is registered."""

from __future__ import annotations

import click

from i2moe_plugin.benchmarks.commands.base import Group
from i2moe_plugin.benchmarks.commands.options import JSON, PLUGIN


@click.group(name="list", cls=Group)
def list_() -> None:
    """List what is registered, with its facts.

    \b
    Examples:
      i2moe-bench list backbones
      i2moe-bench list datasets --json
      i2moe-bench list methods
      i2moe-bench list settings
    """


@list_.command()
@PLUGIN
@JSON
def backbones(as_json: bool) -> None:
    """The backbones: what they take, and where they come from.

    \b
    Examples:
      i2moe-bench list backbones
      i2moe-bench list backbones --plugin my_fusion.py --json
    """
    from i2moe_plugin.benchmarks.terminal.registries import show_backbones

    show_backbones(as_json)


@list_.command()
@PLUGIN
@JSON
def datasets(as_json: bool) -> None:
    """The data sets: modalities, task, metric, source.

    \b
    Example:
      i2moe-bench list datasets
    """
    from i2moe_plugin.benchmarks.terminal.registries import show_datasets

    show_datasets(as_json)


@list_.command()
@JSON
def settings(as_json: bool) -> None:
    """Every setting that --set takes, with its default.

    \b
    Example:
      i2moe-bench list settings
    """
    from i2moe_plugin.benchmarks.terminal.registries import show_settings

    show_settings(as_json)


@list_.command()
@JSON
def methods(as_json: bool) -> None:
    """The methods that run --method takes: ablations, variants and controls.

    \b
    Example:
      i2moe-bench list methods
    """
    from i2moe_plugin.benchmarks.terminal.registries import show_methods

    show_methods(as_json)
