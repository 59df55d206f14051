"""Building a report: from finished runs to the page."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from i2moe_plugin import __version__
from i2moe_plugin.benchmarks.grid.failures import Failures
from i2moe_plugin.benchmarks.report.features import explained_note, feature_panels, seeds_panel
from i2moe_plugin.benchmarks.report.groups import (
    comparison_rows,
    group_runs,
    verdict_sentence,
)
from i2moe_plugin.benchmarks.report.page import as_json, render
from i2moe_plugin.benchmarks.report.panels import (
    Panel,
    run_panels,
    stability_of,
    stability_panel,
)
from i2moe_plugin.benchmarks.report.samples import (
    BUDGET,
    Media,
    chosen_rows,
    limit_for,
    pack_run,
)
from i2moe_plugin.benchmarks.run.collect import FoundRuns, SampleViewer, find_runs
from i2moe_plugin.benchmarks.run.files import write_text
from i2moe_plugin.benchmarks.run.store import Run
from i2moe_plugin.benchmarks.statistics.metrics import method_title
from i2moe_plugin.interpretation import CAVEAT

#: Bytes of a page, and of what every page has: plotly, and tables and words.
LARGEST, PLOTLY_AND_PAGE = 19_500_000, 5_500_000


@dataclass(frozen=True)
class Report:
    """What was written.

    Attributes:
        path, size: the file, and its bytes.
        runs: how many runs it is about.
        problems: (name, reason) of runs that are not in it.
        notes: what was left out, in sentences.
    """

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
    """Write the page about all finished runs at these paths.

    Args:
        paths: runs, or folders of runs.
        output: the HTML file.
        data_root: where the data set lies, if not where it lay when the runs were made.
        with_data: show the samples' own modalities.
        progress: show bars on a terminal.

    Raises:
        RunError: no finished run, or the file cannot be written.
    """
    paths = list(paths)
    found = find_runs(paths)
    for path in paths:
        found.problems += [(one["run"], f"failed: {one['reason']}") for one in Failures(path)]
    groups = group_runs(found.runs)
    figures: dict[str, list[Panel]] = {}
    runs: list[dict[str, Any]] = []
    packed: dict[str, Any] = {}
    sets: list[dict[str, Any]] = []
    limit = limit_for(sum(run.method != "vanilla" for run in found.runs))
    with _bar("figures", len(found.runs), progress) as advance:
        for index, group in enumerate(groups):
            stability = stability_of(group)
            if stability is not None:
                figures[f"group-{index}"] = [stability_panel(stability)]
            faithful = seeds_panel([run for run in group.runs() if run.method == "fl-i2moe"])
            if faithful is not None:
                figures.setdefault(f"group-{index}", []).append(faithful)
            for run in group.runs():
                key = f"run-{len(runs)}"
                figures[key], sentences = run_panels(
                    run, stability if run.method == "i2moe" else None
                )
                figures[key] += feature_panels(run, with_data)
                advance(1)
                title = f"{group.name}, {method_title(run.method)}, seed {run.seed}"
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
    media, notes = Media(max(0, min(BUDGET, LARGEST - rest))), _sampled(packed)
    if with_data:
        notes += _collect(found, packed, media, data_root, progress)
    elif packed:
        notes.append("The samples' own pictures, text and features were left out (--no-data).")
    page = render(
        {
            "version": __version__,
            "made": datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
            "caveat": CAVEAT,
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
        "settings": settings,
        "environment": [(name, _word(value)) for name, value in (environment | measured).items()],
        "notes": [*result["notes"], *filter(None, [explained_note(run)])],
    }


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _dataset_key(run: Run) -> str:
    settings = run.settings
    return json.dumps([settings["dataset"], settings["data_settings"], settings.get("splits")])


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
            notes.append(f"Samples are shown without their modalities: {viewer.missing}.")
        elif left_out:
            notes.append(
                f"{name}: {left_out:,} of {len(ids):,} samples are shown without their modalities, "
                "so that the file stays small."
            )
    return notes


def _bar(title: str, total: int, progress: bool) -> Any:
    from i2moe_plugin.benchmarks.data.frozen import progress_bar

    return progress_bar(title, total, progress)
