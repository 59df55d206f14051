"""Stored runs of any size and kind, written as `run` writes them, without training."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from i2moe_plugin import Classification, Multilabel, Regression
from i2moe_plugin.benchmarks.data.registry import DatasetEntry
from i2moe_plugin.benchmarks.data.splits import Splits
from i2moe_plugin.benchmarks.datasets import (
    Card,
    Contents,
    DataFolder,
    Modality,
    Preview,
    Values,
    datasets,
    open_dataset,
)
from i2moe_plugin.benchmarks.report.build import Report, build
from i2moe_plugin.benchmarks.run.files import write_json
from i2moe_plugin.benchmarks.run.outputs import write_outputs
from i2moe_plugin.benchmarks.run.settings import RunSettings
from i2moe_plugin.benchmarks.run.store import Run, RunStore
from i2moe_plugin.seeding import derive_seed

WriteRun = Callable[..., Run]
HISTORY = (
    '{"epoch": 1, "train": {"loss": 2.0, "task": 1.5, "auxiliary": 0.0%s}, '
    '"valid": {"loss": 1.0, "accuracy": 0.5}, "seconds": 0.1}\n'
    '{"epoch": 2, "train": {"loss": 1.0, "task": 0.5, "auxiliary": 0.0%s}, '
    '"valid": {"loss": 0.8, "accuracy": 0.75}, "seconds": 0.1}\n'
)


def write_run(
    folder: Path,
    task: Any = None,
    *,
    samples: int = 60,
    modalities: tuple[str, ...] = ("audio", "video"),
    method: str = "i2moe",
    seed: int = 0,
    dataset: str = "drawn",
    fusion: str = "concat",
    ids: list[str] | None = None,
    class_names: list[str] | None = None,
    splits: str = "",
    data_root: str | None = None,
    notes: list[str] | None = None,
    weights: Any = None,
    selection: str | None = None,
    **settings: Any,
) -> Run:
    """A finished run with drawn outputs; the targets are the same for all seeds."""
    task = task or Classification(3)
    width = task.num_outputs
    names = class_names or [f"class {c}" for c in range(width)]
    rng = np.random.default_rng(7)
    if isinstance(task, Classification):
        target = np.arange(samples) % width
        signal = np.eye(width)[target]
    elif isinstance(task, Multilabel):
        target = (rng.random((samples, width)) < 0.2).astype(np.float32)
        signal = 2 * target - 1
    else:
        assert isinstance(task, Regression)
        target = signal = rng.normal(size=(samples, width)).astype(np.float32)
    rng = np.random.default_rng(derive_seed(seed, method))
    columns = {
        "target": target,
        "sample_id": np.array(ids or [f"s{row}" for row in range(samples)]),
        "prediction": (2 * signal + rng.normal(size=signal.shape)).astype(np.float32),
    }
    experts = [*(f"uniqueness_{m + 1}" for m in range(len(modalities))), "synergy", "redundancy"]
    if method != "vanilla":
        raw = np.exp(rng.normal(size=(samples, len(experts))))
        drawn = (raw / raw.sum(1, keepdims=True)).astype(np.float32)
        columns["weights"] = drawn if weights is None else np.asarray(weights, np.float32)
        said = 2 * signal[:, None] + rng.normal(size=(samples, len(experts), width))
        columns["expert_outputs"] = said.astype(np.float32)
        columns["prediction"] = np.einsum(
            "ne,nec->nc", columns["weights"], columns["expert_outputs"]
        )
    metric = task.metric_names[0]
    result = {
        "test": {"loss": 0.5, **task.metrics(columns["prediction"], target)},
        "best_epoch": 2,
        "epochs": 2,
        "metric": selection or metric,
        "headline": metric,
        "parameters": 1234,
        "seconds": {"training": 1.0, "test": 0.1, "total": 1.2},
        "notes": notes or [],
        "task": task.describe(),
        "class_names": names,
        "modalities": list(modalities),
        "data_root": data_root,
    }
    terms = ""
    if method != "vanilla":
        result["expert_weights"] = dict(
            zip(experts, columns["weights"].mean(0).tolist(), strict=True)
        )
        terms = f', "interaction": {[0.5] * len(experts)}, "weights": {[0.25] * len(experts)}'
    record = RunSettings(
        dataset=dataset, fusion=fusion, method=method, seed=seed, device="cpu", **settings
    ).model_dump()
    store = RunStore(folder)
    number = abs(derive_seed(0, str(record))) % 10**8
    name = f"{dataset}-{fusion}-{method}-seed{seed}-{number:08d}"
    with store.writing(name, "identity") as aside:
        write_json(
            aside / "settings.json", {**record, "splits": splits, "sources": {"lr": "given"}}
        )
        write_json(aside / "environment.json", {"python": "3.11", "packages": {"torch": "2"}})
        write_json(aside / "result.json", result)
        (aside / "metrics.jsonl").write_text(HISTORY % (terms, terms))
        write_outputs(aside, columns)
        (aside / "weights.safetensors").write_bytes(b"not looked at")
    return Run.load(folder / name)


@pytest.fixture(name="write_run", scope="session")
def _write_run() -> WriteRun:
    return write_run


#: Text as somebody may put it into a plot, a tweet, a class name or a file name.
EVIL = (
    "</script><script>window.hacked=1</script><img src=x onerror=window.hacked=2>"
    "{{7*7}}<svg/onload=window.hacked=3>'\"><a href='javascript:window.hacked=4'>=1+1"
)


#: Of the drawn data set: every kind of modality, with hostile words in every one.
MODALITIES = (f"picture {EVIL}", "words", "curve", "table")


def drawn(samples: int) -> DatasetEntry:
    """The drawn data set with that many samples, all in the test split."""
    picture, words, curve, table = MODALITIES

    def shown(row: int) -> list[Preview]:
        rng = np.random.default_rng(row)
        return [
            Preview(picture, "image", rng.integers(0, 255, (40, 60, 3), dtype=np.uint8)),
            Preview(words, "text", f"word{row} {EVIL}"),
            Preview(curve, "series", rng.normal(size=(200, 2)), (EVIL, "second")),
            Preview(table, "features", np.arange(5.0) * row, (EVIL,)),
        ]

    def modality(place: int) -> Modality:
        def encoder(settings: Any) -> Any:
            raise NotImplementedError

        column = Values(np.zeros((samples, 1)))
        return Modality(MODALITIES[place], column, encoder, preview=lambda row: shown(row)[place])

    def read(folder: DataFolder) -> Contents:
        none = np.array([], dtype=np.int64)
        return Contents(
            splits=Splits(
                {"train": none, "valid": none, "test": np.arange(samples)},
                [f"{EVIL}-{row}" for row in range(samples)],
            ),
            modalities=[modality(place) for place in range(len(MODALITIES))],
            target=torch.zeros(samples, dtype=torch.int64),
            task=Classification(3),
            class_names=["a", "b", "c"],
        )

    return DatasetEntry("drawn", Card("drawn", "nowhere", "none"), MODALITIES, read)


@contextmanager
def registered(entry: DatasetEntry) -> Iterator[None]:
    """The data set under its name, for the time of the block."""
    datasets.add(entry)
    try:
        yield
    finally:
        datasets._entries.pop(entry.name)


@pytest.fixture(scope="session")
def write_page(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Report]:
    """``write_page(runs, samples=60)``: the page about them, with the drawn data set at hand."""

    def write(runs: Path, samples: int = 60) -> Report:
        with registered(drawn(samples)):
            return build([runs], tmp_path_factory.mktemp("page") / "report.html")

    return write


@pytest.fixture(scope="session")
def drawn_settings() -> Callable[[int], dict[str, Any]]:
    """What :func:`write_run` needs for runs on the drawn data set of that many samples."""

    def settings(samples: int) -> dict[str, Any]:
        with registered(drawn(samples)):
            data = open_dataset("drawn")
        ids = data.sample_ids("test")
        return {"ids": ids, "samples": samples, "splits": data.split_hash()}

    return settings


@pytest.fixture(scope="session")
def hostile_runs(
    tmp_path_factory: pytest.TempPathFactory,
    drawn_settings: Callable[[int], dict[str, Any]],
) -> Path:
    """Three kinds of task, an unfinished and a damaged run, with hostile text throughout."""
    folder = tmp_path_factory.mktemp("runs")
    common = drawn_settings(60) | {
        "modalities": MODALITIES[:2],
        "class_names": [EVIL, "plain", f"c {EVIL}"],
        "notes": [EVIL],
        "fusion": f"concat{EVIL}".replace("/", "|"),
    }
    for seed in range(2):
        for method in ("vanilla", "i2moe"):
            write_run(folder, seed=seed, method=method, **common)
    write_run(folder, Multilabel(6), dataset="labels", class_names=[EVIL, *"bcdef"])
    write_run(folder, Regression(1), dataset="values", class_names=[EVIL])
    damaged = write_run(folder, dataset="damaged")
    (damaged.path / "outputs.h5").write_bytes(b"")
    unfinished = folder / ".unfinished" / "stopped <img src=x onerror=window.hacked=5>"
    unfinished.mkdir(parents=True)
    return folder


@pytest.fixture(scope="session")
def hostile_page(hostile_runs: Path, write_page: Callable[..., Report]) -> Path:
    return write_page(hostile_runs).path


def browser_path() -> str | None:
    """The system's browser; $I2MOE_BROWSER first."""
    named = os.environ.get("I2MOE_BROWSER")
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return named or next(filter(None, map(shutil.which, names)), None)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless Chromium."""
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        path = browser_path() or driver.chromium.executable_path
        if not Path(path).exists():
            pytest.skip("no browser: install Chromium or Chrome, or set I2MOE_BROWSER")
        started = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield started
        started.close()
