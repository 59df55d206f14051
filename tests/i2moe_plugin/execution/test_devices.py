"""The tests on a simulated accelerator, in a process of their own: see ``tests/simulated``."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "simulated"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_everything_runs_on_a_simulated_accelerator():
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(FOLDER)],
        env={**os.environ, "SIMULATED_DEVICE": "1"},
        capture_output=True,
        text=True,
        check=False,
        cwd=FOLDER,  # python -m looks there first, and tests/ has folders of the packages' names
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
