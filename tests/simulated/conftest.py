"""Tests on a simulated accelerator; it is registered for a whole process, so they run in their own.

``tests/i2moe_plugin/execution/test_devices.py`` starts that process.
"""

import os
import sys
from pathlib import Path

if "SIMULATED_DEVICE" in os.environ:
    sys.path.insert(0, str(Path(__file__).parent))
else:
    collect_ignore_glob = ["test_*.py"]
