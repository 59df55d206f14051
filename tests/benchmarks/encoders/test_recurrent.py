"""Recurrent encoders: against the equations, and blind to padding."""

import pytest
import torch
from torch import nn

from i2moe_plugin.backbones.latents import encode_one
from i2moe_plugin.benchmarks.encoders import EncoderSettings, RecurrentEncoder, recurrent_encoder

KINDS = ["gru", "lstm"]


def batch(samples=5, time=7, features=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(samples, time, features, generator=generator)
    lengths = torch.tensor([7, 1, 4, 7, 2])[:samples]
    return values, lengths


def restated(network, values):
    """The states [T, H] of one sequence [T, F], step by step."""
    w, u, b, c = (
        network.weight_ih_l0,
        network.weight_hh_l0,
        network.bias_ih_l0,
        network.bias_hh_l0,
    )
    h = cell = torch.zeros(u.shape[1])
    states = []
    for x in values:
        one, two = w @ x + b, u @ h + c
        if isinstance(network, nn.GRU):
            (r1, z1, n1), (r2, z2, n2) = one.chunk(3), two.chunk(3)
            r, z = torch.sigmoid(r1 + r2), torch.sigmoid(z1 + z2)
            n = torch.tanh(n1 + r * n2)
            h = (1 - z) * n + z * h
        else:
            i, f, g, o = (one + two).chunk(4)
            cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(cell)
        states.append(h)
    return torch.stack(states)


@pytest.mark.parametrize("kind", KINDS)
def test_states_are_those_of_the_equations(kind):
    values, lengths = batch()
    last = RecurrentEncoder(3, 4, kind=kind)
    steps = RecurrentEncoder(3, 4, kind=kind, steps=True)
    steps.load_state_dict(last.state_dict())
    found = last(values, lengths)
    states, mask = steps(values, lengths)
    assert found.shape == (5, 4)
    assert states.shape == (5, 7, 4)
    for row, length in enumerate(lengths.tolist()):
        expected = restated(last.network, values[row, :length])
        torch.testing.assert_close(found[row], expected[-1])
        torch.testing.assert_close(states[row, :length], expected)
        assert mask[row].tolist() == [False] * length + [True] * (7 - length)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("steps", [False, True])
def test_padding_is_never_read(kind, steps):
    values, lengths = batch()
    encoder = RecurrentEncoder(3, 4, kind=kind, steps=steps)
    spoilt = values.clone()
    for row, length in enumerate(lengths.tolist()):
        spoilt[row, length:] = torch.nan
    one, _ = encode_one(encoder, (values, lengths))
    two, _ = encode_one(encoder, (spoilt, lengths))
    assert torch.equal(one, two)
    alone, _ = encode_one(encoder, (values[2:3, :4], lengths[2:3]))
    torch.testing.assert_close(alone, one[2:3, :4] if steps else one[2:3])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("steps", [False, True])
def test_without_lengths_every_step_counts(kind, steps):
    values, _ = batch()
    encoder = RecurrentEncoder(3, 4, kind=kind, steps=steps)
    found, mask = encode_one(encoder, values)
    full, _ = encode_one(encoder, (values, torch.full((5,), 7)))
    assert mask is None
    torch.testing.assert_close(found, full)


@pytest.mark.parametrize("kind", KINDS)
def test_latents_of_each_kind(kind):
    x = batch()

    def latent(**options):
        steps = options.pop("steps", False)
        settings = EncoderSettings(dim=6, hidden=10, patches=4, **options)
        return encode_one(recurrent_encoder(3, settings, kind=kind, steps=steps), x)

    assert latent(latents="vector")[0].shape == (5, 6)
    assert latent(latents="vector", steps=True)[0].shape == (5, 6)
    patches, mask = latent(latents="tokens")
    assert patches.shape == (5, 4, 6)
    assert mask is None
    states, mask = latent(latents="tokens", steps=True)
    assert states.shape == (5, 7, 6)
    assert mask.sum().item() == 5 * 7 - x[1].sum().item()


def test_patches_are_slices_of_the_last_state():
    """GRU(256) and patches of it: I2MoE's encoder of MOSI."""
    settings = EncoderSettings(latents="tokens", dim=6, hidden=256, patches=4)
    encoder = recurrent_encoder(3, settings)
    assert encoder.network.hidden_size == 256
    values, lengths = batch()
    packed = RecurrentEncoder(3, 256)
    packed.network = encoder.network
    state = packed(values, lengths)
    projection = encoder.head.projection
    expected = torch.stack([projection(state[:, 64 * p : 64 * (p + 1)]) for p in range(4)], 1)
    torch.testing.assert_close(encoder(values, lengths), expected)
    no_hidden = recurrent_encoder(3, EncoderSettings(latents="tokens", dim=6, hidden=0))
    assert no_hidden.network.hidden_size == 6


def test_dropout_acts_in_training_alone():
    """On the last state too, which I2MoE's GRU returns before its dropout."""
    values, lengths = batch()
    settings = EncoderSettings(latents="tokens", dim=6, hidden=256, dropout=0.5)
    encoder = recurrent_encoder(3, settings)
    torch.manual_seed(0)
    assert not torch.equal(encoder(values, lengths), encoder(values, lengths))
    encoder.eval()
    assert torch.equal(encoder(values, lengths), encoder(values, lengths))


def test_gradient_reaches_every_weight():
    values, lengths = batch()
    for steps in (False, True):
        encoder = recurrent_encoder(3, EncoderSettings(latents="tokens"), steps=steps)
        encode_one(encoder, (values, lengths))[0].square().sum().backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in encoder.parameters())
