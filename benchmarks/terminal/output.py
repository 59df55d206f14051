"""JSON on standard output, for all commands alike."""

from __future__ import annotations

import json
from typing import Any

import click

from i2moe_plugin.benchmarks.run.files import json_ready


def print_json(value: Any) -> None:
    """Print a value as JSON; what JSON has no words for is made into what it has."""
    click.echo(json.dumps(json_ready(value), indent=1))
