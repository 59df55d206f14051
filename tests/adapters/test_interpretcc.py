import math

import pytest
import torch
from torch.testing import assert_close

from i2moe_plugin import BackboneError, LatentSpec, create_backbone
from i2moe_plugin.adapters.interpretcc import GumbelSigmoid, InterpretCC

DRAWS = 200_000


@pytest.mark.parametrize("logit", [-1.5, 0.0, 0.4, 2.0])
@pytest.mark.parametrize("tau", [0.5, 1.0, 2.0])
def test_d6_a_gate_opens_with_the_probability_its_logit_says(logit, tau):
    """One half at logit 0 (the release: 0.63), at any temperature; 5 standard errors."""
    gates = GumbelSigmoid(tau=tau)(torch.full((DRAWS,), logit))
    assert set(gates.unique().tolist()) == {0.0, 1.0}
    expected = 1 / (1 + math.exp(-logit))
    error = math.sqrt(expected * (1 - expected) / DRAWS)
    assert abs(gates.mean().item() - expected) < 5 * error


def test_noise_is_logistic():
    """The soft gate's logit, less the logit, has the logistic distribution's quantiles."""
    soft = GumbelSigmoid(hard=False)(torch.zeros(DRAWS, dtype=torch.float64))
    noise = soft.logit().sort().values
    for share in (0.05, 0.25, 0.5, 0.75, 0.95):
        assert abs(noise[int(share * DRAWS)].item() - math.log(share / (1 - share))) < 0.05


def test_another_threshold_moves_the_probability():
    gates = GumbelSigmoid(threshold=0.6)(torch.zeros(DRAWS))
    assert abs(gates.mean().item() - 0.4) < 0.01


def test_d6_evaluation_is_deterministic_and_takes_the_likelier_side():
    gate = GumbelSigmoid().eval()
    logits = torch.linspace(-3, 3, 8)
    assert torch.equal(gate(logits), (logits > 0).float())
    assert torch.equal(GumbelSigmoid(hard=False).eval()(logits), logits.sigmoid())


def test_gradient_passes_straight_through():
    for mode in (True, False):
        logits = torch.randn(50, requires_grad=True)
        GumbelSigmoid(tau=0.7).train(mode)(logits).sum().backward()
        assert logits.grad is not None
        assert (logits.grad > 0).all()
    soft = (logits / 0.7).sigmoid()
    assert_close(logits.grad, soft * (1 - soft) / 0.7)


def test_a_closed_modality_has_no_say():
    fusion = InterpretCC([3, 4], num_outputs=2).eval()
    with torch.no_grad():
        for score, bias in zip(fusion.scores, (-100.0, 100.0), strict=True):
            score[2].bias.fill_(bias)
    latents = [torch.randn(5, 3), torch.randn(5, 4)]
    assert fusion.gates(latents).tolist() == [[0.0, 1.0]] * 5
    changed = fusion([torch.randn(5, 3), latents[1]])
    assert torch.equal(changed, fusion(latents))
    expected = fusion.classifier(fusion.fusion(torch.cat([torch.zeros(5, 3), latents[1]], 1)))
    assert_close(fusion(latents), expected)


def test_training_differs_from_call_to_call():
    fusion = InterpretCC([3, 4], num_outputs=2, dropout=0.0)
    latents = [torch.randn(50, 3), torch.randn(50, 4)]
    assert not torch.equal(fusion(latents), fusion(latents))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"tau": 0.0}, "tau must be positive"),
        ({"threshold": 1.0}, "threshold between 0 and 1"),
        ({"hidden_dim": 1}, "hidden_dim must be at least 2"),
    ],
)
def test_settings_out_of_range_are_refused(settings, words):
    with pytest.raises(BackboneError, match=words):
        create_backbone("interpretcc", [LatentSpec(3)] * 2, num_outputs=2, **settings)
