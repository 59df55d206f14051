"""Every code block of the guide is executed, and what README shows of Python and plugins.

A block that begins with ``# path`` is that file; other Python blocks run one after the other in one
namespace, bash blocks in a shell, all in one empty folder.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from i2moe_plugin import load_plugin
from i2moe_plugin.interpretation import verdict
from i2moe_plugin.testing import assert_backbone

pytestmark = pytest.mark.posix  # the blocks are for a POSIX shell

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PATH = re.compile(r"# (\S+\.\w+)\n")


@dataclass(frozen=True)
class Block:
    language: str
    text: str

    @property
    def file(self) -> str | None:
        """Where it is to be written, if its first line says so."""
        found = PATH.match(self.text)
        return found[1] if found else None


def blocks(document: str) -> list[Block]:
    return [Block(*found.groups()) for found in BLOCK.finditer((ROOT / document).read_text())]


def shell(script: str) -> None:
    """Run it; any failing line fails."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        env=os.environ | {"PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"


def execute(block: Block, namespace: dict[str, object]) -> None:
    if block.file is not None:
        Path(block.file).parent.mkdir(parents=True, exist_ok=True)
        Path(block.file).write_text(block.text)
    elif block.language == "python":
        exec(compile(block.text, "<block>", "exec"), namespace)
    elif block.language == "bash":
        shell(block.text)
    else:
        raise AssertionError(f"a {block.language or 'plain'} block that nothing executes")


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path, monkeypatch, commands):
    monkeypatch.chdir(tmp_path)
    first = [str(commands), str(Path(sys.executable).parent)]
    monkeypatch.setenv("PATH", os.pathsep.join([*first, os.environ["PATH"]]))


def test_adding_a_fusion():
    pytest.importorskip("setuptools")
    namespace: dict[str, object] = {}
    for block in blocks("docs/adding_a_fusion.md"):
        execute(block, namespace)


def test_adding_a_dataset():
    namespace: dict[str, object] = {}
    for block in blocks("docs/adding_a_dataset.md"):
        execute(block, namespace)


def test_python():
    namespace: dict[str, object] = {}
    for block in blocks("docs/python.md"):
        execute(block, namespace)


def test_faq():
    namespace: dict[str, object] = {}
    for block in blocks("docs/faq.md"):
        execute(block, namespace)


def test_tuning():
    pytest.importorskip("optuna", reason="needs the extra tune")
    from i2moe_plugin.benchmarks.tuning.space import load_space

    for block in blocks("docs/tuning.md"):
        if block.language == "yaml":
            Path("space.yaml").write_text(block.text)
            assert load_space(Path("space.yaml")) == load_space()
        else:
            execute(block, {})
    assert Path("runs/tuning/htad-concat.yaml").is_file()


def test_interpretation():
    namespace: dict[str, object] = {}
    for block in blocks("docs/interpretation.md"):
        execute(block, namespace)
    assert 1_000_000 < Path("report.html").stat().st_size < 20_000_000
    assert json.loads(Path("sample.json").read_text())["sample"] == "htad-31"
    assert Path("sample.png").read_bytes().startswith(b"\x89PNG")


def test_evidence():
    namespace: dict[str, object] = {}
    for block in blocks("docs/evidence.md"):
        execute(block, namespace)
    outcomes = json.loads(Path("waterfall.json").read_text())["outcomes"]
    assert len(outcomes) == 7
    assert Path("waterfall.png").read_bytes().startswith(b"\x89PNG")


@pytest.fixture
def icons_at_hand(tmp_path, tiny_models, write_icons):
    """Settings of a run on a few icons by tiny encoders, for the blocks of a guide."""
    few = write_icons(tmp_path / "icons", keep=lambda row: row % 24 == 0)
    models = (("text", "text"), ("picture", "picture"))
    told = " ".join(f"--set data.{name}_model={tiny_models}/{folder}" for name, folder in models)
    small = "--epochs 1 --batch-size 8 --jobs 1 --device cpu --set latent_dim=8"
    return f"--data-root {few} {small} {told}"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_feature_interactions(icons_at_hand, monkeypatch, tmp_path):
    pytest.importorskip("captum", reason="needs the extra features")
    monkeypatch.setenv("I2MOE_CACHE", str(tmp_path / "cache"))
    namespace: dict[str, object] = {}
    for block in blocks("docs/feature_interactions.md"):
        text = re.sub(r"^(i2moe-bench run .*)$", rf"\1 {icons_at_hand}", block.text, flags=re.M)
        text = text.replace(" --features --png", " --features --draws 8 --pairs 4 --png")
        text = text.replace(" --features --json", " --features --draws 8 --pairs 4 --json")
        execute(Block(block.language, text), namespace)
    assert {probe["scope"] for probe in namespace["record"]["pairs"]} == {"synergy", "redundancy"}
    for name in ("heat.png", "curves.png"):
        assert Path(name).read_bytes().startswith(b"\x89PNG")
    assert "Are the explanations faithful" in Path("report.html").read_text(encoding="utf-8")


def test_the_thresholds_of_the_guide_are_those_of_the_code():
    text = (ROOT / "docs/interpretation.md").read_text()
    for words in (
        f"mean weight is {verdict.COLLAPSED} or more",
        f"mean entropy is {verdict.UNIFORM} or more",
        f"deviation above {verdict.CONSTANT}",
        f"below {verdict.UNSTABLE} is called unstable, from {verdict.STABLE} on stable",
    ):
        assert words in text


@pytest.mark.parametrize("name", ["ci", "suites", "statistics"])
def test_ci_suites_and_statistics(name, monkeypatch):
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    for block in blocks(f"docs/{name}.md"):
        execute(block, {})


def test_readme():
    namespace: dict[str, object] = {}
    found = blocks("README.md")
    for block in found:
        if block.language == "python":
            execute(block, namespace)
    assert Path("my_fusion.py").is_file()
    lines = [line for block in found for line in block.text.splitlines()]
    run = [line for line in lines if line.startswith("i2moe-bench run --plugin my_fusion.py ")]
    assert run
    for line in run:
        shell(f"{line} --seeds 1 --epochs 1 --device cpu")
    load_plugin("my_fusion.py")
    assert_backbone("mine")


def test_the_module_of_readme_and_guide_fits_the_promise():
    """At most 15 lines beyond the module's own."""
    for document in ("README.md", "docs/adding_a_fusion.md"):
        (block,) = [block for block in blocks(document) if block.file == "my_fusion.py"]
        beyond = block.text.split("class ")[0].strip().splitlines()
        assert len(beyond) <= 15
