"""What has to be installed for pretrained encoders."""

from __future__ import annotations

import importlib.util

from i2moe_plugin.errors import DatasetError

INSTALL = "pip install 'i2moe-plugin[pretrained]'"


def needs_transformers() -> None:
    """Raise DatasetError where transformers is not installed."""
    if importlib.util.find_spec("transformers") is None:
        raise DatasetError(f"pretrained encoders need transformers: {INSTALL}.")
