"""What a user's type checker sees of the package."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import i2moe_plugin

PACKAGE = Path(i2moe_plugin.__file__).parent

USER = """
import torch
from torch import Tensor, nn

from i2moe_plugin import (
    Classification,
    ExpertBank,
    I2MoE,
    LatentSpec,
    MLPReweighting,
    Trainer,
    create_backbone,
    create_masking,
    create_model,
    register_backbone,
)


@register_backbone("typed", latents="vector")
class Mean(nn.Module):
    def forward(self, latents: list[Tensor]) -> Tensor:
        return torch.stack(latents).mean(0)


latents = [LatentSpec(4), LatentSpec(4)]
task = Classification(3)
model = I2MoE(
    encoders=[nn.Linear(2, 4), nn.Linear(5, 4)],
    bank=ExpertBank(lambda: create_backbone("typed", latents, task.num_outputs), 4),
    masking=create_masking("random", latents),
    reweighting=MLPReweighting([4, 4], num_experts=4),
    task=task,
)
trainer = Trainer(model, metric="accuracy")
trainer.fit([], [], epochs=2)
predictions = trainer.predict([])
reveal_type(Mean)
reveal_type(create_backbone("typed", latents, 3))
reveal_type(model.expert_names)
reveal_type(model.forward([]).prediction)
reveal_type(create_model("i2moe", [], latents, nn.Identity, task).losses)
reveal_type(predictions.weights)
create_backbone("typed", latents)
I2MoE(encoders=[], bank=nn.Identity())
register_backbone("wrong", latents="pictures")
Trainer(model, metrics="accuracy")
LatentSpec("4")
"""
REVEALED = [
    r"def \(.*\) -> users_file\.Mean",
    r"i2moe_plugin\.backbones\.wrapper\.Backbone",
    r"(builtins\.)?list\[(builtins\.)?str\]",
    r"torch\._tensor\.Tensor",
    r"def \(output: .*ModelOutput.*, target: torch\._tensor\.Tensor\) -> .*Losses.*",
    r".*ndarray\[.*\] \| None",
]
REFUSED = ["num_outputs", "ExpertBank", "pictures|Literal", "metrics", "int"]


@pytest.mark.slow
def test_a_users_file_is_checked(tmp_path):
    file = tmp_path / "users_file.py"
    file.write_text(USER)
    environment = dict(os.environ)
    if "site-packages" not in PACKAGE.parts:  # a checkout: mypy does not follow editable installs
        environment["MYPYPATH"] = str(PACKAGE.parent)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", file],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert not done.stderr
    revealed = re.findall(r'Revealed type is "(.*)"', done.stdout)
    assert len(revealed) == len(REVEALED), done.stdout
    for found, expected in zip(revealed, REVEALED, strict=True):
        assert re.fullmatch(expected, found), found
    lines = USER.splitlines()
    wrong = {
        lines[int(number) - 1]: text
        for number, text in re.findall(r":(\d+): error: (.*)", done.stdout)
    }
    assert list(wrong) == lines[-len(REFUSED) :], done.stdout
    for text, expected in zip(wrong.values(), REFUSED, strict=True):
        assert re.search(expected, text), text


def test_the_stub_lists_what_the_package_has():
    stub = ast.parse((PACKAGE / "__init__.pyi").read_text())
    names = {"__version__"}
    for node in stub.body:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                assert alias.asname == alias.name, "only what is imported as itself is exported"
                names.add(alias.name)
                home = f"i2moe_plugin.{node.module}"
                assert getattr(i2moe_plugin, alias.name).__module__ == home
    assert names == set(i2moe_plugin.__all__)
