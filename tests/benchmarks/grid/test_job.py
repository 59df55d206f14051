"""Many runs as one job, one after another or in several processes."""

from __future__ import annotations

import pytest

from i2moe_plugin.benchmarks.datasets import open_dataset
from i2moe_plugin.benchmarks.grid.executors import processes as pool
from i2moe_plugin.benchmarks.grid.job import run_job
from i2moe_plugin.benchmarks.run.settings import resolve
from i2moe_plugin.benchmarks.run.store import RunStore

SEEDS = (3, 1, 2)
METHODS = ("vanilla", "i2moe")


@pytest.fixture
def data(small_htad):
    return open_dataset("htad", small_htad)


def job_of(folder, data, jobs):
    settings, _ = resolve("htad", "concat", {"epochs": 1})
    started = []

    def progress(one, record):
        started.append((one.method, one.seed, record is None))

    job = run_job(
        settings, data, RunStore(folder), seeds=SEEDS, methods=METHODS, jobs=jobs,
        progress=progress,
    )  # fmt: skip
    return job, started


@pytest.mark.skipif(not pool.can_fork(), reason="no safe fork here")
def test_several_processes_give_the_numbers_of_one(tmp_path, data):
    alone, order = job_of(tmp_path / "one", data, 1)
    assert order == [(method, seed, False) for seed in SEEDS for method in METHODS]
    together, heard = job_of(tmp_path / "two", data, 2)
    assert sorted(heard) == sorted(order)
    for method in METHODS:
        assert [run.path.name for run in together.runs[method]] == [
            run.path.name for run in alone.runs[method]
        ]
        for metric in alone.metrics():
            assert together.values(method, metric) == alone.values(method, metric)
    again, reused = job_of(tmp_path / "two", data, 2)
    assert again.reused == 6
    assert all(found for *_, found in reused)


@pytest.mark.skipif(not pool.can_fork(), reason="no safe fork here")
def test_short_runs_do_not_wait_for_the_last_long_one(tmp_path, data, monkeypatch):
    given = []

    def run_all(tasks, jobs, heard):
        for task in tasks:
            given.append((task.args[0].method, task.args[0].seed))
            task(lambda record: None)

    monkeypatch.setattr("i2moe_plugin.benchmarks.grid.job.run_parallel", run_all)
    job_of(tmp_path, data, 2)
    assert given == [
        ("i2moe", 3), ("i2moe", 1), ("vanilla", 3), ("i2moe", 2), ("vanilla", 1), ("vanilla", 2),
    ]  # fmt: skip
