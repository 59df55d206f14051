"""What a run cost is its own work: nothing is imported while its clock runs."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import fields

import pytest

from i2moe_plugin.benchmarks.run import cost
from i2moe_plugin.errors import RunError

CODE = """
import json, sys
from i2moe_plugin.benchmarks.datasets import open_dataset
from i2moe_plugin.benchmarks.run import execute as one
from i2moe_plugin.benchmarks.run.settings import resolve
from i2moe_plugin.benchmarks.run.store import RunStore

known, timed = {}, one._train_and_test

def watched(*arguments):
    before = set(sys.modules)
    timed(*arguments)
    known["new"] = sorted(set(sys.modules) - before)

one._train_and_test = watched
dataset, root, out, method = sys.argv[1:]
settings, _ = resolve("htad", "concat", {"epochs": 1, "latent_dim": 8, "device": "cpu"})
settings = settings.model_copy(update={"method": method})
one.execute(settings, open_dataset(dataset, root), RunStore(out))
print(json.dumps(known["new"]))
"""


@pytest.mark.parametrize("method", ["vanilla", "i2moe"])
def test_nothing_is_imported_while_the_clock_runs(tmp_path, small_htad, method):
    """The first run of a process, whose validation would be the first to need scikit-learn."""
    command = [sys.executable, "-c", CODE, "htad", str(small_htad), str(tmp_path / "runs"), method]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == []


@pytest.mark.skipif(sys.platform != "linux", reason="steps are tried in a fork on Linux alone")
def test_a_trial_of_steps_leaves_signals_to_the_command(capfd):
    """Ctrl-C and a scheduler's SIGTERM reach the fork too, which says nothing of its own."""
    values = {field.name: 1 for field in fields(cost.RunCost)} | {"batches": (1, 1, 1)}
    found = cost.RunCost(**values)

    def told(number):
        os.kill(os.getpid(), number)
        return found

    def stop(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        assert cost._in_a_fork(lambda: told(signal.SIGINT)) == found
        with pytest.raises(RunError, match="ended unexpectedly"):
            cost._in_a_fork(lambda: told(signal.SIGTERM))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert "Traceback" not in capfd.readouterr().err


def test_a_single_stall_is_no_batch():
    from i2moe_plugin.benchmarks.run.cost import _timed

    now, stalls = [0.0], [20.0]

    def call(count):
        now[0] += 0.01 * count + (stalls.pop() if stalls else 0.0)

    assert _timed(lambda: now[0], call, 100) == pytest.approx(0.01)
    stalls[:] = [20.0] * 2
    assert _timed(lambda: now[0], call, 100) == pytest.approx(20.01)
