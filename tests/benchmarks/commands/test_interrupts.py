"""SIGTERM, as a cluster's scheduler sends it, and Ctrl-C, pressed more than once.

A sentence, no process left, and the same command goes on.
"""

import os
import signal
import subprocess
import sys
import time

import pytest

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
