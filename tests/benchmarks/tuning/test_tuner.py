"""Whole searches: the same trials whatever stops them, the validation split alone, the recipe."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner
from torch import nn

from i2moe_plugin.backbones.entry import register_backbone
from i2moe_plugin.benchmarks.cli import main
from i2moe_plugin.benchmarks.data.open import open_dataset
from i2moe_plugin.benchmarks.data.splits import Splits
from i2moe_plugin.benchmarks.grid.executors.processes import can_fork
from i2moe_plugin.benchmarks.run.execute import execute
from i2moe_plugin.benchmarks.run.locks import hold
from i2moe_plugin.benchmarks.run.store import RunStore
from i2moe_plugin.benchmarks.tuning.trials import Outcome, with_params
from i2moe_plugin.errors import ConfigError, DatasetError, RunError, TrainingError

optuna = pytest.importorskip("optuna", reason="needs the extra tune")


def invoke(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_every_method_has_as_many_trials_and_the_same_seeds(tuned, listed, space_file):
    tuned = tuned()
    found = listed(tuned)
    assert {method: len(trials) for method, trials in found.items()} == {"vanilla": 7, "i2moe": 7}
    assert tuned.facts["seeds"] == [7, 8]
    space = set(yaml.safe_load(space_file.read_text()))
    assert all({*params} == space for _, params, *_ in found["i2moe"])
    assert all({*p} == space - {"interaction_weight"} for _, p, *_ in found["vanilla"])


def test_a_value_is_the_mean_validation_metric_of_runs_with_those_settings(
    tuned, small_htad, tmp_path
):
    """Runs of the command `run` are the oracle."""
    data = open_dataset("htad", small_htad)
    for search in tuned().searches:
        values = []
        for seed in (7, 8):
            settings = with_params(search.cell.settings, search.best.params)
            settings = settings.model_copy(update={"seed": seed})
            run = execute(settings, data, RunStore(tmp_path / "runs"))
            lines = (run.path / "metrics.jsonl").read_text().splitlines()
            best = json.loads(lines[run.result["best_epoch"] - 1])
            values.append(best["valid"]["accuracy"])
        assert search.best.value == pytest.approx(np.mean(values))
        assert search.best.value == max(
            t.value for t in search.trials.values() if t.state.name == "COMPLETE"
        )


class Stop(Exception):
    pass


@pytest.mark.parametrize("after", [1, 12])
def test_a_stopped_search_goes_on_with_the_same_trials(tune, tuned, listed, after):
    """Even where a round was left half done."""
    outcomes = 0

    def on_trial(method, number, message):
        nonlocal outcomes
        outcomes += isinstance(message, Outcome)
        if outcomes == after:
            raise Stop

    whole = listed(tuned(trials=12, seeds=(7,)))
    with pytest.raises(Stop):
        tune("stopped", trials=12, seeds=(7,), on_trial=on_trial)
    ended = []

    def note(method, number, message):
        if isinstance(message, Outcome):
            ended.append((method, number))

    again = tune("stopped", trials=12, seeds=(7,), on_trial=note)
    assert listed(again) == whole
    assert len(ended) == len({*ended}) == 24 - after


def test_more_trials_go_on_from_fewer(tune, listed):
    few, more = tune(trials=6, seeds=(7,)), tune(trials=11, seeds=(7,))
    assert [trials[:6] for trials in listed(more).values()] == [*listed(few).values()]
    assert listed(more) == listed(tune("other", trials=11, seeds=(7,)))


@pytest.mark.skipif(not can_fork(), reason="processes are forked")
def test_several_at_a_time_give_the_same(tune, tuned, listed):
    one, two = tuned(), tune(workers=2)
    assert listed(one) == listed(two)
    assert one.recipe.read_bytes() == two.recipe.read_bytes()


def test_other_searches_of_one_file_are_others(tune, listed):
    first = tune()
    other = tune(seed=1)
    assert listed(first) != listed(other)
    assert first.storage == other.storage
    assert listed(tune()) == listed(first)


@pytest.mark.slow
@pytest.mark.posix
def test_a_killed_search_goes_on_with_the_same_trials(tmp_path, small_htad, space_file):
    command = [
        *(sys.executable, "-m", "i2moe_plugin", "tune", "--fusion", "concat", "--trials", "12"),
        *("--data-root", small_htad, "--space", space_file, "--epochs", "3", "--jobs", "1"),
        *("--seeds", "2", "--device", "cpu", "--json", "--out"),
    ]

    def finished(path):
        # Not read-only: a kill in mid-write leaves a journal, which a reader has to roll back.
        with closing(sqlite3.connect(f"file:{path}?mode=rw", uri=True)) as file:
            return file.execute("select count(*) from trials").fetchone()[0]

    def kept(out):
        done = subprocess.run([*command, out], capture_output=True, text=True, check=True)
        record = json.loads(done.stdout)
        return {name: record[name] for name in ("methods", "data", "space")}

    process = subprocess.Popen([*command, tmp_path / "killed"], start_new_session=True)
    file, end = tmp_path / "killed/tuning/htad-concat.db", time.monotonic() + 250
    while time.monotonic() < end:
        try:
            if finished(file) >= 3:
                break
        except sqlite3.OperationalError:
            pass
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert 3 <= finished(file) < 24
    assert kept(tmp_path / "killed") == kept(tmp_path / "whole")


# The test split.


def test_nonsense_in_the_test_split_changes_nothing(tune, tuned, listed, tmp_path, htad):
    expected = listed(tuned())
    with np.load(tmp_path / "data/htad.npz") as archive:
        arrays = dict(archive)
    test = arrays["split"] == 2
    changed = {name: arrays[name].copy() for name in ("audio", "accelerometer", "label")}
    changed["label"][test] = 2 - changed["label"][test]
    for name in ("audio", "accelerometer"):
        changed[name][test] = 1e3
    htad(tmp_path / "nonsense", **changed)
    assert listed(tune("other", data="nonsense")) == expected


def test_the_test_split_is_never_touched(tune, tuned, listed, monkeypatch):
    expected, rows = listed(tuned()), Splits.__getitem__

    def guarded(self, split):
        assert split != "test", "the test split was asked for"
        return rows(self, split)

    monkeypatch.setattr(Splits, "__getitem__", guarded)
    tuned = tune()
    assert listed(tuned) == expected
    assert tuned.searches[0].states["failed"] == 0


@pytest.mark.parametrize("name", ["htad", "emoji", "synthetic:bool-xor"])
def test_a_data_set_without_its_test_split_gives_nothing_of_it(name):
    whole = open_dataset(name)
    data = whole.without_test()
    assert (data.labels("valid") == whole.labels("valid")).all()
    assert data.fingerprint() == whole.fingerprint()
    assert data.split_hash() == whole.split_hash()
    for ask in (
        lambda: data.labels("test"),
        lambda: data.sample_ids("test"),
        lambda: data.features("test"),
        lambda: data.preview("test", 0),
        lambda: data.layouts("test", 0),
        lambda: data.prepare().loader("test", batch_size=2),
        lambda: data.samples("all"),
    ):
        with pytest.raises(DatasetError, match="the test split is out of reach"):
            ask()


# Failures.


class Choosy(nn.Module):
    """Concatenation that breaks on narrow latents."""

    narrowest = 8

    def __init__(self, input_dims):
        super().__init__()
        self.linear = nn.Linear(sum(input_dims), 4)

    def forward(self, latents):
        if self.training and torch.is_grad_enabled() and latents[0].shape[1] < self.narrowest:
            raise ValueError("too\nnarrow")
        return self.linear(torch.cat(latents, 1))


def test_failed_trials_do_not_end_a_search(tune):
    register_backbone("choosy")(Choosy)
    tuned = tune(fusion="choosy")
    for search in tuned.searches:
        assert search.states["failed"] == sum(
            trial.params["latent_dim"] == 4 for trial in search.trials.values()
        )
        assert 0 < search.states["failed"] < 7
        assert search.best.params["latent_dim"] == 8
        assert dict(search.reasons) == {"ValueError: too narrow": search.states["failed"]}
    facts = tuned.facts["methods"]["vanilla"]
    assert facts["finished"] + facts["pruned"] + facts["failed"] == 7


class Demanding(nn.Module):
    """Concatenation with a setting that has no default."""

    def __init__(self, input_dims, width):
        super().__init__()
        self.linear = nn.Linear(sum(input_dims), width)

    def forward(self, latents):
        return self.linear(torch.cat(latents, 1))


def test_settings_that_a_backbone_needs_are_given_or_searched(tune, tmp_path):
    register_backbone("demanding")(Demanding)
    tuned = tune(fusion="demanding", trials=1, values={"fusion.width": 3})
    assert yaml.safe_load(tuned.recipe.read_text())["fusions"]["demanding"]["fusion.width"] == {
        "value": 3,
        "source": "given to tune",
    }


def test_a_search_of_failures_alone_gives_no_recipe(tune, monkeypatch, tmp_path):
    monkeypatch.setattr(Choosy, "narrowest", 100)
    register_backbone("choosy")(Choosy)
    with pytest.raises(TrainingError, match=r"no trial of vanilla could be finished: .*narrow"):
        tune(fusion="choosy", trials=2)
    assert not (tmp_path / "runs/tuning/htad-choosy.yaml").exists()


def test_a_file_that_holds_no_searches_is_named(tune, tmp_path):
    path = tmp_path / "runs/tuning/htad-concat.db"
    path.parent.mkdir(parents=True)
    path.write_text("by hand " * 1000)
    with pytest.raises(RunError, match=r"htad-concat\.db cannot be used.*Move it away"):
        tune(trials=1)


def test_two_processes_do_not_tune_into_one_file(tune, tmp_path):
    lock = hold(tmp_path / "runs/tuning/htad-concat.db")
    try:
        with pytest.raises(RunError, match="another process is tuning"):
            tune(trials=1)
    finally:
        lock.release()


def test_a_folder_with_an_odd_name_is_fine(tune, listed):
    assert listed(tune("a b?c#d%41", trials=2)) == listed(tune(trials=2))


# The command, and the recipe.

SMALL = ("--fusion", "concat", "--epochs", 3, "--device", "cpu", "--jobs", 1)


@pytest.fixture
def recipe(tuned):
    """A tuned recipe: its path, and each method's best settings."""
    tuned = tuned()
    return tuned.recipe, {search.method: search.best.params for search in tuned.searches}


def test_run_takes_each_methods_own_settings(recipe, small_htad, tmp_path):
    path, best = recipe
    run = ("run", "--fusion", "concat", "--data-root", small_htad, "--seeds", 3,
           "--recipe", path, "--out", tmp_path / "runs", "--json")  # fmt: skip
    done = invoke(*run)
    assert done.exit_code == 0, done.output
    for method, record in json.loads(done.stdout)["methods"].items():
        for place in record["runs"]:
            with open(f"{place}/settings.json") as file:
                settings = json.load(file)
            assert {key: settings[key] for key in best[method]} == best[method]
            assert (settings["epochs"], settings["encoder_hidden"]) == (3, 8)
            assert all(settings["sources"][k].startswith("tune: the best") for k in best[method])
    said = json.loads(invoke(*run, "--set", "lr=0.5", "--epochs", 1).stdout)
    with open(f"{said['methods']['vanilla']['runs'][0]}/settings.json") as file:
        assert json.load(file)["lr"] == 0.5


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--fusion", "lrtf"], "the recipe was tuned for concat on htad, not for lrtf on htad"),
        (["--fusion", "concat", "--dataset", "emoji"], "not for concat on emoji"),
        (["--fusion", "concat", "--method", "ensemble"], "none for ensemble"),
    ],
)
def test_a_recipe_made_for_something_else_is_refused(recipe, given, words, tmp_path):
    done = invoke("run", "--recipe", recipe[0], "--out", tmp_path / "runs", *given)
    assert (done.exit_code, done.stdout) == (1, "")
    assert words in " ".join(done.stderr.split())


def test_what_makes_tuned_figures_doubtful_is_said(recipe, small_htad, tmp_path, htad):
    htad(tmp_path / "other", samples=120)
    run = ("run", "--recipe", recipe[0], "--fusion", "concat", "--out", tmp_path / "runs", "--json")
    same = json.loads(invoke(*run, "--data-root", small_htad, "--seeds", "3,").stdout)
    assert not any("tuned" in note for note in same["notes"])
    other = json.loads(invoke(*run, "--data-root", tmp_path / "other", "--seeds", "3,8").stdout)
    assert "the recipe was tuned on other data than this." in other["notes"]
    assert "the recipe was tuned with seeds 8, which are among these." in other["notes"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- a list", "must hold about, like, settings, fusions, methods and tuned only"),
        ("settings: {lr: 0.1}", "each setting needs a value and its source"),
        ("settings: {lr: {value: 0.1, source: me}}\nsettings: {}", "settings"),
        ("methods: [vanilla]", "each setting needs a value and its source"),
        ("tuned: {dataset: htad}", "tuned must hold dataset, fusion, data, seeds"),
        ("settings: {leraning: {value: 1, source: me}}", "unknown setting 'leraning'"),
        ("{", "is not YAML"),
        ("settings: {lr: {value: 0.1, source: 5}}", "settings.lr.source: input should be a"),
        ("settings: {5: {value: 0.1, source: me}}", "each setting needs a value and its source"),
        ("methods: {7: {}}", "methods.7: input should be a valid string"),
        ("like: 5", "like names the data set whose recipe has the rest"),
        ("like: nope", "like: nope: no recipe of that data set ships"),
        *(
            (f"tuned: {{dataset: htad, fusion: concat, data: x, seeds: {seeds}}}", "tuned must")
            for seeds in ("3", "abc", "null", "[[1], 2]", "[0, a]")
        ),
        ("tuned: {dataset: [htad], fusion: concat, data: x, seeds: [1]}", "tuned.dataset: input"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused(text, words, tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    done = invoke("run", "--recipe", path, "--out", tmp_path / "runs")
    assert (done.exit_code, done.stdout) == (1, "")
    assert words in " ".join(done.stderr.split())
    missing = invoke("run", "--recipe", tmp_path / "none.yaml", "--out", tmp_path / "runs")
    assert "no recipe can be read here" in " ".join(missing.stderr.split())


def test_the_command_shows_what_it_found(tmp_path, small_htad, space_file):
    tune = ("tune", *SMALL, "--data-root", small_htad, "--space", space_file, "--trials", 3,
            "--out", tmp_path / "runs")  # fmt: skip
    done = invoke(*tune)
    assert done.exit_code == 0, done.output
    words = " ".join(done.stdout.split())
    assert "validation split, seeds 100, 101, 102" in words
    assert "3, 0, 0" in words
    assert "they are no estimate" in words
    assert f"--recipe {tmp_path / 'runs/tuning/htad-concat.yaml'}" in words
    record = json.loads(invoke(*tune, "--json").stdout)
    assert record["methods"]["vanilla"]["finished"] == 3
    assert not any((tmp_path / "runs").glob("htad-*"))  # no run was made


def test_what_is_given_stays(tmp_path, small_htad, space_file):
    tune = ("tune", *SMALL, "--data-root", small_htad, "--space", space_file, "--trials", 2,
            "--out", tmp_path / "runs", "--lr", 0.02, "--seeds", "5,", "--json")  # fmt: skip
    record = json.loads(invoke(*tune).stdout)
    assert "lr" not in record["space"]
    assert all("lr" not in one["settings"] for one in record["methods"].values())
    recipe = yaml.safe_load((tmp_path / "runs/tuning/htad-concat.yaml").read_text())
    assert recipe["settings"]["lr"] == {"value": 0.02, "source": "given to tune"}
    others = ("latent_dim=8", "encoder_dropout=0.1", "interaction_weight=0.2")
    everything = [f"--set={one}" for one in others]
    done = invoke(*tune, *everything)
    assert (done.exit_code, done.stdout) == (1, "")
    assert "nothing is left to tune of vanilla" in " ".join(done.stderr.split())


def test_without_optuna_it_says_what_to_install(tune, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match=r"pip install 'i2moe-plugin\[tune\]'"):
        tune()


@pytest.mark.slow
@pytest.mark.posix
def test_on_a_cluster_trials_are_those_of_one_process(tune, listed):
    pytest.importorskip("distributed", reason="needs the extra cluster")
    from i2moe_plugin.benchmarks.grid.executors.dask import open_cluster

    with open_cluster("local:2") as cluster:
        there = tune("there", cluster=cluster, trials=6)
    assert listed(there) == listed(tune("here", trials=6))
