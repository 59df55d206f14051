import pytest
import torch
from torch.testing import assert_close

from i2moe_plugin import BackboneError, LatentSpec, ShapeError, create_backbone
from i2moe_plugin.adapters.early_late import (
    ConcatEarly,
    ConcatLinear,
    EarlyFusion,
    LateFusion,
    ReleasedEarlyFusion,
    ReleasedLateFusion,
    Stack,
)


def test_recorded_concat_early(recorded):
    recorded("concat_early", lambda *_: ConcatEarly())


def test_recorded_stack(recorded):
    recorded("stack", lambda *_: Stack())


def test_recorded_concat_linear(recorded):
    def build(facts, parameters):
        fusion = ConcatLinear([6, 5], facts["output_dim"])
        fusion.load_state_dict({f"linear.{k[3:]}": v for k, v in parameters.items()})
        return fusion

    recorded("concat_linear", build)


def released_state(parameters):
    """Theirs: conv (kernel 1), transformer, linear; ours: a linear layer, encoder, linear."""
    names = {"conv": "project", "transformer": "encoder", "linear": "linear"}
    state = {}
    for name, value in parameters.items():
        first, rest = name.split(".", 1)
        state[f"network.{names[first]}.{rest}"] = value.squeeze(-1) if first == "conv" else value
    return state


@pytest.mark.parametrize("case", ["released_ef_2", "released_lf_2"])
def test_recorded_fusions_of_the_paper(recorded, case):
    def build(facts, parameters):
        latents = [LatentSpec(dim, tokens) for tokens, dim in facts["input_shapes"]]
        if case == "released_ef_2":
            fusion = ReleasedEarlyFusion(latents, facts["output_dim"])
        else:
            fusion = ReleasedLateFusion(latents, facts["output_dim"], hidden_dim=facts["embed_dim"])
        fusion.load_state_dict(released_state(parameters))
        return fusion

    recorded(case, build)


def test_released_late_fusion_is_as_wide_as_its_latents():
    fusion = ReleasedLateFusion([LatentSpec(6, 2), LatentSpec(4, 2)], 3)
    assert fusion.network.project.out_features == 10
    with pytest.raises(BackboneError, match="hidden_dim=5 must be a multiple of 2"):
        create_backbone("lf-released", [LatentSpec(4, 2)] * 2, num_outputs=2, hidden_dim=5)


TOKENS = [LatentSpec(3, 4), LatentSpec(5, 4)]


def test_early_fusion_with_an_mlp_is_one_network_at_each_token():
    fusion = EarlyFusion(TOKENS, 2, head="mlp", hidden_dim=6).eval()
    latents = [torch.randn(3, 4, 3), torch.randn(3, 4, 5)]
    expected = torch.zeros(3, 6)
    for b in range(3):
        for t in range(4):
            token = torch.cat([latent[b, t] for latent in latents])
            expected[b] += fusion.project(token).relu() / 4
    assert_close(fusion(latents), fusion.mlp(expected))


def test_early_fusion_with_a_transformer_tells_places_apart():
    """MultiBench's has no positions: permuting all tokens but the last changes nothing there."""
    fusion = EarlyFusion(TOKENS, 2, dropout=0.0)
    with torch.no_grad():
        fusion.transformer.positions.normal_()
    latents = [torch.randn(3, 4, 3), torch.randn(3, 4, 5)]
    swapped = [latent[:, [1, 0, 2, 3]] for latent in latents]
    assert (fusion(latents) - fusion(swapped)).abs().max() > 1e-3


@pytest.mark.parametrize("head", ["transformer", "mlp"])
def test_early_fusion_pads_where_all_modalities_do(head):
    latents = [LatentSpec(3, 4, padded=True), LatentSpec(5, 4, padded=True)]
    fusion = EarlyFusion(latents, 2, head=head).eval()
    values = [torch.randn(1, 4, 3), torch.randn(1, 4, 5)]
    one = torch.tensor([[False, False, True, True]])
    other = torch.tensor([[False, False, False, True]])
    short = [value[:, :3] for value in values]
    zeroed = [short[0].masked_fill(one[:, :3].unsqueeze(-1), 0), short[1]]
    assert_close(fusion(values, [one, other]), fusion(zeroed))


def test_early_fusion_refuses_unequal_numbers_of_tokens():
    with pytest.raises(BackboneError, match=r"got \[4, 3\]. Use lf or transformer"):
        create_backbone("ef", [LatentSpec(3, 4), LatentSpec(3, 3)], num_outputs=2)
    with pytest.raises(ShapeError, match="pairs tokens"):
        ConcatEarly()([torch.zeros(1, 4, 3), torch.zeros(1, 3, 3)])


def test_late_fusion_with_an_mlp_is_an_mlp_on_the_concatenation():
    latents = [LatentSpec(3), LatentSpec(5, 4)]
    fusion = LateFusion(latents, 2).eval()
    values = [torch.randn(6, 3), torch.randn(6, 4, 5)]
    assert_close(fusion(values), fusion.mlp(torch.cat([values[0], values[1].reshape(6, 20)], 1)))


def test_late_fusion_with_a_transformer_makes_each_modality_one_token():
    latents = [LatentSpec(3), LatentSpec(5, 4)]
    fusion = LateFusion(latents, 2, head="transformer", hidden_dim=8).eval()
    values = [torch.randn(6, 3), torch.randn(6, 4, 5)]
    tokens = [fusion.projections[0](values[0]), fusion.projections[1](values[1].reshape(6, 20))]
    assert_close(fusion(values), fusion.transformer([torch.stack(tokens, 1)]))


@pytest.mark.parametrize("head", ["transformer", "mlp"])
def test_late_fusion_takes_the_mean_of_a_varying_number_of_tokens(head):
    latents = [LatentSpec(3), LatentSpec(5, 4, padded=True)]
    fusion = LateFusion(latents, 2, head=head).eval()
    values = [torch.randn(2, 3), torch.randn(2, 6, 5)]
    mask = torch.tensor([[False] * 6, [False] * 2 + [True] * 4])
    output = fusion(values, [None, mask])
    means = torch.stack([values[1][0].mean(0), values[1][1, :2].mean(0)]).unsqueeze(1)
    assert_close(output, fusion([values[0], means]))


@pytest.mark.parametrize("name", ["ef", "lf"])
def test_an_unknown_head_is_refused(name):
    with pytest.raises(BackboneError, match="head is transformer or mlp, not 'mpl'"):
        create_backbone(name, TOKENS, num_outputs=2, head="mpl")
