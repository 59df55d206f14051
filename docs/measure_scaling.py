"""Measure what docs/scaling.md says: a run's time and memory, and how well they are foretold.

    python docs/measure_scaling.py steps       a training step against modalities, batch, width
    python docs/measure_scaling.py runs        whole runs beside the estimate of `--dry-run`
    python docs/measure_scaling.py workers     a suite by one worker and by two

Seconds of `steps` and `runs` are of the processor, so that other load does not count. Each prints
a table in Markdown.
"""

from __future__ import annotations

import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from scipy.optimize import nnls

from i2moe_plugin.benchmarks.data.open import OpenedDataset, open_dataset
from i2moe_plugin.benchmarks.grid.cells import methods_grid
from i2moe_plugin.benchmarks.grid.estimate import makespan
from i2moe_plugin.benchmarks.grid.runner import GridRunner
from i2moe_plugin.benchmarks.run.cost import measure_cost
from i2moe_plugin.benchmarks.run.environment import create_fabric
from i2moe_plugin.benchmarks.run.execute import execute
from i2moe_plugin.benchmarks.run.model import create_trainer
from i2moe_plugin.benchmarks.run.settings import RunSettings, resolve
from i2moe_plugin.benchmarks.run.store import RunStore
from i2moe_plugin.benchmarks.speed.counting import count

BASE = {"device": "cpu", "latent_dim": 64, "batch_size": 64, "epochs": 5}
#: Data set, its settings, backbone, and settings that differ from BASE.
Case = tuple[str, dict[str, Any], str, dict[str, Any]]


def drawn(modalities: int, samples: int = 2000) -> tuple[str, dict[str, Any]]:
    """A drawn data set of that many modalities."""
    return "synthetic:hdxor-synergy", {"modalities": modalities, "samples": samples}


def prepared(case: Case, method: str) -> tuple[RunSettings, OpenedDataset]:
    """Settings of a run, and its data."""
    name, options, fusion, changed = case
    told = {f"data.{key}": value for key, value in options.items()}
    settings, _ = resolve(name, fusion, {**told, **BASE, **changed})
    data = open_dataset(name, **settings.data_settings)
    return settings.model_copy(update={"method": method}), data


def passes(method: str, modalities: int) -> int:
    """Passes of the backbone in a training step."""
    return (modalities + 2) * (modalities + 1) if method == "i2moe" else 1


def flops_of(settings: RunSettings, data: OpenedDataset) -> int:
    """Multiply-adds of a training step, both ways, counted."""
    trainer = create_trainer(settings, data, create_fabric(settings))
    loader = data.prepare().loader("train", batch_size=settings.batch_size)
    valid = [next(iter(data.prepare().loader("valid", batch_size=2)))]
    batch = [next(iter(loader))]
    trainer.fit(batch, valid, 1)  # finds its plan
    return count(lambda: trainer.fit(batch, valid, 2)).flops


def cases() -> Iterator[tuple[str, Case]]:
    """What is varied, and the case."""
    for modalities in (2, 3, 4):
        yield f"{modalities} modalities", (*drawn(modalities), "concat", {})
        yield f"{modalities} modalities, lrtf", (*drawn(modalities), "lrtf", {})
    for batch in (16, 256):
        yield f"batch {batch}", (*drawn(2), "concat", {"batch_size": batch})
        yield f"batch {batch}, lrtf", (*drawn(3), "lrtf", {"batch_size": batch})
    for width in (16, 256):
        yield f"width {width}", (*drawn(2), "concat", {"latent_dim": width})
        yield f"width {width}, lrtf", (*drawn(3), "lrtf", {"latent_dim": width})
    for samples in (500, 8000):
        yield f"{samples} samples", (*drawn(2, samples), "concat", {})


def steps() -> None:
    """Print seconds and memory of steps, and the formula fitted to two thirds of them."""
    print("| | method | passes | MFLOP | parameters | ms a step | fitted | MB |")
    print("|---|---|---|---|---|---|---|---|")
    rows = []
    for what, case in cases():
        for method in ("vanilla", "i2moe"):
            settings, data = prepared(case, method)
            cost = measure_cost(settings, data, 1, time.process_time)
            work = passes(method, len(data.modalities))
            rows.append((what, method, work, flops_of(settings, data), cost))
    features = np.array([[1, w, flops, c.parameters] for _, _, w, flops, c in rows], dtype=float)
    seconds = np.array([row[-1].step for row in rows])
    fitted_on = np.arange(len(rows)) % 3 != 2
    scale = features.max(0)
    weighted = (features / scale)[fitted_on] / seconds[fitted_on, None]  # relative errors
    found = nnls(weighted, np.ones(fitted_on.sum()))[0] / scale
    fitted = features @ found
    for (what, method, work, flops, cost), told, used in zip(rows, fitted, fitted_on, strict=True):
        mark = "" if used else " (held out)"
        print(
            f"| {what} | {method} | {work} | {flops / 1e6:.1f} | {cost.parameters:,} "
            f"| {1e3 * cost.step:.2f} | {1e3 * told:.2f}{mark} | {cost.memory / 1e6:.0f} |"
        )
    errors = np.abs(fitted / seconds - 1)[~fitted_on]
    base, per_pass, per_flop, per_parameter = found
    print(
        f"\nstep = {1e3 * base:.2f} ms + {1e3 * per_pass:.3f} ms x passes + FLOP / "
        f"{1 / max(per_flop, 1e-30):.3g} a second + {1e9 * per_parameter:.2f} ns x parameters; "
        f"held out: {np.median(errors):.0%} off in the median, {errors.max():.0%} at most."
    )


def runs() -> None:
    """Print whole runs beside what was said of them before."""
    held_out: list[Case] = [
        (*drawn(2), "concat", {}),
        (*drawn(3), "lrtf", {}),
        (*drawn(2), "tensor", {"latent_dim": 16}),
        ("htad", {}, "lrtf", {}),
        ("htad", {}, "nlgate", {"latent_dim": 32}),
        ("brca", {}, "concat", {"batch_size": 32}),
        ("emoji", {}, "lf", {"epochs": 2}),
    ]
    print("| | method | estimate s | run s | off | disk, estimate | disk |")
    print("|---|---|---|---|---|---|---|")
    told, took = [], []
    for case in held_out:
        for method in ("vanilla", "i2moe"):
            settings, data = prepared(case, method)
            cost = measure_cost(settings, data, 1, time.process_time)
            seconds, disk = _whole_run(settings, data)
            told.append(cost.seconds)
            took.append(seconds)
            print(
                f"| {settings.fusion} on {settings.dataset} | {method} | {cost.seconds:.2f} "
                f"| {seconds:.2f} | {cost.seconds / seconds - 1:+.0%} | {cost.disk / 1e3:.0f} kB "
                f"| {disk / 1e3:.0f} kB |",
                flush=True,
            )
    errors = [abs(one / other - 1) for one, other in zip(told, took, strict=True)]
    print(
        f"\nAll: {sum(told):.1f} s said, {sum(took):.1f} s taken, "
        f"{sum(told) / sum(took) - 1:+.0%}; "
        f"a run is {statistics.median(errors):.0%} off in the median, {max(errors):.0%} at most."
    )


def _whole_run(settings: RunSettings, data: OpenedDataset) -> tuple[float, int]:
    """Processor seconds and bytes of a run in a process of its own."""
    here, there = multiprocessing.get_context("fork").Pipe()

    def work() -> None:
        with tempfile.TemporaryDirectory() as folder:
            start = time.process_time()
            run = execute(settings, data, RunStore(folder), most_threads=1)
            seconds = time.process_time() - start
            there.send((seconds, sum(file.stat().st_size for file in run.path.iterdir())))

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    found: tuple[float, int] = here.recv()
    process.join()
    return found


def workers() -> None:
    """Print a suite's time by one worker and by two, beside the estimate."""
    grid = methods_grid("htad", "lrtf", ("vanilla", "i2moe"), range(4), values={"epochs": 20})
    print("| runs at a time | estimate s | wall s | processor s |")
    print("|---|---|---|---|")
    for some in (1, 2):
        with tempfile.TemporaryDirectory() as folder:
            runner = GridRunner(RunStore(folder), workers=some)
            costs = []
            for group, data in runner.survey(grid):
                assert data is not None
                for cell in group:
                    settings = cell.attempts[0].settings
                    costs += [measure_cost(settings, data, 1).seconds] * len(cell.attempts)
            before, start = _processor(), time.perf_counter()
            runner.run(grid)
            wall, used = time.perf_counter() - start, _processor() - before
        print(f"| {some} | {makespan(costs, some):.1f} | {wall:.1f} | {used:.1f} |", flush=True)


def _processor() -> float:
    """Processor seconds of this process and of those that it has waited for."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(sum(resource.getrusage(kind)[:2]) for kind in kinds)


PARTS: dict[str, Callable[[], None]] = {"steps": steps, "runs": runs, "workers": workers}

if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in PARTS:
        sys.exit(f"usage: python docs/measure_scaling.py {'|'.join(PARTS)}")
    PARTS[sys.argv[1]]()
