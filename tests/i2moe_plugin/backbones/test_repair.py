import copy

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from i2moe_plugin.backbones.repair import register_hidden_parameters
from i2moe_plugin.errors import BackboneError


class Holder(nn.Module):
    """Holds whatever it is given, as it is."""

    def __init__(self, **things):
        super().__init__()
        for key, value in things.items():
            setattr(self, key, value)


def parameter(size=2):
    return nn.Parameter(torch.randn(size))


def moved(tensor):
    """What ``.to(device)`` leaves on another device: a copy with a graph."""
    copied = tensor.to(torch.float64)
    assert not copied.is_leaf
    return copied


def names(module):
    return [name for name, _ in module.named_parameters()]


@pytest.mark.parametrize(
    ("things", "expected"),
    [
        ({"f": [parameter(), parameter(3)]}, ["f.0", "f.1"]),
        ({"f": (parameter(),)}, ["f.0"]),
        ({"f": {"a": parameter(), "b": parameter()}}, ["f.a", "f.b"]),
        ({"f": moved(parameter())}, ["f"]),
        ({"f": parameter().clone()}, ["f"]),
        ({"f": [moved(moved(parameter()).float())]}, ["f.0"]),
        ({"f": torch.ones(2, requires_grad=True)}, ["f"]),
        ({"f": [nn.Linear(1, 1, bias=False)]}, ["f.0.weight"]),
        ({"f": {"a": nn.Linear(1, 1, bias=False)}}, ["f.a.weight"]),
        ({"f": [[parameter()], [parameter(), parameter()]]}, ["f.0.0", "f.1.0", "f.1.1"]),
        ({"f": {"a": [nn.Linear(1, 1, bias=False), nn.ReLU()]}}, ["f.a.0.weight"]),
        ({"child": Holder(f=[parameter()])}, ["child.f.0"]),
        ({"f": [Holder(g=[parameter()])]}, ["f.0.g.0"]),
    ],
)
def test_hidden_things_are_registered(things, expected):
    module = Holder(**things)
    assert register_hidden_parameters(module)
    assert names(module) == expected
    assert all(p.is_leaf and p.requires_grad for p in module.parameters())
    assert register_hidden_parameters(module) == []
    twin = copy.deepcopy(module)
    with torch.no_grad():
        for p in twin.parameters():
            p.add_(1)
    for new, old in zip(twin.parameters(), module.parameters(), strict=True):
        assert_close(new.data, old.data + 1)


def test_values_stay_and_constants_stay_constants():
    value, constant = moved(parameter()), torch.ones(2)
    module = Holder(f=[value, constant])
    register_hidden_parameters(module)
    assert torch.equal(module.f[0], value)
    assert [p.requires_grad for p in module.f] == [True, False]


def test_what_is_registered_already_is_left_alone():
    first, second = parameter(), parameter()
    module = Holder(first=first, second=second)
    module.both = (first, second)
    module.table = {0: torch.ones(2)}  # constants
    module.names = ["a", "b"]
    assert register_hidden_parameters(module) == []
    assert module.both == (first, second)
    assert type(module.table) is dict


def test_a_layer_that_names_its_owner_ends():
    module = Holder()
    module.back = [module]
    assert register_hidden_parameters(module) == []


@pytest.mark.parametrize(
    ("thing", "message"),
    [
        (parameter() * 2, "MulBackward0"),
        ([parameter().softmax(0)], "SoftmaxBackward0"),
        ({1: parameter()}, "names as keys"),
        ({parameter()}, "no order"),
        ([parameter(), nn.ReLU()], "apart"),
        ([[parameter()], 3], "apart"),
    ],
)
def test_what_cannot_be_registered_is_refused(thing, message):
    with pytest.raises(BackboneError, match=message):
        register_hidden_parameters(Holder(f=thing))


def test_a_copy_of_a_registered_parameter_is_refused():
    module = Holder(p=parameter())
    module.copy = moved(module.p)
    with pytest.raises(BackboneError, match=r"Holder.copy.*goes stale"):
        register_hidden_parameters(module)


def test_all_problems_are_named_at_once():
    with pytest.raises(BackboneError, match=r"Holder.a: .*Holder.b: "):
        register_hidden_parameters(Holder(a={1: parameter()}, b=parameter() * 2))
