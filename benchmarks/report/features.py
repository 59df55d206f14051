"""The panels about single words and patches: heat, pairs, whether they are faithful."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from i2moe_plugin.attribution.names import EXPLAINERS, MIXTURE, USUAL
from i2moe_plugin.benchmarks.attribution.convergence import enough_in_words
from i2moe_plugin.benchmarks.attribution.intervals import in_words
from i2moe_plugin.benchmarks.attribution.kept import all_kept
from i2moe_plugin.benchmarks.attribution.sample import top_pairs
from i2moe_plugin.benchmarks.attribution.words import headline, samples_in_words
from i2moe_plugin.benchmarks.data.splits import OWN_SPLIT
from i2moe_plugin.benchmarks.report.heat import heat_panel
from i2moe_plugin.benchmarks.report.panels import Panel, panel
from i2moe_plugin.benchmarks.report.text import without_controls
from i2moe_plugin.benchmarks.run.store import Run
from i2moe_plugin.interpretation.figures.drawing import (
    BLUE,
    DASHES,
    GREEN,
    GREY,
    ORANGE,
    SKY,
    VERMILION,
    interval_dots,
    new_figure,
    plain_text,
    style,
    with_alt,
)

SAMPLES = 6  # of which a run's page shows the words and patches
#: What stands for a masked token.
FILLS = {"mean": "the training data's mean token", "zero": "zeros"}
COLOURS = dict(zip(EXPLAINERS, (GREY, SKY, VERMILION, BLUE), strict=True))
_PAIRS = (
    "The Shapley interaction index is that of Grabisch and Roubens; the redundancy gap by "
    "subtraction a formula of ours. A score is of the model, in what one expert says: it does not "
    "show that the interaction is in the data. The whisker is the standard error of the "
    "drawn contexts."
)
_DRAWS = (
    "Bars are standard errors. Each number of draws takes in those before it, so neighbouring "
    "points have most contexts in common. Pairs are the highest of many: some of these lie two "
    "standard errors above 0 by chance alone."
)
_FOLLOWED = (BLUE, ORANGE, GREEN)
_CURVES = (
    "The most important features of each modality are replaced by {fill}, "
    "then kept alone. Bands are 95 % intervals over samples; the control masks as many features at "
    "random. Only what lies above the control says that an explanation is faithful."
)


def feature_panels(run: Run, with_data: bool = True) -> list[Panel]:
    """Draw what is kept beside a run of its words and patches; nothing is computed.

    Args:
        run: the run.
        with_data: show samples' own words and pictures.
    """
    panels: list[Panel] = []
    for record in all_kept(run, "study"):
        panels.append(_curves(record))
        panels += [
            _levels(score, found, record["measure"]) for score, found in record["pairs"].items()
        ]
    for record in all_kept(run, "sample")[: SAMPLES if with_data else 0]:
        panels.append(heat_panel(record))
        for probe in record["pairs"]:
            panels += [_pairs(record, probe), _convergence(record, probe)]
    return panels


def _same_studies(runs: Sequence[Run]) -> list[tuple[int, dict[str, Any]]]:
    """The studies of these runs that were made alike, those of most seeds: seed and record."""
    alike: dict[str, dict[int, dict[str, Any]]] = {}
    for run in runs:
        for record in all_kept(run, "study"):
            options = {name: fact for name, fact in record["key"].items() if name != "identity"}
            alike.setdefault(json.dumps(options, sort_keys=True), {})[run.seed] = record
    return list(max(alike.values(), key=len, default={}).items())


def seeds_panel(runs: Sequence[Run]) -> Panel | None:
    """Draw how far each seed's explanations are above random masking, and their mean.

    Args:
        runs: that differ in the seed alone, of one method and split.

    Returns:
        None below two seeds with a study; the interval is Student's over seeds.
    """
    from scipy.stats import t

    rows = [
        {
            "explainer": explainer,
            "seed": seed,
            "area above random": curves["area_above_random"]["comprehensiveness"]["mean"],
        }
        for seed, record in _same_studies(runs)
        for explainer, curves in record["scopes"][MIXTURE]["explainers"].items()
        if "area_above_random" in curves
    ]
    frame = pd.DataFrame(rows)
    if not len(frame) or frame["seed"].nunique() < 2:
        return None
    table = frame.groupby("explainer", sort=False)["area above random"].agg(
        ["mean", "std", "count"]
    )
    half = t.ppf(0.975, table["count"] - 1) * table["std"] / table["count"] ** 0.5
    summary = pd.DataFrame(
        {
            "explainer": table.index,
            "seeds": table["count"].to_numpy(),
            "mean": table["mean"].to_numpy(),
            "low": (table["mean"] - half).to_numpy(),
            "high": (table["mean"] + half).to_numpy(),
        }
    )
    figure = new_figure("Area above random masking, over seeds", height=220)
    interval_dots(figure, summary["explainer"], summary["mean"], summary["low"], summary["high"])
    figure.update_xaxes(title="area between the curves", zeroline=True)
    where = "" if runs[0].split == OWN_SPLIT else f"; all of split {runs[0].split}"
    told: list[dict[str, Any]] = [dict(row) for _, row in summary.iterrows()]
    said = "; ".join(f"{row['explainer']} {in_words(row)}" for row in told)
    return panel(
        f"Are the explanations of {runs[0].method} faithful, over seeds?",
        with_alt(figure, f"Area between the masking curve and its random control: {said}."),
        summary,
        "Above 0: more faithful than random masking. The interval is Student's, over seeds"
        f"{where}.",
    )


def _curves(record: dict[str, Any]) -> Panel:
    kinds = {
        "comprehensiveness": "without the most important",
        "sufficiency": "with them alone",
    }
    shares = [100 * share for share in record["shares"]]
    figure = make_subplots(1, 2, subplot_titles=list(kinds.values()), horizontal_spacing=0.12)
    style(figure, f"Fall of {record['measure']}", 340, top=92)
    figure.update_yaxes(title=f"fall of {record['measure']}", col=1)
    rows = []
    for column, kind in enumerate(kinds, 1):
        for number, (name, found) in enumerate(record["scopes"][MIXTURE]["explainers"].items()):
            values, colour = found[kind], COLOURS[name]
            band = [*values["low"], *values["high"][::-1]]
            figure.add_trace(
                go.Scatter(
                    x=[*shares, *shares[::-1]] if None not in band else [],
                    y=band if None not in band else [],
                    fill="toself",
                    mode="none",
                    fillcolor=colour,
                    opacity=0.2,
                    hoverinfo="skip",
                    showlegend=False,
                ),
                1,
                column,
            )
            figure.add_trace(
                go.Scatter(
                    x=shares,
                    y=values["mean"],
                    name=name,
                    mode="lines+markers",
                    line={"color": colour, "dash": DASHES[number]},
                    showlegend=column == 1,
                ),
                1,
                column,
            )
            rows += [
                [kind, name, share, *cells]
                for share, *cells in zip(
                    shares, values["mean"], values["low"], values["high"], strict=True
                )
            ]
    figure.update_xaxes(title="% of features masked")
    figure.update_xaxes(title="% of features kept", col=2)
    said = headline(record)
    alt = f"Masking curves of {samples_in_words(record)}. {said}"
    names = ["curve", "explainer", "%", "mean", "low", "high"]
    return panel(
        f"Are the explanations faithful? {samples_in_words(record)}",
        with_alt(figure, alt),
        pd.DataFrame(rows, columns=names).astype(dict.fromkeys(("mean", "low", "high"), float)),
        f"{said} {_CURVES.format(fill=FILLS[record['key']['fill']])}",
    )


def _levels(score: str, found: dict[str, Any], measure: str) -> Panel:
    frame = pd.DataFrame([level for level in found["levels"] if level["pairs"]])
    frame = frame.astype({"low": float, "high": float})  # of one sample there is neither
    title = f"{score} of pairs by importance, in the output of {found['scope']}"
    figure = new_figure(title, height=130 + 34 * len(frame))
    order = frame.iloc[::-1]
    interval_dots(figure, order["name"], order["mean"], order["low"], order["high"])
    figure.update_xaxes(title=f"mean {score}", zeroline=True)
    masking = found["masking"]
    more = masking["above_matched"]
    # With few tokens there may be no others of the same importance.
    share = masking.get("matched_the_same", 0.0)
    same = f" {100 * share:.0f} % of these are the same features." if share > 0.05 else ""
    note = (
        f"Masking the members of the highest pairs ({masking['budget']} features of each modality "
        f"at most) lowers {measure} by {masking['highest_pairs']['mean']:.3g}; as "
        f"many features of the same importance by {masking['matched']['mean']:.3g}: by "
        f"{in_words(more)} more.{same} {_PAIRS}"
    )
    said = "; ".join(f"{row.name}: {row.mean:.3g}" for row in frame.itertuples(index=False))
    return panel(title, with_alt(figure, f"{title}. {said}."), frame, note)


def _pairs(record: dict[str, Any], probe: dict[str, Any]) -> Panel:
    """The highest pairs of a score, as dots with the error of drawing."""
    score = probe["score"]
    rows = [
        {
            "pair": pair_name(pair),
            "mean": pair["mean"],
            "standard error": pair["standard_error"],
        }
        for pair in top_pairs(record, score)
    ]
    frame = pd.DataFrame(rows)
    places = list(range(len(frame)))[::-1]  # names may be alike: they are labels, not places
    name = without_controls(record["sample"], 60)
    title = f"{score} of pairs in {name}, in the output of {probe['scope']}"
    figure = new_figure(title, height=110 + 26 * len(frame), legend=False)
    colour = ORANGE if score == "interaction" else GREEN
    figure.add_trace(
        go.Scatter(
            x=frame["mean"],
            y=places,
            mode="markers",
            marker={"size": 9, "color": colour},
            error_x={"array": frame["standard error"], "color": colour},
            text=[plain_text(pair) for pair in frame["pair"]],
            hovertemplate="%{text}: %{x:.3g}<extra></extra>",
        )
    )
    figure.update_yaxes(tickvals=places, ticktext=[plain_text(pair) for pair in frame["pair"]])
    figure.update_xaxes(title=score, zeroline=True)
    best = "; ".join(f"{row['pair']} {row['mean']:+.3g}" for row in rows[:3])
    return panel(title, with_alt(figure, f"The highest pairs by {score}: {best}."), frame, _PAIRS)


def _convergence(record: dict[str, Any], probe: dict[str, Any]) -> Panel:
    """How the highest pairs' scores and their errors settle as draws are added."""
    score, steps = probe["score"], probe["convergence"]
    pairs = [pair_name(pair) for pair in probe["pairs"][: len(steps[0]["highest"])]]
    name = without_controls(record["sample"], 60)
    title = f"{score} of pairs in {name} by number of draws, in the output of {probe['scope']}"
    figure = new_figure(title, height=330)
    draws = [step["draws"] for step in steps]
    rows = []
    for number, pair in enumerate(pairs):
        values = [step["highest"][number] for step in steps]
        means = [value["mean"] for value in values]
        errors = [value["standard_error"] for value in values]
        # Bars of several pairs at one number of draws stand beside each other.
        apart = 1 + 0.03 * (number - (len(pairs) - 1) / 2)
        figure.add_trace(
            go.Scatter(
                x=[apart * draw for draw in draws],
                y=means,
                error_y={"array": errors, "color": _FOLLOWED[number], "thickness": 1.2},
                name=plain_text(pair),
                mode="lines+markers",
                line={"color": _FOLLOWED[number], "dash": DASHES[number]},
                customdata=draws,
                hovertemplate="%{customdata} draws: %{y:.3g}",
            )
        )
        rows += [
            [pair, int(draw), mean, error]
            for draw, mean, error in zip(draws, means, errors, strict=True)
        ]
    figure.update_xaxes(
        title="draws", type="log", tickvals=draws, ticktext=[f"{draw:g}" for draw in draws]
    )
    figure.update_yaxes(title={"text": score, "standoff": 14}, zeroline=True)
    enough = enough_in_words(probe)
    ends = f"from {draws[0]:g} to {draws[-1]:g} draws"
    shrinks = " to ".join(f"{steps[end]['mean_standard_error']:.3g}" for end in (0, -1))
    alt = (
        f"{score} of the {len(pairs)} highest pairs {ends}. {enough} "
        f"The mean standard error over all pairs goes from {shrinks}."
    )
    names = ["pair", "draws", "mean", "standard error"]
    return panel(
        title, with_alt(figure, alt), pd.DataFrame(rows, columns=names), f"{enough} {_DRAWS}"
    )


def pair_name(pair: dict[str, Any]) -> str:
    """Both members of a pair, one line."""
    return " × ".join(without_controls(name, 30) for name in pair["names"])


def explained_note(run: Run) -> str:
    """Say how to get explanations of words and patches, where a run could have some."""
    if run.method != "fl-i2moe" or all_kept(run, "study") or all_kept(run, "sample"):
        return ""
    return (
        "Words and patches of this run have not been looked at yet: i2moe-bench explain RUN "
        f"--features, by default by {USUAL}."
    )
