"""A forked process is never a second copy of the one that forked it."""

import subprocess
import sys

import pytest

from i2moe_plugin.benchmarks.grid.executors.processes import can_fork

pytestmark = pytest.mark.skipif(not can_fork(), reason="no safe fork here")

#: Each fork waits a while before its first line, as on a busy machine, and is told to end by then.
SLOW_FORKS = """
import ctypes, functools, multiprocessing, os, signal, sys, threading, time
first = os.getpid()

def slow_forks():  # after all imports, so that nothing else is done between it and the first line
    os.register_at_fork(after_in_child=functools.partial(ctypes.PyDLL(None).usleep, 300_000))

def report(what):
    os.write(1, f"{what} in {'the first' if os.getpid() == first else 'a fork'}\\n".encode())
"""
EXECUTOR = """
import torch  # each imports it first
from i2moe_plugin.benchmarks.grid.executors.processes import Processes
from i2moe_plugin.errors import ConfigError

def stop(*_):
    raise KeyboardInterrupt

def first_task(send):
    raise ConfigError(["no."])

slow_forks()
os.register_at_fork(after_in_parent=slow_forks)  # the second takes twice as long
signal.signal(signal.SIGTERM, stop)  # as commands do
try:
    Processes(2).run([first_task, lambda send: time.sleep(60)], lambda *_: None)
except ConfigError:
    report("told")
except KeyboardInterrupt:
    report("stopped")
report("end")
"""
TRIAL = """
from i2moe_plugin.benchmarks.run import cost
from i2moe_plugin.errors import RunError

def tell():  # what a terminal sends and what a scheduler does
    time.sleep(0.1)
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(multiprocessing.active_children()[0].pid, number)

def stop(*_):
    raise KeyboardInterrupt

slow_forks()
signal.signal(signal.SIGTERM, stop)
os.register_at_fork(after_in_parent=threading.Thread(target=tell).start)
try:
    cost._in_a_fork(lambda: time.sleep(60))
except RunError as error:
    report("told" if "(-15)" in str(error) else error)
except KeyboardInterrupt:
    report("stopped")
report("end")
"""
LIBRARY = """
from i2moe_plugin.benchmarks.commands.base import _interrupted_once

slow_forks()
with _interrupted_once():
    try:
        child = multiprocessing.get_context("fork").Process(target=report, args=("work",))
        child.start()
        time.sleep(0.1)
        os.kill(child.pid, signal.{name})
        child.join()
        report(child.exitcode)
    except KeyboardInterrupt:
        report("stopped")
report("end")
"""


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (EXECUTOR, ["told in the first", "end in the first"]),
        (TRIAL, ["told in the first", "end in the first"]),
        (LIBRARY.format(name="SIGTERM"), ["143 in the first", "end in the first"]),
        (
            LIBRARY.format(name="SIGINT"),
            ["work in a fork", "0 in the first", "end in the first"],
        ),
    ],
    ids=["executor", "trial", "library-term", "library-int"],
)
def test_a_fork_that_is_told_to_end_at_once_ends(script, expected):
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", SLOW_FORKS + script],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.stdout.splitlines(), done.stderr, done.returncode) == (expected, "", 0)
