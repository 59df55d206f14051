"""What a sample is predicted as does not depend on who else is in its batch, or it is said."""

import pytest
import torch
from torch import nn

from i2moe_plugin import Classification, LatentSpec, create_backbone, create_model
from i2moe_plugin.backbones.entry import backbones
from i2moe_plugin.backbones.soundness import unsound
from i2moe_plugin.errors import ShapeError
from i2moe_plugin.incomplete import Incomplete
from i2moe_plugin.interactions.masking import MASKINGS
from i2moe_plugin.methods import METHODS, PooledTokens

SAMPLES, LONGEST, FEATURES = 7, 6, 3
LENGTHS = torch.tensor([2, 6, 1, 4, 3, 1, 5])
LATENTS = [LatentSpec(8, LONGEST, padded=True)] * 3
ORDERS = [[[row] for row in range(SAMPLES)], [[5, 2], [0, 4, 3], [1, 6]], [list(range(SAMPLES))]]


class Encoder(nn.Module):
    """Tokens [B, T, F] and lengths [B] -> a latent with its padding mask."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(FEATURES, 8)

    def forward(self, x, lengths):
        return self.linear(x), torch.arange(x.shape[1]) >= lengths[:, None]


def batch(values, has, rows):
    """Some samples as a loader gives them: padded to the longest of those that are there."""
    inputs = []
    for x, own in zip(values, has, strict=True):
        there = [place for place, row in enumerate(rows) if own[row]]
        chosen = torch.tensor([rows[place] for place in there], dtype=torch.long)
        part = None
        if len(there):
            part = (x[chosen, : int(LENGTHS[chosen].max())], LENGTHS[chosen])
        whole = len(there) == len(rows)
        inputs.append(part if whole else Incomplete(part, torch.tensor(there).long(), len(rows)))
    return inputs


def predicted(model, values, has, order):
    found = torch.zeros(SAMPLES, 4)
    with torch.no_grad():
        for rows in order:
            found[rows] = model(batch(values, has, rows)).prediction
    return found


def built(method, fusion, masking="mean"):
    chosen = METHODS[method]
    encoders = [Encoder() for _ in LATENTS]
    latents = LATENTS
    if chosen.pooled:
        encoders, latents = [PooledTokens(one) for one in encoders], [LatentSpec(8, 1)] * 3

    def factory(num_outputs=4):
        return create_backbone(fusion, latents, num_outputs)

    factory()
    task = Classification(4)
    return create_model(method, encoders, latents, factory, task, masking=masking).eval()


def differ(model, lacking):
    torch.manual_seed(3)
    values = [torch.randn(SAMPLES, LONGEST, FEATURES) for _ in LATENTS]
    has = torch.ones(3, SAMPLES, dtype=torch.bool)
    if lacking:
        has[0, [1, 3]] = has[1, [0, 1]] = has[2, 5] = False
    first, *others = [predicted(model, values, has, order) for order in ORDERS]
    return not all(torch.allclose(first, other, rtol=1e-3, atol=1e-4) for other in others)


@pytest.mark.parametrize("lacking", [False, True], ids=["complete", "lacking"])
@pytest.mark.parametrize("method", ["vanilla", "i2moe"])
@pytest.mark.parametrize("fusion", [entry.name for entry in backbones if entry.latents == "tokens"])
def test_every_backbone_predicts_samples_alone_or_says_that_it_does_not(fusion, method, lacking):
    if fusion == "ef-released" and lacking:
        with pytest.raises(ShapeError, match="pairs tokens"):
            differ(built(method, fusion), lacking)
        return
    alone = not differ(built(method, fusion), lacking)
    assert alone == (unsound(create_backbone(fusion, LATENTS, 4), LATENTS) == [])


@pytest.mark.parametrize("lacking", [False, True], ids=["complete", "lacking"])
@pytest.mark.parametrize("method", sorted(set(METHODS) - {"single-expert:NAME"}))
def test_every_method_predicts_samples_alone(method, lacking):
    if lacking and not METHODS[method].incomplete:
        pytest.skip("it takes no samples that lack modalities")
    assert not differ(built(method, METHODS[method].fusion or "transformer"), lacking)


@pytest.mark.parametrize("masking", MASKINGS)
def test_where_noise_stands_for_what_a_sample_lacks_it_is_known(masking):
    model = built("i2moe", "transformer", masking)
    model.train()
    torch.manual_seed(0)
    whole = torch.ones(3, SAMPLES, dtype=torch.bool)
    values = [torch.randn(SAMPLES, LONGEST, FEATURES) for _ in LATENTS]
    model(batch(values, whole, list(range(SAMPLES))))  # statistics of it stand for what lacks
    assert differ(model.eval(), lacking=True) == model.masking.absence_is_drawn
