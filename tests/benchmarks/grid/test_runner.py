"""Whole grids on a small data set: what is trained, kept, repeated, counted and written."""

import csv
import functools
import io
import json
import re
from collections import Counter

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from i2moe_plugin.backbones.entry import register_backbone
from i2moe_plugin.benchmarks.cli import main
from i2moe_plugin.benchmarks.data.open import OpenedDataset, open_dataset
from i2moe_plugin.benchmarks.grid import runner
from i2moe_plugin.benchmarks.grid.cells import methods_grid
from i2moe_plugin.benchmarks.grid.executors.processes import can_fork
from i2moe_plugin.benchmarks.grid.executors.serial import Serial
from i2moe_plugin.benchmarks.grid.failures import Failures
from i2moe_plugin.benchmarks.grid.formats import csv_text, json_text, latex, markdown
from i2moe_plugin.benchmarks.grid.runner import GridRunner, open_cell
from i2moe_plugin.benchmarks.grid.spec import load_suite
from i2moe_plugin.benchmarks.run import store as store_module
from i2moe_plugin.benchmarks.run.execute import run_name
from i2moe_plugin.benchmarks.run.files import sha256_of
from i2moe_plugin.benchmarks.run.store import RunStore
from i2moe_plugin.benchmarks.statistics import paper
from i2moe_plugin.benchmarks.statistics.paired import compare
from i2moe_plugin.benchmarks.terminal.suite import suite_progress
from i2moe_plugin.errors import BackboneError, DatasetError

QUICK = {"epochs": 2, "latent_dim": 8, "encoder_hidden": 8, "device": "cpu", "lr": 1e-2}


def invoke(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


class Moody(nn.Module):
    """Concatenation that gives up in training, unless told not to."""

    fails = True

    def __init__(self, input_dims):
        super().__init__()
        self.linear = nn.Linear(sum(input_dims), 4)

    def forward(self, latents):
        if self.training and Moody.fails and torch.is_grad_enabled():
            raise ValueError("not in\nthe mood")
        return self.linear(torch.cat(latents, 1))


@pytest.fixture
def moody(monkeypatch):
    monkeypatch.setattr(Moody, "fails", True)
    register_backbone("moody")(Moody)


def test_a_suite_trains_what_is_missing_and_nothing_else(suite_file, tmp_path):
    suite, store = load_suite(suite_file()), RunStore(tmp_path / "runs")
    trained = []

    def on_event(cell, attempt, epoch):
        if epoch is not None:
            trained.append((cell.cell.row, attempt.seed))

    table = GridRunner(store, on_event=on_event).run(suite)
    assert table.states == {"finished": 6}
    assert len(trained) == 6 * 2
    # Seeds outside methods: a stopped suite has whole pairs.
    assert [seed for _, seed in trained] == sorted(seed for _, seed in trained)
    again = GridRunner(store, on_event=on_event).run(suite)
    assert (len(trained), again.reused) == (12, 6)
    more = GridRunner(store, on_event=on_event).run(load_suite(suite_file(seeds=4)))
    assert (len(trained), more.reused) == (16, 6)


def test_several_at_a_time_give_the_same(suite_file, tmp_path, moody):
    suite = load_suite(suite_file(fusions=["concat", "moody"], seeds=1))
    one = GridRunner(RunStore(tmp_path / "1")).run(suite)
    two = GridRunner(RunStore(tmp_path / "2"), workers=2).run(suite)
    assert one.states == two.states == {"finished": 2, "failed": 2}
    first, second = ([e.values for e in r.entries.values()] for r in (one, two))
    assert first == second
    assert len(list(Failures(tmp_path / "2"))) == 2


def test_runs_are_those_of_the_command_run(suite_file, tmp_path):
    suite = load_suite(suite_file())
    quick = [f"--set={key}={value}" for key, value in suite.cells[0].settings.model_dump().items()
             if key in ("epochs", "latent_dim", "encoder_hidden", "device", "lr")]  # fmt: skip
    done = invoke("run", "--fusion", "concat", "--seeds", 3, "--data-root", tmp_path / "data",
                  "--out", tmp_path / "runs", *quick)  # fmt: skip
    assert done.exit_code == 0, done.output
    assert GridRunner(RunStore(tmp_path / "runs")).run(suite).reused == 6


def test_figures_are_those_of_the_runs(suite_file, tmp_path):
    store = RunStore(tmp_path / "runs")
    table = GridRunner(store).run(load_suite(suite_file()))
    assert table.columns == [("htad", "accuracy")]
    values = {}
    for method in ("vanilla", "i2moe"):
        entry = table.entries[("concat", method), ("htad", "accuracy")]
        runs = [run for run in store if f"-{method}-" in run.path.name]
        assert sorted(run.name for run in entry.cell.runs.values()) == [run.name for run in runs]
        expected = [run.result["test"]["accuracy"] for run in runs]
        values[method] = [entry.values[seed] for seed in range(3)]
        assert values[method] == expected
    comparison = table.entries[("concat", "i2moe"), ("htad", "accuracy")].comparison
    alone = compare("accuracy", values["vanilla"], values["i2moe"])
    assert comparison.difference == alone.difference
    assert comparison.p_adjusted == alone.p  # one comparison: nothing to correct
    assert table.entries[("concat", "vanilla"), ("htad", "accuracy")].comparison is None


def test_a_failure_is_kept_shown_not_counted_and_tried_again_on_request(
    suite_file, tmp_path, moody, monkeypatch
):
    path, store = suite_file(fusions=["moody", "concat"]), RunStore(tmp_path / "runs")
    table = GridRunner(store).run(load_suite(path))
    assert table.states == {"failed": 6, "finished": 6}  # the others were run all the same
    (failure, *rest) = Failures(store.folder)
    assert len(rest) == 5
    assert failure["reason"] == "ValueError: not in the mood"
    assert (failure["dataset"], failure["fusion"], failure["error"]) == (
        "htad",
        "moody",
        "ValueError",
    )
    entry = table.entries[("moody", "i2moe"), ("htad", "accuracy")]
    assert (entry.values, entry.cell.states, entry.comparison) == ({}, {"failed": 3}, None)
    assert "ValueError: not in the mood" in markdown(table)
    assert "| moody, i2moe | failed |" in markdown(table)

    monkeypatch.setattr(Moody, "fails", False)
    assert GridRunner(store).run(load_suite(path)).states["failed"] == 6
    assert GridRunner(store, retry=True).run(load_suite(path)).states == {"finished": 12}
    assert not list(Failures(store.folder))


def test_some_seeds_failed(suite_file, tmp_path, moody, monkeypatch):
    path, store = suite_file(fusions=["moody"]), RunStore(tmp_path / "runs")

    def only_seed_one(table, attempt, epoch):
        Moody.fails = attempt.seed == 1

    table = GridRunner(store, on_event=only_seed_one).run(load_suite(path))
    entry = table.entries[("moody", "i2moe"), ("htad", "accuracy")]
    assert sorted(entry.values) == [0, 2]
    assert entry.comparison.seeds == 2  # the pairs that both finished
    assert "(2 of 3 seeds)" in markdown(table)


def test_what_is_not_here_or_does_not_fit_is_skipped(suite_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = suite_file(
        datasets=["enrico", {"name": "htad", "root": "data"}], fusions=["mi3", "concat"]
    )
    suite = load_suite(file, settings={"encoder_hidden": 8})
    table = GridRunner(RunStore("runs")).run(suite)
    assert table.states == {"skipped": 18, "finished": 6}
    reasons = " ".join(table.reasons)
    assert "cannot be read from data/enrico" in reasons
    assert "backbone 'mi3' fuses 3 modalities; 2 are given" in reasons
    assert not list(Failures(RunStore("runs").folder))


def test_a_metric_that_there_is_not(suite_file, tmp_path):
    table = GridRunner(RunStore(tmp_path / "runs")).run(load_suite(suite_file(metrics=["acuracy"])))
    assert table.states == {"skipped": 6}
    assert "htad has no metric 'acuracy'. Did you mean 'accuracy'" in " ".join(table.reasons)


def test_samples_are_drawn_and_never_held_against_the_paper(suite_file, tmp_path, monkeypatch):
    monkeypatch.setenv("I2MOE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    settings = {"epochs": 1, "device": "cpu", "latent_dim": 8, "fusion.rank": 2}
    suite = load_suite("table1", seeds=[0], settings=settings, only=["mimic", "lrtf"])
    assert suite.cells[0].altered == ("epochs", "fusion.rank", "latent_dim")
    table = GridRunner(RunStore("runs"), open_data=functools.partial(open_cell, sample=True)).run(
        suite
    )
    entry = table.entries[("lrtf", "vanilla"), ("mimic", "accuracy")]
    assert entry.paper.value == pytest.approx(0.7017)
    assert entry.not_comparable.startswith("drawn sample; other settings: epochs")
    assert re.search(r"\[70.17\*\]", markdown(table))


def test_the_papers_figure_beside_ours(suite_file, tmp_path, monkeypatch):
    figure = paper.Figure(0.9, None, 3, "Table 7", "made up")
    key = ("htad", "concat", "i2moe", "accuracy", ())
    monkeypatch.setattr(paper, "figures", lambda: {key: figure})
    store = RunStore(tmp_path / "runs")
    table = GridRunner(store).run(load_suite(suite_file()))
    entry = table.entries[("concat", "i2moe"), ("htad", "accuracy")]
    assert (entry.paper, entry.not_comparable.split(":")[0]) == (figure, "other settings")
    assert "[90.00*]" in markdown(table)
    without = GridRunner(store).run(load_suite(suite_file(paper=False)))
    assert without.entries[("concat", "i2moe"), ("htad", "accuracy")].paper is None


def test_every_format_says_the_same(suite_file, tmp_path):
    file = suite_file(grid={"masking": ["zero", "mean"]}, metrics=["accuracy", "parameters"])
    table = GridRunner(RunStore(tmp_path / "runs")).run(load_suite(file))
    lines = list(csv.DictReader(io.StringIO(csv_text(table))))
    entries = json.loads(json_text(table))["entries"]
    assert len(lines) == len(entries) == 4 * 2
    for line, entry in zip(lines, entries, strict=True):
        assert line["metric"] == entry["metric"]
        assert line["variant"] == "masking=" + entry["variant"]["masking"]
        assert float(line["mean"]) == entry["mean"] == pytest.approx(
            np.mean(list(entry["values"].values()))
        )  # fmt: skip
        if entry["comparison"]:
            assert float(line["difference"]) == entry["comparison"]["difference"]
    pipes = [line for line in markdown(table).splitlines() if line.startswith("|")]
    tex = [line for line in latex(table).splitlines() if line.endswith("\\\\")]
    assert len(pipes) - 2 == len(tex) - 1 == 4
    for entry in entries:
        if entry["metric"] == "accuracy":
            mean = f"{100 * entry['mean']:.2f}"
            assert any(mean in line for line in pipes)
            assert any(mean in line for line in tex)
    assert all(line.count("&") == 2 and "_" not in line.replace("\\_", "") for line in tex)


def test_the_command(suite_file, tmp_path, moody):
    file, out = suite_file(fusions=["concat"]), tmp_path / "runs"
    done = invoke("suite", file, "--out", out)
    assert done.exit_code == 0, done.output
    assert "[6/6]" in done.stderr
    assert "concat, i2moe" in done.stdout
    written = {path.name for path in (out / "suites").iterdir()}
    assert written == {"small.md", "small.csv", "small.tex", "small.json"}
    shown = invoke("suite", file, "--out", out, "--json")
    assert json.loads(shown.stdout) == json.loads((out / "suites" / "small.json").read_text())
    failed = invoke("suite", suite_file(fusions=["moody"]), "--out", out)
    assert failed.exit_code == 1
    assert "not counted" in failed.stdout
    assert invoke("suite", file, "--data-root", "x").exit_code == 2


def test_data_that_turns_out_to_be_damaged_is_skipped(suite_file, tmp_path, monkeypatch):
    def prepare(self, *_, **__):
        raise DatasetError("row 7 is torn")

    monkeypatch.setattr(OpenedDataset, "prepare", prepare)
    table = GridRunner(RunStore(tmp_path / "runs")).run(load_suite(suite_file()))
    assert table.states == {"skipped": 6}
    assert list(table.reasons) == ["skipped: row 7 is torn"]


def test_the_live_table(suite_file, tmp_path, moody, monkeypatch, capsys):
    suite = load_suite(suite_file(fusions=["concat", "moody"], seeds=1))
    for name, value in (("FORCE_COLOR", "1"), ("COLUMNS", "100"), ("LINES", "20")):
        monkeypatch.setenv(name, value)
    with suite_progress(suite) as on_event:
        table = GridRunner(RunStore(tmp_path / "runs"), on_event=on_event).run(suite)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().err)
    assert table.states == {"finished": 2, "failed": 2}
    assert "Small: 4 of 4 runs" in shown
    assert "0/1 1 failed" in shown
    assert "1/1 accuracy" in shown


def test_a_run_that_another_process_computes_is_no_failure(suite_file, tmp_path):
    suite, store = load_suite(suite_file(methods=["vanilla"], seeds=1)), RunStore(tmp_path / "runs")
    name, identity = run_name(suite.cells[0].settings, open_dataset("htad", tmp_path / "data"))
    with pytest.raises(RuntimeError), store.writing(name, identity):
        table = GridRunner(store).run(suite)
        assert table.states == {"stopped": 1}
        assert "another process is computing this run" in " ".join(table.reasons)
        raise RuntimeError
    assert not list(Failures(store.folder))


SEEDS = (3, 1, 2)


def compare_methods(folder, data, **options):
    """Two methods on the small data set, and what was told of each run."""
    values = {**QUICK, "epochs": 1}
    grid = methods_grid("htad", "concat", ["vanilla", "i2moe"], SEEDS, values=values, root=data)
    told = []

    def on_event(cell, attempt, epoch):
        if epoch is not None or attempt.reused:
            told.append((cell.cell.settings.method, attempt.seed, attempt.reused))

    return GridRunner(RunStore(folder), strict=True, on_event=on_event, **options).run(grid), told


@pytest.mark.skipif(not can_fork(), reason="no safe fork here")
def test_several_processes_give_the_numbers_of_one(tmp_path, small_htad):
    alone, order = compare_methods(tmp_path / "one", small_htad)
    assert order == [(method, seed, False) for seed in SEEDS for method in ("vanilla", "i2moe")]
    together, told = compare_methods(tmp_path / "two", small_htad, workers=2)
    assert sorted(told) == sorted(order)
    for one, two in zip(alone.cells, together.cells, strict=True):
        assert list(one.runs) == list(two.runs) == list(SEEDS)
        assert [run.name for run in one.runs.values()] == [run.name for run in two.runs.values()]
        for metric in one.metrics:
            assert one.values(metric) == two.values(metric)
    again, reused = compare_methods(tmp_path / "two", small_htad, workers=2)
    assert again.reused == 6
    assert all(found for *_, found in reused)


def test_short_runs_do_not_wait_for_the_last_long_one(tmp_path, small_htad, monkeypatch):
    given = []

    class Noting(Serial):
        workers = 2

        def run(self, tasks, receive):
            given.extend((task.settings.method, task.settings.seed) for task in tasks)
            super().run(tasks, receive)

    monkeypatch.setattr(runner, "choose_executor", lambda workers: Noting())
    compare_methods(tmp_path, small_htad, workers=2)
    assert given == [
        ("i2moe", 3), ("i2moe", 1), ("vanilla", 3), ("i2moe", 2), ("vanilla", 1), ("vanilla", 2),
    ]  # fmt: skip


def test_a_comparison_has_every_metric_the_one_compared_by_first(tmp_path, small_htad):
    table, _ = compare_methods(tmp_path, small_htad)
    task = open_dataset("htad", small_htad).task
    for cell in table.cells:
        assert cell.metrics == task.metric_names
        assert [entry.metric for entry in table.of(cell)] == list(task.metric_names)
    names = [baseline.name for baseline in table.baselines]
    assert names[:3] == ["majority class", "logistic regression", "gradient boosting"]
    assert names[3:] == ["audio alone", "accelerometer alone"]
    assert all(set(baseline.test) == set(task.metric_names) for baseline in table.baselines)
    vanilla, i2moe = ([e.comparison for e in table.of(cell)] for cell in table.cells)
    assert vanilla == [None] * len(task.metric_names)
    assert all(item.p_adjusted is None for item in i2moe)  # one question: nothing to correct


def test_a_strict_grid_raises_what_a_suite_writes_down(suite_file, tmp_path, moody):
    store = RunStore(tmp_path / "runs")
    for keys, error in (
        ({"fusions": ["moody"]}, ValueError),
        ({"fusions": ["mi3"]}, BackboneError),
        ({"datasets": ["enrico"]}, DatasetError),
    ):
        with pytest.raises(error):
            GridRunner(store, strict=True).run(load_suite(suite_file(**keys)))
    assert not list(Failures(store.folder))


def test_a_file_is_hashed_once_when_written_and_once_when_first_read(
    tmp_path, small_htad, monkeypatch
):
    hashed = []
    monkeypatch.setattr(
        store_module, "sha256_of", lambda path: hashed.append(path) or sha256_of(path)
    )

    def counts():
        found = Counter((path.parent.parent.name, path.name) for path in hashed)
        hashed.clear()
        return found

    table, _ = compare_methods(tmp_path, small_htad)
    files = [name for run in table.cells[0].runs.values() for name in run.manifest["files"]]
    assert len(files) == 6 * len(SEEDS)
    json_text(table)
    written = counts()
    assert {place for place, _ in written} == {".unfinished", tmp_path.name}
    for name in set(files):
        assert written[".unfinished", name] == 2 * len(SEEDS)
    assert written[tmp_path.name, "result.json"] == 2 * len(SEEDS)
    assert written[tmp_path.name, "outputs.h5"] == 2 * len(SEEDS)  # for intervals over samples
    assert sum(written.values()) == 2 * len(files) + 4 * len(SEEDS)  # nothing else was read
    again, _ = compare_methods(tmp_path, small_htad)
    json_text(again)
    assert counts() == {(tmp_path.name, name): 2 * len(SEEDS) for name in set(files)}
