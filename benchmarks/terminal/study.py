"""What `explain --features` shows of many samples: whether importance is faithful; pairs."""

from __future__ import annotations

from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.text import Text

from i2moe_plugin.benchmarks.attribution.intervals import in_words
from i2moe_plugin.benchmarks.attribution.words import headline, samples_in_words
from i2moe_plugin.benchmarks.terminal.features import no_pairs
from i2moe_plugin.benchmarks.terminal.tables import Table


def show_study(console: Console, record: dict[str, Any]) -> None:
    """Show a record of :func:`~i2moe_plugin.benchmarks.attribution.study.study_features`."""
    lacking = record.get("lacking", 0)
    others = f" {lacking} that lack a modality are not among them." if lacking else ""
    console.print(
        Text(f"{samples_in_words(record)}; intervals are over samples (95 %).{others}", style="dim")
    )
    console.print(Text(headline(record), style="bold"))
    console.print(_faithfulness(record))
    if record["pairs"]:
        console.print(_pairs(record))
    else:
        console.print(Text(no_pairs(record), style="dim"))
    known = [row for row in record["truth"] if row["scope"] == "mixture"]
    if known:
        console.print(_truth(known, record))
    if any(row["expected"] for row in record["experts"]):
        console.print(_experts(record))
    cost = record["cost"]
    seconds = sum(cost["seconds"].values())
    console.print(
        Text(
            f"{cost['evaluations']:,} evaluations in {seconds:.0f} s "
            f"({cost['evaluations'] / max(seconds, 1e-9):,.0f} a second). Of pairs "
            f"{cost['pair_evaluations']:,}; a loop over pairs and contexts takes "
            f"{cost['pair_evaluations_of_a_naive_loop']:,}.",
            style="dim",
        )
    )


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number > 1 else "left")
    return table


def _faithfulness(record: dict[str, Any]) -> Table:
    shares = ", ".join(f"{100 * share:g}" for share in record["shares"])
    table = _table(
        f"How far {record['measure']} falls when the most important {shares} % are masked, "
        "mean over these shares",
        *("scope", "explainer", "fall", "area above random"),
    )
    for scope, found in record["scopes"].items():
        for explainer, curves in found["explainers"].items():
            area = curves.get("area_above_random")
            table.add_row(
                scope,
                explainer,
                in_words(curves["aopc_comprehensiveness"]),
                in_words(area["comprehensiveness"]) if area else "",
            )
    return table


def _pairs(record: dict[str, Any]) -> Table:
    table = _table(
        "How far it falls when the members of the highest pairs are masked, less what as many "
        "features do that are random, or of the same importance (of which so many are the same)",
        *("score", "scope", "fall", "less random", "less matched", "same"),
    )
    for score, found in record["pairs"].items():
        masking = found["masking"]
        cells = (
            in_words(masking[key]) for key in ("highest_pairs", "above_random", "above_matched")
        )
        same = masking.get("matched_the_same")  # records of before do not know
        table.add_row(score, found["scope"], *cells, "" if same is None else f"{100 * same:.0f} %")
    return table


def _truth(known: list[dict[str, Any]], record: dict[str, Any]) -> Table:
    table = _table(
        "How often what carries the label, by construction, comes first",
        *("what", "by", "share", "by chance"),
    )
    for row in known:
        what = f"a token of {row['modality']}"
        table.add_row(
            what, row["explainer"], in_words(row["first_is_true"]), f"{row['by_chance']:.3f}"
        )
    for score, found in record["pairs"].items():
        truth = found["truth"]
        if truth is not None:
            what = f"a pair, of {truth['samples']} samples"
            table.add_row(
                what, score, in_words(truth["first_is_true"]), f"{truth['by_chance']:.3f}"
            )
    return table


def _experts(record: dict[str, Any]) -> Table:
    table = _table("How often each expert has the largest weight", "expert", "", "share")
    for row in record["experts"]:
        mark = "carries the label by construction" if row["expected"] else ""
        table.add_row(row["expert"], mark, in_words(row["largest_weight"]))
    return table
