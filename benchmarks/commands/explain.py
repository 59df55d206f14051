"""``i2moe-bench explain``: one sample of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from i2moe_plugin.benchmarks.commands.base import Command
from i2moe_plugin.benchmarks.commands.options import JSON, PLUGIN, TABLE_FORMAT, VERBOSITY


def _shares(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> tuple[float, ...] | None:
    """Percents, as shares in rising order."""
    if value is None:
        return None
    try:
        percents = sorted({float(part) for part in value.split(",")})
    except ValueError:
        percents = []
    if not percents or not 0 < percents[0] <= percents[-1] <= 100:
        raise click.BadParameter(f"expected percents such as 5,10,20 above 0 to 100, not {value!r}")
    return tuple(percent / 100 for percent in percents)


@click.command(cls=Command)
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--sample", metavar="ID", help="Id of a test sample.")
@click.option(
    "--classes",
    default=5,
    show_default=True,
    type=click.IntRange(min=1),
    help="How many classes to show; predicted and true ones always are.",
)
@click.option("--data-root", metavar="DIR", help="Where the data set lies, if it was moved.")
@click.option("--no-data", is_flag=True, help="Leave out the sample's own modalities.")
@click.option(
    "--png", type=click.Path(path_type=Path), metavar="FILE", help="Also draw it into FILE."
)
@click.option(
    "--features",
    is_flag=True,
    help="Which words and patches each expert goes by, and which pairs of them; without --sample: "
    "whether that is faithful, over many test samples.",
)
@click.option(
    "--explainer",
    metavar="NAME",
    help="With --features and --sample: one of gradient-rollout, rollout, integrated-gradients and "
    "random.  "
    "[default: gradient-rollout, or integrated-gradients where there is no attention over tokens]",
)
@click.option(
    "--samples",
    default=200,
    show_default=True,
    type=click.IntRange(min=1),
    help="With --features and without --sample: how many test samples are looked at.",
)
@click.option(
    "--pairs",
    default=50,
    show_default=True,
    type=click.IntRange(min=0),
    help="With --features: pairs of a word piece and a patch that are probed.",
)
@click.option(
    "--draws",
    default=64,
    show_default=True,
    type=click.IntRange(min=4),
    help="With --features: contexts in which each pair is probed; an even number.",
)
@click.option(
    "--shares",
    callback=_shares,
    metavar="K,K,...",
    help="With --features and without --sample: percents of features that are masked.  "
    "[default: 5,10,15,20,25]",
)
@click.option(
    "--fill",
    type=click.Choice(["mean", "zero"]),
    default="mean",
    show_default=True,
    help="With --features: what stands for a masked token, the training data's mean token or 0.",
)
@click.option(
    "--memory-budget",
    type=click.IntRange(min=1),
    metavar="MB",
    help="With --features: what a pass through the model may keep.  [default: 1074]",
)
@PLUGIN
@VERBOSITY
@TABLE_FORMAT
@JSON
def explain(
    run: Path,
    sample: str | None,
    classes: int,
    data_root: str | None,
    no_data: bool,
    png: Path | None,
    features: bool,
    explainer: str | None,
    samples: int,
    pairs: int,
    draws: int,
    shares: tuple[float, ...] | None,
    fill: str,
    memory_budget: int | None,
    as_json: bool,
) -> None:
    """Show what each expert said of one sample, how much it counted, and what came out.

    RUN is the directory of a finished run of I2MoE, or of evidence: then the way from the prior to
    the prediction is shown, in bits. Everything comes from its stored outputs; the data
    set is opened only to show the sample itself. With --features the model is run again, on the
    CPU, which needs a backbone that takes tokens and the data set; results are kept beside the run.

    \b
    Examples:
      i2moe-bench explain runs/htad-lrtf-i2moe-seed0-cdb70ae7 --sample htad-31
      i2moe-bench explain runs/RUN --sample ID --json
      i2moe-bench explain runs/RUN --sample ID --png sample.png
      i2moe-bench explain runs/RUN --sample ID --features --png heat.png
      i2moe-bench explain runs/RUN --features --samples 200
    """
    if features:
        told: dict[str, Any] = {"pairs": pairs, "draws": draws, "fill": fill}
        if memory_budget is not None:
            told["memory_budget"] = memory_budget * 1_000_000
        if sample is None:
            told |= {"samples": samples} | ({"shares": shares} if shares else {})
            _study(run, data_root, png, as_json, told)
        else:
            _features(run, sample, data_root, png, as_json, {"explainer": explainer, **told})
        return
    from i2moe_plugin.benchmarks.report.explanation import explain_sample
    from i2moe_plugin.benchmarks.report.waterfall import ExplainedParts
    from i2moe_plugin.benchmarks.terminal.output import plain_console

    explained, console = explain_sample(run, sample, classes), plain_console()
    if not as_json:  # the answer first: opening the data takes longer
        from i2moe_plugin.benchmarks.terminal import explain as terminal

        if isinstance(explained, ExplainedParts):
            terminal.show_parts(console, explained)
        else:
            terminal.show_explanation(console, explained)
    shown, missing = [], "left out by --no-data"
    if not no_data:
        from i2moe_plugin.benchmarks.run.collect import SampleViewer

        viewer = SampleViewer(explained.run, data_root)
        shown = viewer.show(explained.sample_id)
        missing = viewer.missing
    if as_json:
        from i2moe_plugin.benchmarks.terminal.output import print_json

        print_json(explained.as_dict(shown, missing))
    elif not no_data:
        terminal.show_modalities(console, shown, missing)
    if png is not None:
        from i2moe_plugin.benchmarks.report.picture import draw
        from i2moe_plugin.benchmarks.terminal.verbosity import note

        draw(explained, shown, png)
        note(f"wrote {png}")


def _features(
    path: Path,
    sample: str,
    data_root: str | None,
    png: Path | None,
    as_json: bool,
    told: dict[str, Any],
) -> None:
    """Show one sample by its tokens."""
    from i2moe_plugin.benchmarks.attribution.sample import explain_features
    from i2moe_plugin.benchmarks.attribution.trained import TrainedRun
    from i2moe_plugin.benchmarks.report.explanation import the_run
    from i2moe_plugin.benchmarks.terminal.output import plain_console

    trained = TrainedRun.open(the_run(path), data_root)
    record = explain_features(trained, sample, **told)
    if as_json:
        from i2moe_plugin.benchmarks.terminal.output import print_json

        print_json(record)
    else:
        from i2moe_plugin.benchmarks.terminal.features import show_features

        show_features(plain_console(), record)
    if png is not None:
        from i2moe_plugin.benchmarks.attribution.picture import draw_features
        from i2moe_plugin.benchmarks.terminal.verbosity import note

        (row,) = trained.rows([sample])
        alternative = draw_features(record, trained.data.preview("test", row), png)
        note(f"wrote {png}: {alternative}")


def _study(
    path: Path, data_root: str | None, png: Path | None, as_json: bool, told: dict[str, Any]
) -> None:
    """Show whether a run's explanations are faithful."""
    from i2moe_plugin.benchmarks.attribution.study import study_features
    from i2moe_plugin.benchmarks.attribution.subject import StudyOptions
    from i2moe_plugin.benchmarks.attribution.trained import TrainedRun
    from i2moe_plugin.benchmarks.data.frozen import progress_bar
    from i2moe_plugin.benchmarks.report.explanation import the_run
    from i2moe_plugin.benchmarks.terminal.output import plain_console
    from i2moe_plugin.benchmarks.terminal.verbosity import quiet

    trained, options = TrainedRun.open(the_run(path), data_root), StudyOptions(**told)
    total = 2 * min(options.samples, int(trained.whole.sum())) * bool(options.pairs)
    with progress_bar("pairs", total, not quiet()) as advance:
        record = study_features(trained, options, advance)
    if as_json:
        from i2moe_plugin.benchmarks.terminal.output import print_json

        print_json(record)
    else:
        from i2moe_plugin.benchmarks.terminal.study import show_study

        show_study(plain_console(), record)
    if png is not None:
        from i2moe_plugin.benchmarks.attribution.curves_picture import draw_curves
        from i2moe_plugin.benchmarks.terminal.verbosity import note

        note(f"wrote {png}: {draw_curves(record, png)}")
