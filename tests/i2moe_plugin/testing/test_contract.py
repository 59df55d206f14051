"""A zoo of broken backbones, each caught by one check and no other."""

import re

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from i2moe_plugin import UnknownNameError, register_backbone
from i2moe_plugin.backbones.entry import backbones
from i2moe_plugin.backbones.latents import pool_tokens
from i2moe_plugin.testing import CheckResult, assert_backbone, check_backbone

WIDTH = 4


class Sum(nn.Module):
    """A sound fusion, which every other one here breaks in one way."""

    def __init__(self, input_dims, width=WIDTH):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(dim, width) for dim in input_dims)

    def forward(self, latents):
        return sum(layer(x) for layer, x in zip(self.layers, latents, strict=True))


def after(change):
    """Sum, and a change of what it returns."""

    class Changed(Sum):
        def forward(self, latents):
            return change(super().forward(latents))

    return Changed


def before(change):
    """Sum, and a change of what it takes."""

    class Changed(Sum):
        def forward(self, latents):
            return super().forward(change(latents))

    return Changed


class OnlyTwo(Sum):
    def forward(self, latents):
        first, second = latents
        return super().forward([first, second])


class FixedWidth(Sum):
    def __init__(self):
        super().__init__([64, 64])


class ComputedOnce(Sum):
    def __init__(self, input_dims):
        super().__init__(input_dims)
        self.scale = nn.Parameter(torch.ones(WIDTH))
        self.doubled = [2 * self.scale]

    def forward(self, latents):
        return super().forward(latents) * self.doubled[0]


class InPlaceInTraining(Sum):
    def forward(self, latents):
        if self.training:
            latents[1].mul_(2)
        return super().forward(latents)


class NaNInTraining(Sum):
    def forward(self, latents):
        fused = super().forward(latents)
        return fused * float("nan") if self.training else fused


class BatchNorm(Sum):
    def __init__(self, input_dims):
        super().__init__(input_dims)
        self.norm = nn.BatchNorm1d(WIDTH)

    def forward(self, latents):
        return self.norm(super().forward(latents))


class Remembers(Sum):
    calls = 0

    def forward(self, latents):
        self.calls += 1
        return super().forward(latents) + self.calls


class Constant(Sum):
    def __init__(self, input_dims):
        super().__init__(input_dims)
        self.scale = torch.arange(WIDTH) + 1.0

    def forward(self, latents):
        return super().forward(latents) * self.scale


class KeepsItsOutput(Sum):
    def forward(self, latents):
        self.last = {"fused": [super().forward(latents)]}
        return self.last["fused"][0]


class OneForAllCopies(Sum):
    def __deepcopy__(self, memo):
        return self


def one_for_all(input_dims, shared={}):  # noqa: B006
    return shared.setdefault(tuple(input_dims), Sum(input_dims))


class LostBuffer(Sum):
    def __init__(self, input_dims):
        super().__init__(input_dims)
        self.register_buffer("projection", torch.randn(WIDTH, WIDTH), persistent=False)

    def forward(self, latents):
        return super().forward(latents) @ self.projection


class Unused(Sum):
    def __init__(self, input_dims):
        super().__init__(input_dims)
        self.old = nn.Linear(3, 3)


class MixesTypes(Sum):
    def forward(self, latents):
        fused = latents[0].new_zeros(len(latents[0]), WIDTH)
        fused[torch.arange(len(fused))] = super().forward(latents)
        return fused


class Pooled(Sum):
    """Takes padding masks, and pools over all tokens."""

    def forward(self, latents, padding_masks):
        return super().forward([x.nan_to_num().mean(1) for x in latents])


class UnitPooled(Sum):
    """Pools over real tokens, to length 1; the root has no derivative at a sample without any."""

    def __init__(self, input_dims):
        super().__init__(input_dims)
        self.scale = nn.Parameter(torch.rand(input_dims[0]))

    def forward(self, latents, padding_masks):
        pairs = zip(latents, padding_masks, strict=True)
        pooled = [self.scale * pool_tokens(*pair) for pair in pairs]
        return super().forward([x / (x.square().sum(1, True).sqrt() + 1e-6) for x in pooled])


ZOO = {
    "one dimension": (after(lambda z: z[:, 0]), "builds", r"2 modalities, vectors: .*shape \[2\]"),
    "two modalities only": (OnlyTwo, "builds", "3 modalities, vectors: .*too many values"),
    "a fixed width": (FixedWidth, "builds", "failed on latents of shape"),
    "a needed setting": (lambda input_dims, rank: Sum(input_dims), "builds", "needs.*'rank'"),
    "in place": (before(lambda z: [x.mul_(2) for x in z]), "builds", "modality 1, 2 in place"),
    "computed once": (ComputedOnce, "builds", "doubled: .*goes stale"),
    "four samples": (after(lambda z: z[:4]), "shapes", r"\[4, 4\]; expected \[B, ...\] with B=6"),
    "NaN": (after(lambda z: (z - z).log() - 1 / (z - z)), "finite", "evaluation|training"),
    "NaN in training": (NaNInTraining, "finite", "NaN or infinity in training mode"),
    "squeeze": (after(lambda z: z.squeeze()), "batch of one", r"shape \[4\]"),
    "in place in training": (InPlaceInTraining, "inputs unchanged", "modality 2"),
    "dropout in evaluation": (after(F.dropout), "deterministic", "differ by"),
    "counts its calls": (Remembers, "deterministic", "differ by"),
    "centred over the batch": (after(lambda z: z - z.mean(0)), "no batch mixing", "alone differs"),
    "softmax over the batch": (after(lambda z: z.softmax(0)), "no batch mixing", "alone differs"),
    "a constant": (Constant, "registered", r"fusion.scale: a tensor \[4\]\."),
    "keeps its output": (KeepsItsOutput, "registered", "fusion.last: a tensor"),
    "one for all copies": (OneForAllCopies, "copies", "changing a deep copy changes it"),
    "one for all": (one_for_all, "copies", "changing another one that was built changes it"),
    "a lost buffer": (LostBuffer, "state dict", "the same state_dict gives other numbers"),
    "an unused layer": (Unused, "gradients", "no gradient reaches fusion.old.bias, fusion.old.w"),
    "detached": (before(lambda z: [z[0], *map(torch.detach, z[1:])]), "gradients", "latent_2"),
    "float32 constants": (after(lambda z: z @ torch.ones(4, 4)), "float64", "dtype"),
    "returns float32": (after(lambda z: z.float()), "float64", "dtype|float32"),
    "mixes types": (MixesTypes, "mixed precision", "dtypes match"),
    "no auxiliary loss": (Sum, "auxiliary loss", "no loss with a gradient", {"auxiliary": True}),
    "padding pooled": (Pooled, "padding", "7.0 at padding changes", {"latents": "padded"}),
    "only padding": (UnitPooled, "padding", "gradients are not finite", {"latents": "padded"}),
}


def register(build, latents="vector", **facts):
    if latents == "padded":
        facts |= {"latents": "tokens", "padding": True}
    register_backbone("zoo", **{"latents": latents, **facts})(build)
    return backbones.get("zoo")


@pytest.mark.parametrize("network", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_layers_keep_a_list_of_registered_parameters(network):
    class Recurrent(nn.Module):
        def __init__(self, input_dims):
            super().__init__()
            self.projections = nn.ModuleList(nn.Linear(dim, 8) for dim in input_dims)
            self.network = network(8, 8, batch_first=True)

        def forward(self, latents):
            pairs = zip(self.projections, latents, strict=True)
            return self.network(torch.stack([layer(x) for layer, x in pairs], 1))[0][:, -1]

    assert not [r for r in check_backbone(register(Recurrent)) if r.outcome == "failed"]


def test_batch_norm_passes_with_a_remark():
    results = {result.name: result for result in check_backbone(register(BatchNorm))}
    assert {result.outcome for result in results.values()} <= {"passed", "skipped"}
    assert "a last batch of one is refused by run" in results["batch of one"].detail


def scripted(input_dims):
    return torch.jit.script(nn.Linear(sum(input_dims), 4))


class OldWeightNorm(nn.Module):
    def __init__(self, input_dims):
        super().__init__()
        self.layer = nn.utils.weight_norm(nn.Linear(sum(input_dims), 4))

    def forward(self, latents):
        return self.layer(torch.cat(latents, 1))


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("build", "said"),
    [
        (OldWeightNorm, r"take torch\.nn\.utils\.parametrizations\.weight_norm"),
        (after(lambda z: torch.fft.fft(z)), r"complex numbers; .*view_as_real"),
        (after(lambda z: z.long()), r"torch\.int64; real numbers are expected"),
        (scripted, "is scripted .*return the module itself"),
    ],
)
def test_what_cannot_be_a_fusion_is_told_what_to_use(build, said):
    (failed,) = [r for r in check_backbone(register(build)) if r.outcome == "failed"]
    assert re.search(said, failed.detail)


@pytest.mark.parametrize("animal", ZOO)
def test_each_is_caught_by_one_check_and_no_other(animal):
    build, check, message, *facts = ZOO[animal]
    results = check_backbone(register(build, **(facts[0] if facts else {})))
    failed = [result for result in results if result.outcome == "failed"]
    assert [result.name for result in failed] == [check]
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(failed[0].detail)
    assert failed[0].advice or "write x = x + y" in failed[0].detail


@pytest.mark.parametrize(
    ("build", "facts"),
    [
        (Sum, {}),
        (Sum, {"latents": "vector", "min_modalities": 3, "max_modalities": 3}),
        (Sum, {"latents": "vector", "min_modalities": 6}),
        (OnlyTwo, {"max_modalities": 2}),
    ],
)
def test_sound_ones_pass(build, facts):
    results = check_backbone(register(build, **facts))
    assert {result.name for result in results if result.outcome == "skipped"} <= {
        *("cuda", "auxiliary loss", "padding"),
    }
    assert not [result for result in results if result.outcome == "failed"]
    assert all(result.detail for result in results if result.outcome == "skipped")


def named(results: list[CheckResult], name: str) -> CheckResult:
    return next(result for result in results if result.name == name)


def test_what_was_repaired_is_remarked():
    class Hiding(Sum):
        def __init__(self, input_dims):
            super().__init__(input_dims)
            self.scales = [nn.Parameter(torch.ones(WIDTH))]

        def forward(self, latents):
            return super().forward(latents) * self.scales[0]

    results = check_backbone(register(Hiding))
    assert not [result for result in results if result.outcome == "failed"]
    assert "repaired: scales" in named(results, "registered").detail


def test_one_width_is_enough_and_remarked():
    def mean(latents):
        return torch.stack(latents).mean(0)

    class Mean(nn.Module):
        def forward(self, latents):
            return mean(latents)

    results = check_backbone(register(Mean))
    assert not [result for result in results if result.outcome == "failed"]
    assert named(results, "builds").detail == "only for latents of one width"


def test_what_needs_no_gradient_is_declared_or_frozen():
    entry = register(Unused)
    assert_backbone(entry, unused=["fusion.old.*"])
    with pytest.raises(AssertionError, match=r"gradients: no gradient reaches fusion.old.bias\."):
        assert_backbone("zoo", unused=["*.weight"])

    class Frozen(Unused):
        def __init__(self, input_dims):
            super().__init__(input_dims)
            self.old.requires_grad_(False)

    del backbones._entries["zoo"]
    assert_backbone(register(Frozen))


def test_settings_reach_the_backbone():
    register(Sum)
    assert_backbone("zoo", width=3)
    (failed,) = [r for r in check_backbone("zoo", widht=3) if r.outcome == "failed"]
    assert failed.name == "builds"
    assert "Did you mean 'width'" in failed.detail


def test_one_mistake_shows_once_and_the_rest_says_what_it_rests_on():
    results = check_backbone(register(after(lambda z: z * float("nan"))))
    assert named(results, "deterministic").detail == "not run: 'finite' failed"


def test_nothing_random_is_left_behind():
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    assert_backbone(register(Sum))
    assert torch.equal(torch.rand(3), expected)


def test_an_unknown_name_is_no_finding():
    with pytest.raises(UnknownNameError, match="Did you mean 'lrtf'"):
        check_backbone("lrft")


def test_a_change_in_place_gets_the_advice_that_fits():
    build, *_ = ZOO["in place"]
    found = check_backbone(register(build))
    (failed,) = [one for one in found if one.outcome == "failed"]
    assert "write x = x + y instead of x += y" in failed.detail
    assert failed.advice == ""
