"""``i2moe-bench check``: what it finds in files, modules and names, and what it says."""

import json
import sys

import pytest
from click.testing import CliRunner

from i2moe_plugin.benchmarks.cli import main

HEAD = """
import torch
from torch import nn
from i2moe_plugin import register_backbone
"""
SOUND = """
@register_backbone("checked", latents="vector")
class Sum(nn.Module):
    def __init__(self, input_dims, width=4):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(dim, width) for dim in input_dims)

    def forward(self, latents):
        return sum(layer(x) for layer, x in zip(self.layers, latents))
"""
NOISY = """
@register_backbone("noisy", latents="vector")
class Noisy(nn.Module):
    def __init__(self, input_dims):
        super().__init__()
        self.old = nn.Linear(2, 2)

    def forward(self, latents):
        return torch.cat(latents, 1) + torch.rand(1)
"""


def invoke(*arguments):
    return CliRunner().invoke(main, ["check", *map(str, arguments)])


@pytest.fixture
def file(tmp_path):
    def write(*parts, name="my_fusion.py"):
        path = tmp_path / name
        path.write_text("\n".join((HEAD, *parts)))
        return path

    return write


def test_a_sound_file_passes(file):
    result = invoke(file(SOUND))
    assert result.exit_code == 0, result.output
    assert "Backbone checked" in result.stdout
    assert "trains as I2MoE" in result.stdout
    assert ", 0 failed," in result.stdout


def test_a_failure_is_told_with_what_to_do_and_returns_1(file):
    result = invoke(file(SOUND, NOISY))
    assert result.exit_code == 1
    text = " ".join(result.stdout.replace("│", " ").split())
    assert "two calls in evaluation mode differ by" in text
    assert "Draw noise in training only" in text
    assert "not run: 'deterministic' failed" in text
    assert "checked: 14 passed" in text or "checked: 15 passed" in text  # the latter with a GPU


def test_json_holds_every_check(file):
    result = invoke(file(SOUND, NOISY), "--json")
    assert result.exit_code == 1
    reports = {row["backbone"]: row["checks"] for row in json.loads(result.stdout)}
    assert set(reports) == {"checked", "noisy"}
    assert {check["outcome"] for check in reports["checked"]} == {"passed", "skipped"}
    (failed,) = [check for check in reports["noisy"] if check["outcome"] == "failed"]
    assert failed["name"] == "deterministic"
    assert failed["advice"]


def test_settings_reach_it_and_wrong_ones_are_named(file):
    path = file(SOUND)
    assert invoke(path, "--set", "fusion.width=3").exit_code == 0
    result = invoke(path, "--set", "fusion.wdth=3")
    assert result.exit_code == 1
    assert "has no setting 'wdth'" in " ".join(result.stdout.replace("│", " ").split())
    result = invoke(path, "--set", "lr=3", "--set", "epochs=3")
    assert result.exit_code == 1
    assert "2 problems" in result.stderr
    assert "lr: check takes settings of the fusion only" in result.stderr


def test_one_of_several_by_name(file):
    result = invoke("--plugin", file(SOUND, NOISY), "checked", "--json")
    assert result.exit_code == 0
    assert [row["backbone"] for row in json.loads(result.stdout)] == ["checked"]


def test_unused_parameters_can_be_declared(file):
    path = file(NOISY.replace(" + torch.rand(1)", ""))
    assert invoke(path).exit_code == 1
    assert invoke(path, "--unused", "fusion.old.*").exit_code == 0


def test_a_dotted_module_and_a_registered_name(tmp_path, monkeypatch, file):
    assert invoke("tensor").exit_code == 0
    assert invoke("i2moe_plugin.adapters.lrtf").exit_code == 0  # imported before
    file(SOUND, name="checked_module.py")
    monkeypatch.syspath_prepend(tmp_path)
    try:
        assert invoke("checked_module").exit_code == 0
    finally:
        sys.modules.pop("checked_module", None)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("nowhere.py", "plugin file nowhere.py does not exist"),
        ("lrft", "unknown backbone 'lrft'. Did you mean 'lrtf'"),
        ("no-module", "unknown backbone 'no-module'"),
        ("not.there", "No module named 'not'"),
        (
            "i2moe_plugin.interactions.losses",
            "i2moe_plugin.interactions.losses registers no backbone. Put @register_backbone",
        ),
    ],
)
def test_what_cannot_be_found_is_an_error_that_says_so(target, message):
    result = invoke(target)
    assert result.exit_code == 1
    assert message in result.stderr


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("", "registers no backbone. Put @register_backbone(NAME)"),
        ("import nothing_of_that_name", "No module named 'nothing_of_that_name'"),
        ("def :", "SyntaxError"),
        ("raise SystemExit(3)", "SystemExit"),
        ('register_backbone("lrtf")(nn.Identity)', "'lrtf' is already registered"),
    ],
)
def test_files_that_register_nothing_or_cannot_be_imported(file, source, message):
    result = invoke(file(source))
    assert result.exit_code == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_help_has_examples_and_a_target_is_needed():
    assert "i2moe-bench check my_fusion.py --set fusion.width=16" in invoke("--help").stdout
    assert invoke().exit_code == 2
