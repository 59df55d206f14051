"""What every registered backbone must hold: registering one is testing it."""

from __future__ import annotations

import copy
import itertools
import pickle
import warnings

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state
from torch.testing import assert_close

from i2moe_plugin import Classification, I2MoE, LatentSpec, create_backbone, list_backbones
from i2moe_plugin.backbone import Backbone
from i2moe_plugin.registry import BackboneEntry

OUTPUTS = 3
ENTRIES = list_backbones()
every = pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
padding = pytest.mark.parametrize(
    "entry", [entry for entry in ENTRIES if entry.padding], ids=lambda entry: entry.name
)
WIDTHS = [8, 6, 5, 4]


def specs(entry: BackboneEntry, modalities: int = 0, padded: bool = False) -> list[LatentSpec]:
    """Latents that suit an entry: vectors of different widths, or 5 tokens of one width."""
    count = modalities or entry.min_modalities
    if entry.latents == "tokens" or padded:
        return [LatentSpec(8, 5, padded=padded) for _ in range(count)]
    return [LatentSpec(width) for width in WIDTHS[:count]]


def build(entry: BackboneEntry, latents: list[LatentSpec]) -> Backbone:
    return create_backbone(entry.name, latents, OUTPUTS)


def draw(latents: list[LatentSpec], batch: int, dtype: torch.dtype | None = None) -> list[Tensor]:
    return [torch.randn(batch, *spec.shape, dtype=dtype) for spec in latents]


def close(actual: Tensor, expected: Tensor) -> None:
    assert_close(actual, expected, rtol=1e-4, atol=1e-5)


def check_shapes(entry: BackboneEntry, modalities: int) -> None:
    latents = specs(entry, modalities)
    backbone = build(entry, latents)
    for batch in (1, 5):
        for mode in (True, False):
            output, auxiliary = backbone.train(mode)(draw(latents, batch))
            assert output.shape == (batch, OUTPUTS)
            assert auxiliary.shape == ()
            assert output.isfinite().all()
            assert auxiliary.isfinite()


def check_latents_are_left_alone(entry: BackboneEntry) -> None:
    latents = draw(specs(entry), 4)
    before = [latent.clone() for latent in latents]
    build(entry, specs(entry)).train()(latents)
    assert all(torch.equal(new, old) for new, old in zip(latents, before, strict=True))


def check_no_batch_mixing(entry: BackboneEntry) -> None:
    backbone = build(entry, specs(entry)).eval()
    latents = [latent.requires_grad_() for latent in draw(specs(entry), 6)]
    output, _ = backbone(latents)
    for b in range(6):
        close(backbone([latent[b : b + 1] for latent in latents])[0][0], output[b])
    gradients = torch.autograd.grad(output[2].sum(), latents)
    for gradient in gradients:
        assert (gradient[[0, 1, 3, 4, 5]] == 0).all()


def check_determinism(entry: BackboneEntry) -> None:
    backbone = build(entry, specs(entry)).eval()
    latents = draw(specs(entry), 4)
    first, _ = backbone(latents)
    torch.manual_seed(1)
    assert torch.equal(backbone(latents)[0], first)


def check_float64(entry: BackboneEntry) -> None:
    backbone = build(entry, specs(entry)).eval()
    latents = draw(specs(entry), 4)
    single, _ = backbone(latents)
    double, auxiliary = backbone.double()([latent.double() for latent in latents])
    assert double.dtype == auxiliary.dtype == torch.float64
    close(double.float(), single)


def check_mixed_precision(entry: BackboneEntry) -> None:
    backbone = build(entry, specs(entry)).train()
    with torch.autocast("cpu", torch.bfloat16):
        output, auxiliary = backbone(draw(specs(entry), 4))
        loss = output.float().sum() + auxiliary.float()
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad is None or p.grad.isfinite().all() for p in backbone.parameters())


def check_gradients(entry: BackboneEntry) -> None:
    """Every parameter moves within a few batches, in training mode."""
    backbone = build(entry, specs(entry)).train()
    for _ in range(4):
        output, auxiliary = backbone(draw(specs(entry), 16))
        ((output * torch.randn_like(output)).sum() + auxiliary).backward()
    without = [
        name for name, p in backbone.named_parameters() if p.grad is None or not p.grad.any()
    ]
    assert not without


def check_nothing_hidden(entry: BackboneEntry) -> None:
    """Tensors that a module holds are parameters or buffers, before and after a training step."""
    backbone = build(entry, specs(entry)).train()
    for _ in range(2):
        for name, module in backbone.named_modules():
            for key, value in vars(module).items():
                if key in ("_parameters", "_buffers", "_modules"):
                    continue
                items = value.values() if isinstance(value, dict) else [value]
                flat = [y for x in items for y in (x if isinstance(x, (list, tuple, set)) else [x])]
                assert not any(isinstance(x, Tensor) for x in flat), f"{name}.{key}"
        output, auxiliary = backbone(draw(specs(entry), 4))
        (output.sum() + auxiliary).backward()


def check_copies(entry: BackboneEntry) -> None:
    """A deep copy, also of a module just used, and a pickle, are equal and independent."""
    backbone = build(entry, specs(entry)).train()
    latents = draw(specs(entry), 4)
    backbone(latents)[0].sum().backward()
    backbone.eval()
    before, _ = backbone(latents)
    for twin in (copy.deepcopy(backbone), pickle.loads(pickle.dumps(backbone))):
        assert torch.equal(twin(latents)[0], before)
        with torch.no_grad():
            for parameter in twin.parameters():
                parameter.add_(1)
    assert torch.equal(backbone(latents)[0], before)


def check_state_dict(entry: BackboneEntry) -> None:
    first, second = build(entry, specs(entry)).eval(), build(entry, specs(entry)).eval()
    latents = draw(specs(entry), 4)
    assert not torch.equal(first(latents)[0], second(latents)[0])
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(latents)[0], second(latents)[0])


def check_vmap(entry: BackboneEntry) -> None:
    """Three instances at once by ``torch.func.vmap`` equal one after the other."""
    modules = [build(entry, specs(entry)).eval() for _ in range(3)]
    latents = draw(specs(entry), 4)
    skeleton = copy.deepcopy(modules[0]).to("meta")

    def call(parameters: dict[str, Tensor], buffers: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        return functional_call(skeleton, (parameters, buffers), (latents,))

    with warnings.catch_warnings():
        # torch's own encoder layer, of the released baselines, falls back to a loop.
        warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)
        outputs, auxiliaries = torch.func.vmap(call)(*stack_module_state(modules))
    for i, module in enumerate(modules):
        output, auxiliary = module(latents)
        close(outputs[i], output)
        close(auxiliaries[i], auxiliary)


def check_i2moe_trains(entry: BackboneEntry) -> None:
    latents = specs(entry)
    model = I2MoE(
        [nn.Identity() for _ in latents],
        latents,
        lambda: create_backbone(entry.name, latents, OUTPUTS),
        Classification(OUTPUTS),
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    inputs, target = draw(latents, 8), torch.arange(8) % OUTPUTS
    before = [parameter.detach().clone() for parameter in model.bank.parameters()]
    for _ in range(2):
        losses = model.losses(model.train()(inputs), target)
        assert losses.total.isfinite()
        assert bool(losses.auxiliary > 0) == entry.auxiliary
        optimizer.zero_grad()
        losses.total.backward()
        optimizer.step()
    moved = [
        bool((new != old).any()) for new, old in zip(model.bank.parameters(), before, strict=True)
    ]
    assert all(moved)
    assert model.eval()(inputs).prediction.isfinite().all()


def masks(batch: int, tokens: int) -> Tensor:
    """Right, left, interior, no, all but one and only padding, in turn."""
    rows = [
        [t >= 3 for t in range(tokens)],
        [t < 2 for t in range(tokens)],
        [t % 2 == 1 for t in range(tokens)],
        [False] * tokens,
        [t != 1 for t in range(tokens)],
        [True] * tokens,
    ]
    return torch.tensor(list(itertools.islice(itertools.cycle(rows), batch)))


def check_padding_never_matters(entry: BackboneEntry) -> None:
    """Whatever stands at padding, even NaN, changes neither outputs nor the auxiliary loss."""
    latents = specs(entry, padded=True)
    backbone = build(entry, latents).eval()
    values = draw(latents, 6)
    absent = [masks(6, 5), masks(6, 5).roll(1, 0)]
    before = backbone(values, absent)
    for noise in (7.0, float("nan")):
        changed = [
            value.masked_fill(mask.unsqueeze(-1), noise)
            for value, mask in zip(values, absent, strict=True)
        ]
        after = backbone(changed, absent)
        assert torch.equal(after[0], before[0])
        assert torch.equal(after[1], before[1])
    for b in range(6):  # nor does a sample's company
        alone, _ = backbone([v[b : b + 1] for v in values], [m[b : b + 1] for m in absent])
        close(alone[0], before[0][b])


def check_padding_length_never_matters(entry: BackboneEntry) -> None:
    """A batch padded to 5 tokens gives what the same batch padded to 3 gives."""
    latents = specs(entry, padded=True)
    backbone = build(entry, latents).eval()
    values = draw(latents, 3)
    long = [torch.arange(5).expand(3, 5) >= torch.tensor([[3], [2], [1]]) for _ in latents]
    short = [mask[:, :3] for mask in long]
    cut = backbone([value[:, :3] for value in values], short)
    full = backbone(values, long)
    close(full[0], cut[0])
    close(full[1], cut[1])


def check_padding_is_optional(entry: BackboneEntry) -> None:
    """No mask, a mask without padding, and a mask of one modality alone, are the same."""
    latents = specs(entry, padded=True)
    backbone = build(entry, latents).eval()
    values = draw(latents, 4)
    nothing = torch.zeros(4, 5, dtype=torch.bool)
    plain = backbone(values)
    for given in ([nothing] * len(latents), [None, *[nothing] * (len(latents) - 1)]):
        close(backbone(values, given)[0], plain[0])
        close(backbone(values, given)[1], plain[1])


def check_padding_gradients(entry: BackboneEntry) -> None:
    """Gradients are finite and none reaches padding, also where a sample is padding alone."""
    latents = specs(entry, padded=True)
    backbone = build(entry, latents).train()
    values = [value.requires_grad_() for value in draw(latents, 6)]
    absent = [masks(6, 5), masks(6, 5).roll(1, 0)]
    output, auxiliary = backbone(values, absent)
    (output.sum() + auxiliary).backward()
    for value, mask in zip(values, absent, strict=True):
        assert value.grad is not None
        assert value.grad.isfinite().all()
        assert (value.grad[mask] == 0).all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in backbone.parameters())


@every
@pytest.mark.parametrize("more", [0, 1, 2])
def test_shapes(entry, more):
    count = entry.min_modalities + more
    if entry.max_modalities is not None and count > entry.max_modalities:
        count = entry.max_modalities
    check_shapes(entry, count)


@every
@pytest.mark.parametrize(
    "check",
    [
        check_latents_are_left_alone,
        check_no_batch_mixing,
        check_determinism,
        check_float64,
        check_mixed_precision,
        check_gradients,
        check_nothing_hidden,
        check_copies,
        check_state_dict,
        check_vmap,
        check_i2moe_trains,
    ],
)
def test_contract(entry, check):
    check(entry)


@padding
@pytest.mark.parametrize(
    "check",
    [
        check_padding_never_matters,
        check_padding_length_never_matters,
        check_padding_is_optional,
        check_padding_gradients,
    ],
)
def test_padding(entry, check):
    check(entry)


def test_every_backbone_of_the_package_is_an_entry_point():
    names = (
        "concat ef lf ef-released lf-released lrtf tensor mi-matrix mi-vector mi-scalar mi3 nlgate "
        "mult transformer transformer-released interpretcc switchgate moepp"
    )
    assert set(names.split()) <= {entry.name for entry in ENTRIES}


@every
def test_facts_are_told(entry):
    assert entry.description
    assert entry.paper or entry.upstream
