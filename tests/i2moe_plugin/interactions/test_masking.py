import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from i2moe_plugin import ConfigError, LatentSpec, create_masking
from i2moe_plugin.interactions.masking import MASKINGS

VECTOR, TOKENS, PADDED = LatentSpec(3), LatentSpec(4, tokens=2), LatentSpec(5, 6, padded=True)
SPECS = [VECTOR, TOKENS, PADDED]


def batch(size, *, tokens=6, generator=None, specs=SPECS):
    """Latents of SPECS with means and deviations of their own, NaN in the padded tokens."""

    def draw(*shape):
        return torch.randn(shape, generator=generator)

    vector = 10 + torch.tensor([1.0, 2.0, 0.1]) * draw(size, 3)
    patches = torch.arange(8.0).view(2, 4) + draw(size, 2, 4)
    words = -3 + draw(size, tokens, 5)
    padding = torch.rand(size, tokens, generator=generator) < 0.4
    padding[:, 0] = False
    words[padding] = float("nan")
    return [vector, patches, words], [None, None, padding]


def real_rows(latents, masks):
    """What counts, as float64 arrays with the rows first."""
    vector, patches, words = (latent.double().numpy() for latent in latents)
    return [vector, patches, words[~masks[2].numpy()]]


@pytest.mark.parametrize("name", MASKINGS)
def test_one_replacement_for_each_expert_without_gradient(name):
    masking = create_masking(name, SPECS)
    latents, masks = batch(7)
    latents = [latent.requires_grad_() for latent in latents]
    masking.observe(latents, masks)
    for latent, new in zip(latents, masking(latents, 4, masks), strict=True):
        assert new.shape == (4, *latent.shape)
        assert new.dtype == latent.dtype
        assert not new.requires_grad
        assert torch.isfinite(new).all()
    for modality, latent in enumerate(latents):
        gone = masking.absent(latent.detach(), modality)
        assert gone.shape == latent.shape


@pytest.mark.parametrize("name", MASKINGS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_replacements_have_the_latents_type(name, dtype):
    masking = create_masking(name, [VECTOR])
    latent = torch.randn(5, 3, dtype=dtype)
    masking.observe([latent])
    assert masking([latent], copies=2)[0].dtype == dtype
    assert masking.absent(latent, 0).dtype == dtype


@pytest.mark.parametrize("name", MASKINGS)
def test_replacements_are_where_the_latents_are(name):
    """The meta device stands for any other: mixing devices raises there too."""
    masking = create_masking(name, [VECTOR, TOKENS]).to("meta")
    latents = [torch.zeros(5, 3, device="meta"), torch.zeros(5, 2, 4, device="meta")]
    masking.observe(latents)
    assert [new.device.type for new in masking(latents, copies=2)] == ["meta", "meta"]


def test_zero_is_zero():
    latents = [torch.randn(5, 3)]
    assert not create_masking("zero", [VECTOR])(latents, copies=2)[0].any()


@pytest.mark.parametrize("name", ["random", "matched", "marginal"])
def test_noise_is_fresh_for_every_expert_modality_and_call(name):
    """The paper: one independent draw for each expert and view. Equal latents lay it bare."""
    masking = create_masking(name, [VECTOR, VECTOR])
    latent = torch.randn(64, 3)
    masking.observe([latent, latent])
    first, second = (torch.stack(masking([latent, latent], copies=4)) for _ in range(2))
    draws = torch.cat([first, second]).flatten(0, 1)  # 16 draws of [64, 3]
    for i, one in enumerate(draws):
        for other in draws[i + 1 :]:
            assert not torch.equal(one, other)


def test_random_is_standard_normal_whatever_the_latents():
    new = create_masking("random", [VECTOR])([torch.full((4000, 3), 1e6)], copies=5)[0]
    assert new.mean().abs() < 0.02
    assert (new.std() - 1).abs() < 0.02
    assert_close(torch.corrcoef(new.flatten(1)), torch.eye(5), atol=0.05, rtol=0)
    assert_close(torch.corrcoef(new[0].T), torch.eye(3), atol=0.08, rtol=0)


@given(
    sizes=st.lists(st.integers(1, 6), min_size=1, max_size=6),
    tokens=st.lists(st.integers(1, 7), min_size=6, max_size=6),
    seed=st.integers(0, 10**6),
)
def test_statistics_are_those_of_all_data_at_once(sizes, tokens, seed):
    """Over any split into batches; each position has its own where the tokens are fixed."""
    generator = torch.Generator().manual_seed(seed)
    masking = create_masking("matched", SPECS)
    rows = [[], [], []]
    for size, length in zip(sizes, tokens, strict=False):
        latents, masks = batch(size, tokens=length, generator=generator)
        masking.observe(latents, masks)
        for column, real in zip(rows, real_rows(latents, masks), strict=True):
            column.append(real)
    for modality, column in enumerate(rows):
        data = np.concatenate(column)
        mean, deviation = masking.statistics(torch.zeros(1), modality)
        np.testing.assert_allclose(mean, data.mean(0), rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(deviation, data.std(0), rtol=1e-3, atol=1e-3)
        assert masking.count[modality] == len(data)


def test_statistics_hold_far_from_zero():
    """The textbook E[x^2] - E[x]^2 in float32 would give 0 or NaN here."""
    masking = create_masking("matched", [VECTOR])
    data = 10_000 + torch.randn(500, 3)
    for part in data.split(37):
        masking.observe([part])
    mean, deviation = masking.statistics(torch.zeros(1), 0)
    np.testing.assert_allclose(mean, data.double().mean(0), rtol=1e-6)
    np.testing.assert_allclose(deviation, data.double().std(0, correction=0), rtol=1e-3)


def test_a_batch_of_padding_alone_changes_nothing():
    masking = create_masking("mean", [PADDED])
    masking.observe([torch.ones(2, 3, 5)], [torch.zeros(2, 3, dtype=torch.bool)])
    masking.observe([torch.full((2, 4, 5), 9.0)], [torch.ones(2, 4, dtype=torch.bool)])
    assert_close(masking.absent(torch.zeros(1, 2, 5), 0), torch.ones(1, 2, 5))


def test_mean_is_the_mean_over_all_batches_seen_not_the_last():
    masking = create_masking("mean", SPECS)
    seen = [batch(9, tokens=4), batch(2, tokens=5)]
    for latents, masks in seen:
        masking.observe(latents, masks)
    latents, _ = batch(3, tokens=7)
    for modality, new in enumerate(masking(latents, copies=2)):
        data = np.concatenate([real_rows(*item)[modality] for item in seen])
        expected = torch.from_numpy(data.mean(0)).float().expand_as(new)
        assert_close(new, expected, rtol=1e-4, atol=1e-4)


def test_matched_noise_has_the_latents_mean_and_deviation():
    masking = create_masking("matched", [VECTOR, TOKENS])
    latents = batch(3000)[0][:2]
    masking.observe(latents)
    for latent, new in zip(latents, masking(latents, copies=3), strict=True):
        for one in new:
            assert_close(one.mean(0), latent.mean(0), atol=0.15, rtol=0)
            assert_close(one.std(0), latent.std(0), atol=0.15, rtol=0)


@given(size=st.integers(2, 9), copies=st.integers(1, 10), seed=st.integers(0, 10**6))
def test_marginal_is_another_samples_latent_of_the_same_modality(size, copies, seed):
    torch.manual_seed(seed)
    masking = create_masking("marginal", [VECTOR, TOKENS])
    # Sample b of modality m holds 100 m + b everywhere.
    latents = [
        (100.0 * m + torch.arange(size)).view(-1, *[1] * len(spec.shape)).expand(-1, *spec.shape)
        for m, spec in enumerate([VECTOR, TOKENS])
    ]
    for m, new in enumerate(masking(latents, copies)):
        whole = new.flatten(2)
        assert (whole == whole[:, :, :1]).all()  # one donor for all of a latent
        donors = whole[:, :, 0] - 100 * m
        assert ((donors >= 0) & (donors < size)).all()
        assert (donors != torch.arange(size)).all()


def test_marginal_draws_every_other_sample_equally_often():
    masking = create_masking("marginal", [LatentSpec(1)])
    donors = masking([torch.arange(5.0).view(5, 1)], copies=8000)[0].long().squeeze(-1)
    for own in range(5):
        share = torch.bincount(donors[:, own], minlength=5) / 8000
        others = [b for b in range(5) if b != own]
        assert_close(share[others], torch.full((4,), 0.25), atol=0.02, rtol=0)


def test_marginal_never_shows_another_samples_padding_as_a_token():
    """A longer sample keeps its own mask; past the other's end stands the mean."""
    masking = create_masking("marginal", [LatentSpec(1, tokens=3, padded=True)])
    latent = torch.tensor([[[1.0], [1.0], [1.0]], [[2.0], [2.0], [99.0]]])
    mask = torch.tensor([[False, False, False], [False, False, True]])
    masking.observe([latent], [mask])
    new = masking([latent], 1, [mask])[0][0, :, :, 0]
    assert_close(new, torch.tensor([[2.0, 2.0, 1.4], [1.0, 1.0, 1.0]]))


def test_marginal_of_one_sample_is_the_mean():
    """A batch of one has no other sample, and an absent modality no sample at all."""
    masking = create_masking("marginal", [VECTOR])
    masking.observe([torch.tensor([[1.0, 2, 3], [3, 4, 5]])])
    alone = masking([torch.full((1, 3), 50.0)], copies=2)[0]
    assert_close(alone, torch.tensor([2.0, 3, 4]).expand(2, 1, 3))
    gone = masking.absent(torch.zeros(4, 3), 0)
    assert_close(gone, torch.tensor([2.0, 3, 4]).expand(4, 3))


@pytest.mark.parametrize("name", ["mean", "matched", "marginal"])
def test_statistics_travel_in_the_state_dict(name):
    one, other = create_masking(name, SPECS), create_masking(name, SPECS)
    one.observe(*batch(8))
    other.load_state_dict(one.state_dict())
    for modality, spec in enumerate(SPECS):
        found, expected = (m.statistics(torch.zeros(1), modality) for m in (other, one))
        assert_close(found, expected, rtol=0, atol=0)
        assert expected[1].shape == ((spec.dim,) if spec.padded else spec.shape)
    assert expected[0].abs().min() > 1


def test_an_unknown_name_is_refused_with_the_close_one():
    with pytest.raises(ConfigError, match="Did you mean 'marginal'"):
        create_masking("marginals", [VECTOR])
