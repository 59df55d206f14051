import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from i2moe_plugin import (
    BackboneError,
    Classification,
    ConfigError,
    LatentSpec,
    Multilabel,
    Regression,
    ShapeError,
    Vanilla,
    create_backbone,
    create_model,
    interaction_losses,
    register_backbone,
)
from i2moe_plugin.interactions.masking import MASKINGS

KINDS = ["vector", "tokens", "padded", "mixed"]
TASKS = [Classification(4), Multilabel(3), Regression(1), Regression(2)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("modalities", range(2, 9))
def test_shapes_and_the_naive_mixture(small, kind, modalities):
    """Unequal widths and unequal token counts; D9: upstream needs them equal."""
    problem = small(modalities, kind)
    model, inputs = problem.model(), problem.inputs(extra=2)
    for views in (modalities + 1, 1):
        output = model(inputs)
        assert output.outputs.shape == (modalities + 2, views, 5, 4)
        assert output.weights.shape == (5, modalities + 2)
        expected = torch.zeros(5, 4)
        for b in range(5):
            for e in range(modalities + 2):
                expected[b] += output.weights[b, e] * output.outputs[e, 0, b]
        assert_close(output.prediction, expected)
        model.eval()
    vanilla = problem.vanilla()(inputs)
    assert vanilla.prediction.shape == (5, 4)
    assert vanilla.outputs is None
    assert vanilla.weights is None


@pytest.mark.parametrize("masking", MASKINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_masked_views_change_neither_prediction_nor_weights(small, kind, masking):
    problem = small(3, kind)
    model, inputs = problem.model(masking=masking), problem.inputs()
    trained = model(inputs)
    evaluated = model.eval()(inputs)
    assert_close(trained.prediction, evaluated.prediction)
    assert_close(trained.weights, evaluated.weights)
    assert_close(trained.outputs[:, :1], evaluated.outputs)
    assert (trained.outputs[:, 1:] - trained.outputs[:, :1]).abs().amax((2, 3)).min() > 1e-4


@pytest.mark.parametrize("masking", MASKINGS)
@pytest.mark.parametrize("kind", ["vector", "mixed"])
def test_gradients_reach_encoders_through_unmasked_latents_only(small, kind, masking):
    """View i of every expert tells nothing to encoder i, and something to each other one."""
    problem = small(3, kind)
    model = problem.model(masking=masking)
    output = model(problem.inputs())
    for expert in range(5):
        for view in range(4):
            for m, encoder in enumerate(model.encoders):
                gradients = torch.autograd.grad(
                    output.outputs[expert, view].square().sum(),
                    list(encoder.parameters()),
                    retain_graph=True,
                    allow_unused=True,
                )
                reached = any(g is not None and g.any() for g in gradients)
                assert reached == (view != m + 1), (expert, view, m)


@pytest.mark.parametrize("task", TASKS, ids=repr)
def test_one_step_trains_everything(small, task):
    problem = small(3, "mixed", task)
    # Copies agree on every prediction, so at first the reweighting has nothing to learn from them.
    model = problem.model(expert_init="independent", reweighting_hidden=32)
    model.losses(model(problem.inputs()), problem.target()).total.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.any(), name


@pytest.mark.parametrize("task", TASKS, ids=repr)
def test_the_loss_is_task_plus_weighted_mean_interaction(small, task):
    problem = small(3, task=task)
    model = problem.model(interaction_weight=0.7)
    inputs, target = problem.inputs(), problem.target()
    output = model(inputs)
    losses = model.losses(output, target)
    interaction = interaction_losses(output.outputs, task.objective)
    assert_close(losses.interaction, interaction)
    assert_close(losses.task, task.loss(output.prediction, target))
    assert_close(losses.total, losses.task + 0.7 * interaction.sum() / 5)
    model.eval()
    evaluated = model.losses(model(inputs), target)
    assert evaluated.interaction is None
    assert_close(evaluated.total, losses.task)


def test_without_interaction_weight_the_gradient_is_the_task_losses(small):
    problem = small(2)
    model, inputs, target = problem.model(interaction_weight=0), problem.inputs(), problem.target()
    losses = model.losses(model(inputs), target)
    assert losses.total == losses.task
    parameters = list(model.parameters())
    total = torch.autograd.grad(losses.total, parameters, retain_graph=True)
    assert_close(total, torch.autograd.grad(losses.task, parameters))


def test_the_interaction_kind_can_be_chosen_and_is_checked_at_once(small):
    problem = small(2, task=Regression(1))
    model = problem.model(interaction_loss="regression-released")
    output = model(problem.inputs())
    expected = interaction_losses(output.outputs, "regression-released")
    assert_close(model.losses(output, problem.target()).interaction, expected)
    with pytest.raises(ConfigError, match="Did you mean 'regression-released'"):
        problem.model(interaction_loss="regression-release")


def test_d9_one_modality_is_refused():
    """D9: upstream divides by zero."""
    latents = [LatentSpec(3)]
    with pytest.raises(ConfigError, match="at least 2 modalities; 1 given"):
        create_model("i2moe", [nn.Linear(2, 3)], latents, nn.Identity, Classification(2))
    with pytest.raises(ConfigError, match="at least 2 modalities; 1 given"):
        Vanilla([nn.Linear(2, 3)], latents, nn.Identity(), Classification(2))
    with pytest.raises(BackboneError, match="at least 2 modalities; 1 are given"):
        create_backbone("concat", latents, num_outputs=2)


@pytest.mark.parametrize("masking", MASKINGS)
@pytest.mark.parametrize("kind", ["vector", "tokens", "mixed"])
def test_an_absent_modality_is_masked_as_in_training(small, kind, masking):
    """It need not be given, and what is given in its place is not looked at."""
    problem = small(3, kind)
    model = problem.model(masking=masking)
    for _ in range(3):
        model(problem.inputs())
    model.eval()
    inputs, predictions = problem.inputs(), []
    for stand_in in (None, "nonsense", inputs[1]):
        torch.manual_seed(3)
        predictions.append(model([inputs[0], stand_in, inputs[2]], absent=[1]).prediction)
    assert_close(predictions[0], predictions[1], rtol=0, atol=0)
    assert_close(predictions[0], predictions[2], rtol=0, atol=0)
    # Oracle: the mask's own words put among the latents.
    latents, masks = model.encode(inputs)
    torch.manual_seed(3)
    latents[1] = model.masking.absent(torch.zeros(5, *problem.latents[1].shape), 1)
    if masks is not None:
        masks[1] = None
    outputs, _ = model.bank(latents, None, masks)
    weights = model.reweighting(latents, masks)
    assert_close(predictions[0], torch.einsum("ebc,be->bc", outputs[:, 0], weights))
    if masking in ("mean", "marginal"):
        mean = model.masking.statistics(latents[1], 1)[0]
        assert mean.abs().max() > 1e-3
        assert_close(latents[1], mean.expand_as(latents[1]))


def test_an_absent_modality_of_vanilla_is_zero(small):
    problem = small(3)
    model, inputs = problem.vanilla().eval(), problem.inputs()
    latents, _ = model.encode(inputs)
    latents[2] = torch.zeros_like(latents[2])
    expected, _ = model.backbone(latents)
    assert_close(model([*inputs[:2], None], absent=[2]).prediction, expected)


@pytest.mark.parametrize("absent", [[0, 1, 2], [3], [-1], [0, 7]])
def test_some_but_not_all_modalities_may_be_absent(small, absent):
    problem = small(3)
    with pytest.raises(ShapeError, match=r"some but not all of 0\.\.2"):
        problem.model()(problem.inputs(), absent=absent)


@pytest.mark.parametrize("masking", ["mean", "matched", "marginal"])
def test_statistics_come_from_complete_training_batches_only(small, masking):
    problem = small(2)
    model = problem.model(masking=masking)
    model(problem.inputs())
    before = copy.deepcopy(model.masking.state_dict())
    model([problem.inputs()[0], None], absent=[1])
    model.eval()(problem.inputs())
    assert_close(model.masking.state_dict(), before, rtol=0, atol=0)
    model.train()(problem.inputs())
    assert (model.masking.count == 10).all()


@pytest.mark.parametrize("task", TASKS, ids=repr)
@pytest.mark.parametrize("masking", MASKINGS)
def test_d9_a_batch_of_one(small, task, masking):
    """D9: upstream's squeeze() makes it a 0-d array."""
    problem = small(2, "mixed", task)
    model = problem.model(masking=masking)
    output = model(problem.inputs(1))
    losses = model.losses(output, problem.target(1))
    losses.total.backward()
    assert output.prediction.shape == (1, task.num_outputs)
    assert torch.isfinite(losses.total)
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


@pytest.mark.parametrize("task", TASKS, ids=repr)
@pytest.mark.parametrize("masking", MASKINGS)
def test_double_precision_throughout(small, task, masking):
    problem = small(2, task=task)
    model = problem.model(masking=masking).double()
    inputs = [x.double() for x in problem.inputs()]
    output = model(inputs)
    losses = model.losses(output, problem.target())
    losses.total.backward()
    for tensor in (*output[:4], losses.total, losses.task, losses.interaction):
        assert tensor.dtype == torch.float64
    assert all(p.grad.dtype == torch.float64 for p in model.parameters())
    gone = model.eval()([inputs[0], None], absent=[1]).prediction
    assert gone.dtype == torch.float64


def test_half_precision_outputs_are_judged_in_full(small):
    problem = small(2)
    model = problem.model()
    model.bank.plan = "loop"
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(problem.inputs())
    assert output.outputs.dtype == torch.bfloat16
    losses = model.losses(output, problem.target())
    assert losses.total.dtype == losses.interaction.dtype == torch.float32


@pytest.mark.parametrize("masking", MASKINGS)
def test_the_state_dict_gives_the_same_model(small, masking):
    problem = small(3, "mixed")
    model, other = (problem.model(masking=masking, expert_init="independent") for _ in range(2))
    model(problem.inputs())  # statistics
    other.load_state_dict(model.state_dict())
    inputs = problem.inputs()
    assert not torch.equal(problem.model().eval()(inputs).prediction, model.eval()(inputs)[0])
    for absent in ([], [1]):
        outputs = []
        for each in (model, other):
            torch.manual_seed(1)
            outputs.append(each.eval()(inputs, absent).prediction)
        assert torch.equal(*outputs)


@pytest.mark.parametrize("method", ["model", "vanilla"])
def test_m3_deep_copies_after_a_training_step(small, method):
    """M3: MultiBench's model keeps graph tensors and cannot be copied."""
    problem = small(2)
    model = getattr(problem, method)()
    inputs = problem.inputs()
    model.losses(model(inputs), problem.target()).total.backward()
    other = copy.deepcopy(model)
    assert torch.equal(model.eval()(inputs).prediction, other.eval()(inputs).prediction)
    with torch.no_grad():
        next(other.encoders[0].parameters()).add_(1)
    assert not torch.equal(model(inputs).prediction, other(inputs).prediction)


@given(st.permutations(range(5)))
def test_samples_do_not_mix_at_inference(small, order):
    problem = small(3, "mixed")
    torch.manual_seed(0)
    model, inputs = problem.model().eval(), problem.inputs()
    shuffled = [
        tuple(part[order] for part in x) if isinstance(x, tuple) else x[order] for x in inputs
    ]
    assert_close(model(shuffled).prediction, model(inputs).prediction[order])


def test_padding_does_not_show(small):
    """What stands in padded places, and how many there are, changes nothing."""
    problem = small(2, "padded")
    model = problem.model().eval()
    inputs = problem.inputs()
    other = []
    for x, mask in inputs:
        longer = torch.cat([x.masked_fill(mask[..., None], 1e4), torch.full((5, 3, 3), -1e4)], 1)
        other.append((longer, torch.cat([mask, torch.ones(5, 3, dtype=torch.bool)], 1)))
    one, two = model(inputs), model(other)
    assert_close(one.prediction, two.prediction)
    assert_close(one.weights, two.weights)


def test_padded_tokens_reach_a_fusion_that_knows_no_padding_as_zeros(small):
    seen = []

    @register_backbone("test-watch")
    class Watch(nn.Module):
        def forward(self, latents):
            seen.append(latents)
            return torch.cat([latent.sum(1) for latent in latents], 1)

    problem = small(2, "padded")
    backbone = create_backbone("test-watch", problem.latents, num_outputs=4)
    model = problem.model(factory=lambda: copy.deepcopy(backbone))
    model.bank.plan = "loop"
    seen.clear()
    inputs = problem.inputs()
    model(inputs)
    assert len(seen) == 4 * 3
    for latents in seen:
        for latent, (_, mask) in zip(latents, inputs, strict=True):
            assert not latent[mask].any()
            assert latent[~mask].any(-1).all()


@pytest.mark.parametrize("count", [1, 3])
def test_the_number_of_inputs_is_checked(small, count):
    problem = small(2)
    with pytest.raises(ShapeError, match=f"2 modalities expected, {count} given"):
        problem.model()(problem.inputs()[:1] * count)


@pytest.mark.parametrize(
    ("spec", "latent", "mask", "message"),
    [
        (LatentSpec(3), (5, 4), None, r"encoder 2 returned \[5, 4\]; expected \['B', 3\]"),
        (LatentSpec(3), (5, 2, 3), None, r"\[5, 2, 3\]; expected \['B', 3\]"),
        (LatentSpec(3, 2), (5, 4, 3), None, r"\[5, 4, 3\]; expected \['B', 2, 3\]"),
        (LatentSpec(3, 2), (5, 3), None, r"\[5, 3\]; expected \['B', 2, 3\]"),
        (LatentSpec(3, 2, True), (5, 3), None, r"\[5, 3\]; expected \['B', 'T', 3\]"),
        (LatentSpec(3, 2, True), (5, 6, 4), None, r"\[5, 6, 4\]; expected \['B', 'T', 3\]"),
        (LatentSpec(3, 2, True), (5, 6, 3), (5, 2), r"mask \[5, 2\]; expected \[5, 6\]"),
        (LatentSpec(3, 2), (5, 2, 3), (5, 2), r"mask \[5, 2\]; expected none"),
        (LatentSpec(3), (4, 3), None, r"differ in batch size: \[5, 4\]"),
    ],
)
def test_latents_other_than_promised_are_refused(spec, latent, mask, message):
    class Fixed(nn.Module):
        def forward(self, x):
            made = torch.zeros(latent)
            return made if mask is None else (made, torch.zeros(mask, dtype=torch.bool))

    latents = [LatentSpec(3), spec]

    def factory():
        return create_backbone("concat", latents, 2)

    encoders = [nn.Identity(), Fixed()]
    model = create_model("i2moe", encoders, latents, factory, Classification(2), masking="mean")
    with pytest.raises(ShapeError, match=message):
        model([torch.zeros(5, 3), torch.zeros(5)])


def test_encoders_run_once_a_step(small):
    problem = small(3)
    for model in (problem.model(), problem.vanilla()):
        calls = []
        for m, encoder in enumerate(model.encoders):
            encoder.register_forward_hook(lambda *_, m=m, calls=calls: calls.append(m))
        model.losses(model(problem.inputs()), problem.target()).total.backward()
        assert calls == [0, 1, 2]


class Gated(nn.Module):
    """A fusion with a loss of its own, made by a gate that its output does not need."""

    def __init__(self):
        super().__init__()
        self.gate = nn.Parameter(torch.tensor(2.0))

    def forward(self, latents):
        return torch.cat(latents, 1), self.gate * latents[0].square().mean()


@pytest.mark.parametrize("method", ["model", "vanilla"])
def test_d2_d3_the_backbones_own_loss_has_a_gradient_from_every_call(small, method):
    """D2: upstream's gate loss is detached. D3: only the last call's counts."""
    register_backbone("test-gated", auxiliary=True)(Gated)
    problem = small(2)

    def factory():
        return create_backbone("test-gated", problem.latents, 4)

    options = {"auxiliary_weight": 0.5}
    if method == "model":
        model = problem.model(factory=factory, **options)
    else:
        model = Vanilla(problem.encoders(), problem.latents, factory(), problem.judged, **options)
    inputs = problem.inputs()
    output = model(inputs)
    model.losses(output, problem.target()).total.backward()
    gates = [m.gate for m in model.modules() if isinstance(m, Gated)]
    first = model.encode(inputs)[0][0].square().mean()
    if method == "vanilla":
        assert_close(gates[0].grad, 0.5 * first)
        return
    assert len(gates) == 4
    # Of three views one replaces modality 1 with noise; the mean is over 4 experts x 3 views.
    for gate in gates:
        assert gate.grad > 0.5 * 2 * first / 12
    assert_close(sum(g.grad for g in gates) * 2, 0.5 * output.auxiliary)


def test_the_defaults_are_the_papers(small):
    model = small(2).model()
    assert (model.objective.weight, model.reweighting.temperature) == (0.5, 1.0)
    assert type(model.masking) is MASKINGS["random"]
    assert torch.equal(*(expert.head[0].weight for expert in list(model.bank.experts)[:2]))


def test_training_learns_the_named_interaction(small):
    """With uniqueness_1 alone in the loss its expert comes to need modality 1 and no other."""
    problem = small(2)
    model = problem.model(masking="zero")
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    inputs = problem.inputs(64)

    def changes():
        views = model(inputs).outputs[0]
        return [(views[0] - views[v]).norm(dim=-1).mean().item() for v in (1, 2)]

    start = changes()
    for _ in range(60):
        optimizer.zero_grad()
        interaction_losses(model(inputs).outputs)[0].backward()
        optimizer.step()
    end = changes()
    assert end[0] > 2 * end[1]
    assert end[0] - end[1] > start[0] - start[1] + 0.5
    assert np.isfinite(end).all()
