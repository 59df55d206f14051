import importlib.metadata
import sys
from dataclasses import dataclass
from importlib.metadata import EntryPoint, EntryPoints

import pytest
import torch

from i2moe_plugin import LatentSpec, PluginError, UnknownNameError, create_backbone, load_plugin
from i2moe_plugin.backbones.entry import backbones
from i2moe_plugin.registry import Registry

LATENTS = [LatentSpec(3), LatentSpec(4)]


@dataclass(frozen=True)
class Entry:
    name: str
    value: int = 0


@pytest.fixture
def registry():
    return Registry("thing", "test.group", hint="Ask for --thing.")


@pytest.fixture
def offered(monkeypatch, tmp_path):
    """Installs entry points: name -> source of the module that it imports."""
    monkeypatch.syspath_prepend(str(tmp_path))
    points = []

    def install(name, source, group="test.group"):
        module = f"test_offered_{tmp_path.name.replace('-', '_')}_{len(points)}"
        (tmp_path / f"{module}.py").write_text(source)
        points.append(EntryPoint(name, f"{module}:Thing", group))
        return module

    def entry_points(*, group):
        return EntryPoints(points).select(group=group)

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)
    return install


def test_entries_of_installed_packages_load_when_asked_for(registry, offered, monkeypatch):
    module = offered("good", "import test_registry_sink as s; s.add('good'); Thing = 1\n")
    other = offered("other", "import test_registry_sink as s; s.add('other'); Thing = 1\n")
    offered("elsewhere", "raise RuntimeError\n", group="another.group")

    class Sink:
        add = staticmethod(lambda name: registry.add(Entry(name)))

    monkeypatch.setitem(sys.modules, "test_registry_sink", Sink)
    assert registry.get("good") == Entry("good")
    assert module in sys.modules
    assert other not in sys.modules  # asking for one imports no other
    assert registry.names() == ["good", "other"]
    assert [entry.name for entry in registry] == ["good", "other"]
    assert "other" in registry
    assert "elsewhere" not in registry
    assert registry.broken == {}


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import no_such_module_at_all\n", "ModuleNotFoundError: No module named"),
        ("1 / 0\n", "ZeroDivisionError"),
        ("def broken(:\n", "SyntaxError"),
        ("raise SystemExit(3)\n", "SystemExit: 3"),
        ("", "AttributeError"),
        ("Thing = 1\n", "did not register thing 'bad'"),
    ],
)
def test_a_broken_package_harms_only_who_asks_for_it(registry, offered, source, reason):
    offered("bad", source)
    registry.add(Entry("mine"))
    assert registry.names() == ["mine"]
    assert [entry.name for entry in registry] == ["mine"]
    assert reason in registry.broken["bad"]
    with pytest.raises(
        PluginError, match=r"thing 'bad' cannot be loaded: .*test_offered"
    ) as caught:
        registry.get("bad")
    assert reason in str(caught.value)
    with pytest.raises(UnknownNameError, match=r"Known: mine\. Ask for --thing\."):
        registry.get("unheard-of")


PLUGIN = """
import torch
from torch import nn
from i2moe_plugin import register_backbone

@register_backbone("test-mine")
class Mine(nn.Module):
    def forward(self, latents):
        return torch.cat(latents, 1)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_plugin_file_is_loaded_once_however_it_is_named(folder):
    (folder / "my fusion.py").write_text(PLUGIN)
    for target in ("my fusion.py", folder / "my fusion.py", str(folder / "." / "my fusion.py")):
        load_plugin(target)
    backbone = create_backbone("test-mine", LATENTS, num_outputs=2)
    assert backbone([torch.ones(5, 3), torch.ones(5, 4)])[0].shape == (5, 2)


def test_plugin_files_of_one_name_do_not_hide_each_other(folder):
    for name in ("one", "two"):
        (folder / name).mkdir()
        (folder / name / "fusion.py").write_text(PLUGIN.replace("test-mine", f"test-{name}"))
        load_plugin(folder / name / "fusion.py")
    assert {"test-one", "test-two"} <= set(backbones.names())


def test_a_plugin_file_imports_its_neighbours_and_hides_nothing(folder):
    (folder / "neighbour_of_the_test_plugin.py").write_text("NAME = 'test-mine'\n")
    (folder / "torch.py").write_text("raise RuntimeError('the wrong torch')\n")
    source = PLUGIN.replace('"test-mine"', "neighbour_of_the_test_plugin.NAME")
    (folder / "fusion.py").write_text("import neighbour_of_the_test_plugin\n" + source)
    load_plugin("fusion.py")
    assert "test-mine" in backbones
    del sys.modules["neighbour_of_the_test_plugin"]


def test_a_dotted_module_is_a_plugin(folder, monkeypatch):
    monkeypatch.syspath_prepend(str(folder))
    (folder / "test_dotted_pkg").mkdir()
    (folder / "test_dotted_pkg" / "__init__.py").write_text("")
    (folder / "test_dotted_pkg" / "fusions.py").write_text(PLUGIN)
    load_plugin("test_dotted_pkg.fusions")
    load_plugin("test_dotted_pkg.fusions")
    assert backbones.get("test-mine").build is sys.modules["test_dotted_pkg.fusions"].Mine


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("def broken(:\n", "SyntaxError"),
        ("import sys; sys.exit(2)\n", "SystemExit: 2"),
        ("import no_such_module_at_all\n", "ModuleNotFoundError"),
        ("raise KeyError('x')\n", "KeyError: 'x'"),
        (PLUGIN + PLUGIN, "'test-mine' is already registered"),
        (PLUGIN.replace("test-mine", "not a name"), "must be letters, digits"),
    ],
)
def test_a_plugin_that_fails_is_named_with_its_reason(folder, source, reason):
    (folder / "fusion.py").write_text(source)
    before = set(sys.modules)
    with pytest.raises(PluginError, match=r"plugin fusion\.py") as caught:
        load_plugin("fusion.py")
    assert reason in str(caught.value)
    assert not {name for name in set(sys.modules) - before if "user_plugin" in name}


def test_ctrl_c_in_a_plugin_is_not_swallowed(folder):
    (folder / "fusion.py").write_text("raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        load_plugin("fusion.py")


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("missing.py", "plugin file missing.py does not exist"),
        ("no/such/folder/fusion.py", "does not exist"),
        ("notes.txt", r"its name must end in \.py"),
        ("no_such_module_at_all.fusions", "ModuleNotFoundError"),
        (".fusions", "TypeError"),
        ("", "ValueError"),
        (".", "could not be imported"),
    ],
)
def test_a_plugin_that_is_not_there_is_named(folder, target, reason):
    (folder / "notes.txt").write_text("x")
    with pytest.raises(PluginError, match=reason):
        load_plugin(target)
