import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F
from torch.testing import assert_close

from i2moe_plugin import BackboneError, LatentSpec, create_backbone
from i2moe_plugin.adapters.switchgate import (
    SwitchBlock,
    SwitchFeedForward,
    SwitchTransformer,
)
from i2moe_plugin.adapters.transformer import TransformerBlock


def oracle(layer, tokens, padding=None):
    """Route sample by sample and token by token."""
    batch, length, _ = tokens.shape
    real = [
        [t for t in range(length) if padding is None or not padding[b, t]] for b in range(batch)
    ]
    probabilities = torch.stack(
        [(layer.router.weight @ x + layer.router.bias).softmax(0) for x in tokens.flatten(0, 1)]
    ).unflatten(0, (batch, length))
    output = torch.zeros_like(tokens)
    factor = layer.capacity if layer.training else layer.eval_capacity
    chosen, mean, total = [0] * layer.num_experts, 0, sum(map(len, real))
    for b in range(batch):
        queues = {}
        for t in real[b]:
            p = probabilities[b, t]
            choice = int(p.argmax())
            queues.setdefault(choice, []).append((-p[choice].item(), t))
            chosen[choice] += 1
            mean = mean + p / total
        for choice, queue in queues.items():
            room = math.ceil(round(factor * len(real[b]) / layer.num_experts, 9))
            for _, t in sorted(queue)[:room]:
                inner = tokens[b, t] @ layer.up_weight[choice] + layer.up_bias[choice]
                made = F.gelu(inner) @ layer.down_weight[choice] + layer.down_bias[choice]
                output[b, t] = probabilities[b, t, choice] * made
    loss = layer.num_experts * sum(chosen[e] / total * mean[e] for e in range(layer.num_experts))
    return output, loss


@given(
    experts=st.integers(1, 5),
    length=st.integers(1, 9),
    batch=st.integers(1, 4),
    training=st.booleans(),
    padded=st.booleans(),
)
def test_output_and_balance_token_by_token(experts, length, batch, training, padded):
    layer = SwitchFeedForward(4, 6, num_experts=experts, jitter=0.0).double().train(training)
    tokens = torch.randn(batch, length, 4).double()
    padding = None
    if padded:
        padding = torch.rand(batch, length) < 0.4
        padding[0, 0] = False  # at least one token in the batch
    output, balance = layer(tokens, padding)
    expected, loss = oracle(layer, tokens, padding)
    assert_close(output, expected)
    assert_close(balance, loss)


@pytest.mark.parametrize(
    ("tokens", "experts", "training", "room"),
    [(10, 4, True, 3), (10, 4, False, 6), (8, 16, True, 1), (8, 16, False, 2), (3, 1, False, 3)],
)
def test_capacity(tokens, experts, training, room):
    """ceil(1.2 n / E) in training, ceil(2.4 n / E) in evaluation; never more than there are."""
    layer = SwitchFeedForward(4, 6, num_experts=experts).train(training)
    assert layer.slots_for(tokens) == room
    with torch.no_grad():  # all want expert 0
        layer.router.weight.zero_()
        layer.router.bias.copy_(torch.arange(experts, 0, -1.0))
        layer.down_bias.fill_(100.0)
    output, _ = layer(torch.randn(2, tokens, 4))
    assert (output != 0).any(-1).sum(1).tolist() == [room, room]


def test_equals_queue_in_order():
    layer = SwitchFeedForward(3, 2, num_experts=2, capacity=1.0, jitter=0.0)
    output, _ = layer(torch.ones(1, 4, 3))
    assert (output[0] != 0).any(-1).tolist() == [True, True, False, False]


def test_no_token_is_dropped_or_kept_for_its_company_in_training_either():
    """What batching views together needs: same routing alone, in a batch, and twice in one."""
    layer = SwitchFeedForward(4, 6, num_experts=4, jitter=0.0)
    tokens = torch.randn(5, 8, 4)
    together, _ = layer(torch.cat([tokens, tokens]))
    assert_close(together[:5], together[5:])
    assert_close(layer(tokens[1:2])[0][0], together[1])


def test_balance_is_least_at_uniform_routing():
    """Over all input-independent routers: 1 at uniform, above elsewhere, E at certainty."""
    experts = 4
    tokens = torch.randn(3, 8, 5)

    def balance(logits: torch.Tensor) -> float:
        layer = SwitchFeedForward(5, 6, num_experts=experts)
        with torch.no_grad():
            layer.router.weight.zero_()
            layer.router.bias.copy_(logits)
        return layer(tokens)[1].item()

    assert balance(torch.zeros(experts)) == pytest.approx(1)
    for _ in range(20):
        assert balance(torch.randn(experts)) > 1
    assert balance(torch.tensor([50.0, 0, 0, 0])) == pytest.approx(experts)


def test_d3_the_balance_loss_counts_all_modalities():
    """Each modality's tokens move it, and padding does not."""
    latents = [LatentSpec(8, 3, padded=True), LatentSpec(8, 4), LatentSpec(8, 2)]
    fusion = SwitchTransformer(latents, 2, dropout=0.0).eval()
    values = [torch.randn(6, *spec.shape).requires_grad_() for spec in latents]
    mask = torch.tensor([[False, False, True]] * 6)
    fusion(values, [mask, None, None])[1].backward()
    for value in values:
        assert value.grad is not None
        assert value.grad.any()
    assert not values[0].grad[:, 2].any()


def test_d3_nothing_is_kept_between_calls():
    latents = [LatentSpec(8, 3)] * 2
    fusion = SwitchTransformer(latents, 2)
    before = {name: dict(vars(module)) for name, module in fusion.named_modules()}
    for _ in range(3):
        fusion([torch.randn(2, 3, 8)] * 2)
    assert {name: dict(vars(module)) for name, module in fusion.named_modules()} == before


def test_noise_is_multiplicative_bounded_and_of_training_only():
    layer = SwitchFeedForward(4, 6, num_experts=3, jitter=0.1)
    seen = []
    layer.router.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    tokens = torch.randn(50, 6, 4)
    layer(tokens)
    ratio = seen[0] / tokens
    assert 0.9 <= ratio.min() < 0.91
    assert 1.09 < ratio.max() <= 1.1 + 1e-6
    layer.eval()(tokens)
    assert torch.equal(seen[1], tokens)


def test_every_other_layer_is_sparse_and_losses_add_up():
    latents = [LatentSpec(8, 3)] * 2
    fusion = SwitchTransformer(latents, 2, num_layers=4).eval()
    kinds = [SwitchBlock, TransformerBlock, SwitchBlock, TransformerBlock]
    assert [type(block) for block in fusion.blocks] == kinds
    values = [torch.randn(5, 3, 8) for _ in latents]
    tokens, losses = torch.cat(values, 1), []
    for block in fusion.blocks:
        tokens = block(tokens)
        if isinstance(tokens, tuple):
            tokens, loss = tokens
            losses.append(loss)
    output, balance = fusion(values)
    assert_close(balance, sum(losses))
    assert_close(output, fusion.head(torch.cat([tokens[:, :3].mean(1), tokens[:, 3:].mean(1)], 1)))


def test_a_block_keeps_dropped_tokens():
    block = SwitchBlock(8, 2, 0.0, SwitchFeedForward(8, 16, num_experts=2, capacity=1e-6))
    tokens = torch.randn(1, 4, 8)
    attended = block.attend(tokens)
    changed = (block(tokens)[0] != attended).any(-1)
    assert changed.sum() <= 2  # one slot for each expert


@pytest.mark.parametrize(
    "settings", [{"capacity": 0.0}, {"eval_capacity": -1.0}, {"jitter": 1.0}, {"num_experts": 0}]
)
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(BackboneError, match="must be"):
        create_backbone("switchgate", [LatentSpec(8, 3)] * 2, num_outputs=2, **settings)
