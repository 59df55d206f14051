"""Building a report: from finished runs to the page."""

from __future__ import annotations

import datetime
import itertools
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from i2moe_plugin import __version__
from i2moe_plugin.benchmarks.grid.failures import Failures
from i2moe_plugin.benchmarks.grid.runs import one_split, run_title
from i2moe_plugin.benchmarks.report.features import explained_note, feature_panels, seeds_panel
from i2moe_plugin.benchmarks.report.groups import (
    Group,
    comparison_rows,
    group_runs,
    verdict_sentence,
)
from i2moe_plugin.benchmarks.report.page import as_json, render
from i2moe_plugin.benchmarks.report.panels import (
    Panel,
    group_panels,
    run_panels,
    stability_of,
)
from i2moe_plugin.benchmarks.report.robustness import robustness_panels
from i2moe_plugin.benchmarks.report.samples import (
    BUDGET,
    Media,
    chosen_rows,
    limit_for,
    pack_run,
)
from i2moe_plugin.benchmarks.run.collect import FoundRuns, SampleViewer, find_runs
from i2moe_plugin.benchmarks.run.files import write_text
from i2moe_plugin.benchmarks.run.store import EVIDENCE, Run
from i2moe_plugin.benchmarks.statistics.metrics import method_title
from i2moe_plugin.errors import RunError
from i2moe_plugin.interpretation import CAVEAT

#: Bytes of a page, and of what every page has: plotly, and tables and words.
LARGEST, PLOTLY_AND_PAGE = 19_500_000, 5_500_000
#: How many runs have figures and samples in a page; tables and verdicts are about all. A page of
#: more runs is kept smaller, since its tables are what is read.
MOST_DRAWN, LARGEST_OF_MANY = 24, 9_800_000


@dataclass(frozen=True)
class Report:
    """What was written: the file, its bytes, its runs, and what is not in it and why."""

    path: Path
    size: int
    runs: int
    problems: list[tuple[str, str]]
    notes: list[str]


def build(
    paths: Iterable[Path],
    output: Path,
    *,
    data_root: str | None = None,
    with_data: bool = True,
    progress: bool = False,
) -> Report:
    """Write the page about all finished runs at these paths: runs, or folders of runs.

    ``data_root`` is where the data set lies, if it was moved; without ``with_data`` the samples'
    own modalities are left out.
    """
    paths = list(paths)
    found = find_runs(paths)
    _leave_out_unreadable(found)
    for path in paths:
        found.problems += [(one["run"], f"failed: {one['reason']}") for one in Failures(path)]
    groups = group_runs(found.runs)
    figures: dict[str, list[Panel]] = {}
    runs: list[dict[str, Any]] = []
    packed: dict[str, Any] = {}
    sets: list[dict[str, Any]] = []
    drawn = _drawn(groups)
    limit = limit_for(sum(run.method != "vanilla" for run in drawn.values()))
    with _bar("figures", len(drawn), progress) as advance:
        for index, group in enumerate(groups):
            shown = [run for run in group.runs() if run.path in drawn]
            stability = stability_of(group) if shown else None
            panels = group_panels(group, stability) if shown else []
            for method in dict.fromkeys(run.method for run in group.runs()):
                faithful = seeds_panel(
                    one_split(run for run in group.runs() if run.method == method)
                )
                panels += [faithful] if faithful is not None else []
            panels = [*panels, *robustness_panels(list(group.runs()))]
            if panels:
                figures[f"group-{index}"] = panels
            for run in shown:
                key = f"run-{len(runs)}"
                figures[key], sentences = run_panels(
                    run, stability if run.method == "i2moe" else None
                )
                figures[key] += feature_panels(run, with_data)
                advance(1)
                title = f"{group.name}, {method_title(run.method)}, {run_title(run)}"
                facts = _facts(run, key, title, sentences)
                runs.append(facts | {"group": index, "figures": _heads(figures[key])})
                outputs = run.interpretable()
                if outputs.experts and len(outputs):
                    own, shared = pack_run(run, limit)
                    if shared not in sets:
                        sets.append(shared)
                    packed[key] = {
                        **own,
                        "set": sets.index(shared),
                        "title": title,
                        "group": index,
                        "dataset": _dataset_key(run),
                        "verdict": sentences[0],
                    }
    # Pictures get the room that the rest leaves.
    rest = len(as_json([figures, packed, sets])) + PLOTLY_AND_PAGE
    largest = LARGEST if len(drawn) == len(found.runs) else LARGEST_OF_MANY
    media, notes = Media(max(0, min(BUDGET, largest - rest))), _sampled(packed)
    if len(drawn) < len(found.runs):
        notes.insert(
            0,
            f"Figures and samples are of {len(drawn)} of {len(found.runs):,} runs, of every "
            "group some where there is room; tables and verdicts are about all. "
            "i2moe-bench report RUN shows any of them.",
        )
    if with_data:
        notes += _collect(found, packed, media, data_root, progress)
    elif packed:
        notes.append("The samples' own pictures, text and features were left out (--no-data).")
    page = render(
        {
            "version": __version__,
            "made": datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
            "caveat": CAVEAT if packed else "",  # only mixtures have weights
            "verdicts": [verdict_sentence(group) for group in groups],
            "comparison": comparison_rows(groups),
            "groups": [
                {
                    "key": f"group-{index}",
                    "name": group.name,
                    "figures": _heads(figures.get(f"group-{index}", [])),
                }
                for index, group in enumerate(groups)
            ],
            "runs": runs,
            "explorable": [{"key": key, "title": run["title"]} for key, run in packed.items()],
            "problems": found.problems,
            "notes": notes,
        },
        {"figures": figures, "runs": packed, "sets": sets, "media": media.samples},
    )
    write_text(output, page)
    size = output.stat().st_size
    return Report(output, size, len(found.runs), found.problems, notes)


def _drawn(groups: list[Group]) -> dict[Path, Run]:
    """Choose the runs that are drawn: one of each group's methods, then their next seeds."""
    cells = [list(cell.runs.values()) for group in groups for cell in group.cells]
    turns = itertools.zip_longest(*cells)
    runs = [run for turn in turns for run in turn if run is not None]
    return {run.path: run for run in runs[:MOST_DRAWN]}


def _leave_out_unreadable(found: FoundRuns) -> None:
    """Move runs whose outputs cannot be shown to the problems."""
    kept = []
    for run in found.runs:
        try:
            run.interpretable()
        except RunError as error:
            found.problems.append((run.name, str(error)))
        else:
            kept.append(run)
    if not kept:
        reasons = "".join(f"\n  - {name}: {reason}" for name, reason in found.problems)
        raise RunError(f"no run that can be shown.{reasons}")
    found.runs = kept


def _heads(panels: list[Panel]) -> list[dict[str, Any]]:
    """Return what the template lays out of figures; their data goes with the scripts' data."""
    kept = ("title", "note", "alt", "columns")
    return [
        {**{key: panel[key] for key in kept}, "height": panel["figure"]["layout"]["height"]}
        for panel in panels
    ]


def _facts(run: Run, key: str, title: str, sentences: list[str]) -> dict[str, Any]:
    """Return a run's settings, environment and notes, as the template shows them."""
    sources, result = run.settings.get("sources", {}), run.result
    settings = [
        (name, _word(value), str(sources.get(name, "default")))
        for name, value in run.settings.items()
        if name != "sources"
    ]
    measured = {name: result[name] for name in ("parameters", "epochs", "best_epoch", "seconds")}
    environment = run.json("environment.json")
    return {
        "key": key,
        "title": title,
        "name": run.name,
        "sentences": sentences,
        "heading": "What may be claimed of this run"
        if EVIDENCE in run.files
        else "How far these weights can be trusted",
        "settings": settings,
        "environment": [(name, _word(value)) for name, value in (environment | measured).items()],
        "notes": [*result["notes"], *filter(None, [explained_note(run)])],
    }


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _dataset_key(run: Run) -> str:
    settings = run.settings
    return json.dumps(
        [
            settings["dataset"],
            settings["data_settings"],
            settings.get("splits"),
            settings.get("data"),
        ]
    )


def _sampled(packed: dict[str, Any]) -> list[str]:
    """Say of which runs not all samples are in the page."""
    return [
        f"{run['title']}: the explorer holds {run['shape'][0]:,} of {run['total']:,} test samples, "
        "drawn evenly, so that the file stays small; figures are about all of them."
        for run in packed.values()
        if run["shape"][0] < run["total"]
    ]


def _collect(
    found: FoundRuns, packed: dict[str, Any], media: Media, data_root: str | None, progress: bool
) -> list[str]:
    """Fill the media from the data sets at hand; return sentences about what is not there."""
    wanted: dict[str, dict[str, None]] = {}  # ordered sets of ids
    first: dict[str, Run] = {}
    names = {_dataset_key(run): run for run in found.runs}
    for pack in packed.values():
        run = first.setdefault(pack["dataset"], names[pack["dataset"]])
        ids = run.interpretable().sample_id.tolist()
        rows = chosen_rows(ids, pack["shape"][0])
        wanted.setdefault(pack["dataset"], {}).update(dict.fromkeys(ids[row] for row in rows))
    notes = []
    for done, (key, ids) in enumerate(wanted.items()):
        name = first[key].settings["dataset"]
        viewer = SampleViewer(first[key], data_root)
        if not viewer.missing:
            with _bar(f"samples of {name}", len(ids), progress) as advance:
                media.add(key, list(ids), viewer.show, 1 / (len(wanted) - done), advance)
        left_out = media.left_out.get(key, 0)
        if viewer.missing:
            reason = viewer.missing.removesuffix(".")
            notes.append(f"Samples are shown without their modalities: {reason}.")
        elif left_out:
            notes.append(
                f"{name}: {left_out:,} of {len(ids):,} samples are shown without their modalities, "
                "so that the file stays small."
            )
    return notes


def _bar(title: str, total: int, progress: bool) -> Any:
    from i2moe_plugin.benchmarks.data.frozen import progress_bar

    return progress_bar(title, total, progress)
