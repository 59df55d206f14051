"""The command line as a user meets it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from i2moe_plugin import __version__
from i2moe_plugin.benchmarks.cli import main
from i2moe_plugin.benchmarks.run.store import RunStore

SMALL = ["--set", "latent_dim=8", "--set", "encoder_hidden=8", "--device", "cpu"]
QUICK = ["--epochs", "2", *SMALL]


def invoke(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def run_quick(root, out, *more, seeds=3):
    given = ["--fusion", "concat", "--data-root", root, "--out", out, *QUICK]
    return invoke("run", *given, *(() if seeds is None else ("--seeds", seeds)), *more)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, htad):
    """The small data set, the folder of runs on it, and what they printed as JSON."""
    folder = tmp_path_factory.mktemp("finished")
    root, out = htad(folder / "htad"), folder / "runs"
    return root, out, run_quick(root, out, "--json").stdout


def test_run_shows_both_methods_the_difference_and_a_verdict(finished):
    root, out, _ = finished
    result = run_quick(root, out)
    assert result.exit_code == 0, result.output
    for part in (
        "vanilla",
        "I2MoE",
        "majority class",
        "logistic",
        "gradient boosting",
        "audio alone",
        "Verdict:",
        "Mean weight of each expert",
        "uniqueness_1",
        "parameters",
    ):
        assert part in result.stdout
    assert "6 finished before" in " ".join(result.stdout.split())
    assert len(list(RunStore(out))) == 6


def test_the_same_command_again_only_shows(finished):
    root, out, first = finished
    stamps = {run.path: run.path.stat().st_mtime_ns for run in RunStore(out)}
    assert json.loads(first) == json.loads(run_quick(root, out, "--json").stdout)
    assert stamps == {run.path: run.path.stat().st_mtime_ns for run in RunStore(out)}


def test_json_holds_what_the_runs_hold(finished):
    job = json.loads(finished[-1])
    assert job["seeds"] == [0, 1, 2]
    for method, seeds in job["methods"].items():
        for seed, path in enumerate(seeds["runs"]):
            assert f"{method}-seed{seed}-" in path
            result = json.loads(Path(path, "result.json").read_text())
            assert seeds["metrics"]["accuracy"]["values"][seed] == result["test"]["accuracy"]
    values = [job["methods"][m]["metrics"]["accuracy"]["values"] for m in ("vanilla", "i2moe")]
    assert job["comparison"]["i2moe"]["accuracy"]["difference"] == pytest.approx(
        np.mean(values[1]) - np.mean(values[0])
    )
    simple = {row["name"]: row["test"]["accuracy"] for row in job["simple_models"]}
    assert simple["logistic regression"] == job["linear_baseline"]["test"]["accuracy"]
    assert simple["majority class"] < simple["logistic regression"] <= 1


def test_methods_are_compared_with_vanilla(small_htad, tmp_path):
    chosen = ["--method", "ensemble", "--method", "wide", "--json"]
    job = json.loads(run_quick(small_htad, tmp_path, *chosen).stdout)
    assert list(job["methods"]) == ["vanilla", "ensemble", "wide"]
    assert list(job["comparison"]) == ["ensemble", "wide"]
    for method, items in job["comparison"].items():
        values = [
            job["methods"][name]["metrics"]["accuracy"]["values"] for name in (method, "vanilla")
        ]
        expected = np.mean(values[0]) - np.mean(values[1])
        assert items["accuracy"]["difference"] == pytest.approx(expected)
    shown = run_quick(small_htad, tmp_path, *chosen[:-1])
    assert "wide − vanilla" in shown.stdout
    wrong = run_quick(small_htad, tmp_path, "--method", "ensembel")
    assert wrong.exit_code == 1
    assert "Did you mean 'ensemble'" in wrong.stderr


def test_no_vanilla_and_one_seed(small_htad, tmp_path):
    result = run_quick(small_htad, tmp_path, "--no-vanilla", "--json", seeds="7,")
    job = json.loads(result.stdout)
    assert (job["seeds"], list(job["methods"]), job["comparison"]) == ([7], ["i2moe"], {})


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--dataset", "htda"], "Did you mean 'htad'?"),
        (["--fusion", "lrft", "--set", "epoch=3"], "Did you mean 'epochs'"),
        (["--set", "fusion.rnk=3"], "Did you mean 'rank'"),
        (["--device", "cuda:77"], "not available here"),
        (["--data-root", "nowhere"], "no such file"),
        (["--plugin", "nowhere.py"], "does not exist"),
        (["--set", "lr"], "key=value"),
    ],
)
def test_errors_are_messages_not_tracebacks(arguments, words):
    result = invoke("run", *arguments)
    assert result.exit_code == 1
    assert words in result.stderr
    assert "Traceback" not in result.output
    assert result.stdout == ""


def test_a_full_disk_is_explained_and_the_command_goes_on_later(small_htad, tmp_path, monkeypatch):
    import h5py

    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(h5py.Group, "create_dataset", full)  # in processes of its own, too
        result = run_quick(small_htad, tmp_path)
    assert result.exit_code == 1
    assert "No space left on device" in result.stderr
    assert list(RunStore(tmp_path)) == []
    assert run_quick(small_htad, tmp_path).exit_code == 0


@pytest.mark.parametrize("kind", ["backbones", "datasets", "methods", "settings"])
def test_lists(kind):
    rows = json.loads(invoke("list", kind, "--json").stdout)
    shown = invoke("list", kind)
    assert shown.exit_code == 0
    assert all(row["name"] in shown.stdout for row in rows)


def commands(group=main, path=()):
    for name, command in group.commands.items():
        yield (*path, name)
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))


@pytest.mark.parametrize("path", [(), *commands()], ids=" ".join)
def test_help_has_an_example_everywhere(path):
    result = invoke(*path, "--help")
    assert result.exit_code == 0
    assert "Example" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert "  i2moe-bench " in result.stdout


def test_version():
    assert __version__ in invoke("--version").stdout


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from i2moe_plugin.benchmarks.cli import main;"
        "main(['--help'], standalone_mode=False);"
        "heavy = {'torch', 'numpy', 'pydantic', 'yaml', 'scipy', 'sklearn', 'lightning_fabric'};"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_goes_is_said_on_the_command_line():
    """Python shows deprecations to programmers alone; who types a command must see them, too."""
    command = [sys.executable, "-m", "i2moe_plugin.benchmarks.cli", "run", "--dataset", "none"]
    more = ["--plan", "fastest", "--compile"]
    done = subprocess.run([*command, *more], capture_output=True, text=True, check=False)
    assert "plan=fastest is deprecated" in done.stderr
    assert "compile is deprecated" in done.stderr


def start(root, out, *more):
    command = [sys.executable, "-m", "i2moe_plugin.benchmarks.cli", "run", "--fusion", "concat"]
    arguments = ["--data-root", root, "--out", out, "--seeds", "2", *more]
    return subprocess.Popen(
        [*command, *map(str, arguments), "--device", "cpu", "--set", "batch_size=4"],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=root,
        # A job in the background of a shell ignores Ctrl-C, and its children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_stopped_in_the_middle_of_an_epoch(small_htad, tmp_path, how):
    out = tmp_path / "runs"
    process = start(small_htad, out, "--epochs", "100000")
    wait_for(lambda: list(out.glob(".unfinished/*")) or process.poll() is not None)
    time.sleep(1)
    process.send_signal(how)
    try:
        _, errors = process.communicate(timeout=200)
    finally:
        process.kill()
    assert list(RunStore(out)) == []  # no half run is read as a finished one
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert "interrupted" in errors
        assert "Traceback" not in errors
    with start(small_htad, out, "--epochs", "1") as again:
        assert again.communicate(timeout=200)
    assert again.returncode == 0
    assert len(list(RunStore(out))) == 4
