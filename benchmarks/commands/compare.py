"""``i2moe-bench compare``: finished runs of any kind, or what is trained for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from i2moe_plugin.benchmarks.commands.base import TrainingCommand, setting_option
from i2moe_plugin.benchmarks.commands.options import (
    CLUSTER,
    DATA_ROOTS,
    FORMAT,
    SPLITS,
    USUAL_FUSIONS,
    refuse_jobs_beside,
    training,
    wants_json,
)

#: Options that say what to train; finished runs are compared without any.
INLINE = ("datasets", "fusions", "methods", "roots", "seeds", "splits", "cluster", "plot", "values")


@click.command(cls=TrainingCommand)
@click.argument("groups", nargs=-1, metavar="[A B [C...]]")
@click.option(
    "--metric", "compared", metavar="NAME", help="What to compare.  [default: the runs' own]"
)
@click.option(
    "--equivalent-within",
    type=click.FloatRange(min=0, min_open=True),
    metavar="MARGIN",
    help="Also ask whether they are the same within this margin, in percentage points for shares; "
    "chosen before the figures are seen.",
)
@click.option(
    "--dataset",
    "datasets",
    multiple=True,
    help="Train on this data set; repeatable.  [default: htad]",
)
@click.option(
    "--fusion",
    "fusions",
    multiple=True,
    help=f"Train this backbone; repeatable.  [default: {USUAL_FUSIONS}]",
)
@click.option(
    "--method",
    "methods",
    multiple=True,
    metavar="NAME",
    help="Train this method; repeatable.  [default: i2moe; with one backbone vanilla and i2moe]",
)
@DATA_ROOTS
@click.option(
    "--plot",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Draw the critical-difference diagram of several data sets: svg, png or pdf.",
)
@SPLITS
@FORMAT
@CLUSTER
@training(jobs=0)
def compare(
    groups: tuple[str, ...],
    compared: str | None,
    equivalent_within: float | None,
    as_json: bool,
    form: str | None,
    **inline: Any,
) -> None:
    """Compare finished runs, or train what is missing and compare it; each with the first.

    A, B, ... are a run's directory each (runs of its other seeds and splits are found beside it), a
    folder with runs of one kind, or a quoted pattern. They may differ in fusion, method or any
    setting, and must have been tested on the same samples. Without them, every --fusion is trained
    with every --method on every --dataset; finished runs are taken from OUT.

    \b
    Examples:
      i2moe-bench compare 'runs/htad-lrtf-i2moe-*' 'runs/htad-concat-i2moe-*'
      i2moe-bench compare runs/RUN_A runs/RUN_B --equivalent-within 1
      i2moe-bench compare --fusion lrtf --fusion concat --fusion mult
      i2moe-bench compare --dataset htad --method vanilla --method ensemble
      i2moe-bench compare --dataset htad --dataset brca --fusion lrtf
        --fusion concat --plot ranks.svg
    """
    refuse_jobs_beside(inline["cluster"])
    as_json = wants_json(as_json, form)
    if groups and any(inline[name] for name in INLINE):
        options = {one.name: one.opts[0] for one in click.get_current_context().command.params}
        given = [options[name] for name in INLINE if name in options and inline[name]]
        given += map(setting_option, inline["values"])
        raise click.UsageError(
            f"finished runs are compared as they are; leave out what says how to train "
            f"({', '.join(given)}), or the runs."
        )
    from i2moe_plugin.benchmarks.experiments import compare as compare_groups
    from i2moe_plugin.benchmarks.terminal.output import print_json

    found: Any
    if groups:
        found = compare_groups(*groups, metric=compared, equivalent_within=equivalent_within)
    else:
        found = _trained(inline, compared, equivalent_within)
    if as_json:
        print_json(found.as_dict())
        return
    from i2moe_plugin.benchmarks.terminal.compare import formatted, show_across, show_comparison

    if form is not None:
        click.echo(formatted(found, form), nl=False)
    else:
        (show_comparison if groups else show_across)(found)


def _trained(inline: dict[str, Any], metric: str | None, equivalent_within: float | None) -> Any:
    """Train what is missing, and compare it."""
    if not any(inline[name] for name in ("datasets", "fusions", "methods")):
        raise click.UsageError(
            "give finished runs, or what to train: --fusion, --method, --dataset."
        )
    plot = inline["plot"]
    if plot is not None:
        from i2moe_plugin.benchmarks.report.drawing import kind_of

        kind_of(plot)
    from i2moe_plugin.benchmarks.experiments import compare_across
    from i2moe_plugin.benchmarks.terminal.verbosity import quiet, verbose

    found = compare_across(
        inline["datasets"] or ("htad",),
        inline["fusions"],
        inline["methods"],
        inline["seeds"] or 5,
        settings=inline["values"],
        roots=inline["roots"],
        metric=metric,
        equivalent_within=equivalent_within,
        splits=inline["splits"],
        out=inline["out"],
        jobs=inline["jobs"],
        cluster=inline["cluster"],
        progress="epochs" if verbose() else not quiet(),
    )
    if plot is not None:
        found.plot(plot)
    return found
