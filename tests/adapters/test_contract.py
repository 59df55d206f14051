"""What every registered backbone must hold: registering one is testing it."""

import copy
import importlib.metadata
import pickle
import pkgutil
import warnings

import pytest
import torch
from torch import Tensor
from torch.func import functional_call, stack_module_state
from torch.testing import assert_close

from i2moe_plugin import BackboneError, adapters, list_backbones
from i2moe_plugin.backbones.entry import HEAD_SETTINGS
from i2moe_plugin.testing import Subject, assert_backbone

ENTRIES = list_backbones()
every = pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)


@every
def test_contract(entry):
    assert_backbone(entry)


# What we ask of our own besides.


@every
def test_numbers_out_of_range_are_refused(entry):
    numbers = [n for n, p in entry.settings.items() if type(p.default) in (int, float)]
    for name in [*numbers, *([] if entry.own_head else HEAD_SETTINGS)]:
        subject = Subject(entry, {name: -1})
        with pytest.raises(BackboneError, match=rf"{name}=-1\): (Config|Value)Error") as caught:
            subject.build(subject.latents())
        assert "-1" in str(caught.value.__cause__)


@every
def test_a_pickle_of_a_used_module_is_equal(entry):
    for backbone, values in Subject(entry).built((True,)):
        output, auxiliary = backbone(values)
        (output.sum() + auxiliary).backward()
        twin = pickle.loads(pickle.dumps(backbone.eval()))
        assert torch.equal(twin(values)[0], backbone(values)[0])


@every
def test_instances_at_once_by_vmap_equal_one_after_the_other(entry):
    subject = Subject(entry)
    latents = subject.latents()
    modules, values = [subject.build(latents) for _ in range(3)], subject.draw(latents)
    skeleton = copy.deepcopy(modules[0]).to("meta")

    def call(parameters: dict[str, Tensor], buffers: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        return functional_call(skeleton, (parameters, buffers), (values,))

    with warnings.catch_warnings():
        # torch's own encoder layer, of the released baselines, falls back to a loop.
        warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)
        outputs, auxiliaries = torch.func.vmap(call)(*stack_module_state(modules))
    for i, module in enumerate(modules):
        output, auxiliary = module(values)
        assert_close(outputs[i], output, rtol=1e-4, atol=1e-5)
        assert_close(auxiliaries[i], auxiliary, rtol=1e-4, atol=1e-5)


@every
def test_no_gradient_reaches_padding(entry):
    subject = Subject(entry)
    if not subject.takes_padding:
        pytest.skip("takes no padding masks")
    latents = subject.latents("padded")
    values = [value.requires_grad_() for value in subject.draw(latents)]
    masks = [torch.rand(subject.batch, subject.tokens) < 0.5 for _ in latents]
    output, auxiliary = subject.build(latents, training=True)(values, masks)
    (output.sum() + auxiliary).backward()
    for value, mask in zip(values, masks, strict=True):
        assert (value.grad[mask] == 0).all()


@every
def test_facts_are_told(entry):
    assert entry.description
    assert entry.paper or entry.upstream


def test_every_backbone_of_the_package_is_an_entry_point():
    for module in pkgutil.iter_modules(adapters.__path__, "i2moe_plugin.adapters."):
        importlib.import_module(module.name)  # registers what it holds
    ours = {e.name for e in list_backbones() if e.build.__module__.startswith("i2moe_plugin.")}
    points = importlib.metadata.entry_points(group="i2moe_plugin.backbones")
    assert ours == {p.name for p in points if p.value.startswith("i2moe_plugin.")}
    assert ours <= {entry.name for entry in ENTRIES}
