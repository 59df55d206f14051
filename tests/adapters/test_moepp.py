import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F
from torch.testing import assert_close

from i2moe_plugin import BackboneError, LatentSpec, create_backbone
from i2moe_plugin.adapters.moepp import MoEPlusPlus, MoEPlusPlusLayer


def expert(layer, index, x):
    """E_index(x) of one token."""
    if index < layer.num_ffn:
        left, right = (x @ layer.up[index]).chunk(2)
        return (F.silu(left) * right) @ layer.down[index]
    if index < layer.num_experts - 2:
        which = index - layer.num_ffn
        kept, replaced = (x @ layer.mix[which]).softmax(0)
        return kept * x + replaced * layer.constants[which]
    return x if index == layer.num_experts - 2 else torch.zeros_like(x)


def oracle(layer, tokens, padding=None, scores=None):
    batch, length, _ = tokens.shape
    output, logits = torch.zeros_like(tokens), []
    real = [
        (b, t) for b in range(batch) for t in range(length) if padding is None or not padding[b, t]
    ]
    share, mean = [0.0] * layer.num_experts, 0
    for b in range(batch):
        for t in range(length):
            x = tokens[b, t]
            s = layer.router[2].weight @ (layer.router[0].weight @ x).tanh()
            if scores is not None:
                s = s + layer.residual.weight @ scores[b, t]
            logits.append(s)
            if (b, t) not in real:
                continue
            best = sorted(range(layer.num_experts), key=lambda e: -s[e].item())[:2]
            sharing = [e for e in best if e != layer.num_experts - 1]
            total = sum(s[e].exp() for e in sharing)
            for e in sharing:
                output[b, t] += s[e].exp() / total * expert(layer, e, x)
            for e in best:
                share[e] += 1 / len(real)
            mean = mean + s.softmax(0) / len(real)
    eta = [1.0 if e < layer.num_ffn else layer.tau for e in range(layer.num_experts)]
    loss = sum(eta[e] * share[e] * mean[e] for e in range(layer.num_experts))
    logits = torch.stack(logits).unflatten(0, (batch, length))
    return output, logits, loss * layer.num_experts / 2


@given(
    experts=st.integers(5, 8),
    length=st.integers(1, 6),
    batch=st.integers(1, 3),
    first=st.booleans(),
    padded=st.booleans(),
)
def test_output_scores_and_balance_token_by_token(experts, length, batch, first, padded):
    layer = MoEPlusPlusLayer(4, num_experts=experts, hidden_dim=3, first=first).double()
    tokens = torch.randn(batch, length, 4).double() * 3
    scores = None if first else torch.randn(batch, length, experts).double()
    padding = None
    if padded:
        padding = torch.rand(batch, length) < 0.4
        padding[0, 0] = False  # at least one token in the batch
    actual = layer(tokens, padding, scores)
    for mine, expected in zip(actual, oracle(layer, tokens, padding, scores), strict=True):
        assert_close(mine, expected)


def routed_to(layer, *experts):
    """Give these experts the highest scores for inputs whose first feature is 1."""
    with torch.no_grad():
        layer.router[0].weight.zero_()
        layer.router[0].weight[:, 0] = 1.0
        layer.router[2].weight.zero_()
        for rank, index in enumerate(experts):
            layer.router[2].weight[index] = 1.0 - 0.1 * rank
    return layer


def tokens_with_one(*shape):
    tokens = torch.randn(*shape)
    tokens[..., 0] = 1.0
    return tokens


def test_a_certain_zero_expert_is_no_division_by_zero():
    layer = routed_to(MoEPlusPlusLayer(4, num_experts=6, hidden_dim=3, first=True), 5, 4)
    with torch.no_grad():
        layer.router[2].weight[5] = 1e4
    tokens = tokens_with_one(2, 3, 4)
    output, _, balance = layer(tokens)
    assert_close(output, tokens)
    (output.sum() + balance).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in layer.parameters())


def test_d4_copy_is_a_copy():
    """The release doubles what experts get, so that its copy expert returns 2x."""
    layer = routed_to(MoEPlusPlusLayer(4, num_experts=6, hidden_dim=3, first=True), 4, 5)
    tokens = tokens_with_one(2, 3, 4)
    before = tokens.clone()
    assert_close(layer(tokens)[0], tokens)
    assert torch.equal(tokens, before)


def two_layers(**settings):
    latents = [LatentSpec(8, 3), LatentSpec(8, 4)]
    fusion = MoEPlusPlus(latents, 2, dropout=0.0, expert_dim=6, **settings)
    return fusion, [torch.randn(16, *spec.shape) for spec in latents]


def test_d4_every_expert_of_every_layer_learns():
    fusion, _ = two_layers(num_layers=2)
    for _ in range(10):
        output, balance = fusion([torch.randn(16, 3, 8), torch.randn(16, 4, 8)])
        ((output * torch.randn_like(output)).sum() + balance).backward()
    for block in fusion.blocks:
        layer = block.layer
        for parameter in (layer.up, layer.down, layer.mix, layer.constants):
            assert all(row.any() for row in parameter.grad)
        assert all(row.any() for row in layer.router[2].weight.grad)  # the zero expert's, too
    assert fusion.blocks[0].layer.residual is None
    assert all(row.any() for row in fusion.blocks[1].layer.residual.weight.grad)


def test_d4_every_part_reaches_the_output():
    """In the release, any change to the experts or the first layer leaves the output as it is."""
    fusion, values = two_layers(num_layers=2)
    before, _ = fusion.eval()(values)
    for name, parameter in list(fusion.named_parameters()):
        kept = parameter.detach().clone()
        with torch.no_grad():
            parameter.add_(torch.randn_like(parameter))
        assert not torch.allclose(fusion(values)[0], before), name
        with torch.no_grad():
            parameter.copy_(kept)


def test_layers_are_chained_and_scores_handed_on():
    fusion, values = two_layers(num_layers=3)
    fusion.eval()
    tokens, scores, total = torch.cat(values, 1), None, 0
    for block in fusion.blocks:
        attended = block.attend(tokens)
        output, scores, balance = oracle(block.layer, block.norm(attended), None, scores)
        tokens, total = attended + output, total + balance
    output, balance = fusion(values)
    pooled = torch.cat([tokens[:, :3].mean(1), tokens[:, 3:].mean(1)], 1)
    assert_close(output, fusion.head(pooled), rtol=1e-4, atol=1e-5)
    assert_close(balance, total, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"num_experts": 4}, "num_experts=4 leaves no feed-forward expert"),
        ({"tau": 0.0}, "tau must be positive"),
        ({"expert_dim": 0}, "must be at least 1"),
    ],
)
def test_settings_out_of_range_are_refused(settings, words):
    with pytest.raises(BackboneError, match=words):
        create_backbone("moepp", [LatentSpec(8, 3)] * 2, num_outputs=2, **settings)
