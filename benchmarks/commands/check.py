"""``i2moe-bench check``: the contract of a backbone."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from i2moe_plugin.benchmarks.commands.base import Command
from i2moe_plugin.benchmarks.commands.options import JSON, MULTIBENCH, PLUGIN, TABLE_FORMAT

if TYPE_CHECKING:
    from i2moe_plugin.backbones.entry import BackboneEntry


@click.command(cls=Command)
@click.argument("targets", nargs=-1, required=True, metavar="FILE|MODULE|NAME...")
@click.option(
    "--set", "assignments", multiple=True, metavar="fusion.KEY=VALUE", help="A setting; repeatable."
)
@click.option(
    "--unused",
    multiple=True,
    metavar="PATTERN",
    help="Parameters that are meant to receive no gradient, such as 'fusion.old.*'; repeatable.",
)
@PLUGIN
@MULTIBENCH
@TABLE_FORMAT
@JSON
def check(
    targets: tuple[str, ...],
    assignments: tuple[str, ...],
    unused: tuple[str, ...],
    as_json: bool,
) -> None:
    """Check backbones against the contract: what passed, what failed, and what to do.

    Give a file or dotted module, and all that it registers is checked, or a registered name. Takes
    seconds and no data; 1 is returned where a check failed.

    \b
    Examples:
      i2moe-bench check my_fusion.py
      i2moe-bench check my_fusion.py --set fusion.width=16
      i2moe-bench check my_package.fusions --json
      i2moe-bench check --plugin my_fusion.py mine
      i2moe-bench check lrtf tensor
      i2moe-bench check --multibench ./MultiBench \\
          multibench:fusions.common_fusions.Concat
    """
    from i2moe_plugin.benchmarks.run.settings import parse_assignments
    from i2moe_plugin.benchmarks.terminal.registries import show_checks
    from i2moe_plugin.errors import ConfigError
    from i2moe_plugin.testing import check_backbone

    values = parse_assignments(assignments)
    wrong = [key for key in values if not key.startswith("fusion.")]
    if wrong:
        raise ConfigError([f"{key}: check takes settings of the fusion only." for key in wrong])
    settings = {key.removeprefix("fusion."): value for key, value in values.items()}
    entries = {entry.name: entry for target in targets for entry in _find(target)}
    found = {
        name: check_backbone(entry, unused=unused, **settings) for name, entry in entries.items()
    }
    show_checks(found, as_json)
    if any(result.outcome == "failed" for results in found.values() for result in results):
        sys.exit(1)


def _find(target: str) -> list[BackboneEntry]:
    """Return the backbone of that name, or those that a file or dotted module registers."""
    from i2moe_plugin.backbones.entry import backbones
    from i2moe_plugin.errors import PluginError, UnknownNameError
    from i2moe_plugin.registry import load_plugin

    if not target.endswith(".py") and not Path(target).is_file():
        try:
            return [backbones.get(target)]
        except UnknownNameError:
            words = target.split(".")
            if not all(map(str.isidentifier, words)):
                raise
            if len(words) == 1 and importlib.util.find_spec(target) is None:
                raise
    before = set(backbones.names())
    load_plugin(target)
    found = [entry for entry in backbones if entry.name not in before or _is_from(target, entry)]
    if not found:
        raise PluginError(
            f"{target} registers no backbone. Put @register_backbone(NAME) above the module's "
            "class: from i2moe_plugin import register_backbone."
        )
    return found


def _is_from(target: str, entry: BackboneEntry) -> bool:
    """Whether it was registered by that file or module before, by a package's __init__, say."""
    module = entry.build.__module__
    if f"{module}.".startswith(f"{target}."):
        return True
    file = getattr(sys.modules.get(module), "__file__", None)
    return file is not None and Path(file).resolve() == Path(target).resolve()
