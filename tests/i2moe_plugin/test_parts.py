"""I2MoE from parts of one's own, and the call of before."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from i2moe_plugin import (
    Classification,
    ConfigError,
    Expert,
    ExpertBank,
    I2MoE,
    MLPReweighting,
    Player,
    Regression,
    ShapeError,
    View,
    create_masking,
    create_model,
)
from i2moe_plugin.interactions.experts import interaction_experts
from i2moe_plugin.interactions.losses import OBJECTIVES
from i2moe_plugin.interactions.regularizers import PENALTIES
from i2moe_plugin.interactions.views import COMPLETE, MaskedViews


def parts(problem, experts=5, **changes):
    widths = [spec.dim for spec in problem.latents]
    torch.manual_seed(1)
    return {
        "encoders": problem.encoders(),
        "bank": ExpertBank(problem.backbone, experts),
        "reweighting": MLPReweighting(widths, experts, hidden_dim=6, dropout=0.0),
        "masking": create_masking("random", problem.latents),
        "task": problem.judged,
        **changes,
    }


def step(model, problem):
    """Output and losses of one training step, from the same inputs and noise each time."""
    torch.manual_seed(2)
    inputs, target = problem.inputs(), problem.target()
    output = model.train()(inputs)
    return output, model.losses(output, target)


def test_parts_are_the_method(small):
    problem = small(3, "mixed")
    model = I2MoE(**parts(problem))
    torch.manual_seed(1)
    other = problem.model()
    assert_close(model.state_dict(), other.state_dict(), rtol=0, atol=0)
    for ours, theirs in zip(*(step(each, problem)[1] for each in (model, other)), strict=True):
        assert_close(ours, theirs, rtol=0, atol=0)


@pytest.mark.parametrize("named", [True, False])
def test_the_call_of_before_goes_on_working_and_warns(small, named):
    problem = small(3, "mixed")
    options = {"reweighting_hidden": 6, "masking": "mean", "interaction_weight": 0.2}
    torch.manual_seed(1)
    given = {
        "encoders": problem.encoders(),
        "latents": problem.latents,
        "factory": problem.backbone,
        "task": problem.judged,
    }
    with pytest.warns(DeprecationWarning, match=r"I2MoE\(encoders, latents, .* create_model"):
        model = I2MoE(**given, **options) if named else I2MoE(*given.values(), **options)
    torch.manual_seed(1)
    given["encoders"] = problem.encoders()
    expected = create_model("i2moe", **given, **options)
    assert_close(model.state_dict(), expected.state_dict(), rtol=0, atol=0)
    ours, theirs = (step(each, problem)[1] for each in (model, expected))
    assert_close(ours.total, theirs.total, rtol=0, atol=0)


def test_the_call_of_before_names_its_objective_as_before(small):
    problem = small(2, task=Regression(1))
    given = (problem.encoders(), problem.latents, problem.backbone, problem.judged)
    with pytest.warns(DeprecationWarning, match="is deprecated"):
        model = I2MoE(*given, interaction="regression-released")
    assert model.objective.name == "regression-released"


def test_settings_that_there_are_not_are_all_named(small):
    problem = small(2)
    with pytest.raises(ConfigError, match="2 problems") as caught:
        problem.model(maskin="zero", reweighting_layer=1)
    assert "no setting 'maskin'. Did you mean 'masking'?" in str(caught.value)


def test_parts_must_agree_in_number(small):
    problem = small(3)
    with pytest.raises(ShapeError, match="the bank has 4 experts, and 5 are expected: uniqueness"):
        I2MoE(**parts(problem, experts=4))
    with pytest.raises(ShapeError, match="2 encoders but 3 latent shapes"):
        I2MoE(**parts(problem, encoders=problem.encoders()[:2]))


def test_some_tokens_of_a_modality_are_masked(small):
    """A span is replaced, and the loss of the expert that is about it compares that view."""
    problem = small(3, "tokens")
    span, whole = Player(0, (1,)), Player(2)
    model = I2MoE(
        **parts(problem, experts=2),
        experts=[Expert("uniqueness", span), Expert("uniqueness", whole)],
        views=MaskedViews((View([span]), View([whole]))),
    )
    seen = []
    model.bank.plan = "loop"
    model.bank.experts[0].register_forward_hook(lambda _, given, __: seen.append(given[0]))
    output, losses = step(model, problem)
    assert output.views == (COMPLETE, View([span]), View([whole]))
    complete, first, second = seen[-3:]
    changed = (first[0] != complete[0]).any(-1).any(0)
    assert changed.tolist() == [False, True]
    assert torch.equal(first[1], complete[1])
    assert (second[2] != complete[2]).all()
    (anchor, own, other), (anchor_2, other_2, own_2) = output.outputs
    expected = torch.stack(
        [
            F.triplet_margin_loss(anchor, other, own, eps=1e-7),
            F.triplet_margin_loss(anchor_2, other_2, own_2, eps=1e-7),
        ]
    )
    assert_close(losses.interaction, expected)
    assert_close(losses.total, losses.task + 0.5 * expected.sum() / 5)


def test_an_objective_may_be_ones_own(small):
    problem = small(2)
    own = replace(
        OBJECTIVES["classification"],
        likeness=lambda views: views,
        synergy=lambda views: views.sum(),
        weight=2.0,
    )
    output, losses = step(I2MoE(**parts(problem, experts=4), objective=own), problem)
    assert_close(losses.interaction[2], output.outputs[2].sum())
    assert_close(losses.total, losses.task + 2.0 * losses.interaction.sum() / 4)


def test_an_expert_that_learns_no_interaction_has_no_loss(small):
    problem = small(2)
    model = I2MoE(**parts(problem, experts=2), experts=[Expert("member", number=n) for n in (1, 2)])
    with pytest.raises(ConfigError, match="the expert member_1 learns no interaction"):
        step(model, problem)


def test_what_the_parts_do_not_say_is_not_left_out(small):
    """Neither a loss on what heads read, nor outputs beyond the task's."""
    problem = small(2)
    for change in ({"on": "fused"}, {"penalty": PENALTIES["cos"]}):
        objective = replace(OBJECTIVES["classification"], **change)
        with pytest.raises(ConfigError, match="looks at what the experts' heads read"):
            I2MoE(**parts(problem, experts=4), objective=objective)
    model = I2MoE(**parts(problem, experts=4, task=Classification(3)))
    with pytest.raises(ShapeError, match="experts return 4 outputs; the task has 3"):
        model(problem.inputs())


@pytest.mark.parametrize(
    ("player", "words"),
    [
        (Player(2), r"player 3 is not one of 2 modalities"),
        (Player(0, (1,)), r"player 1\[1\]: the latent of modality 1 is a vector"),
        (Player(1, (0, 3)), r"player 2\[0,3\]: the latent of modality 2 has 3 tokens"),
    ],
)
def test_players_that_there_are_not_are_refused(small, player, words):
    problem = small(2, "mixed")
    for wrong in (
        {"views": MaskedViews((View([player]),))},
        {"experts": [*interaction_experts(2)[1:], Expert("uniqueness", player)]},
    ):
        with pytest.raises(ConfigError, match=words):
            I2MoE(**parts(problem, experts=4), **wrong)
