"""The site builds without a warning, runs the notebooks, and has every public name."""

from __future__ import annotations

import importlib
import inspect
import json
import pydoc
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXPORTING = [
    "i2moe_plugin",
    "i2moe_plugin.interpretation",
    "i2moe_plugin.interpretation.figures",
    "i2moe_plugin.testing",
]
IMPORT = re.compile(r"^\s*from (i2moe_plugin[\w.]*) import ([\w, ]+)$", re.MULTILINE)


def defined(package: str) -> set[str]:
    """The public names that a package exports, or defines where it does not say."""
    module = importlib.import_module(package)
    if names := set(getattr(module, "__all__", ())) - {"__version__"}:
        return names
    own = {name for name in vars(module) if getattr(module, name).__class__.__name__ != "module"}
    return {
        name
        for name in own
        if name[0] != "_" and getattr(getattr(module, name), "__module__", None) == package
    }


def promised() -> dict[str, object]:
    """What users are told to import: by the packages themselves, and by README and guides."""
    names = {f"{package}.{name}" for package in EXPORTING for name in defined(package)}
    for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for module, imported in IMPORT.findall(path.read_text(encoding="utf-8")):
            names |= {f"{module}.{name.split()[0]}" for name in imported.split(",")}
    found = {name: pydoc.locate(name) for name in names}
    return {name: thing for name, thing in found.items() if not inspect.ismodule(thing)}


#: What stands on a notebook's page once its cells have run.
PRINTED = {
    "first_comparison": ["95 % interval", "verdict", "htad-concat-i2moe-seed0", "Plotly.newPlot"],
    "own_fusion_and_data": ["Shifts of a machine", "scraping again", "preprocessing.safetensors"],
    "what_carried_the_prediction": ["predicted watch_tv", "Stability:", "bits", "Plotly.newPlot"],
}


def test_notebooks_are_kept_without_outputs():
    found = {path.stem: json.loads(path.read_text()) for path in (ROOT / "docs").rglob("*.ipynb")}
    assert found.keys() == PRINTED.keys()
    for notebook in found.values():
        cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
        assert all(not cell["outputs"] and cell["execution_count"] is None for cell in cells)


@pytest.mark.timeout(900)
def test_every_public_name_is_on_the_site(tmp_path):
    pytest.importorskip("sphinx")
    pytest.importorskip("myst_nb")
    from sphinx.util.inventory import InventoryFile

    site = tmp_path / "site"
    strict = ["-E", "-W", "--keep-going", "-n", "-q", "-b", "html", "-d", str(tmp_path / "trees")]
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *strict, str(ROOT / "docs"), str(site)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr

    entries = InventoryFile.loads((site / "objects.inv").read_bytes(), uri="").data
    documented = {name for kind, names in entries.items() if kind[:3] == "py:" for name in names}
    things = {name: pydoc.locate(name) for name in documented}
    known = {id(thing) for thing in things.values()}
    assert {name for name, thing in promised().items() if id(thing) not in known} == set()
    assert len(promised()) > 60
    pages = {page.relative_to(site).as_posix() for page in site.rglob("*.html")}
    guides = {f"{path.stem}.html" for path in (ROOT / "docs").glob("*.md")}
    assert guides | {"index.html", "contributing.html", "reference/i2moe_plugin.html"} <= pages
    for name, printed in PRINTED.items():
        text = (site / "notebooks" / f"{name}.html").read_text(encoding="utf-8")
        assert [words for words in printed if words not in text] == []
    for page in site.rglob("*.html"):  # nothing is loaded from the network
        text = page.read_text(encoding="utf-8")
        assert not re.search(r"""<(?:script|link|img)[^>]+(?:src|href)=["']https?:""", text), page
