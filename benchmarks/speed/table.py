"""The report of a speed benchmark: JSON, a Markdown table with the goals, and a plot of growth."""

from __future__ import annotations

import io
import multiprocessing
import platform
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch

from i2moe_plugin.benchmarks.run.memory import keep_freed_memory
from i2moe_plugin.benchmarks.speed import measure
from i2moe_plugin.benchmarks.speed.models import LOW_RANK, TRANSFORMERS, Shape, Variant
from i2moe_plugin.benchmarks.speed.processes import processes

#: Backbones for inference, with the tokens they take.
INFERENCE: list[tuple[str, int | None]] = [
    *((name, None) for name in ("concat", "lrtf", "tensor", "mi-matrix", "nlgate", "interpretcc")),
    *((name, 4) for name in ("ef", "lf", "transformer", "switchgate", "moepp", "mult")),
]
COMPARED: tuple[Variant, ...] = ("naive", "loop", "auto", "vanilla")
TRAINING: tuple[Variant, ...] = (*COMPARED, "batched", "torch-dropout", "unkept")


def run(*, quick: bool = False, say: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Measure everything; about three minutes with ``quick``, ten without, on two quiet cores."""
    seconds = 3.0 if quick else 12.0
    transformers = TRANSFORMERS[:2] if quick else TRANSFORMERS
    result: dict[str, Any] = {"machine": machine(), "quick": quick}
    keep_freed_memory()
    say("peak of matrix products")
    result["peak_gflops"] = {
        "float32": measure.peak_gflops(),
        "bfloat16": measure.peak_gflops(torch.bfloat16),
    }
    result |= {"training": [], "bf16": [], "inference": []}
    half = {"autocast": torch.bfloat16}
    # New processes for each shape, as for each run: what was freed before changes a step's cost.
    for shape in [*transformers, *LOW_RANK]:
        say(f"training step, {shape.backbone} at {shape.name}")
        with processes() as ask:
            row = measure.compare(shape, TRAINING, ask, seconds=seconds)
        result["training"].append({**row, "goal": _goal(shape)})
    for shape in transformers:
        say(f"bf16-mixed, {shape.name}")
        with processes() as ask:
            row = measure.compare(shape, COMPARED, ask, seconds=seconds, ours=half)
        result["bf16"].append({**row, "goal": 4.0})
    small = [Shape("small", name, 2, tokens, 64, 20) for name, tokens in INFERENCE]
    with processes() as ask:
        for shape in [*small, *transformers]:
            say(f"inference, {shape.backbone} at {shape.name}")
            row = measure.compare(
                shape, ("naive", "loop", "auto"), ask, seconds=seconds / 6, inference=True
            )
            result["inference"].append({**row, "goal": 1.5})
    say("operators, FLOPs, where time goes")
    result["counts"] = [measure.counts(shape) for shape in (TRANSFORMERS[0], *LOW_RANK[:3])]
    result["profile"] = measure.profile(TRANSFORMERS[0])
    for row, counted in zip(result["training"][:1], result["counts"], strict=False):
        gflops = counted["auto"]["gflop"] / (row["milliseconds"]["auto"] / 1000)
        result["fraction_of_peak"] = gflops / result["peak_gflops"]["float32"]
    say("peak memory")
    result["memory"] = memory()
    say("growth")
    result["growth"] = measure.growth(quick=quick)
    return result


def _goal(shape: Shape) -> float:
    if shape.backbone == "transformer":
        return 1.8
    return 3.0 if shape.modalities >= 4 else 2.0


def memory() -> dict[str, float]:
    """Peak MB of a step at ENRICO's transformer, each plan in a process of its own."""
    plans: dict[str, tuple[Variant, int | None]] = {
        "naive": ("naive", None),
        "auto": ("auto", None),
        "auto, 50 MB": ("auto", 50_000_000),
    }
    found = {}
    for name, (variant, budget) in plans.items():
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            asked = pool.submit(measure.step_memory, variant, TRANSFORMERS[0], budget)
            found[name] = asked.result()
    return found


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "cpu": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "capability": torch.backends.cpu.get_cpu_capability(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "time": time.strftime("%Y-%m-%d %H:%M"),
    }


def markdown(result: dict[str, Any]) -> str:
    """The tables, for people."""
    where = result["machine"]
    lines = [
        f"{where['threads']} threads, torch {where['torch']}, {where['capability']}; peak of a "
        f"matrix product {result['peak_gflops']['float32']:.0f} GFLOP/s in float32, "
        f'{result["peak_gflops"]["bfloat16"]:.0f} in bfloat16. Batch 32. "Naive" is one pass '
        "after another with torch's own layers and memory, in a process of its own; loop is our "
        "plan of that name. Milliseconds are medians, ratios medians over interleaved rounds with "
        "their middle half.",
    ]
    for title, key in (
        ("Training step, float32", "training"),
        ("Training step, bf16-mixed against naive float32", "bf16"),
        ("Inference", "inference"),
    ):
        lines += ["", f"### {title}", ""]
        lines += [
            "| backbone | shape | M | plan | vanilla ms | naive ms | loop ms | ours ms | "
            "faster than naive | than loop | goal | met |"
        ]
        lines += ["|---" * 12 + "|"]
        for row in result[key]:
            gain, ms = row["faster"]["auto"], row["milliseconds"]
            vanilla = f"{ms['vanilla']:.1f}" if "vanilla" in ms else ""
            lines.append(
                f"| {row['backbone']} | {row['shape']} | {row['modalities']} | {row['plan']} | "
                f"{vanilla} | {ms['naive']:.1f} | {ms['loop']:.1f} | {ms['auto']:.1f} | "
                f"{gain['median']:.2f} ({gain['low']:.2f} to {gain['high']:.2f}) | "
                f"{row['without']['loop']['median']:.2f} | {row['goal']} | "
                f"{'yes' if gain['median'] >= row['goal'] else 'no'} |"
            )
    lines += ["", "### What each piece brings", ""]
    lines += ["A step without it over a step with it.", ""]
    lines += ["| backbone | shape | no plans (`loop`) | `batched` | torch's dropout | memory |"]
    lines += ["|---|---|---|---|---|---|"]
    for row in result["training"]:
        cells = [
            f"{found['median']:.2f} ({found['low']:.2f} to {found['high']:.2f})"
            for found in (row["without"][name] for name in measure.WITHOUT)
        ]
        lines.append(f"| {row['backbone']} | {row['shape']} | {' | '.join(cells)} |")
    lines += ["", "### Operators and FLOPs of a training step", ""]
    lines += ["| backbone | shape | vanilla | naive | auto | stacked | naive GFLOP | auto GFLOP |"]
    lines += ["|---|---|---|---|---|---|---|---|"]
    for row in result["counts"]:
        operators = " | ".join(
            str(row[name]["operators"]) for name in ("vanilla", "naive", "auto", "stacked")
        )
        lines.append(
            f"| {row['backbone']} | {row['shape']} | {operators} | "
            f"{row['naive']['gflop']:.2f} | {row['auto']['gflop']:.2f} |"
        )
    lines += ["", "### Peak memory of a step, ENRICO transformer", ""]
    lines += [f"- {name}: {value:.0f} MB" for name, value in result["memory"].items()]
    lines += ["", "### Where the time goes, ENRICO transformer, auto", ""]
    lines += [f"- {row['operator']}: {row['share']:.0%}" for row in result["profile"]]
    if "fraction_of_peak" in result:
        share = result["fraction_of_peak"]
        lines += ["", f"{share:.0%} of the peak of matrix products is reached."]
    return "\n".join(lines) + "\n"


def write(result: dict[str, Any], folder: Path) -> list[Path]:
    """Writes ``speed.json``, ``speed.md`` and ``growth.svg`` into a folder."""
    from i2moe_plugin.benchmarks.run.files import disk_errors_explained, write_json

    with disk_errors_explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "speed.md").write_text(markdown(result), encoding="utf-8")
        (folder / "growth.svg").write_text(plot(result["growth"]), encoding="utf-8")
    write_json(folder / "speed.json", result)
    return [folder / name for name in ("speed.json", "speed.md", "growth.svg")]


def plot(rows: list[dict[str, Any]]) -> str:
    """Three charts as SVG: milliseconds a step against M, batch and width, beside linear growth."""
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, NullLocator

    labels = {
        # A pass of a view through an expert fuses M modalities: so work is counted here.
        "modalities": "passes of modalities, M(M+1)(M+2)",
        "batch": "batch",
        "width": "width",
    }
    rows = [{**row, "modalities": row["pairs"] * row["modalities"]} for row in rows]
    figure = Figure(figsize=(10, 3.4), layout="constrained")
    for axes, (axis, label) in zip(figure.subplots(1, 3, sharey=True), labels.items(), strict=True):
        for colour, backbone in enumerate(("lrtf", "transformer")):
            line = [row for row in rows if row["axis"] == axis and row["backbone"] == backbone]
            sizes = [row[axis] for row in line]
            times = [row["milliseconds"] for row in line]
            linear = [times[0] * size / sizes[0] for size in sizes]
            axes.loglog(sizes, times, f"C{colour}o-", markersize=3, label=backbone)
            axes.loglog(sizes, linear, f"C{colour}:", label=f"{backbone}, if linear")
        axes.xaxis.set_major_locator(FixedLocator(sizes))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter("{x:.0f}")
        axes.tick_params(axis="x", labelsize=8)
        axes.set_xlabel(label)
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("milliseconds a training step")
    figure.axes[0].legend(fontsize=8)
    picture = io.StringIO()
    # The same rows must give the same file.
    with mpl.rc_context({"svg.hashsalt": "growth", "svg.fonttype": "none"}):
        figure.savefig(picture, format="svg", metadata={"Date": None})
    return picture.getvalue()
