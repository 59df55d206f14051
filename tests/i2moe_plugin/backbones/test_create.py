import dataclasses
import pickle

import pytest
import torch
from torch import nn

from i2moe_plugin import (
    BackboneError,
    ConfigError,
    LatentSpec,
    RegistrationError,
    UnknownNameError,
    create_backbone,
    register_backbone,
)
from i2moe_plugin.backbones.create import setting_problems
from i2moe_plugin.backbones.entry import backbones, unregister_backbone

LATENTS = [LatentSpec(3), LatentSpec(4)]


class Sum(nn.Module):
    """Adds projections.

    More words.
    """

    def __init__(self, input_dims, width, scale=1.0):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(dim, width) for dim in input_dims)
        self.scale = scale

    def forward(self, latents):
        return self.scale * sum(f(z) for f, z in zip(self.layers, latents, strict=True))


def test_the_decorator_returns_its_object_unchanged_and_keeps_its_facts():
    facts = {
        "latents": "vector",
        "min_modalities": 3,
        "max_modalities": 4,
        "padding": True,
        "auxiliary": True,
        "paper": "P",
        "upstream": "U",
    }
    before = dict(vars(Sum))
    assert register_backbone("test-sum", **facts)(Sum) is Sum
    assert dict(vars(Sum)) == before
    entry = backbones.get("test-sum")
    assert dataclasses.asdict(entry) == {
        "name": "test-sum",
        "build": Sum,
        "description": "Adds projections.",
        "module": __name__,
        **facts,
    }
    with pytest.raises(dataclasses.FrozenInstanceError):
        entry.name = "other"

    def factory():
        return nn.Identity()

    assert register_backbone("test-factory")(factory) is factory


def test_a_name_is_taken_once():
    register_backbone("test-sum")(Sum)
    with pytest.raises(RegistrationError, match=r"'test-sum' is already registered.*another name"):
        register_backbone("test-sum")(Sum)
    with pytest.raises(RegistrationError, match="'lrtf' is already registered"):
        register_backbone("lrtf")(Sum)
    unregister_backbone("test-sum")
    register_backbone("test-sum")(Sum)


@pytest.mark.parametrize("name", ["", " ", "-x", ".x", "a b", "a/b", "../a", "a\n", "ü", "a,b"])
def test_a_malformed_name_is_refused(name):
    """Names become folders and command-line words."""
    with pytest.raises(RegistrationError, match="must be letters, digits"):
        register_backbone(name)(Sum)


@pytest.mark.parametrize("name", ["a", "A1", "0", "mult-2.0", "a_b", "released:lrtf", "a+b"])
def test_a_sound_name_is_taken(name):
    register_backbone(name)(Sum)
    assert name in backbones


@pytest.mark.parametrize("thing", [3, "Sum", None, nn.Linear(2, 2).weight])
def test_what_cannot_be_called_is_refused(thing):
    with pytest.raises(RegistrationError, match=r"an nn\.Module class or a function"):
        register_backbone("test-thing")(thing)


def test_a_class_that_is_no_module_is_refused():
    with pytest.raises(RegistrationError, match=r"class int must derive from torch\.nn\.Module"):
        register_backbone("test-thing")(int)


def test_an_unknown_name_offers_the_close_ones():
    with pytest.raises(UnknownNameError, match="unknown backbone 'lrft'") as caught:
        create_backbone("lrft", LATENTS, num_outputs=2)
    assert "Did you mean 'lrtf'" in str(caught.value)
    assert "load_plugin" in str(caught.value)
    assert set(caught.value.known) >= {"concat", "lrtf"}
    sent = pickle.loads(pickle.dumps(caught.value))  # as between processes
    assert (type(sent), str(sent)) == (UnknownNameError, str(caught.value))
    with pytest.raises(UnknownNameError) as caught:
        create_backbone("zzzzzz", LATENTS, num_outputs=2)
    assert "Did you mean" not in str(caught.value)
    assert "concat" in str(caught.value)


def test_settings_that_do_not_fit_are_all_told_at_once():
    register_backbone("test-sum")(Sum)
    with pytest.raises(ConfigError, match="3 problems in the settings") as caught:
        create_backbone("test-sum", LATENTS, num_outputs=2, scal=2.0, widht=3)
    first, second, third = caught.value.problems
    assert "no setting 'scal'. Did you mean 'scale'?" in first
    assert "no setting 'widht'. Did you mean 'width'?" in second
    assert "It has: width, scale, head_hidden, head_dropout." in second
    assert "needs the setting 'width', which has no default." in third
    assert all(problem in str(caught.value) for problem in caught.value.problems)


def test_a_module_without_a_constructor_has_the_heads_settings_only():
    """nn.Module's own constructor takes anything, and refuses it."""
    with pytest.raises(ConfigError, match=r"no setting 'rank'\. It has: head_hidden, head_dropout"):
        create_backbone("concat", LATENTS, num_outputs=2, rank=3)


def test_what_we_supply_is_no_setting():
    register_backbone("test-sum")(Sum)
    entry = backbones.get("test-sum")
    assert list(entry.settings) == ["width", "scale"]
    problems = setting_problems(entry, {"width": 2, "input_dims": [3]})
    assert ["no setting 'input_dims'" in problem for problem in problems] == [True]
    assert setting_problems(entry, {"width": 2, "head_hidden": 0}) == []


def test_settings_reach_the_constructor_and_the_head():
    register_backbone("test-sum")(Sum)
    backbone = create_backbone(
        "test-sum", LATENTS, 2, width=6, scale=3.0, head_hidden=9, head_dropout=0.2
    )
    assert backbone.fusion.scale == 3.0
    assert [layer.in_features for layer in backbone.fusion.layers] == [3, 4]
    assert backbone.head[0].in_features == 6
    assert backbone.head[0].out_features == 9
    assert backbone.head[2].p == 0.2
    assert backbone([torch.ones(5, 3), torch.ones(5, 4)])[0].shape == (5, 2)


def test_everything_we_supply_reaches_a_factory_that_asks_for_it():
    got = {}

    @register_backbone("test-asks")
    def build(input_dims, latents, num_outputs, **rest):
        got.update(input_dims=input_dims, latents=latents, num_outputs=num_outputs, rest=rest)
        return Sum(input_dims, num_outputs)

    create_backbone("test-asks", LATENTS, 2, anything="goes")
    rest = {"anything": "goes"}
    assert got == {"input_dims": [3, 4], "latents": LATENTS, "num_outputs": 2, "rest": rest}


def test_a_constructor_that_fails_is_named_with_what_it_was_given():
    @register_backbone("test-fails")
    def build(input_dims, depth=2):
        raise ZeroDivisionError("too deep")

    with pytest.raises(BackboneError, match=r"ZeroDivisionError: too deep") as caught:
        create_backbone("test-fails", LATENTS, 2, depth=7)
    assert "(input_dims=[3, 4], depth=7)" in str(caught.value)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


@pytest.mark.parametrize(
    ("facts", "count", "limits"),
    [
        ({"min_modalities": 3}, 2, "at least 3"),
        ({"max_modalities": 2}, 3, "2"),
        ({"min_modalities": 3, "max_modalities": 5}, 6, "3 to 5"),
        ({}, 1, "at least 2"),
        ({}, 0, "at least 2"),
    ],
)
def test_modality_limits(facts, count, limits):
    register_backbone("test-sum", **facts)(Sum)
    with pytest.raises(BackboneError, match=f"fuses {limits} modalities; {count} are given"):
        create_backbone("test-sum", [LatentSpec(3)] * count, 2, width=2)


@pytest.mark.parametrize(
    ("takes", "given", "problem"),
    [
        ("vector", [LatentSpec(3), LatentSpec(3, 2)], "takes vector latents; modality 2 comes as"),
        ("tokens", [LatentSpec(3), LatentSpec(3, 2)], "takes tokens latents; modality 1 comes as"),
    ],
)
def test_the_kind_of_latent_must_fit(takes, given, problem):
    register_backbone("test-sum", latents=takes)(Sum)
    with pytest.raises(BackboneError, match=problem):
        create_backbone("test-sum", given, 2, width=2)
