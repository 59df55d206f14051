"""The report of a speed benchmark: JSON, a Markdown table with the goals, and a plot of growth."""

from __future__ import annotations

import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from i2moe_plugin.allocation import keep_freed_memory
from i2moe_plugin.benchmarks.speed import measure
from i2moe_plugin.benchmarks.speed.models import LOW_RANK, TRANSFORMERS, Shape, Variant
from i2moe_plugin.benchmarks.speed.processes import processes

#: Backbones for inference, with the tokens they take.
INFERENCE: list[tuple[str, int | None]] = [
    *((name, None) for name in ("concat", "lrtf", "tensor", "mi-matrix", "nlgate", "interpretcc")),
    *((name, 4) for name in ("ef", "lf", "transformer", "switchgate", "moepp", "mult")),
]
TRAINING: tuple[Variant, ...] = ("naive", "loop", "auto", "vanilla")


def run(*, quick: bool = False, say: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Measure everything; about two minutes with ``quick``, eight without, on two quiet cores."""
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
    with processes() as process_of:
        for shape in [*transformers, *LOW_RANK]:
            say(f"training step, {shape.backbone} at {shape.name}")
            row = measure.compare(shape, TRAINING, process_of, seconds=seconds)
            result["training"].append({**row, "goal": _goal(shape)})
        half = {"autocast": torch.bfloat16}
        for shape in transformers:
            say(f"bf16-mixed, {shape.name}")
            row = measure.compare(shape, TRAINING, process_of, seconds=seconds, ours=half)
            result["bf16"].append({**row, "goal": 4.0})
        small = [Shape("small", name, 2, tokens, 64, 20) for name, tokens in INFERENCE]
        for shape in [*small, *transformers]:
            say(f"inference, {shape.backbone} at {shape.name}")
            row = measure.compare(
                shape, ("naive", "loop", "auto"), process_of, seconds=seconds / 6, inference=True
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
    found = {}
    budget = 50_000_000
    for name, variant, limit in (
        ("naive", "naive", None), ("auto", "auto", None), ("auto, 50 MB", "auto", budget),
    ):  # fmt: skip
        code = (
            "from i2moe_plugin.benchmarks.speed.models import TRANSFORMERS\n"
            "from i2moe_plugin.benchmarks.speed.measure import step_memory\n"
            f"print(step_memory(TRANSFORMERS[0], {variant!r}, {limit}))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        found[name] = float(done.stdout)
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
                f"{row['against_loop']['median']:.2f} | {row['goal']} | "
                f"{'yes' if gain['median'] >= row['goal'] else 'no'} |"
            )
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
    from i2moe_plugin.benchmarks.runs import explained, write_json

    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "speed.md").write_text(markdown(result), encoding="utf-8")
        (folder / "growth.svg").write_text(plot(result["growth"]), encoding="utf-8")
    write_json(folder / "speed.json", result)
    return [folder / name for name in ("speed.json", "speed.md", "growth.svg")]


def plot(rows: list[dict[str, Any]]) -> str:
    """Three charts as SVG: milliseconds a step against M, batch and width, on logarithmic axes."""
    import math

    # A pass of a view through an expert fuses M modalities, so that is what work is counted in.
    rows = [{**row, "passes": row["pairs"] * row["modalities"]} for row in rows]
    colours = {"lrtf": "#1f77b4", "transformer": "#d62728"}
    wide, high, pad = 260, 240, 48
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{3 * wide}" height="{high + 30}" '
        'font-family="sans-serif" font-size="11">',
        f'<rect width="{3 * wide}" height="{high + 30}" fill="white"/>',
    ]
    times = [math.log10(row["milliseconds"]) for row in rows]
    low, top = math.floor(min(times)), math.ceil(max(times))
    labels = {"modalities": "modality passes M(M+1)(M+2)", "batch": "batch", "width": "width"}
    for place, (axis, label) in enumerate(labels.items()):
        mine = [row for row in rows if row["axis"] == axis]
        key = "passes" if axis == "modalities" else axis
        span = [math.log2(row[key]) for row in mine]
        left, right = min(span), max(span)

        def x(value: float, left: float = left, right: float = right, at: int = place) -> float:
            share = (math.log2(value) - left) / ((right - left) or 1)
            return at * wide + pad + share * (wide - pad - 16)

        def y(value: float) -> float:
            return 16 + (top - math.log10(value)) / ((top - low) or 1) * (high - pad)

        for power in range(low, top + 1):
            parts.append(
                f'<line x1="{place * wide + pad}" x2="{(place + 1) * wide - 16}" '
                f'y1="{y(10**power):.1f}" y2="{y(10**power):.1f}" stroke="#ddd"/>'
                f'<text x="{place * wide + pad - 4}" y="{y(10**power) + 4:.1f}" '
                f'text-anchor="end">{10**power:g}</text>'
            )
        free = 0.0  # where the next label may stand
        for value in sorted({row[key] for row in mine}, reverse=True):
            if free and x(value) > free:
                continue
            parts.append(
                f'<text x="{x(value):.1f}" y="{high - 12}" text-anchor="middle">{value}</text>'
            )
            free = x(value) - 24
        parts.append(
            f'<text x="{place * wide + wide / 2 + 16}" y="{high + 6}" text-anchor="middle">'
            f"{label}</text>"
        )
        for backbone, colour in colours.items():
            line = [row for row in mine if row["backbone"] == backbone]
            points = " ".join(f"{x(row[key]):.1f},{y(row['milliseconds']):.1f}" for row in line)
            parts.append(
                f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
            )
            if line:  # linear growth from the first point, dashed
                first, last = line[0], line[-1]
                goal = first["milliseconds"] * last[key] / first[key]
                parts.append(
                    f'<line x1="{x(first[key]):.1f}" y1="{y(first["milliseconds"]):.1f}" '
                    f'x2="{x(last[key]):.1f}" y2="{max(y(goal), 4):.1f}" stroke="{colour}" '
                    'stroke-dasharray="3 4" opacity="0.6"/>'
                )
    for place, (backbone, colour) in enumerate(colours.items()):
        parts.append(
            f'<text x="{pad + 110 * place}" y="{high + 24}" fill="{colour}">{backbone}</text>'
        )
    parts.append(
        f'<text x="{3 * wide - 16}" y="{high + 24}" text-anchor="end">milliseconds a training '
        "step; dashed: linear growth</text></svg>"
    )
    return "\n".join(parts) + "\n"
