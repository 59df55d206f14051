"""``python -m i2moe_plugin`` is the command."""

import subprocess
import sys

from i2moe_plugin import __version__


def test_the_module_is_the_command():
    arguments = [sys.executable, "-m", "i2moe_plugin"]
    done = subprocess.run([*arguments, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == __version__
    wrong = subprocess.run([*arguments, "no-such"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("Usage: python -m i2moe_plugin")
