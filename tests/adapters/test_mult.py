import math

import pytest
import torch
from torch.testing import assert_close

from i2moe_plugin import BackboneError, LatentSpec, create_backbone
from i2moe_plugin.adapters.mult import MultimodalTransformer, sinusoids

SMALL = {"hidden_dim": 8, "num_heads": 2, "num_layers": 1, "memory_layers": 1}


def recorded_transformer(prefix, ours, parameters):
    state = {}
    for name, value in parameters.items():
        if not name.startswith(f"{prefix}."):
            continue
        rest = name.removeprefix(f"{prefix}.")
        parts = rest.split(".")
        if parts[0] == "layer_norm":
            state[f"{ours}.norm.{parts[1]}"] = value
        if parts[0] != "layers":
            continue  # buffers of theirs: a version number and an unused tensor
        layer, kind = f"{ours}.layers.{parts[1]}", parts[2]
        if kind == "self_attn" and parts[3].startswith("in_proj"):
            part = parts[3].removeprefix("in_proj_")
            width = len(value) // 3
            state[f"{layer}.attention.query.{part}"] = value[:width]
            state[f"{layer}.attention.key_value.{part}"] = value[width:]
        elif kind == "self_attn":
            state[f"{layer}.attention.output.{parts[4]}"] = value
        elif kind == "layer_norms":
            state[f"{layer}.norm{int(parts[3]) + 1}.{parts[4]}"] = value
        else:
            place = {"fc1": 0, "fc2": 3}[kind]
            state[f"{layer}.feed_forward.{place}.{parts[3]}"] = value
    return state


@pytest.mark.parametrize("case", ["mult_2", "mult_3"])
def test_recorded_output_and_gradients(recorded, case):
    def build(facts, parameters):
        latents = [LatentSpec(dim, tokens) for tokens, dim in facts["input_shapes"]]
        fusion = MultimodalTransformer(
            latents,
            facts["output_dim"],
            hidden_dim=facts["embed_dim"],
            num_heads=facts["num_heads"],
            num_layers=facts["layers"],
            memory_layers=facts["memory_layers"],
        )
        state = {}
        for m in range(len(latents)):
            state[f"project.{m}.weight"] = parameters[f"proj.{m}.weight"].squeeze(-1)
            state |= recorded_transformer(f"trans_mems.{m}", f"memory.{m}", parameters)
            for n in range(len(latents)):
                state |= recorded_transformer(f"trans.{m}.{n}", f"cross.{m}-{n}", parameters)
        for part in ("weight", "bias"):
            state[f"residual.0.{part}"] = parameters[f"proj1.{part}"]
            state[f"residual.2.{part}"] = parameters[f"proj2.{part}"]
            state[f"head.{part}"] = parameters[f"out_layer.{part}"]
        fusion.load_state_dict(state)
        return fusion

    recorded(case, build)


@pytest.mark.parametrize("dim", [4, 7, 10])
def test_sinusoids_number_by_number(dim):
    half = dim // 2
    for position in (0, 1, 17):
        angles = [position * 10000 ** (-k / (half - 1)) for k in range(half)]
        expected = [*map(math.sin, angles), *map(math.cos, angles), *[0.0] * (dim % 2)]
        actual = sinusoids(torch.tensor(position), dim, torch.float64)
        assert_close(actual, torch.tensor(expected, dtype=torch.float64))


def test_m14_positions_do_not_depend_on_values():
    """Output moves smoothly where a token's first feature passes 0; MultiBench's jumps there."""
    fusion = MultimodalTransformer([LatentSpec(8, 4)] * 2, 3, **SMALL).double().eval()
    with torch.no_grad():  # so that the embedding's first feature is the latent's
        fusion.project[0].weight.copy_(torch.eye(8))
    values = [torch.randn(1, 4, 8).double() for _ in range(2)]
    outputs = []
    for first in (-1e-7, 0.0, 1e-7):
        values[0][0, 2, 0] = first
        outputs.append(fusion(values))
    assert_close(outputs[1], (outputs[0] + outputs[2]) / 2, rtol=0, atol=1e-9)


def test_unequal_numbers_of_tokens():
    latents = [LatentSpec(6, 4), LatentSpec(5, 2), LatentSpec(3, 7)]
    fusion = MultimodalTransformer(latents, 3, **SMALL).eval()
    values = [torch.randn(4, *spec.shape) for spec in latents]
    assert fusion(values).shape == (4, 3)


@pytest.mark.parametrize(
    ("tokens", "context", "allowed"),
    [
        (3, 3, [[1, 0, 0], [1, 1, 0], [1, 1, 1]]),
        (2, 4, [[1, 1, 1, 0], [1, 1, 1, 1]]),
        (4, 2, [[1, 1], [1, 1], [1, 1], [1, 1]]),
    ],
)
def test_who_looks_at_whom(tokens, context, allowed):
    fusion = MultimodalTransformer([LatentSpec(8, 4)] * 2, 3, **SMALL)
    places = torch.arange(1, tokens + 1).expand(1, -1)
    others = torch.arange(1, context + 1).expand(1, -1)
    blocked = fusion._blocked(places, others, torch.zeros(1, context, dtype=torch.bool))
    assert (~blocked).long().tolist() == [allowed]


def test_without_causality_the_first_token_sees_the_last():
    for causal in (True, False):
        fusion = MultimodalTransformer([LatentSpec(8, 3)] * 2, 3, causal=causal, **SMALL).eval()
        values = torch.randn(1, 3, 8, requires_grad=True)
        places = torch.tensor([[1, 2, 3]])
        blocked = fusion._blocked(places, places, torch.zeros(1, 3, dtype=torch.bool))
        fusion.cross["0-0"](values, places, blocked)[0, 0].square().sum().backward()
        assert bool((values.grad[0, 2] == 0).all()) == causal


def test_pairs_of_the_paper():
    fusion = MultimodalTransformer([LatentSpec(8, 3)] * 3, 2, self_pairs=False, **SMALL)
    assert sorted(fusion.cross) == ["0-1", "0-2", "1-0", "1-2", "2-0", "2-1"]
    assert fusion.head.in_features == 3 * 2 * 8
    assert fusion([torch.randn(2, 3, 8)] * 3).shape == (2, 2)


def test_the_last_real_token_decides():
    """Padding on the left, right or inside gives what the real tokens alone give."""
    latents = [LatentSpec(6, 5, padded=True), LatentSpec(5, 3)]
    fusion = MultimodalTransformer(latents, 3, **SMALL).eval()
    real, other = torch.randn(1, 3, 6), torch.randn(1, 3, 5)
    expected = fusion([real, other])
    for places in ([0, 1, 2], [2, 3, 4], [0, 2, 4]):
        values, mask = torch.randn(1, 5, 6), torch.ones(1, 5, dtype=torch.bool)
        values[:, places], mask[:, places] = real, False
        assert_close(fusion([values, other], [mask, None]), expected)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"hidden_dim": 3, "num_heads": 1}, "hidden_dim must be at least 4"),
        ({"memory_layers": 0}, "memory_layers must be at least 1"),
        ({"hidden_dim": 10, "num_heads": 4}, "num_heads=4 does not divide the width 10"),
    ],
)
def test_settings_out_of_range_are_refused(settings, words):
    with pytest.raises(BackboneError, match=words):
        create_backbone("mult", [LatentSpec(8, 3)] * 2, num_outputs=2, **settings)
