"""Masking and pairs on models whose answer is known."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from i2moe_plugin import Classification, ConfigError, LatentSpec, Vanilla
from i2moe_plugin.attribution.names import MIXTURE
from i2moe_plugin.attribution.study import masked_by_importance, masked_outputs, score_pairs
from i2moe_plugin.attribution.targets import choose_targets
from i2moe_plugin.attribution.tokens import TokenModel


class Planted(nn.Module):
    """The score of class 1 is a game of one token and one patch: numbers are 1 where present."""

    def __init__(self, game) -> None:
        super().__init__()
        self.game = game

    def forward(self, latents, padding_masks=None):
        text, picture = (latent[..., 0] for latent in latents)
        score = self.game(text[:, 2], picture[:, 3])
        return torch.stack([torch.zeros_like(score), score], 1), score.new_zeros(())


GAMES = {
    "and": (lambda a, b: a * b, 1.0, 0.0),
    "or": (lambda a, b: a + b - a * b, -1.0, 1.0),
    "sum": (lambda a, b: a + 2 * b, 0.0, 1.0),
    "dummy": (lambda a, b: b, 0.0, 0.0),
}


def planted(game):
    latents = [LatentSpec(1, 4), LatentSpec(1, 5)]
    vanilla = Vanilla([nn.Identity(), nn.Identity()], latents, Planted(game), Classification(2))
    model = TokenModel(vanilla)
    tokens = model.encode([torch.ones(1, 4, 1), torch.ones(1, 5, 1)])
    outputs = model.outputs(MIXTURE, tokens.latents, tokens.padding)
    return model, tokens, choose_targets(model.task, outputs, torch.tensor([1]))


def even(tokens):
    return [torch.ones(x.shape[:2]) for x in tokens.latents]


ZERO = [torch.zeros(1), torch.zeros(1)]


@pytest.mark.parametrize("name", GAMES)
def test_the_planted_pair_has_its_known_scores(name):
    game, interaction, redundancy = GAMES[name]
    model, tokens, targets = planted(game)
    found = score_pairs(model, tokens, targets, even(tokens), ZERO, MIXTURE, share=1.0, draws=8)
    places = found.places()
    assert sorted(places) == [(t, p) for t in range(4) for p in range(5)]
    for score, wanted in (("interaction", interaction), ("redundancy_joint", redundancy)):
        estimate = found.terms.estimate(score)
        for place, value in zip(places, estimate.mean.tolist(), strict=True):
            assert value == pytest.approx(wanted if place == (2, 3) else 0.0, abs=1e-6)


def test_special_tokens_are_no_players():
    """A token that decides, and may not be chosen, is there in every context."""
    model, tokens, targets = planted(lambda a, b: a * b)
    there = torch.ones(1, 4, dtype=torch.bool)
    there[0, 2] = False
    tokens = type(tokens)(tokens.latents, tokens.padding, (there, tokens.candidates[1]))
    found = score_pairs(model, tokens, targets, even(tokens), ZERO, MIXTURE, share=1.0, draws=8)
    assert len(found.places()) == 15
    assert (found.terms.estimate("interaction").mean == 0).all()
    # With its word always there, the patch alone brings everything, whatever the other word does.
    corners = found.terms.corners[[place == (0, 3) for place in found.places()]]
    assert_close(corners[0, :, 2] - corners[0, :, 0], torch.ones(8, dtype=torch.float64))


def test_what_is_taken_away_is_replaced(model, inputs, special):
    tokens = model.encode(inputs, special)
    fill = [torch.full((8,), 0.5), torch.full((8,), -0.5)]
    masks = [there.clone() for there in tokens.candidates]
    masks[1][:, 2:] = False
    found = masked_outputs(model, tokens, masks, fill, "synergy", rows=2)
    latents = [x.clone() for x in tokens.latents]
    for m, mask in enumerate(masks):
        latents[m][mask] = fill[m]
    assert_close(found, model.outputs("synergy", latents, tokens.padding))


def test_masking_by_importance_counts_as_stated(dense, inputs, special):
    tokens = dense.encode(inputs, special)
    seen = []

    def outputs(scope, latents, padding):
        seen.append([(x == 9).all(-1) for x in latents])
        return torch.zeros(len(latents[0]), 3)

    dense.outputs = outputs
    torch.manual_seed(0)
    importance = [torch.rand(there.shape) for there in tokens.candidates]
    nine = [torch.full((8,), 9.0)] * 2
    masked_by_importance(dense, tokens, importance, nine, MIXTURE, (0.25, 0.5))
    back = tokens.lengths().argsort(stable=True).argsort()  # samples of near length go together
    seen = [[each[back] for each in one] for one in seen]
    for share, without, alone in ((0.25, *seen[:2]), (0.5, *seen[2:])):
        for m, there in enumerate(tokens.candidates):
            for row in range(5):
                number = max(1, -(-int(there[row].sum()) * share // 1))
                best = importance[m][row].masked_fill(~there[row], -1).topk(int(number)).indices
                assert set(without[m][row].nonzero()[:, 0].tolist()) == set(best.tolist())
            assert ((without[m] ^ alone[m]) == there).all(), "candidates alone are taken"


def test_pairs_need_two_modalities_one_sample_and_candidates():
    model, tokens, targets = planted(lambda a, b: a * b)
    two = model.encode([torch.ones(2, 4, 1), torch.ones(2, 5, 1)])
    with pytest.raises(ConfigError, match="one sample at a time"):
        score_pairs(model, two, targets, even(two), ZERO, MIXTURE)
    none = [torch.zeros(1, 4, dtype=torch.bool), tokens.candidates[1]]
    bare = type(tokens)(tokens.latents, tokens.padding, tuple(none))
    with pytest.raises(ConfigError, match="no token that could be in a pair"):
        score_pairs(model, bare, targets, even(bare), ZERO, MIXTURE)
    three = type(tokens)(*(part * 2 for part in (tokens.latents, tokens.padding, none)))
    with pytest.raises(ConfigError, match="two modalities"):
        score_pairs(model, three, targets, even(three), ZERO, MIXTURE)
