import pytest
import torch
from torch import nn
from torch.testing import assert_close

from i2moe_plugin import BackboneError, LatentSpec, create_backbone, register_backbone
from i2moe_plugin.backbones.entry import unregister_backbone
from i2moe_plugin.backbones.wrapper import MLPHead

LATENTS = [LatentSpec(3), LatentSpec(4)]
INPUTS = [torch.ones(5, 3), torch.ones(5, 4)]


def backbone_of(function, *, latents=LATENTS, own_head=False, **facts):
    """A backbone whose fusion is this function of the latents."""

    class Fusion(nn.Module):
        def forward(self, *arguments):
            return function(*arguments)

    def build(num_outputs):
        return Fusion()

    unregister_backbone("test-fusion")
    register_backbone("test-fusion", **facts)(build if own_head else lambda: Fusion())
    return create_backbone("test-fusion", latents, num_outputs=2)


def concat(latents, *_):
    return torch.cat([latent.flatten(1) for latent in latents], 1)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda z: z[0].sum(), r"shape \[\]; expected \[B, \.\.\.\] with B=2 and at least 2 dim"),
        (lambda z: z[0][:, 0], r"shape \[2\]; expected"),
        (lambda z: z[0][:1], r"shape \[1, 3\]; expected"),
        (lambda z: z[0].T, r"shape \[3, 2\]; expected"),
        (lambda z: (), "empty tuple"),
        (lambda z: [], "empty list"),
        (lambda z: None, "returned a NoneType; a tensor, or a tuple whose first item is one"),
        (lambda z: (None, z[0]), "returned a NoneType"),
        (lambda z: {"fused": z[0]}, "returned a dict"),
        (lambda z: z[0] @ z[1], r"failed on latents of shape \[2, 3\], \[2, 4\]: RuntimeError"),
        (lambda z: z[2], "IndexError"),
        (lambda: None, "TypeError"),
    ],
)
def test_a_broken_contract_is_named_when_the_backbone_is_built(function, message):
    with pytest.raises(BackboneError, match=r"backbone 'test-fusion' .*" + message):
        backbone_of(function)


@pytest.mark.parametrize(
    "function", [lambda z: concat(z), lambda z: (concat(z), "state"), lambda z: [concat(z)]]
)
def test_a_tensor_or_what_begins_with_one_is_accepted(function):
    backbone = backbone_of(function)
    output, auxiliary = backbone(INPUTS)
    assert_close(output, backbone.head(torch.ones(5, 7)))
    assert auxiliary.shape == ()
    assert auxiliary == 0


def test_what_breaks_later_is_named_too():
    """The dry run sees two samples; a fusion may go wrong on other numbers of them."""
    backbone = backbone_of(lambda z: concat(z)[:2])
    with pytest.raises(BackboneError, match=r"\[2, 7\]; expected \[B, \.\.\.\] with B=5"):
        backbone(INPUTS)
    backbone = backbone_of(lambda z: concat(z)[:, : 2 * len(z[0])])
    with pytest.raises(BackboneError, match=r"fused .* to 7 values a sample; .* built for 4"):
        backbone(INPUTS)
    backbone = backbone_of(lambda z: concat(z)[:, : len(z[0])], own_head=True)
    with pytest.raises(BackboneError, match=r"returned \[5, 5\]; expected \[5, 2\]"):
        backbone(INPUTS)


def test_a_fusion_with_num_outputs_brings_its_own_head():
    backbone = backbone_of(lambda z: z[0][:, :2], own_head=True)
    assert backbone.head is None
    assert torch.equal(backbone(INPUTS)[0], torch.ones(5, 2))
    with pytest.raises(BackboneError, match=r"must return \[B, 2\]; it returned \[2, 7\].*head"):
        backbone_of(concat, own_head=True)


def test_a_fused_tensor_of_any_rank_is_flattened_for_the_head():
    tokens = [LatentSpec(3, 2), LatentSpec(3, 4)]
    backbone = backbone_of(lambda z: torch.cat(z, 1), latents=tokens)
    assert backbone.head[0].in_features == 18
    assert backbone([torch.ones(5, 2, 3), torch.ones(5, 4, 3)])[0].shape == (5, 2)


@pytest.mark.parametrize("bad", [0.5, None, torch.zeros(5), torch.zeros(1)], ids=repr)
def test_an_auxiliary_loss_that_is_no_scalar_is_refused(bad):
    with pytest.raises(BackboneError, match=r"returned the auxiliary loss .* a scalar tensor"):
        backbone_of(lambda z: (concat(z), bad), auxiliary=True)


def test_an_auxiliary_loss_may_be_left_out():
    for function in (concat, lambda z: (concat(z),)):
        assert backbone_of(function, auxiliary=True)(INPUTS)[1] == 0


def test_an_auxiliary_loss_counts_only_where_it_is_declared():
    for declared, expected in ((True, 5.0), (False, 0.0)):
        name = f"test-{declared}"

        @register_backbone(name, auxiliary=declared)
        class Own(nn.Module):
            def forward(self, latents):
                return concat(latents), latents[0][:, 0].sum()

        assert create_backbone(name, LATENTS, 2)(INPUTS)[1] == expected


@pytest.mark.parametrize(
    "change",
    [
        lambda z: z[1].mul_(2),
        lambda z: z[1].add_(1),
        lambda z: nn.functional.relu(z[1], inplace=True),
        lambda z: z[1][:, 0].zero_(),
        lambda z: z[1].view(-1).fill_(0),
    ],
)
def test_d9b_a_fusion_that_changes_its_inputs_is_refused(change):
    """D9b: upstream's ``x += pos_embed`` changes what every later expert and view is given."""
    with pytest.raises(BackboneError, match=r"latent of modality 2 in place.*x = x \+ y"):
        backbone_of(lambda z: (change(z), concat(z))[1])


def test_lazy_parameters_are_refused():
    @register_backbone("test-lazy")
    class Lazy(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.LazyLinear(4)

        def forward(self, latents):
            return self.linear(concat(latents))

    with pytest.raises(BackboneError, match=r"lazy parameters.*input_dims"):
        create_backbone("test-lazy", LATENTS, num_outputs=2)


def test_something_other_than_a_module_is_refused():
    register_backbone("test-list")(lambda: [1])
    with pytest.raises(BackboneError, match=r"built a list; a torch\.nn\.Module"):
        create_backbone("test-list", LATENTS, num_outputs=2)


def test_building_leaves_no_trace_on_the_module_or_the_random_state():
    @register_backbone("test-norm")
    class Norm(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(7)

        def forward(self, latents):
            return self.norm(concat(latents)) + torch.rand(())

    torch.manual_seed(1)
    create_backbone("test-norm", LATENTS, num_outputs=2)
    after = torch.rand(3)
    torch.manual_seed(1)
    backbone = create_backbone("test-norm", LATENTS, num_outputs=2)
    assert torch.equal(torch.rand(3), after)
    assert backbone.training
    assert backbone.fusion.norm.training
    assert backbone.fusion.norm.num_batches_tracked == 0
    # The draw of the dry run is taken back: building draws the head's weights and no more.
    torch.manual_seed(1)
    MLPHead(7, 2, 128, 0.0)
    assert torch.equal(torch.rand(3), after)


def test_padding_masks_go_to_the_fusion_that_asks_for_them():
    seen = []

    def watch(latents, *masks):
        seen.append(masks)
        return torch.cat([latents[0], latents[1].mean(1)], 1)

    latents = [LatentSpec(3), LatentSpec(4, 6, padded=True)]
    inputs = [torch.ones(2, 3), torch.ones(2, 6, 4)]
    mask = torch.zeros(2, 6, dtype=torch.bool)
    backbone = backbone_of(watch, latents=latents, padding=True)
    assert seen[0][0][0] is None
    assert seen[0][0][1].shape == (2, 6)
    backbone(inputs, [None, mask])
    assert seen[1][0][1] is mask
    backbone(inputs)
    assert seen[2][0] == [None, None]
    seen.clear()
    both = [LatentSpec(4, 5, padded=True), LatentSpec(4, 6, padded=True)]
    backbone_of(lambda z, *masks: (seen.append(masks), concat(z))[1], latents=both, padding=True)
    assert [mask.shape for mask in seen[0][0]] == [(2, 5), (2, 6)]


def test_head_shapes():
    assert [type(layer) for layer in MLPHead(3, 2, 0, 0.1)] == [nn.Linear]
    head = MLPHead(3, 2, 5, 0.1)
    assert [type(layer) for layer in head] == [nn.Linear, nn.ReLU, nn.Dropout, nn.Linear]
    assert head[2].p == 0.1
    assert (head[0].out_features, head[3].in_features) == (5, 5)
