"""Tasks on dask's workers: real processes, some of them killed, and schedulers that go away."""

import contextlib
import functools
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from i2moe_plugin.benchmarks.cli import main
from i2moe_plugin.benchmarks.grid.cells import methods_grid
from i2moe_plugin.benchmarks.grid.executors import dask
from i2moe_plugin.benchmarks.grid.executors.dask import Dask, open_cluster
from i2moe_plugin.benchmarks.grid.runner import GridRunner, open_cell
from i2moe_plugin.benchmarks.grid.spec import load_suite
from i2moe_plugin.benchmarks.regression.measuring import measure_grid
from i2moe_plugin.benchmarks.run.files import write_text
from i2moe_plugin.benchmarks.run.store import RunStore
from i2moe_plugin.errors import ConfigError, DatasetError, RunError, UnknownNameError

cloudpickle = pytest.importorskip("cloudpickle")
pytest.importorskip("distributed")
# Workers cannot import this file.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

QUICK = {"epochs": 3, "latent_dim": 8, "encoder_hidden": 8, "device": "cpu", "lr": 1e-2}
SEEDS = (0, 1)


@pytest.fixture(scope="module")
def workers():
    """Two worker processes that all tests of this file share."""
    with Dask("local:2") as executor:
        yield executor


def tasks(count, act):
    return [functools.partial(act, place) for place in range(count)]


def run_all(executor, count, act):
    heard = []
    executor.run(tasks(count, act), lambda place, message: heard.append((place, message)))
    return heard


def test_every_task_is_run_once_and_heard_in_order(workers):
    def act(place, send):
        for number in range(20):
            send((number, os.getpid()))

    heard = run_all(workers, 5, act)
    for place in range(5):
        assert [number for at, (number, _) in heard if at == place] == list(range(20))
    processes = {process for _, (_, process) in heard}
    assert os.getpid() not in processes
    assert len(processes) <= 2


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ConfigError(["one.", "two."]), (ConfigError, "two")),
        (UnknownNameError("backbone", "x", ["y"]), (UnknownNameError, "unknown backbone 'x'")),
        (ValueError("odd"), (RunError, "a run failed: ValueError: odd")),
    ],
)
def test_an_error_comes_here_and_stops_the_others(workers, tmp_path, error, expected):
    def act(place, send):
        if place == 1:
            raise error
        while True:
            send(place)
            (tmp_path / "alive").write_text(str(time.time()))
            time.sleep(0.05)

    with pytest.raises(expected[0], match=expected[1]):
        run_all(workers, 3, act)
    # The others end at their next message, and leave the workers to the next tasks.
    assert len(run_all(workers, 2, lambda place, send: send(place))) == 2
    alive = tmp_path / "alive"
    wait_for(lambda: not alive.exists() or time.time() - os.path.getmtime(alive) > 1)


def test_a_disk_that_a_worker_cannot_write_is_said_to_be_the_workers(workers, tmp_path):
    (tmp_path / "file").touch()

    def act(place, send):
        write_text(tmp_path / "file/state", "")

    with pytest.raises(RunError, match=r"on the worker tcp://.*: cannot write .*state: Not a dir"):
        run_all(workers, 1, act)


def test_the_task_of_a_killed_worker_is_done_elsewhere(workers, tmp_path):
    def act(place, send):
        if place == 0 and not (tmp_path / "killed").exists():
            (tmp_path / "killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        send("done")

    assert sorted(run_all(workers, 3, act)) == [(0, "done"), (1, "done"), (2, "done")]
    assert (tmp_path / "killed").exists()


def test_a_task_that_kills_every_worker_is_told_of(workers):
    def act(place, send):
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(RunError, match=r"several workers died.*memory.*Finished runs are kept"):
        run_all(workers, 1, act)


def grid(root, **values):
    methods = ["vanilla", "i2moe"]
    return methods_grid("htad", "concat", methods, SEEDS, values={**QUICK, **values}, root=root)


def content(run: Path) -> dict[str, object]:
    """Everything in a run's directory but how long it took, and the working folder's commit."""
    found: dict[str, object] = {}
    for file in sorted(run.iterdir()):
        if file.name == "manifest.json":
            continue
        if file.suffix in (".json", ".jsonl"):
            records = [json.loads(line) for line in file.read_text().splitlines()] if (
                file.suffix == ".jsonl") else [json.loads(file.read_text())]  # fmt: skip
            for record in records:
                record.pop("seconds", None)
                record.pop("git_commit", None)
            found[file.name] = records
        else:
            found[file.name] = file.read_bytes()
    return found


def test_a_grid_is_byte_for_byte_that_of_one_process_though_a_worker_is_killed(
    workers, tmp_path, small_htad, monkeypatch
):
    monkeypatch.chdir(tmp_path)  # the workers' folder is another
    opened, killed = tmp_path / "opened", []

    def open_and_note(cell):
        with opened.open("a") as file:
            file.write(f"{os.getpid()}\n")
        return open_cell(cell)

    def kill_one(cell, attempt, epoch):
        if epoch is not None and not killed:
            (process, *_) = [p for p in opened.read_text().split() if int(p) != os.getpid()]
            killed.append(int(process))
            os.kill(int(process), signal.SIGKILL)

    here = small_htad.relative_to(tmp_path)
    long = {"epochs": 40}
    alone = GridRunner(RunStore("one")).run(grid(here, **long))
    runner = GridRunner(RunStore("two"), open_and_note, on_event=kill_one, cluster=workers)
    together = runner.run(grid(here, **long))
    assert len(killed) == 1
    assert together.states == alone.states == {"finished": 4}
    names = sorted(run.name for run in RunStore("one"))
    assert names == sorted(run.name for run in RunStore("two"))
    for name in names:
        assert content(tmp_path / "one" / name) == content(tmp_path / "two" / name)
    processes = opened.read_text().split()
    assert len(processes) == len(set(processes)) <= 4  # here, and once in each worker


def test_data_that_a_worker_does_not_see_is_told_as_such(workers, tmp_path, small_htad):
    def open_here_alone(cell):
        if os.getpid() != here:
            with contextlib.suppress(FileNotFoundError):  # the other worker was quicker
                (tmp_path / "data").rename(tmp_path / "elsewhere")
        return open_cell(cell)

    here = os.getpid()
    small_htad.rename(tmp_path / "data")
    runner = GridRunner(RunStore(tmp_path / "runs"), open_here_alone, strict=True, cluster=workers)
    with pytest.raises(DatasetError, match=r"a worker on .* cannot open .*the same path"):
        runner.run(grid(tmp_path / "data"))


def serve(*arguments):
    """A process of dask's own command line."""
    return subprocess.Popen(
        [sys.executable, "-m", "distributed.cli." + arguments[0], *arguments[1:]],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@pytest.fixture
def scheduler(tmp_path):
    """``scheduler(threads)``: a scheduler and a worker, started by dask's own commands."""
    started = []

    def start(threads=1):
        file = tmp_path / "scheduler.json"
        started.append(serve("dask_scheduler", "--host", "127.0.0.1", "--port", "0",
                             "--no-dashboard", "--scheduler-file", str(file)))  # fmt: skip
        wait_for(file.exists)
        address = json.loads(file.read_text())["address"]
        started.append(serve("dask_worker", address, "--nthreads", str(threads), "--no-dashboard",
                             "--local-directory", str(tmp_path / "scratch")))  # fmt: skip
        return address, started

    yield start
    for process in started[::-1]:
        process.terminate()
        process.wait(30)


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def connected(address):
    """The executor of that address, as soon as it has a worker."""
    executor = Dask(address)

    def there():
        try:
            executor.device("cpu")
        except ConfigError:
            executor.__exit__()
            return False
        return executor._client is not None

    wait_for(there)
    return executor


@pytest.mark.slow
def test_a_scheduler_that_goes_away_leaves_finished_runs_and_a_message(
    scheduler, tmp_path, small_htad
):
    address, (process, worker) = scheduler()

    def end_it(cell, attempt, epoch):
        if attempt.state == "finished":
            process.kill()

    with connected(address) as executor:
        with pytest.raises(RunError, match="declares a GPU"):
            executor.device("cuda")
        runner = GridRunner(RunStore(tmp_path / "runs"), on_event=end_it, cluster=executor)
        with pytest.raises(RunError, match=r"scheduler of tcp://.* is gone. Finished runs are"):
            runner.run(grid(small_htad, epochs=300))
    worker.terminate()
    worker.wait(30)
    finished = list(RunStore(tmp_path / "runs"))
    assert 1 <= len(finished) < 4
    again = GridRunner(RunStore(tmp_path / "runs")).run(grid(small_htad, epochs=300))
    assert again.states == {"finished": 4}
    assert again.reused >= len(finished)


@pytest.mark.slow
def test_a_worker_with_several_threads_is_refused(scheduler, tmp_path, small_htad):
    address, _ = scheduler(threads=2)
    runner = GridRunner(RunStore(tmp_path / "runs"), strict=True)
    with connected(address) as runner.cluster, pytest.raises(RunError, match="--nthreads 1"):
        runner.run(grid(small_htad))


@pytest.mark.slow
@pytest.mark.posix
def test_slurm_jobs(tmp_path, small_htad, monkeypatch):
    """Jobs that a stand-in for Slurm starts here; dask-jobqueue writes and submits them."""
    pytest.importorskip("dask_jobqueue")
    import dask

    for name, script in {
        "sbatch": 'bash "$1" > /dev/null 2>&1 &\necho Submitted batch job $!',
        "scancel": 'kill "$@" 2> /dev/null; pkill -P "$1"; exit 0',
    }.items():
        file = tmp_path / "bin" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"#!/bin/bash\n{script}\n")
        file.chmod(file.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    settings = {"cores": 1, "memory": "2GB", "interface": "lo", "log-directory": None}
    scheduling = {"dashboard_address": "127.0.0.1:0"}
    with (
        dask.config.set({"jobqueue.slurm": {**dask.config.get("jobqueue.slurm"), **settings,
                                            "scheduler-options": scheduling}}),
        open_cluster("slurm:2") as executor,
    ):  # fmt: skip
        with pytest.raises(ConfigError, match="--device cpu or --device cuda"):
            executor.device("auto")
        table = GridRunner(RunStore("runs"), cluster=executor).run(grid(small_htad))
    assert table.states == {"finished": 4}


def test_slurm_without_settings(monkeypatch):
    pytest.importorskip("dask_jobqueue")
    with pytest.raises(ConfigError, match=r"cores, memory.*jobqueue\.slurm in ~/\.config/dask"):
        Dask("slurm")._start_slurm()


def invoke(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.mark.parametrize("place", ["local", "local:0", "local:x", "tcp:1", "pbs", "slurm:0", ""])
def test_a_place_of_no_known_form(place):
    done = invoke("run", "--cluster", place)
    assert done.exit_code == 1
    assert f"--cluster {place!r} is none of local:N" in done.stderr


@pytest.mark.parametrize("command", [["run"], ["suite", "embedded"]], ids=" ".join)
@pytest.mark.parametrize("order", [1, -1])
def test_jobs_beside_a_cluster(command, order):
    done = invoke(*command, *["--jobs=2", "--cluster=local:2"][::order])
    assert done.exit_code == 2
    assert "leave --jobs out" in done.stderr


def test_nothing_answers():
    done = invoke("run", "--cluster", "tcp://127.0.0.1:9", "--device", "cpu")
    assert done.exit_code == 1
    assert "no scheduler answers at tcp://127.0.0.1:9" in done.stderr


@pytest.mark.parametrize(
    ("greeting", "said"),
    [
        (b"", "no scheduler answers at tcp://"),
        (b"SSH-2.0-OpenSSH_9.0\r\n", "is no dask scheduler"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "is no dask scheduler"),
    ],
    ids=["silent", "ssh", "http"],
)
def test_something_else_listens(monkeypatch, greeting, said):
    if not greeting:
        monkeypatch.setattr(dask, "ANSWER", 1.0)  # for others a busy machine may take longer
    callers = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet():
            with contextlib.suppress(OSError):
                while True:
                    caller, _ = server.accept()
                    callers.append(caller)
                    caller.sendall(greeting)

        threading.Thread(target=greet, daemon=True).start()
        place = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        with Dask(place) as executor, pytest.raises(ConfigError, match=said):
            executor.device("cpu")
        server.shutdown(socket.SHUT_RDWR)
    for caller in callers:
        caller.close()


def test_a_worker_is_no_scheduler(workers):
    (address, *_) = workers._connect(1).scheduler_info()["workers"]
    with Dask(address) as executor, pytest.raises(ConfigError, match=r"no dask scheduler \(Worker"):
        executor.device("cpu")


def test_a_command_line_reaches_the_workers(tmp_path, small_htad, monkeypatch):
    """With its plugin and its relative folders."""
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(
        "import torch\n"
        "from i2moe_plugin import register_backbone\n\n"
        '@register_backbone("mine")\n'
        "class Mine(torch.nn.Module):\n"
        "    def forward(self, latents):\n"
        "        return torch.cat(latents, 1)\n"
    )
    quick = [f"--set={key}={value}" for key, value in QUICK.items()]
    done = invoke("run", "--cluster", "local:1", "--plugin", "mine.py", "--fusion", "mine",
                  "--data-root", small_htad.name, "--seeds", 1, *quick)  # fmt: skip
    assert done.exit_code == 0, done.output
    assert len(list(RunStore("runs"))) == 2


@pytest.mark.slow
def test_a_suite_and_the_gate(workers, tmp_path, suite_file):
    file = suite_file(seeds=1)
    done = invoke("suite", file, "--cluster", "local:1", "--out", tmp_path / "runs")
    assert done.exit_code == 0, done.output
    assert "[2/2]" in done.stderr
    suite = load_suite(file)
    there = measure_grid(suite, timed=False, cluster=workers)
    assert there == measure_grid(suite, timed=False)
    assert [cell.error for cell in there] == ["", ""]
