"""Classes of a checkout as backbones; against a real one where MULTIBENCH_ROOT names it."""

import inspect
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from torch.testing import assert_close

from i2moe_plugin import Classification, LatentSpec, create_backbone, create_model
from i2moe_plugin.adapters.checkout import open_checkout
from i2moe_plugin.adapters.multibench import FACTS, resolve
from i2moe_plugin.backbones.entry import backbones
from i2moe_plugin.benchmarks.cli import main
from i2moe_plugin.errors import BackboneError, ConfigError, PluginError, UnknownNameError
from i2moe_plugin.testing import assert_backbone

STANDIN = Path(__file__).parents[1] / "multibench_standin"
ROOT = os.environ.get("MULTIBENCH_ROOT") or str(STANDIN)
COMMON = "multibench:fusions.common_fusions."
LRTF = f"{COMMON}LowRankTensorFusion"
VECTORS = [LatentSpec(8), LatentSpec(6)]
TOKENS = [LatentSpec(8, 5), LatentSpec(6, 5)]
THREE = [*VECTORS, LatentSpec(4)]
CASES = [
    (f"{COMMON}Concat", VECTORS, {}),
    (f"{COMMON}Concat", THREE, {}),
    (f"{COMMON}Concat", TOKENS, {}),
    (f"{COMMON}ConcatEarly", TOKENS, {}),
    (f"{COMMON}Stack", [LatentSpec(6)] * 2, {}),
    (f"{COMMON}ConcatWithLinear", VECTORS, {"output_dim": 5}),
    (f"{COMMON}ConcatWithLinear", TOKENS, {"output_dim": 5}),
    (f"{COMMON}TensorFusion", VECTORS, {}),
    (LRTF, VECTORS, {"rank": 2, "output_dim": 5}),
    (LRTF, THREE, {"rank": 1, "output_dim": 5}),
    (LRTF, TOKENS, {"rank": 2, "output_dim": 5}),
    (
        f"{COMMON}MultiplicativeInteractions2Modal",
        VECTORS,
        {"output_dim": 5, "output": "matrix"},
    ),
    (
        f"{COMMON}MultiplicativeInteractions2Modal",
        VECTORS,
        {"output_dim": [2, 3], "output": "matrix3D"},
    ),
    (
        f"{COMMON}MultiplicativeInteractions2Modal",
        TOKENS,
        {"output_dim": 5, "output": "matrix"},
    ),
    (f"{COMMON}MultiplicativeInteractions3Modal", THREE, {"output_dim": 5}),
    (f"{COMMON}NLgate", VECTORS, {"thw_dim": 2, "c_dim": 3, "tf_dim": 4}),
    (
        f"{COMMON}NLgate",
        [LatentSpec(6), LatentSpec(12)],
        {"thw_dim": 2, "c_dim": 3, "tf_dim": 4, "k_linear": None, "v_linear": [12, 12]},
    ),
    (f"{COMMON}EarlyFusionTransformer", TOKENS, {}),
    (f"{COMMON}LateFusionTransformer", VECTORS, {"embed_dim": 6}),
    ("multibench:fusions.mult.MULTModel", TOKENS, {"layers": 1, "embed_dim": 6}),
]
every = pytest.mark.parametrize(
    ("name", "latents", "settings"), CASES, ids=lambda value: str(value)[-40:]
)
standin_only = pytest.mark.skipif(str(STANDIN) != ROOT, reason="traps of the stand-in")


@pytest.fixture(autouse=True)
def _root(monkeypatch):
    monkeypatch.setenv("MULTIBENCH_ROOT", ROOT)


def draw(latents, batch=6):
    return [torch.randn(batch, *spec.shape) for spec in latents]


@every
def test_a_class_becomes_experts(name, latents, settings):
    output, auxiliary = create_backbone(name, latents, 3, **settings)(draw(latents))
    assert (output.shape, auxiliary) == ((6, 3), 0)
    model = create_model(
        "i2moe",
        [torch.nn.Identity() for _ in latents],
        latents,
        lambda: create_backbone(name, latents, 3, **settings),
        Classification(3),
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    x, target = draw(latents), torch.arange(6) % 3
    before = [p.detach().clone() for p in model.bank.parameters()]
    for _ in range(3):
        optimizer.zero_grad()
        model.losses(model.train()(x), target).total.backward()
        optimizer.step()
    moved = [
        bool((new != old).any()) for new, old in zip(model.bank.parameters(), before, strict=True)
    ]
    assert sum(moved) / len(moved) > 0.9  # a dead ReLU's bias may stay


@pytest.mark.parametrize(
    ("name", "settings"), {name: settings for name, _, settings in reversed(CASES)}.items()
)
def test_the_contract(name, settings):
    """Each class, with the settings of its first case."""
    assert_backbone(name, **settings)


def test_low_rank_fusion_with_its_hidden_factors_is_ours():
    theirs = create_backbone(LRTF, VECTORS, 3, rank=2, output_dim=5).eval()
    names = {name for name, _ in theirs.fusion.named_parameters()}
    assert names == {"factors.0", "factors.1", "fusion_weights", "fusion_bias"}
    ours = create_backbone("lrtf", VECTORS, 3, rank=2, output_dim=5).eval()
    ours.load_state_dict(theirs.state_dict())
    x = draw(VECTORS)
    assert_close(theirs(x)[0], ours(x)[0])


@pytest.mark.parametrize(
    ("name", "native", "latents", "native_settings"),
    [("Concat", "concat", THREE, {}), ("TensorFusion", "tensor", VECTORS, {})],
)
def test_what_we_have_too_is_the_same(name, native, latents, native_settings):
    theirs = create_backbone(COMMON + name, latents, 3).eval()
    ours = create_backbone(native, latents, 3, **native_settings).eval()
    ours.head.load_state_dict(theirs.head.state_dict())
    x = draw(latents)
    assert_close(theirs(x)[0], ours(x)[0])


def test_settings_are_what_is_neither_supplied_nor_fixed():
    def settings(path):
        return set(resolve(f"multibench:{path}").settings)

    common = "fusions.common_fusions."
    assert settings(f"{common}LowRankTensorFusion") == {"output_dim", "rank", "flatten"}
    assert settings(f"{common}MultiplicativeInteractions3Modal") == {"output_dim"}
    assert "grad_clip" not in settings(f"{common}MultiplicativeInteractions2Modal")
    mult = settings("fusions.mult.MULTModel")
    assert {"num_heads", "layers", "embed_dim"} <= mult
    assert not {"hyp_params", "output_dim", "all_steps", "n_features"} & mult
    with pytest.raises(ConfigError, match="needs the setting 'thw_dim'"):
        create_backbone(f"{COMMON}NLgate", VECTORS[:2], 3, c_dim=5, tf_dim=2)
    # What their class leaves to the caller has our own low-rank fusion's value.
    assert create_backbone(LRTF, VECTORS, 3, rank=8).head[0].in_features == 64
    with pytest.raises(ConfigError, match="Did you mean 'rank'"):
        create_backbone(LRTF, VECTORS, 3, output_dim=5, rnak=3)


def test_facts_of_the_entry():
    entry = backbones.get(f"{COMMON}Concat")
    assert entry.upstream == "MultiBench fusions/common_fusions.py: Concat"
    assert entry.description
    assert entry in list(backbones)
    # A run's identity covers the source.
    source = inspect.getsourcefile(inspect.unwrap(entry.build))
    assert source == str(Path(ROOT).resolve() / "fusions" / "common_fusions.py")


@pytest.mark.parametrize("path", [path for path, facts in FACTS.items() if facts.refused])
def test_what_cannot_be_a_backbone_is_refused_with_the_reason(path):
    with pytest.raises(PluginError, match=r"cannot be used: (it|its) "):
        backbones.get(f"multibench:{path}")


@pytest.mark.parametrize(
    ("name", "latents", "settings"),
    [
        ("MultiplicativeInteractions3Modal", VECTORS, {"output_dim": 3}),
        ("MultiplicativeInteractions2Modal", THREE, {"output_dim": 3, "output": "matrix"}),
        ("NLgate", THREE, {"thw_dim": 2, "c_dim": 3, "tf_dim": 4}),
        ("EarlyFusionTransformer", VECTORS, {}),
        ("ConcatEarly", [LatentSpec(3, 4), LatentSpec(3, 5)], {}),
        ("LowRankTensorFusion", [LatentSpec(3, 4, True)] * 2, {"rank": 2, "output_dim": 3}),
        ("NLgate", VECTORS, {"thw_dim": 2, "c_dim": 2, "tf_dim": 3, "q_linear": None}),
    ],
)
def test_latents_that_do_not_fit_are_refused(name, latents, settings):
    with pytest.raises(BackboneError):
        create_backbone(COMMON + name, latents, 3, **settings)


def test_names_that_lead_nowhere(monkeypatch, tmp_path):
    for name, message in {
        "multibench:fusions.nowhere.Concat": "has no module fusions.nowhere",
        f"{COMMON}Concatt": "Did you mean 'Concat'",
        "multibench:Concat": "form MODULE.CLASS",
        "multibench:../../etc.Concat": "form MODULE.CLASS",
        "multibench:fusions.common_fusions.torch": "no module class 'torch'",
    }.items():
        with pytest.raises(PluginError, match=message):
            resolve(name)
    monkeypatch.setenv("MULTIBENCH_ROOT", str(tmp_path))
    with pytest.raises(PluginError, match="holds no folder fusions"):
        resolve(f"{COMMON}Concat")
    monkeypatch.delenv("MULTIBENCH_ROOT")
    with pytest.raises(PluginError, match="--multibench PATH"):
        resolve(f"{COMMON}Concat")
    with pytest.raises(UnknownNameError, match=r"multibench:MODULE\.CLASS"):
        backbones.get("nobody:fusions.Concat")


@standin_only
def test_what_an_import_lacks_is_named():
    with pytest.raises(PluginError, match="needs the package 'a_package_that_nobody_has'"):
        resolve("multibench:fusions.missing.Anything")
    with pytest.raises(PluginError, match="OSError: a library does not load"):
        resolve("multibench:fusions.broken.Anything")


@standin_only
def test_the_callers_modules_and_path_stay(monkeypatch):
    """With a module of his own under each of their names, also in imports inside functions."""
    own = {name: types.ModuleType(name) for name in ("datasets", "utils", "fusions")}
    for name, module in own.items():
        monkeypatch.setitem(sys.modules, name, module)
    path = list(sys.path)
    backbone = create_backbone("multibench:fusions.traps.LateImport", VECTORS, 3)
    assert backbone(draw(VECTORS))[0].shape == (6, 3)
    assert sys.path == path
    assert all(sys.modules[name] is module for name, module in own.items())
    with pytest.raises(ImportError):
        from datasets import STANDIN  # noqa: F401


@standin_only
def test_bare_folders_shadow_nothing():
    checkout = open_checkout(ROOT)
    assert {"fusions", "datasets", "utils"} <= checkout.top
    there = subprocess.run(
        [sys.executable, "-c", "import sphinx"], capture_output=True, check=False
    )
    assert ("sphinx" in checkout.top) == (there.returncode != 0)


@standin_only
def test_unlisted_classes():
    backbone = create_backbone("multibench:fusions.traps.ByName", THREE, 3, output_dim=7)
    assert len(backbone.fusion.layers) == 3
    assert sum(p.numel() for p in backbone.fusion.parameters()) == 7 * (8 + 6 + 4) + 3 * 7
    with pytest.raises(PluginError, match=r"takes \(mus, logvars\)"):
        resolve("multibench:fusions.traps.TwoArguments")
    with pytest.raises(BackboneError, match=r"Stale.double.*MulBackward0"):
        create_backbone("multibench:fusions.traps.Stale", [LatentSpec(4)] * 2, 3)


def test_another_process_unpickles_once_it_has_opened_the_checkout(tmp_path):
    backbone = create_backbone(LRTF, VECTORS, 3, rank=2, output_dim=5)
    torch.save(backbone, tmp_path / "backbone.pt")
    source = (
        "import torch; from i2moe_plugin.adapters.checkout import open_checkout;"
        f"open_checkout({ROOT!r});"
        f"backbone = torch.load({str(tmp_path / 'backbone.pt')!r}, weights_only=False);"
        "print(backbone([torch.ones(2, 8), torch.ones(2, 6)])[0].shape)"
    )
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "torch.Size([2, 3])"


def test_a_checkout_is_opened_once():
    assert open_checkout(ROOT) is open_checkout(Path(ROOT) / "fusions" / "..")


def test_on_the_command_line(monkeypatch, tmp_path):
    monkeypatch.delenv("MULTIBENCH_ROOT")
    monkeypatch.setenv("MULTIBENCH_ROOT", "/nowhere")  # the option wins
    command = f"run --fusion {LRTF} --multibench {ROOT} --epochs 1 --seeds 1 --device cpu --json"
    settings = "--set fusion.rank=2 --set fusion.output_dim=4"
    done = CliRunner().invoke(main, [*f"{command} {settings}".split(), "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert '"fusion": "multibench:fusions.common_fusions.LowRankTensorFusion"' in done.output
    assert len(list(tmp_path.glob("htad-multibench.*"))) == 2
