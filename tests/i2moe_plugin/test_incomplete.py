"""Samples that lack modalities: what is absent is never seen, and nothing is learned of it.

Oracles go sample by sample, in plain loops.
"""

import itertools

import pytest
import torch
from torch import nn

from i2moe_plugin import Regression, create_backbone, create_model
from i2moe_plugin.errors import ConfigError
from i2moe_plugin.incomplete import Incomplete
from i2moe_plugin.interactions.losses import OBJECTIVES, find_objective
from i2moe_plugin.interactions.masking import MASKINGS, create_masking
from i2moe_plugin.methods import METHODS
from i2moe_plugin.training import Trainer


def taken(x, rows):
    return tuple(taken(part, rows) for part in x) if isinstance(x, tuple) else x[rows]


def incomplete(inputs, has):
    """The batch as a loader gives it, where ``has`` [M, B] says who has what."""
    batch = []
    for x, own in zip(inputs, has, strict=True):
        rows = torch.nonzero(own)[:, 0]
        if own.all():
            batch.append(x)
        else:
            batch.append(Incomplete(taken(x, rows) if len(rows) else None, rows, len(own)))
    return batch


def drawn(modalities, batch, share=0.6):
    """Who has what; everybody something."""
    has = torch.rand(modalities, batch) < share
    has[torch.randint(modalities, (batch,)), torch.arange(batch)] = True
    return has


@pytest.mark.parametrize("kind", ["vector", "tokens", "mixed"])
@pytest.mark.parametrize("method", ["vanilla", "i2moe"])
def test_a_sample_is_predicted_as_if_it_came_alone(small, kind, method):
    problem = small(3, kind)
    model = problem.vanilla() if method == "vanilla" else problem.model(masking="zero")
    model.eval()
    inputs, has = problem.inputs(8), drawn(3, 8)
    has[:, 0] = torch.tensor([True, False, False])
    found = model(incomplete(inputs, has)).prediction
    for row in range(8):
        absent = [m for m in range(3) if not has[m, row]]
        alone = model([taken(x, [row]) for x in inputs], absent=absent).prediction
        torch.testing.assert_close(found[row : row + 1], alone)


def test_what_nobody_of_a_batch_has_is_absent(small):
    problem = small(3)
    model = problem.model(masking="zero").eval()
    inputs, has = problem.inputs(4), torch.ones(3, 4, dtype=torch.bool)
    has[1] = False
    found = model(incomplete(inputs, has))
    torch.testing.assert_close(found.prediction, model(inputs, absent=[1]).prediction)


def test_encoders_see_the_samples_alone_that_have_the_modality(small):
    problem = small(2)
    seen = nn.BatchNorm1d(problem.latents[0].dim)
    encoders = problem.encoders()
    encoders[0] = nn.Sequential(encoders[0], seen)
    model = problem.model(encoders)
    has = torch.tensor([[True, False, True, True, False], [True] * 5])
    inputs = problem.inputs()
    model(incomplete(inputs, has))
    expected = encoders[0][0](inputs[0][has[0]]).mean(0)
    torch.testing.assert_close(seen.running_mean, 0.1 * expected)


@pytest.mark.parametrize("masking", MASKINGS)
@pytest.mark.parametrize("kind", ["vector", "mixed"])
def test_masking_learns_of_and_draws_from_real_latents_alone(small, masking, kind):
    problem = small(3, kind)
    model = problem.model(masking=masking)
    inputs, has = problem.inputs(9), drawn(3, 9)
    batch = incomplete(inputs, has)
    calls = []
    draw = model.bank.forward

    def listen(latents, replacements=None, masks=None):
        calls.append((latents, replacements, masks))
        return draw(latents, replacements, masks)

    model.bank.forward = listen
    output = model(batch)
    ((latents, replacements, masks),) = calls
    for m in range(3):
        lacking = ~has[m]
        # What stands for an absent latent stays where the modality is masked.
        for copy in replacements[m]:
            assert torch.equal(copy[lacking], latents[m][lacking])
        if masking == "marginal" and has[m].sum() > 1 and kind == "vector":
            real = {tuple(row.tolist()) for row in latents[m][has[m]]}
            assert {tuple(row.tolist()) for row in replacements[m][0][has[m]]} <= real
        if masking in ("mean", "matched", "marginal") and kind == "vector":
            mean = model.masking.get_buffer(f"mean_{m}")
            torch.testing.assert_close(mean, latents[m][has[m]].detach().mean(0))
            assert model.masking.get_buffer("count")[m] == has[m].sum()
    assert torch.equal(output.unmasked, has)
    if masks is not None:
        for m, mask in enumerate(masks):
            assert mask is None or not mask[~has[m]].any()


def naive(objective, outputs, experts, has):
    """Every expert's loss in loops over samples and views, [E]; outputs [E, V, B, C]."""
    found = []
    for expert, own in zip(experts, outputs, strict=True):
        terms = []
        for b, m in itertools.product(range(own.shape[1]), range(own.shape[0] - 1)):
            if not has[m, b]:
                continue
            pair = own[[0, m + 1], b][:, None]  # as a batch of one: [2, 1, C]
            if expert.kind == "synergy":
                terms.append(objective.synergy(objective.likeness(pair)))
            elif expert.kind == "redundancy":
                terms.append(objective.redundancy(objective.likeness(pair)))
            elif m != expert.player.modality and has[expert.player.modality, b]:
                mine = own[[0, expert.player.modality + 1], b][:, None]
                gap = objective.distance(pair) - objective.distance(mine)
                if objective.margin is not None:
                    gap = (gap + objective.margin).clamp_min(0)
                terms.append(gap.sum())
        found.append(torch.stack(terms).mean() if terms else outputs.new_zeros(()))
    return torch.stack(found)


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("modalities", [2, 4])
@pytest.mark.parametrize("share", [0.2, 0.7, 1.0])
def test_losses_are_means_over_what_was_really_masked(small, name, modalities, share):
    problem = small(modalities, task=Regression(3) if "regression" in name else None)
    model = problem.model(interaction_loss=name, expert_init="independent")
    has = drawn(modalities, 7, share)
    output = model(incomplete(problem.inputs(7), has))
    losses = model.losses(output, problem.target(7))
    expected = naive(find_objective(name), output.outputs, model.experts, has)
    torch.testing.assert_close(losses.interaction, expected)
    losses.total.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


def test_where_everybody_has_everything_it_is_the_usual_loss(small):
    problem = small(3)
    model = problem.model(masking="zero")  # what stands for absent latents takes no draws
    inputs, target = problem.inputs(), problem.target()
    rows = torch.arange(5)
    results = []
    for batch in (inputs, [Incomplete(inputs[0], rows, 5), *inputs[1:]]):
        torch.manual_seed(0)
        losses = model.losses(model(batch), target)
        gradients = torch.autograd.grad(losses.total, list(model.parameters()))
        results.append([losses.total, losses.interaction, *gradients])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("name", [n for n, one in METHODS.items() if "NAME" not in n])
def test_every_method_trains_on_them_or_refuses(small, name):
    problem = small(3, "tokens")

    def factory(num_outputs=4):
        return create_backbone("concat", problem.latents, num_outputs)

    model = create_model(name, problem.encoders(), problem.latents, factory, problem.judged)
    batches = []
    for _ in range(2):
        batches.append((*incomplete(problem.inputs(6), drawn(3, 6)), problem.target(6)))
    trainer = Trainer(model, metric="loss")
    if not METHODS[name].incomplete:
        with pytest.raises(ConfigError, match="lack modalities"):
            trainer.fit(batches, batches, 1)
        return
    trainer.fit(batches, batches, 2)
    found = trainer.predict(batches)
    assert found.prediction.shape == (12, 4)
    assert len(trainer.history) == 2


def test_what_fills_an_absent_latent_can_be_chosen_but_of_evidence(small):
    problem = small(2, "tokens")
    for name in ("vanilla", "i2moe", "evidence"):

        def factory(num_outputs=4):
            return create_backbone("concat", problem.latents, num_outputs)

        model = create_model(name, problem.encoders(), problem.latents, factory, problem.judged)
        before = set(model.state_dict())
        if name == "evidence":
            with pytest.raises(ConfigError, match="nothing stands for it"):
                model.fill_absent_by(create_masking("mean", problem.latents))
            continue
        filler = create_masking("mean", problem.latents)
        latents = model.encode(problem.inputs()).latents
        filler.observe(latents)
        model.fill_absent_by(filler)
        found = model.encode(problem.inputs(), absent=[0]).latents[0]
        torch.testing.assert_close(found, latents[0].detach().mean(0).expand_as(found))
        assert set(model.state_dict()) == before
        model.fill_absent_by(None)
        found = model.encode(problem.inputs(), absent=[0]).latents[0]
        assert (found == 0).all() == (name == "vanilla")


@pytest.mark.parametrize("method", ["i2moe", "no-interaction", "ensemble", "sparse-gate"])
def test_the_mean_stands_for_what_lacks_also_where_no_view_is_masked(small, method):
    """Of the latents of training samples that have it."""
    problem = small(2)
    parts = (problem.encoders(), problem.latents, problem.backbone, problem.judged)
    model = create_model(method, *parts, masking="mean")
    inputs, has = problem.inputs(6), torch.ones(2, 6, dtype=torch.bool)
    has[0, [1, 4]] = False
    model.train()(incomplete(inputs, has))
    stands = model.eval().encode(inputs, absent=[0]).latents[0]
    expected = model.encoders[0](inputs[0][has[0]]).mean(0)
    torch.testing.assert_close(stands, expected.expand_as(stands))


@pytest.mark.parametrize("method", ["vanilla", "i2moe"])
def test_a_batch_without_any_of_what_is_there_is_predicted_from_what_stands_for_it(small, method):
    problem = small(3)
    model = problem.vanilla() if method == "vanilla" else problem.model(masking="zero")
    has = torch.ones(3, 4, dtype=torch.bool)
    has[0] = False
    found = model.eval()(incomplete(problem.inputs(4), has), absent=[1, 2])
    zeros = [torch.zeros(4, *spec.shape) for spec in problem.latents]
    if method == "vanilla":
        expected = model.backbone(zeros)[0]
    else:
        outputs = torch.stack([one(zeros)[0] for one in model.bank.experts])
        expected = (outputs * model.reweighting(zeros).T[..., None]).sum(0)
    torch.testing.assert_close(found.prediction, expected)
