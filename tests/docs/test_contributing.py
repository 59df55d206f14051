"""CONTRIBUTING.md names commands and files that exist, and its code runs."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import pytest

from i2moe_plugin.deprecation import REMOVED_IN

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_its_example_of_a_deprecation_works():
    namespace: dict[str, object] = {}
    for block in re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL):
        exec(compile(block, "<block>", "exec"), namespace)
    count = namespace["number_of_experts"]
    with pytest.warns(DeprecationWarning, match=rf"streams .*{REMOVED_IN}; use modalities") as seen:
        assert count(None, streams=2) == count(2) == 4
    assert seen[0].filename == __file__


def test_its_environments_and_files_exist():
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(ROOT / "tox.ini", encoding="utf-8")
    named = set(re.findall(r"tox -e ([\w-]+)", PAGE))
    assert {"types", "site", "lowest", "newest"} <= named
    assert {name for name in named if f"testenv:{name}" not in tox} == set()
    paths = set(
        re.findall(r"(?<![\w/])((?:tests|docs|baselines|benchmarks|i2moe_plugin)/[\w./]+)", PAGE)
    )
    assert len(paths) > 10
    assert {path for path in paths if not (ROOT / path.rstrip(".")).exists()} == set()
