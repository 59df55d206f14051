"""Timing side by side: variants take turns, so that what else the machine does meets them alike."""

from __future__ import annotations

import functools
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from i2moe_plugin.benchmarks.run.memory import keep_freed_memory
from i2moe_plugin.benchmarks.speed.counting import count
from i2moe_plugin.benchmarks.speed.models import Shape, Variant, build
from i2moe_plugin.benchmarks.speed.processes import (
    Ask,
    build_here,
    drop_here,
    plan_here,
    seconds_of,
    time_here,
)

#: The variants that lack a piece of what makes ``auto`` fast.
WITHOUT: tuple[Variant, ...] = ("loop", "batched", "torch-dropout", "unkept")


def interleaved(
    calls: Mapping[str, Callable[[], float]], *, seconds: float, least: int = 3
) -> dict[str, list[float]]:
    """Seconds of each call, round after round.

    Args:
        calls: by name; each says how many seconds it took.
        seconds: about how long it may take in all.
        least: rounds that are made in any case.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    start, rounds = time.perf_counter(), 0
    while rounds < least or time.perf_counter() - start < seconds:
        for name, call in calls.items():
            times[name].append(call())
        rounds += 1
    return times


def ratio(slow: list[float], fast: list[float]) -> dict[str, float]:
    """How many times faster: the median over rounds, with the middle half of them."""
    each = sorted(a / b for a, b in zip(slow, fast, strict=True))
    quarter = len(each) // 4
    return {
        "median": statistics.median(each),
        "low": each[quarter],
        "high": each[-1 - quarter],
        "rounds": len(each),
    }


def compare(
    shape: Shape,
    variants: Sequence[Variant],
    ask: Ask,
    *,
    seconds: float,
    inference: bool = False,
    ours: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Median milliseconds of each variant, and how many times faster than the naive one it is.

    Args:
        shape: what the models are built for.
        variants: ``naive`` and others.
        ask: their processes (:func:`processes`).
        seconds: about how long it may take.
        inference: time predictions, not training steps.
        ours: further arguments of :func:`build` for all but the naive one.
    """
    calls: dict[str, Callable[[], float]] = {}
    for variant in variants:
        ask(variant, build_here, shape, {} if variant == "naive" or ours is None else ours)
        calls[variant] = functools.partial(ask, variant, time_here, inference)
    times = interleaved(calls, seconds=seconds)
    plan = ask("auto", plan_here)
    for variant in variants:
        ask(variant, drop_here)
    return _row(shape, times, plan)


def _row(
    shape: Shape, times: dict[str, list[float]], plan: dict[str, Any] | None
) -> dict[str, Any]:
    return {
        "shape": shape.name,
        "backbone": shape.backbone,
        "modalities": shape.modalities,
        "plan": plan["plan"] if plan else "",
        "milliseconds": {name: 1000 * statistics.median(each) for name, each in times.items()},
        "faster": {
            name: ratio(times["naive"], each) for name, each in times.items() if name != "naive"
        },
        "without": {name: ratio(times[name], times["auto"]) for name in WITHOUT if name in times},
    }


def peak_gflops(dtype: torch.dtype = torch.float32, *, seconds: float = 1.0) -> float:
    """The most that a large matrix product reaches here, in billions of operations a second."""
    size = 1024
    left, right = (torch.randn(size, size).to(dtype) for _ in range(2))
    times = interleaved({"mm": lambda: seconds_of(lambda: left @ right)}, seconds=seconds)
    return 2 * size**3 / min(times["mm"]) / 1e9


def counts(shape: Shape) -> dict[str, Any]:
    """Operators and FLOPs of a training step of each plan."""
    found: dict[str, Any] = {"shape": shape.name, "backbone": shape.backbone}
    for variant in ("vanilla", "naive", "auto", "stacked"):
        counted = count(build(shape, variant).step)
        found[variant] = {"operators": counted.operators, "gflop": counted.flops / 1e9}
    return found


def profile(shape: Shape, *, top: int = 8) -> list[dict[str, Any]]:
    """Where the time of an ``auto`` step goes: the operators that take most of it."""
    subject = build(shape, "auto")
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as record:
        subject.step()
    rows = sorted(record.key_averages(), key=lambda row: -row.self_cpu_time_total)
    total = sum(row.self_cpu_time_total for row in rows) or 1
    return [
        {"operator": row.key, "share": row.self_cpu_time_total / total, "calls": row.count}
        for row in rows[:top]
    ]


def growth(*, quick: bool) -> list[dict[str, Any]]:
    """Milliseconds of an ``auto`` step against M, batch and width, from one middle point."""
    points: list[tuple[str, int, int, int]] = [
        *(("modalities", m, 32, 64) for m in ((2, 4) if quick else (2, 3, 4, 5, 6, 7, 8))),
        *(("batch", 3, b, 64) for b in ((8, 64) if quick else (8, 16, 32, 64, 128, 256, 512))),
        *(("width", 3, 32, w) for w in ((64, 128) if quick else (64, 128, 256, 512))),
    ]
    rows = []
    for backbone, tokens in (("lrtf", None), ("transformer", 4)):
        for axis, modalities, batch, width in points:
            shape = Shape("growth", backbone, modalities, tokens, width, 3)
            subject = build(shape, "auto", batch=batch)
            times = interleaved({"auto": functools.partial(seconds_of, subject.step)}, seconds=0.2)[
                "auto"
            ]
            rows.append(
                {
                    "backbone": backbone,
                    "axis": axis,
                    "modalities": modalities,
                    "batch": batch,
                    "width": width,
                    "pairs": (modalities + 2) * (modalities + 1),
                    "milliseconds": 1000 * min(times),
                }
            )
    return rows


def step_memory(variant: Variant, shape: Shape, budget: int | None = None) -> float:
    """The peak memory in MB that a step at batch 32 adds to a process; for a process of its own."""
    if variant != "naive":
        keep_freed_memory()  # as a run does
    subject = build(shape, variant, batch=2)  # the optimizer's moments exist from here on
    bank = getattr(subject.model, "bank", None)
    subject.latents = [torch.randn(32, *spec.shape).requires_grad_() for spec in shape.latents]
    subject.target = torch.randint(shape.outputs, (32,))
    if bank is not None and budget is not None:
        bank.memory_budget, bank.report = budget, None
    before = _peak()
    subject.step()
    return _peak() - before


def _peak() -> float:
    """The most memory in MB that this process has held; NaN on Windows."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would count what the parent held, too
        lines = status.read_text(encoding="utf-8").splitlines()
        return int(next(line for line in lines if "VmHWM" in line).split()[1]) / 1e3
    if sys.platform == "win32":
        return float("nan")  # it is not measured there
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)
