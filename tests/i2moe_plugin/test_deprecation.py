"""Old import paths go on working, and say where things are now."""

import importlib
import re
import subprocess
import sys
import warnings

import pytest

from i2moe_plugin.deprecation import _FINDER, REMOVED_IN, deprecated

importlib.import_module("i2moe_plugin.benchmarks")  # its moved modules too
MOVED = dict(_FINDER.modules)


@pytest.mark.parametrize("old", MOVED)
def test_a_moved_module_answers_under_its_old_name(old):
    with (
        warnings.catch_warnings()
    ):  # packages above it may be moved too, and warn when first asked for
        warnings.simplefilter("ignore", DeprecationWarning)
        importlib.import_module(old)
    del sys.modules[old]
    with pytest.warns(DeprecationWarning, match=re.escape(MOVED[old][0])):
        module = importlib.import_module(old)
    for place in MOVED[old]:
        for name in vars(importlib.import_module(place)):
            if not name.startswith("_"):
                assert getattr(module, name) is not None or name
    with pytest.raises(AttributeError, match="has no 'nothing'"):
        _ = module.nothing


def test_the_warning_names_the_line_that_imports(tmp_path):
    script = tmp_path / "theirs.py"
    script.write_text("from i2moe_plugin.layers import quicken\n")
    done = subprocess.run(
        [sys.executable, "-W", "default", script], capture_output=True, text=True, check=True
    )
    assert "theirs.py:1: DeprecationWarning" in done.stderr


def test_what_is_deprecated_says_what_to_use():
    with pytest.warns(DeprecationWarning, match=rf"a is deprecated .* {REMOVED_IN}; use b\."):
        assert deprecated("a", "b").startswith("a is deprecated")


@pytest.mark.parametrize(
    ("old", "new", "name"),
    [
        ("registry", "backbones.entry", "backbones"),
        ("registry", "backbones.create", "create_backbone"),
        ("model", "backbones.latents", "latent_specs"),
    ],
)
def test_a_module_that_was_split_finds_what_it_held(old, new, name):
    module = importlib.import_module(f"i2moe_plugin.{old}")
    with pytest.warns(DeprecationWarning, match=re.escape(f"use i2moe_plugin.{new}.{name}.")):
        found = getattr(module, name)
    assert found is getattr(importlib.import_module(f"i2moe_plugin.{new}"), name)
