import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from i2moe_plugin import ConfigError, ShapeError, expert_names, interaction_losses
from i2moe_plugin.interactions.experts import interaction_experts

KINDS = ["classification", "regression", "regression-released"]
MODALITIES = range(2, 9)


def unit(vector):
    return vector / max(np.linalg.norm(vector), 1e-12)


def restated(outputs, kind):
    """The formulas of the paper, one sample and one view at a time."""
    modalities, batch = outputs.shape[1] - 1, outputs.shape[2]
    squared = kind != "classification"

    def distance(a, b):
        return np.mean((a - b) ** 2) if squared else np.linalg.norm(a - b + 1e-7)

    losses = []
    for i in range(modalities):
        anchor, terms = outputs[i, 0], []
        for j in range(modalities):
            if j == i:
                continue
            for b in range(batch):
                gap = distance(anchor[b], outputs[i, j + 1, b]) - distance(
                    anchor[b], outputs[i, i + 1, b]
                )
                terms.append(gap if kind == "regression-released" else max(0.0, gap + 1.0))
        losses.append(np.mean(terms))
    for expert in (modalities, modalities + 1):
        terms = []
        for i in range(modalities):
            for b in range(batch):
                anchor, other = outputs[expert, 0, b], outputs[expert, i + 1, b]
                if squared:
                    near = distance(anchor, other)
                    far = near if kind == "regression-released" else max(0.0, 1.0 - near)
                else:
                    far = unit(anchor) @ unit(other)
                    near = 1.0 - far
                terms.append(far if expert == modalities else near)
        losses.append(np.mean(terms))
    return np.array(losses)


def drawn(modalities, batch=4, outputs=3, scale=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = (modalities + 2, modalities + 1, batch, outputs)
    return scale * torch.randn(shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("kind", KINDS)
@given(
    modalities=st.integers(2, 8),
    batch=st.integers(1, 5),
    outputs=st.integers(1, 4),
    scale=st.sampled_from([1e-3, 0.3, 1.0, 50.0]),
    seed=st.integers(0, 10**6),
)
def test_every_loss_is_the_restated_formula(kind, modalities, batch, outputs, scale, seed):
    values = drawn(modalities, batch, outputs, scale, seed)
    found = interaction_losses(values, kind).numpy()
    np.testing.assert_allclose(found, restated(values.numpy(), kind), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("modalities", MODALITIES)
def test_every_expert_is_judged_by_its_own_outputs_alone(kind, modalities):
    values = drawn(modalities, scale=0.3).requires_grad_()  # within every margin
    losses = interaction_losses(values, kind)
    assert losses.shape == (modalities + 2,) == (len(expert_names(modalities)),)
    for expert, loss in enumerate(losses):
        (gradient,) = torch.autograd.grad(loss, values, retain_graph=True)
        others = [e for e in range(modalities + 2) if e != expert]
        assert not gradient[others].any()
        # Every view of its own counts, the anchor too: it is not detached.
        assert gradient[expert].abs().amax((1, 2)).min() > 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("modalities", [2, 3, 5])
def test_gradients_are_those_of_the_losses(kind, modalities):
    """By differences, and as autograd finds them in the formulas of one expert after another."""
    values = drawn(modalities).requires_grad_()
    weights = drawn(modalities)[:, 0, 0, 0]
    assert torch.autograd.gradcheck(lambda x: interaction_losses(x, kind), values)
    experts = interaction_experts(modalities)[::-1]  # any other order of experts goes one by one
    losses = interaction_losses(values, kind)
    each = interaction_losses(values.flip(0), kind, experts=experts).flip(0)
    torch.testing.assert_close(losses, each, rtol=1e-10, atol=1e-10)
    ours, theirs = (torch.autograd.grad((x * weights).sum(), values)[0] for x in (losses, each))
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


def test_names_are_in_the_order_of_the_losses():
    """One expert at a time meets its aim perfectly; the loss at its place alone is zero."""
    modalities, names = 3, expert_names(3)
    aims = {name: torch.ones(modalities + 1) for name in names}
    for i in range(modalities):
        aims[f"uniqueness_{i + 1}"][i + 1] = -9  # only its own modality matters
    aims["synergy"][1:] = -9  # every modality matters
    for kind in ("classification", "regression"):
        for name in names:
            # Everyone behaves as this expert should, on outputs [a, 0].
            views = torch.stack([aims[name], torch.zeros(modalities + 1)], -1)
            losses = interaction_losses(views[None, :, None].expand(5, -1, 1, -1), kind)
            least = -1.0 if (kind, name) == ("classification", "synergy") else 0.0
            assert losses[names.index(name)] == least
            others = [n for n in names if n != name]
            assert all(losses[names.index(n)] > least for n in others)


@pytest.mark.parametrize("kind", ["classification", "regression"])
@pytest.mark.parametrize("modalities", MODALITIES)
def test_what_each_loss_pushes_together_and_apart(kind, modalities):
    """A small step of the masked views down each loss goes where the expert's name says."""
    values = drawn(modalities, scale=0.1).requires_grad_()
    (gradient,) = torch.autograd.grad(interaction_losses(values, kind).sum(), values)
    gradient[:, 0] = 0  # the anchors stay
    before, after = values.detach(), values.detach() - 1e-4 * gradient

    def apart(views):
        return (views[:, 1:] - views[:, :1]).norm(dim=-1)  # [E, M, B]

    def turned(views):
        return 1 - torch.cosine_similarity(views[:, 1:], views[:, :1], dim=-1)

    for i in range(modalities):
        others = [j for j in range(modalities) if j != i]
        assert (apart(after)[i, i] > apart(before)[i, i]).all()
        assert (apart(after)[i, others] < apart(before)[i, others]).all()
    measure = turned if kind == "classification" else apart
    assert (measure(after)[-2] > measure(before)[-2]).all()  # synergy
    assert (measure(after)[-1] < measure(before)[-1]).all()  # redundancy


@given(scale=st.floats(0, 1e6), modalities=st.integers(2, 8), seed=st.integers(0, 10**6))
def test_d7_corrected_regression_losses_never_fall_below_zero(scale, modalities, seed):
    assert (interaction_losses(drawn(modalities, 2, 1, scale, seed), "regression") >= 0).all()


def test_d7_training_on_the_interaction_losses_alone_has_a_floor():
    """D7: released, 150 steps reach -1e4 and go on; corrected, they end at what is wanted."""
    ends = {}
    for kind in ("regression", "regression-released"):
        values = drawn(2, outputs=1).requires_grad_()
        optimizer = torch.optim.Adam([values], lr=0.5)
        for _ in range(150):
            optimizer.zero_grad()
            interaction_losses(values, kind).mean().backward()
            optimizer.step()
        ends[kind] = interaction_losses(values.detach(), kind)
    assert ends["regression"].min() >= 0
    assert ends["regression"].max() < 1e-2
    assert ends["regression-released"][:2].max() < -1000


def test_d7_released_synergy_is_redundancy_and_corrected_is_not():
    values = drawn(3, outputs=1)
    values[4] = values[3]  # the redundancy expert says what the synergy expert says
    released = interaction_losses(values, "regression-released")
    assert released[3] == released[4]
    (released_pull,) = gradients(values, "regression-released", 3)
    (pull,) = gradients(values, "regression", 4)
    (push,) = gradients(values, "regression", 3)
    assert torch.equal(released_pull[3], pull[4])
    inside = (values[3, 1:] - values[3, 0]).square().squeeze(-1) < 1  # beyond, it rests
    assert inside.any()
    torch.testing.assert_close(push[3, 1:][inside], -pull[4, 1:][inside])
    assert not push[3, 1:][~inside].any()


def gradients(values, kind, expert):
    values = values.clone().requires_grad_()
    return torch.autograd.grad(interaction_losses(values, kind)[expert], values)


@pytest.mark.parametrize("kind", KINDS)
def test_views_that_do_not_differ_give_finite_gradients(kind):
    """Copies of one expert see equal views where masking has no effect."""
    for start in (torch.zeros(4, 3, 2, 2), torch.ones(4, 3, 2, 2)):
        values = start.requires_grad_()
        losses = interaction_losses(values, kind)
        losses.sum().backward()
        assert torch.isfinite(losses).all()
        assert torch.isfinite(values.grad).all()


@pytest.mark.parametrize(
    "shape",
    [
        (4, 3, 5),
        (4, 3, 5, 2, 1),
        (3, 3, 5, 2),
        (5, 3, 5, 2),
        (4, 1, 5, 2),
        (3, 2, 5, 2),
        (2, 1, 5, 2),
    ],
)
def test_other_shapes_are_refused(shape):
    with pytest.raises(ShapeError, match=r"\[M\+2 experts, M\+1 views, B, C\] with M >= 2; got"):
        interaction_losses(torch.zeros(shape))


def test_an_unknown_kind_is_refused_with_the_close_one():
    with pytest.raises(ConfigError, match="Did you mean 'regression'"):
        interaction_losses(torch.zeros(4, 3, 5, 2), "regresion")
