"""``i2moe-bench check``: the contract of a backbone."""

from __future__ import annotations

import sys

import click

from i2moe_plugin.benchmarks.commands.options import JSON, MULTIBENCH, PLUGIN, load_plugins


@click.command()
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
@JSON
def check(
    targets: tuple[str, ...],
    assignments: tuple[str, ...],
    unused: tuple[str, ...],
    plugins: tuple[str, ...],
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
      i2moe-bench check --multibench ./MultiBench multibench:fusions.common_fusions.Concat
    """
    from i2moe_plugin.benchmarks.run.settings import parse_assignments
    from i2moe_plugin.benchmarks.terminal.check import check as check_targets
    from i2moe_plugin.errors import ConfigError

    values = parse_assignments(assignments)
    wrong = [key for key in values if not key.startswith("fusion.")]
    if wrong:
        raise ConfigError([f"{key}: check takes settings of the fusion only." for key in wrong])
    settings = {key.removeprefix("fusion."): value for key, value in values.items()}
    load_plugins(plugins)
    if not check_targets(targets, unused, settings, as_json):
        sys.exit(1)
