"""What a run's identity covers of a plugin's code: all that it imports from its own folder."""

import itertools

import pytest

from i2moe_plugin import load_plugin
from i2moe_plugin.backbones.entry import backbones, register_backbone
from i2moe_plugin.benchmarks.run.code import source_of

HEAD = (
    "import functools, importlib\nimport torch\nfrom torch import nn\n"
    "from i2moe_plugin import register_backbone\n"
)
FUSION = (
    "class Mean(nn.Module):\n"
    "    def __init__(self, scale=1.0):\n"
    "        super().__init__()\n"
    "        self.scale = scale\n"
    "    def forward(self, latents):\n"
    "        return self.scale * torch.stack(latents).mean(0)\n"
)
NUMBER = itertools.count()


@pytest.fixture
def covered(tmp_path):
    """``covered(files, code)``: the files of a plugin whose change is another run.

    ``@`` is a number that is new in each test, since modules are loaded once.
    """

    def find(files, code, register="register_backbone('test-code-@')(Mean)"):
        number, folder = str(next(NUMBER)), tmp_path / "plugin"
        text = HEAD + code + "\n" + (FUSION if "class Mean" not in code else "") + register
        for name, content in {**files, "plugin_@.py": text}.items():
            path = folder / name.replace("@", number)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content.replace("@", number))
        load_plugin(folder / f"plugin_{number}.py")
        entry = backbones.get(f"test-code-{number}")
        before, found = source_of(entry.build, entry.module), set()
        for path in sorted(folder.rglob("*.py")):
            kept = path.read_text()
            path.write_text(f"{kept}\n# changed\n")
            if source_of(entry.build, entry.module) != before:
                found.add(path.relative_to(folder).as_posix().replace(number, "@"))
            path.write_text(kept)
        assert source_of(entry.build, entry.module) == before
        return found

    return find


@pytest.mark.parametrize(
    "code",
    [
        "import helper_@",
        "from helper_@ import value",
        "from helper_@ import *",
        "import helper_@ as other",
        "def later():\n    import helper_@",
        "other = importlib.import_module('helper_@')",
        "other = __import__('helper_@')",
        "try:\n    import helper_@\nexcept ImportError:\n    pass",
    ],
)
def test_a_neighbour_however_it_is_imported(covered, code):
    files = {"helper_@.py": "value = 1\n", "unrelated_@.py": ""}
    assert covered(files, code) == {"plugin_@.py", "helper_@.py"}


def test_what_neighbours_import(covered):
    files = {
        "first_@.py": "import second_@\n",
        "second_@.py": "import torch\nfrom pack_@.inner import part\nimport first_@\n",
        "pack_@/__init__.py": "from . import near\n",
        "pack_@/near.py": "",
        "pack_@/far.py": "",
        "pack_@/inner/__init__.py": "",
        "pack_@/inner/part.py": "from ..deep import thing\nfrom .side import other\n",
        "pack_@/inner/side.py": "other = 1\n",
        "pack_@/deep.py": "thing = 1\n",
        "bare_@/torch.py": "",
    }
    found = covered(files, "import first_@")
    assert found == {"plugin_@.py", *files} - {"pack_@/far.py", "bare_@/torch.py"}


def test_a_folder_without_init(covered):
    files = {"bare_@/layers.py": "value = 1\n", "bare_@/other.py": ""}
    assert covered(files, "from bare_@.layers import value") == {"plugin_@.py", "bare_@/layers.py"}


@pytest.mark.parametrize("bound", ["Mean", "functools.partial(Mean, scale=2.0)"])
def test_a_fusion_of_a_neighbour_that_the_plugin_registers(covered, bound):
    """The registering file may bind arguments; the file of the class holds its code."""
    files = {"fusion_@.py": f"import torch\nfrom torch import nn\nimport deep_@\n{FUSION}",
             "deep_@.py": ""}  # fmt: skip
    code = "from fusion_@ import Mean  # not: class Mean"
    register = f"register_backbone('test-code-@')({bound})"
    assert covered(files, code, register) == {"plugin_@.py", *files}


def test_a_file_that_cannot_be_parsed_counts_by_its_text(covered):
    files = {"broken_@.py": "def (:\n"}
    code = "try:\n    import broken_@\nexcept SyntaxError:\n    pass"
    assert covered(files, code) == {"plugin_@.py", "broken_@.py"}


def test_ours_are_their_own_file_alone():
    """Their neighbours change with the version, which is a part of the identity too."""
    entry = backbones.get("lrtf")
    assert source_of(entry.build, entry.module).count("from __future__ import annotations") == 1


def test_a_class_without_a_file():
    namespace = {"__name__": "nowhere", "nn": __import__("torch").nn}
    exec("class Lost(nn.Module):\n    pass\n", namespace)  # as in an interpreter
    register_backbone("test-code-lost")(namespace["Lost"])
    assert source_of(namespace["Lost"], "nowhere") == ""
