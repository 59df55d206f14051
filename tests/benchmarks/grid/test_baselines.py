"""Simple models beside the methods: what they read, how they are kept, and cautions."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from sklearn.linear_model import LogisticRegression

from i2moe_plugin.benchmarks.cli import main
from i2moe_plugin.benchmarks.data.open import open_dataset
from i2moe_plugin.benchmarks.grid import baselines
from i2moe_plugin.benchmarks.grid.baselines import Baseline, fit_baselines, flat
from i2moe_plugin.benchmarks.grid.cautions import cautions
from i2moe_plugin.benchmarks.grid.cells import Cell, Grid
from i2moe_plugin.benchmarks.grid.formats import simple_cells
from i2moe_plugin.benchmarks.grid.runs import CellRuns
from i2moe_plugin.benchmarks.grid.table import Table
from i2moe_plugin.benchmarks.run.settings import RunSettings
from i2moe_plugin.benchmarks.statistics import simple
from i2moe_plugin.benchmarks.statistics.simple import SIMPLE_MODELS, Fitted


@pytest.fixture(autouse=True)
def _kept_beside_the_runs(monkeypatch):
    """As for users; other tests share what was fitted."""
    monkeypatch.setattr(baselines, "FOLDER", ".simple")


def test_each_modality_alone_is_a_model_of_its_own_features(small_htad, tmp_path):
    data = open_dataset("htad", small_htad)
    found = {one.alone: one for one in fit_baselines(["linear"], data, "accuracy", tmp_path)}
    assert list(found) == ["", *data.modalities]
    widths = [modality.column[np.arange(1)].shape[1] for modality in data._contents.modalities]
    columns = np.split(np.arange(sum(widths)), [widths[0]])
    for alone, part in zip(data.modalities, columns, strict=True):
        rows = {split: data.features(split)[:, part] for split in ("train", "test")}
        scale = rows["train"].mean(0), rows["train"].std(0)
        scaled = {k: (v - scale[0]) / np.where(scale[1] > 0, scale[1], 1) for k, v in rows.items()}
        model = LogisticRegression(C=found[alone].chosen["C"], max_iter=2000)
        model.fit(scaled["train"], data.labels("train"))
        score = model.score(scaled["test"], data.labels("test"))
        assert found[alone].test["accuracy"] == pytest.approx(score)


def test_what_was_fitted_is_kept_until_the_data_or_the_metric_changes(
    small_htad, tmp_path, monkeypatch
):
    data = open_dataset("htad", small_htad)
    first = fit_baselines(["constant"], data, "accuracy", tmp_path)
    calls = []
    fit = baselines._fit
    monkeypatch.setattr(baselines, "_fit", lambda *given: calls.append(given) or fit(*given))
    assert fit_baselines(["constant"], data, "accuracy", tmp_path) == first
    assert calls == []
    fit_baselines(["constant"], data, "auroc", tmp_path)
    assert len(calls) == 1
    for kept in (tmp_path / ".simple").iterdir():
        kept.write_text("{")
    assert fit_baselines(["constant"], data, "accuracy", tmp_path) == first
    assert len(calls) == 2


def test_what_is_undefined_is_so_when_it_is_read_again(small_htad, tmp_path, monkeypatch):
    undefined = Fitted("boosting", {"accuracy": np.nan}, {"trees": 0}, "not fitted")
    monkeypatch.setitem(SIMPLE_MODELS, "boosting", lambda *_: undefined)
    data = open_dataset("htad", small_htad)
    for _ in range(2):
        (found,) = fit_baselines(["boosting"], data, "accuracy", tmp_path)
        assert np.isnan(found.test["accuracy"])
        shown = dataclasses.replace(table({"vanilla": 0.2}, []), baselines=(found,))
        shown = dataclasses.replace(shown, entries={(("concat", "vanilla"), COLUMN): None})
        assert cautions(shown) == []
        assert shown.simple_rows == {}
        assert dataclasses.replace(shown, cells=(), entries={}).notes == [
            "htad: boosting: not fitted."
        ]


@pytest.mark.parametrize("form", ["lengths", "mask", "neither"])
def test_of_a_sequence_only_the_steps_that_are_there_count(form):
    values = torch.randn(5, 7, 3)
    lengths = torch.tensor([7, 1, 4, 2, 6]) if form != "neither" else torch.full((5,), 7)
    given = {
        "lengths": (values, lengths),
        "mask": (values, torch.arange(7) < lengths[:, None]),
        "neither": values,
    }
    for row, (series, length) in enumerate(zip(values.numpy(), lengths.tolist(), strict=True)):
        there = series[:length]
        expected = np.concatenate([there.mean(0), there.std(0), there[-1]])
        assert flat(given[form])[row] == pytest.approx(expected, abs=1e-5)


def test_pictures_are_means_over_cells_and_features_are_as_they_are():
    pictures = torch.rand(2, 3, 32, 16)
    cells = pictures.reshape(2, 3, 8, 4, 8, 2).mean((3, 5))
    assert flat(pictures) == pytest.approx(cells.reshape(2, -1).numpy())
    assert flat(torch.eye(3)) == pytest.approx(np.eye(3))
    assert flat(torch.rand(2, 1, 8, 8, 8)).shape == (2, 64)


COLUMN = ("htad", "accuracy")


class Finished(CellRuns):
    """A cell of which only the figures are known."""

    figures: dict[str, float]
    weights: dict[str, float]

    @property
    def runs(self):
        return {0: None}

    def values(self, metric):
        return {0: self.figures[metric]}

    def expert_weights(self):
        return self.weights


def table(figures, rows, weights=None):
    cells = []
    for method, value in figures.items():
        settings = RunSettings(dataset="htad", fusion="concat", method=method)
        cell = Finished(Cell(settings), [], metrics=("accuracy",))
        cell.figures, cell.weights = {"accuracy": value}, (weights or {}).get(method, {})
        cells.append(cell)
    grid = Grid("run", "", (0,), tuple(cell.cell for cell in cells))
    simple = [
        Baseline(name, "htad", {"accuracy": value}, chosen, alone=alone)
        for name, value, chosen, alone in rows
    ]
    return Table(grid, tuple(cells), {}, tuple(simple))


ROWS = [
    ("majority class", 0.3, {}, ""),
    ("boosting", 0.9, {"trees": 3}, ""),
    ("audio alone", 0.6, {"C": 1}, "audio"),
]


@pytest.mark.parametrize(
    ("figures", "said"),
    [
        ({"vanilla": 0.95, "i2moe": 0.91}, []),
        ({"vanilla": 0.95, "i2moe": 0.85}, ["A simple model"]),
        ({"vanilla": 0.5, "i2moe": 0.85}, ["One modality alone", "A simple model"]),
        ({"vanilla": 0.6, "i2moe": 0.9}, ["One modality alone is no worse", "A simple model"]),
        ({"vanilla": 0.2, "i2moe": 0.85}, ["Predicting the same", "One modality", "A simple"]),
    ],
)
def test_what_is_simple_and_better_is_said_with_figures(figures, said):
    found = cautions(table(figures, ROWS))
    assert [sentence.startswith(start) for sentence, start in zip(found, said, strict=True)] == (
        [True] * len(said)
    )
    if figures["i2moe"] < 0.9:
        assert "boosting 90.00, " in found[-1]
        assert "I2MoE 85.00" in found[-1]
        assert ("vanilla" in found[-1]) == (figures["vanilla"] < 0.9)


def test_weights_that_have_collapsed_are_said():
    collapsed = {"i2moe": {"synergy": 0.93, "redundancy": 0.07}}
    (sentence,) = cautions(table({"i2moe": 0.95}, ROWS, collapsed))
    assert "synergy has 0.93 of the weight" in sentence
    assert cautions(table({"i2moe": 0.95}, ROWS, {"i2moe": {"a": 0.7, "b": 0.3}})) == []


def test_of_the_modalities_a_shared_table_shows_the_best():
    rows = [*ROWS, ("text alone", 0.7, {"C": 1}, "text"), ("logistic", 0.4, {"C": 1}, "")]
    shown = table({"vanilla": 0.95}, rows)
    shown = dataclasses.replace(shown, entries={(("concat", "vanilla"), COLUMN): None})
    assert {kind: values[COLUMN] for kind, values in shown.simple_rows.items()} == {
        "a constant": 0.3,
        "linear model": 0.4,
        "gradient boosting": 0.9,
        "best modality alone (linear)": 0.7,
    }
    assert simple_cells(shown, [COLUMN, ("other", "mae")])[2] == ["gradient boosting", "90.00", ""]


def run_on(tmp_path, classes):
    """Run on four rows of each class, with ten features; return what simple models reach."""
    random = np.random.default_rng(0)
    target = np.tile(np.arange(classes), 4)
    rows = random.normal(size=(classes, 10))[target] + 0.3 * random.normal(size=(4 * classes, 10))
    folder = tmp_path / "many"
    folder.mkdir()
    np.savez(folder / "x.npz", a=rows[:, :5], b=rows[:, 5:])
    splits = np.repeat(["train", "train", "valid", "test"], classes)
    lines = [f"class {y},{split}\n" for y, split in zip(target, splits, strict=True)]
    (folder / "t.csv").write_text("y,split\n" + "".join(lines))
    (folder / "dataset.yaml").write_text(
        "name: many\n"
        "modalities:\n"
        "  a: {file: x.npz, key: a, kind: features}\n"
        "  b: {file: x.npz, key: b, kind: features}\n"
        "target: {file: t.csv, column: y}\n"
        "task: classification\n"
        "split: {file: t.csv, column: split}\n"
    )
    options = ["--seeds", "1", "--epochs", "2", "--jobs", "1", "--device", "cpu"]
    command = ["run", "--dataset", str(folder), "--fusion", "concat", *options, "--json"]
    found = CliRunner().invoke(main, [*command, "--out", str(tmp_path / "runs")])
    assert found.exit_code == 0, found.output
    return {one["name"]: one for one in json.loads(found.stdout)["simple_models"]}


def test_of_many_classes_what_takes_long_is_bounded_and_said(tmp_path, monkeypatch):
    monkeypatch.setattr(simple, "MOST_WORK", simple.MOST_WORK * (150 / 5000) ** 2)
    monkeypatch.setattr(simple, "MOST_SPLITS", simple.MOST_SPLITS * (150 / 5000) ** 2)
    rows = run_on(tmp_path, 150)
    assert "iterations in all" in rows["logistic regression"]["note"]
    assert "not fitted" in rows["gradient boosting"]["note"]
    assert rows["gradient boosting"]["test"]["accuracy"] is None


@pytest.mark.slow
def test_five_thousand_classes_end(tmp_path):
    rows = run_on(tmp_path, 5000)  # within the time that any test has
    assert "iterations in all" in rows["logistic regression"]["note"]
    assert rows["logistic regression"]["test"]["accuracy"] > 0.5
    assert "not fitted" in rows["gradient boosting"]["note"]
    page = tmp_path / "page.html"
    report = CliRunner().invoke(main, ["report", str(tmp_path / "runs"), "-o", str(page)])
    assert report.exit_code == 0, report.output
    assert page.stat().st_size < 10_000_000
