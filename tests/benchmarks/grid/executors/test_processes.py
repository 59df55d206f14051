"""Tasks in several processes: what is heard of them, and how they end."""

import functools
import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest

from i2moe_plugin.benchmarks.grid.executors.processes import Processes, can_fork
from i2moe_plugin.errors import ConfigError, RunError

pytestmark = pytest.mark.skipif(not can_fork(), reason="no safe fork here")


def tasks(count, act):
    return [functools.partial(act, place) for place in range(count)]


def test_every_task_is_run_once_and_heard():
    heard = []

    def act(place, send):
        send(("started", place))
        time.sleep(0.01 * (5 - place))
        send(("ended", os.getpid()))

    Processes(2).run(tasks(5, act), lambda place, message: heard.append((place, message)))
    started = [(place, m[1]) for place, m in heard if m[0] == "started"]
    assert sorted(started) == [(place, place) for place in range(5)]
    processes = {m[1] for _, m in heard if m[0] == "ended"}
    assert len(processes) == 2
    assert os.getpid() not in processes
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ConfigError(["one.", "two."]), (ConfigError, "two")),
        (ValueError("odd"), (RunError, "a run failed: ValueError: odd")),
    ],
)
def test_an_error_comes_here_and_stops_the_others(error, expected):
    def act(place, send):
        if place == 1:
            raise error
        time.sleep(60)

    start = time.monotonic()
    with pytest.raises(expected[0], match=expected[1]):
        Processes(2).run(tasks(3, act), lambda *_: None)
    assert time.monotonic() - start < 30
    assert not multiprocessing.active_children()


def test_a_killed_process_is_told_of():
    def act(place, send):
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(RunError, match=r"killed by SIGKILL.*memory.*--jobs 1"):
        Processes(2).run(tasks(2, act), lambda *_: None)


SCRIPT = """
import time
from i2moe_plugin.benchmarks.grid.executors.processes import Processes

def act(send):
    send("up")
    time.sleep(60)

Processes(2).run([act, act], lambda place, message: print(message, flush=True))
"""


def test_ctrl_c_ends_all_processes():
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert [process.stdout.readline().strip() for _ in range(2)] == [b"up", b"up"]
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert b"KeyboardInterrupt" in errors
    assert process.returncode
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


def test_threads_that_did_not_survive_the_fork_are_not_waited_for():
    """A process hangs at its first parallel operation where torch's threads were used before."""
    script = """
import torch
from i2moe_plugin.benchmarks.grid.executors.processes import Processes
torch.set_num_threads(2)
x = torch.randn(1000, 300)
(x * 2).sum()
def task(send):
    send(float((x + 1).exp().sum()))
heard = []
Processes(2).run([task, task], lambda place, message: heard.append(message))
assert len(heard) == 2 and abs(heard[0] - heard[1]) == 0
print(torch.get_num_threads())
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "2"), done.stderr
