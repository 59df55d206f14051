"""SIGTERM, as a cluster's scheduler sends it, and Ctrl-C, pressed more than once.

A sentence, no process left, and the same command goes on.
"""

import os
import signal
import subprocess
import sys
import time

import pytest

from i2moe_plugin.benchmarks.commands.base import _interrupted_once
from i2moe_plugin.benchmarks.run.store import RunStore


def command(out, root, *place):
    return [
        sys.executable, "-m", "i2moe_plugin.benchmarks.cli", "run", "--dataset", "htad",
        "--data-root", str(root), "--fusion", "concat", "--seeds", "2", "--epochs", "100000",
        "--device", "cpu", "--out", str(out), *place,
    ]  # fmt: skip


def in_group(group):
    """The processes of a group that are not dead."""
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                with open(f"{entry.path}/stat") as file:
                    state, _, member = file.read().rpartition(")")[2].split()[:3]
            except OSError:
                continue
            if int(member) == group and state != "Z":
                found.append(int(entry.name))
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize(
    "place",
    [("--jobs", "1"), ("--jobs", "2"), ("--cluster", "local:2")],
)
@pytest.mark.parametrize(("number", "times"), [(signal.SIGTERM, 1), (signal.SIGINT, 3)])
def test_a_signal_ends_with_a_sentence_and_leaves_no_process(
    tmp_path, small_htad, place, number, times
):
    process = subprocess.Popen(
        command(tmp_path / "runs", small_htad, *place),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell has what runs in its background ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    deadline = time.monotonic() + 250
    while not any(RunStore(tmp_path / "runs").unfinished().values()):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    time.sleep(0.5)
    for _ in range(times):
        # A terminal tells all processes of its group; a scheduler tells the first one.
        (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
        time.sleep(0.1)
    _, said = process.communicate(timeout=200)
    word, code = ("terminated", 143) if number == signal.SIGTERM else ("interrupted", 130)
    assert said.strip() == (f"{word}: finished runs are kept; the same command goes on from there.")
    assert process.returncode == code
    deadline = time.monotonic() + 60
    while in_group(process.pid):  # python's own watcher of shared memory ends just after
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert not any(RunStore(tmp_path / "runs").unfinished().values())  # every lock is let go


@pytest.fixture
def ctrl_c():
    """Python's own answer to Ctrl-C, which a shell has what runs in its background ignore."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Deleted:
    """What happens in its finaliser is dropped by Python."""

    def __init__(self, act):
        self.act = act

    def __del__(self):
        self.act()
        time.sleep(0.001)


@pytest.mark.parametrize(
    ("number", "name"), [(signal.SIGTERM, "_Terminated"), (signal.SIGINT, "KeyboardInterrupt")]
)
def test_a_signal_that_is_lost_is_raised_again(number, name, ctrl_c):
    """Loaders with workers of their own spend their time in forks and finalisers."""
    left = [3]

    def lose():
        left[0] -= 1
        if left[0] == 2:
            signal.raise_signal(number)

    before = sys.unraisablehook
    with pytest.raises(KeyboardInterrupt) as told, _interrupted_once():
        while left[0]:
            Deleted(lose)
            time.sleep(0.2)
        time.sleep(30)
    assert type(told.value).__name__ == name
    assert left == [2]
    assert sys.unraisablehook is before


@pytest.mark.posix
def test_other_things_that_are_lost_are_told_as_before(monkeypatch):
    def fail():
        raise ValueError("odd")

    told = []
    monkeypatch.setattr(sys, "unraisablehook", lambda lost: told.append(lost.exc_type))
    with _interrupted_once():
        Deleted(fail)
    assert told == [ValueError]
