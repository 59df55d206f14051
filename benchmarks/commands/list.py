"""``i2moe-bench list``: what is registered."""

from __future__ import annotations

import functools

import click

from i2moe_plugin.benchmarks.commands.base import Group
from i2moe_plugin.benchmarks.commands.options import JSON, PLUGIN, TABLE_FORMAT, VERBOSITY

#: What each command lists.
LISTS = {
    "backbones": "The backbones: what they take, and where they come from.",
    "datasets": "The data sets: modalities, task, metric, source.",
    "settings": "Every setting that --set takes, with its default.",
    "methods": "The methods that run --method takes: ablations, variants and controls.",
}


@click.group(name="list", cls=Group)
def list_() -> None:
    """List what is registered, with its facts.

    \b
    Examples:
      i2moe-bench list backbones --plugin my_fusion.py
      i2moe-bench list datasets --json
      i2moe-bench list methods
      i2moe-bench list settings
    """


def _show(what: str, as_json: bool) -> None:
    from i2moe_plugin.benchmarks.terminal import registries

    registries.LISTS[what](as_json)


for _what, _text in LISTS.items():
    _help = f"{_text}\n\n\b\nExample:\n  i2moe-bench list {_what} --json"
    list_.command(_what, help=_help)(
        PLUGIN(VERBOSITY(TABLE_FORMAT(JSON(functools.partial(_show, _what)))))
    )
