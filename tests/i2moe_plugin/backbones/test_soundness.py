"""What makes figures wrong without an error is found before a run, and nothing else is."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from i2moe_plugin import LatentSpec, create_backbone, register_backbone
from i2moe_plugin.backbones.entry import backbones
from i2moe_plugin.backbones.latents import lengthen
from i2moe_plugin.backbones.soundness import unsound
from i2moe_plugin.errors import BackboneError

LATENTS = [LatentSpec(8), LatentSpec(6)]


class Base(nn.Module):
    def __init__(self, input_dims):
        super().__init__()
        self.layer = nn.Linear(sum(input_dims), 8)
        self.attention = nn.MultiheadAttention(8, 2)
        self.state = torch.zeros(())

    def forward(self, latents):
        return self.layer(torch.cat(latents, 1))


class InPlace(Base):
    def forward(self, latents):
        if self.training:
            latents[1].add_(0.1)
        return super().forward(latents)


class Dropout(Base):
    def forward(self, latents):
        return F.dropout(super().forward(latents), 0.5)


class Remembers(Base):
    def forward(self, latents):
        output = super().forward(latents) + self.state
        self.state = output.mean().detach()
        return output


class Attends(Base):
    def forward(self, latents):
        fused = super().forward(latents).unsqueeze(1)  # [B, 1, D], taken for [T, 1, D]
        return self.attention(fused, fused, fused)[0].squeeze(1)


class Decides(Base):
    def forward(self, latents):
        output = super().forward(latents)
        return output * 2 if output.mean().item() > 0 else output


def built(cls, name):
    register_backbone(name, latents="vector")(cls)
    return create_backbone(name, LATENTS, 3)


@pytest.mark.parametrize(
    ("cls", "said"),
    [
        (Dropout, "draws random numbers in evaluation mode"),
        (Remembers, "keeps something from call to call"),
        (Attends, "batch_first=True"),
        (Decides, "lets samples of a batch see each other"),
    ],
)
def test_doubtful_backbones_are_told(cls, said):
    (sentence,) = unsound(built(cls, f"unsound-{cls.__name__}"), LATENTS)
    assert said in sentence


def test_changes_in_place_are_refused_in_training_too():
    with pytest.raises(BackboneError, match="modality 2 in place in training mode"):
        unsound(built(InPlace, "unsound-in-place"), LATENTS)


@pytest.mark.parametrize("name", ["concat", "lrtf", "switchgate", "transformer", "mult"])
def test_sound_ones_stay_as_they_are(name):
    tokens = backbones.get(name).latents == "tokens"
    latents = [LatentSpec(8, 4), LatentSpec(8, 4)] if tokens else LATENTS
    backbone = create_backbone(name, latents, 3)
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    random = torch.get_rng_state()
    assert unsound(backbone, latents) == []
    assert torch.equal(random, torch.get_rng_state())
    assert all(torch.equal(value, before[key]) for key, value in backbone.state_dict().items())


@pytest.mark.parametrize("name", [entry.name for entry in backbones])
def test_no_prediction_depends_on_how_far_its_batch_is_padded_or_it_is_said(name):
    entry = backbones.get(name)
    if entry.latents == "vector":
        pytest.skip("its latents are vectors")
    count = entry.min_modalities
    latents = [LatentSpec(8, 4, padded=True)] * count
    try:
        backbone = create_backbone(name, latents, 3).eval()
        values = [torch.randn(5, 2, 8) for _ in latents]
        masks = [torch.zeros(5, 2, dtype=torch.bool)] * count
        together = [lengthen(x, mask, 4) for x, mask in zip(values, masks, strict=True)]
        with torch.no_grad():
            alone = backbone(values, masks)[0]
            others = backbone([x for x, _ in together], [mask for _, mask in together])[0]
    except BackboneError:  # it takes no padded tokens
        return
    same = torch.allclose(alone, others, rtol=1e-3, atol=1e-4)
    assert same or not entry.padding
    said = unsound(backbone, latents)
    assert [sentence for sentence in said if "takes padding" in sentence] == ([] if same else said)
    assert len(said) == (not same)
