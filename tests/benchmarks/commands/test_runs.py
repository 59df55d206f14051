"""Runs on disk: what is listed is what goes, and nothing else ever does."""

import json
import os
import shutil
import time

import pytest
from click.testing import CliRunner

from i2moe_plugin.benchmarks.cli import main
from i2moe_plugin.benchmarks.data.open import open_dataset
from i2moe_plugin.benchmarks.grid.failures import Failures
from i2moe_plugin.benchmarks.run.execute import execute, run_name
from i2moe_plugin.benchmarks.run.locks import hold
from i2moe_plugin.benchmarks.run.settings import resolve
from i2moe_plugin.benchmarks.run.store import UNFINISHED, RunStore

QUICK = {"epochs": 1, "latent_dim": 8, "encoder_hidden": 8, "device": "cpu", "batch_size": 32}


def invoke(*arguments, **options):
    return CliRunner().invoke(main, ["runs", *map(str, arguments)], **options)


@pytest.fixture(scope="module")
def made(tmp_path_factory, htad):
    """A folder with two finished runs, one that was stopped, and a failure."""
    folder = tmp_path_factory.mktemp("made")
    data = open_dataset("htad", htad(folder / "data"))
    store = RunStore(folder / "runs")
    settings, sources = resolve("htad", "concat", QUICK)
    for method in ("vanilla", "i2moe"):
        execute(settings.model_copy(update={"method": method}), data, store, sources=sources)
    stopped = settings.model_copy(update={"method": "no-interaction", "seed": 1})
    with pytest.raises(KeyboardInterrupt), store.writing(*run_name(stopped, data)):
        raise KeyboardInterrupt
    failed = settings.model_copy(update={"method": "ensemble"})
    Failures(store.folder).add(*run_name(failed, data), failed, ValueError("no"))
    return store.folder


@pytest.fixture
def runs(made, tmp_path):
    return shutil.copytree(made, tmp_path / "runs")


def listed(*arguments):
    result = invoke("list", *arguments, "--json")
    assert result.exit_code == 0, result.output
    return {(run["method"], run["state"]) for run in json.loads(result.stdout)}


ALL = {
    ("vanilla", "finished"),
    ("i2moe", "finished"),
    ("no-interaction", "unfinished"),
    ("ensemble", "failed"),
}


@pytest.mark.parametrize(
    ("filters", "left"),
    [
        ((), ALL),
        (("--dataset", "htad"), ALL),
        (("--dataset", "hta"), set()),
        (("--fusion", "concat", "--method", "i2moe"), {("i2moe", "finished")}),
        (
            ("--method", "i2moe", "--method", "no-interaction"),
            {("i2moe", "finished"), ("no-interaction", "unfinished")},
        ),
        (("--unfinished",), {("no-interaction", "unfinished"), ("ensemble", "failed")}),
        (("--older-than", "1h"), set()),
        (("--older-than", "0min"), ALL),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "left",
)
def test_what_is_listed_is_what_prune_removes(runs, filters, left):
    assert listed(runs, *filters) == left
    looked = invoke("prune", runs, *filters, "--dry-run", "--json")
    if not filters:
        assert looked.exit_code == 2
        return
    assert {(r["method"], r["state"]) for r in json.loads(looked.stdout)["runs"]} == left
    assert listed(runs) == ALL
    assert invoke("prune", runs, *filters, "--yes").exit_code == 0
    assert listed(runs) == ALL - left


def test_a_run_says_on_which_split_it_was_tested(made, tmp_path, htad):
    data = open_dataset("htad", htad(tmp_path / "data"), split="2")
    settings, sources = resolve("htad", "concat", QUICK)
    execute(
        settings.model_copy(update={"split": "2"}),
        data,
        RunStore(tmp_path / "runs"),
        sources=sources,
    )
    (drawn,) = json.loads(invoke("list", tmp_path / "runs", "--json").stdout)
    assert (drawn["split"], drawn["seed"]) == ("2", 0)
    others = json.loads(invoke("list", made, "--json").stdout)
    assert {run["split"] for run in others if run["state"] == "finished"} == {"own"}


def test_age_is_that_of_the_run(runs):
    old = next(runs.glob("*-vanilla-*"))
    os.utime(old / "manifest.json", (time.time() - 90_000,) * 2)
    assert listed(runs, "--older-than", "1d") == {("vanilla", "finished")}
    wrong = invoke("list", runs, "--older-than", "soon")
    assert (wrong.exit_code, "'soon' is no age" in wrong.stderr) == (1, True)


def test_it_asks_before_it_removes(runs):
    path = next(runs.glob("*-i2moe-*"))
    for answer in ("n\n", "", "\n"):
        result = invoke("rm", path, input=answer)
        assert result.exit_code == 1
        assert path.exists()
    assert invoke("rm", path, "--json").exit_code == 2
    assert invoke("rm", path, "--dry-run").exit_code == 0
    assert path.exists()
    assert invoke("rm", path, input="y\n").exit_code == 0
    assert not path.exists()
    assert listed(runs) == ALL - {("i2moe", "finished")}


def test_an_unfinished_run_goes_with_its_lock(runs):
    (path,) = (p for p in (runs / UNFINISHED).iterdir() if p.is_dir())
    assert invoke("rm", path, "--yes").exit_code == 0
    assert not (runs / UNFINISHED).exists()


def test_a_run_under_way_stays(runs):
    (path,) = (p for p in (runs / UNFINISHED).iterdir() if p.is_dir())
    script = invoke  # the lock is of this process; flock refuses a second handle of it, too
    lock = hold(path)
    try:
        assert ("no-interaction", "under way") in listed(runs)
        assert script("prune", runs, "--method", "no-interaction", "--yes").exit_code == 0
        result = script("rm", path, "--yes")
        assert (result.exit_code, "computing this run" in result.stderr) == (1, True)
    finally:
        lock.release()
    assert path.exists()


def test_what_is_no_run_is_refused_and_links_are_not_followed(runs, tmp_path):
    outside = tmp_path / "outside"
    shutil.copytree(next(runs.glob("*-i2moe-*")), outside / "htad-concat-i2moe-seed0-00000000")
    (real,) = outside.iterdir()
    (runs / "precious").mkdir()
    (runs / "precious" / "thesis.tex").write_text("")
    link = runs / real.name
    link.symlink_to(real)
    inner = next(runs.glob("*-vanilla-*"))
    (inner / "link").symlink_to(outside, target_is_directory=True)
    for path in (link, runs / "precious", runs, runs / "nothing", runs / UNFINISHED, inner / ".."):
        result = invoke("rm", path, "--yes")
        assert result.exit_code == 1, path
    assert invoke("prune", runs, "--dataset", "htad", "--yes").exit_code == 0
    assert (real / "manifest.json").is_file()
    assert link.is_symlink()
    assert not inner.exists()
    assert (runs / "precious" / "thesis.tex").exists()


def test_a_record_of_a_failure_names_no_other_file(runs, tmp_path):
    (record,) = (runs / ".failed").glob("*.json")
    victim = tmp_path / "victim.json"
    victim.write_text("{}")
    record.write_text(json.dumps({"run": "../../victim", "reason": "x", "method": "ensemble"}))
    assert invoke("prune", runs, "--unfinished", "--yes").exit_code == 0
    assert victim.exists()
    assert not record.exists()


def test_damage_is_listed_and_shown(runs, damage):
    path = next(runs.glob("*-i2moe-*"))
    damage.flip(path / "result.json", 0.5)
    assert ("i2moe", "damaged") in listed(runs)
    assert "is not the file the manifest describes" in invoke("show", path).stdout


def test_show_has_settings_with_their_source(runs):
    path = next(runs.glob("*-i2moe-*"))
    found = json.loads(invoke("show", path, "--json").stdout)
    assert found["settings"]["sources"]["latent_dim"] == "given"
    assert found["result"] == json.loads((path / "result.json").read_text())
    text = invoke("show", path).stdout
    assert "test accuracy" in text
    assert "given" in text
    (stopped,) = (p for p in (runs / UNFINISHED).iterdir() if p.is_dir())
    assert "state: unfinished" in invoke("show", stopped).stdout


def test_a_folder_that_is_not_there(tmp_path):
    result = invoke("list", tmp_path / "nowhere")
    assert (result.exit_code, "no such folder of runs" in result.stderr) == (1, True)
