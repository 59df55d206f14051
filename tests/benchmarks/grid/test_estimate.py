"""What a dry run says is what then happens, and it leaves nothing behind."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from i2moe_plugin.benchmarks.cli import main
from i2moe_plugin.benchmarks.data.cache import nothing_computed
from i2moe_plugin.benchmarks.data.open import open_dataset
from i2moe_plugin.benchmarks.grid.cells import methods_grid
from i2moe_plugin.benchmarks.grid.estimate import estimate, makespan
from i2moe_plugin.benchmarks.grid.failures import Failures
from i2moe_plugin.benchmarks.grid.runner import GridRunner
from i2moe_plugin.benchmarks.run.cost import RunCost, measure_cost
from i2moe_plugin.benchmarks.run.execute import execute
from i2moe_plugin.benchmarks.run.settings import resolve
from i2moe_plugin.benchmarks.run.store import RunStore
from i2moe_plugin.errors import DatasetError

QUICK = {"batch_size": 32, "epochs": 3, "latent_dim": 8, "encoder_hidden": 8, "device": "cpu"}


def invoke(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.fixture
def grid(small_htad):
    return methods_grid(
        "htad", "concat", ("vanilla", "i2moe"), range(2), values=QUICK, root=small_htad
    )


def test_a_dry_run_of_a_suite_runs_and_writes_nothing(suite_file, tmp_path):
    before = files(tmp_path)
    result = invoke("suite", suite_file(), "--out", tmp_path / "runs", "--dry-run", "--json")
    assert result.exit_code == 0, result.output
    assert [name for name in files(tmp_path) if name not in before] == ["small.yaml"]
    found = json.loads(result.stdout)
    assert found["left"] == 6
    assert [cell["runs"] for cell in found["cells"]] == [{"waiting": 3}] * 2
    assert all(cell["run"]["seconds"] > 0 for cell in found["cells"])


def test_what_is_finished_is_not_counted(suite_file, tmp_path):
    line = ("suite", suite_file(), "--out", tmp_path / "runs")
    assert invoke(*line, "--seeds", 2).exit_code == 0
    before = files(tmp_path)
    found = json.loads(invoke(*line, "--dry-run", "--json").stdout)
    assert found["left"] == 2
    assert [cell["runs"] for cell in found["cells"]] == [{"finished": 2, "waiting": 1}] * 2
    done = invoke(*line, "--seeds", 2, "--dry-run")
    assert "Nothing is left to run." in done.stdout
    assert files(tmp_path) == before


def test_a_suite_says_before_it_starts_what_it_takes(suite_file, tmp_path):
    result = invoke("suite", suite_file(), "--out", tmp_path / "runs", "--seeds", 1)
    first = result.stderr.splitlines()[0]
    assert first.startswith("2 runs to train, 1 at a time: about ")
    assert "of memory" in first
    assert "of disk" in first


def test_a_dry_run_of_one_fusion(tmp_path, small_htad):
    small = [word for key, value in QUICK.items() for word in ("--set", f"{key}={value}")]
    line = ("run", "--fusion", "concat", "--data-root", small_htad, "--seeds", 2, *small)
    out = tmp_path / "runs"
    result = invoke(*line, "--out", out, "--dry-run")
    assert result.exit_code == 0, result.output
    assert "4 runs to train" in result.stdout
    assert not out.exists()
    missing = invoke("run", "--data-root", tmp_path / "nowhere", "--dry-run")
    assert missing.exit_code == 1
    assert "no such file" in missing.stderr


def test_reasons_why_nothing_can_be_told(suite_file, tmp_path):
    path = suite_file(datasets=[{"name": "htad", "root": "nowhere"}])
    found = json.loads(invoke("suite", path, "--dry-run", "--json").stdout)
    assert (found["left"], found["seconds"]) == (0, 0)
    assert "no such file" in found["cells"][0]["reasons"][0]


def test_failed_runs_stay_known(grid, tmp_path):
    """They are counted as failed; and one that is finished now is not yet forgotten."""
    store = RunStore(tmp_path / "runs")
    runner = GridRunner(store)
    ((group, _),) = runner.survey(grid)
    attempt = group[0].attempts[0]
    Failures(store.folder).add(attempt.name, "", attempt.settings, ValueError("no"))
    found = estimate(runner, grid)
    assert (found.left, found.cells[0].cell.states["failed"]) == (3, 1)
    execute(attempt.settings, open_dataset("htad", grid.cells[0].root), store)
    assert estimate(runner, grid).cells[0].cell.states["finished"] == 1
    assert Failures(store.folder).reason(attempt.name)


def test_more_memory_than_there_is_is_said(grid, tmp_path, monkeypatch):
    monkeypatch.setattr("i2moe_plugin.benchmarks.grid.estimate.free_memory", lambda: 200_000_000)
    (note,) = estimate(GridRunner(RunStore(tmp_path)), grid).notes
    assert "more memory than the 0.2 GB that are free" in note


def test_disk_and_steps_are_the_runs(grid, tmp_path):
    data = open_dataset("htad", grid.cells[0].root)
    for cell in grid.cells:
        cost = measure_cost(cell.settings, data)
        run = execute(cell.settings, data, RunStore(tmp_path))
        assert cost.parameters == run.result["parameters"]
        size = sum(file.stat().st_size for file in run.path.iterdir())
        assert cost.disk == pytest.approx(size, rel=0.5)  # of small files most is records
        assert cost.batches == (2, 1, 1)
        assert cost.memory > 50e6


def test_the_formula():
    cost = RunCost(10.0, 0.5, 0.25, (8, 4, 2), epochs=3, memory=0, disk=0, parameters=0)
    assert cost.seconds == 10 + 3 * (8 * 0.5 + 4 * 0.25) + 2 * 0.25


@given(st.lists(st.floats(0, 100), max_size=20), st.integers(1, 5))
def test_makespan_lies_between_its_bounds(seconds, workers):
    found = makespan(seconds, workers)
    assert found >= max(sum(seconds) / workers, max(seconds, default=0)) - 1e-9
    assert found <= sum(seconds) / workers + max(seconds, default=0) + 1e-9


def test_a_run_that_cannot_start_says_why(grid, tmp_path):
    data = open_dataset("htad", grid.cells[0].root)
    settings, _ = resolve("htad", "concat", {**QUICK, "lr": 1e30})
    with pytest.raises(Exception, match=r"not finite|diverged"):
        measure_cost(settings.model_copy(update={"clip_grad_norm": None}), data)


def test_features_that_are_not_kept_are_not_computed():
    from i2moe_plugin.benchmarks.data.cache import cache_dir, kept_rows

    with nothing_computed(), pytest.raises(DatasetError, match="the first run computes them"):
        kept_rows("some", 2, lambda: pytest.fail("computed"), {})
    assert not cache_dir().exists()
