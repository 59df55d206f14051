"""Spaces: what they may say, what a method makes of them."""

import pytest

from i2moe_plugin.backbones.entry import backbones
from i2moe_plugin.benchmarks.data.open import open_dataset
from i2moe_plugin.benchmarks.run.execute import fit, ready_trainer
from i2moe_plugin.benchmarks.run.settings import RunSettings, resolve
from i2moe_plugin.benchmarks.tuning.space import (
    JUDGES,
    Range,
    check_space,
    load_space,
    space_of,
    space_record,
)
from i2moe_plugin.benchmarks.tuning.trials import settings_given, with_params
from i2moe_plugin.errors import ConfigError
from i2moe_plugin.methods import METHODS, OF_INTERACTIONS, OF_REWEIGHTING, find_method


@pytest.mark.parametrize("fusion", ["concat", "lrtf", "transformer"])
def test_the_space_that_ships_can_be_used(fusion):
    space = load_space()
    check_space(space, "htad", fusion, {})
    assert {"lr", "weight_decay", "encoder_dropout", "latent_dim"} < set(space)
    assert set(space) - set(space_of(space, "vanilla", {})) == {"interaction_weight", "temperature"}
    assert space_of(space, "i2moe", {}) == space
    assert "lr" not in space_of(space, "i2moe", {"lr": 0.1})


def write(tmp_path, text):
    path = tmp_path / "space.yaml"
    path.write_text(text)
    return path


def test_a_space_is_what_its_file_says(tmp_path):
    path = write(tmp_path, "lr: {low: 1e-4, high: 1e-1, log: true}\nepochs: {low: 5, high: 9}\n"
                 "masking: [zero, mean]\nfusion.rank: {low: 2, high: 8, step: 2}")  # fmt: skip
    space = load_space(path)
    assert space["lr"] == Range(low=1e-4, high=0.1, log=True)
    assert space["epochs"].whole
    assert not space["lr"].whole
    assert space["masking"] == ("zero", "mean")
    assert space_record(space)["fusion.rank"] == {"low": 2, "high": 8, "step": 2}
    check_space(space, "htad", "lrtf", {})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[]", "must hold settings"),
        ("lr: 0.1", "is not of the form"),
        ("lr: {low: 1, high: 0.1}", "low is to be below high"),
        ("lr: {low: 0, high: 1, log: true}", "above 0"),
        ("lr: {low: 0.1, high: 1, log: true, step: 0.1}", "without a step"),
        ("epochs: {low: 1, high: 5, step: 0.5}", "whole step"),
        ("epochs: {low: 1, high: 5, step: 0}", "step is to be above 0"),
        ("lr: {low: 0.1, high: 1, base: 2}", "lr.base"),
        ("lr: {low: 0.1}", "lr.high"),
        ("lr: {low: .nan, high: 1}", "lr.low"),
        ("lr: {low: true, high: 2}", "lr.low"),
        ("lr: [0.1]", "at least two choices"),
        ("lr: [0.1, 0.1]", "twice"),
        ("lr: [[1], [2]]", "plain values"),
        ("lr: [0.1, 0.2]\nlr: [0.3, 0.4]", "lr"),
        *((f"{name}: [a, b]", "cannot be tuned") for name in (*JUDGES, "data.shape")),
    ],
)
def test_a_space_that_cannot_be_is_refused(tmp_path, text, words):
    with pytest.raises(ConfigError, match=words):
        load_space(write(tmp_path, text))


def test_values_that_no_run_could_take_are_refused_before_a_search(tmp_path):
    text = "lr: [-1, 0.1]\nlatent_dmi: [1, 2]\nfusion.rnk: [1, 2]\nencoder_dropout: [0.5, 2]"
    with pytest.raises(ConfigError) as caught:
        check_space(load_space(write(tmp_path, text)), "htad", "lrtf", {})
    for words in ("lr=-1", "latent_dmi", "rnk", "encoder_dropout=2"):
        assert words in str(caught.value)
    with pytest.raises(ConfigError, match="no space can be read"):
        load_space(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("text", "given", "words"),
    [
        ("latent_dim: {low: 1, high: 128.0}", {}, "latent_dim=1.0000000000000002"),
        ("batch_size: {low: 8.0, high: 16, step: 2.5}", {}, "batch_size=10.5"),
        ("devices: [1, 2]", {}, "devices=2"),
        ("lr: [0.1, 0.2]", {"devices": 2}, "one device alone"),
    ],
)
def test_what_every_trial_would_fail_by_is_refused_before_a_search(tmp_path, text, given, words):
    with pytest.raises(ConfigError, match=words):
        check_space(load_space(write(tmp_path, text)), "htad", "lrtf", given)


def test_a_range_of_an_integer_may_end_in_whole_floats_that_its_step_meets(tmp_path):
    space = load_space(write(tmp_path, "latent_dim: {low: 32.0, high: 128.0, step: 32.0}"))
    check_space(space, "htad", "lrtf", {})


def test_settings_are_given_back_whole():
    settings, _ = resolve("htad", "lrtf", {"fusion.rank": 3, "evidence.joint": 4, "lr": 0.3})
    again, _ = resolve("htad", "lrtf", settings_given(settings), recipe={})
    assert again == settings
    changed = with_params(settings, {"fusion.rank": 5, "lr": 0.1})
    assert (changed.fusion_settings["rank"], changed.lr) == (5, 0.1)
    assert changed.model_copy(update={"lr": 0.3, "fusion_settings": settings.fusion_settings}) == (
        settings
    )


OTHER = {
    "interaction_weight": 7.0,
    "interaction_loss": "regression",
    "masking": "zero",
    "temperature": 9.0,
    "reweighting_hidden": 5,
    "reweighting_layers": 3,
    "reweighting_dropout": 0.0,
}
NAMES = [name.replace(":NAME", ":synergy") for name in METHODS]


@pytest.mark.parametrize("method", NAMES)
def test_what_a_method_ignores_changes_nothing_in_it_and_the_rest_does(method, small_htad):
    assert {*OTHER} == OF_INTERACTIONS | OF_REWEIGHTING
    fusion = find_method(method).fusion or "concat"
    assert fusion in backbones
    data = open_dataset("htad", small_htad)

    def history(**changes):
        small = {"epochs": 2, "latent_dim": 8, "encoder_hidden": 8, "device": "cpu", **changes}
        settings, _ = resolve("htad", fusion, small, recipe={})
        settings = settings.model_copy(update={"method": method})
        assert isinstance(settings, RunSettings)
        with ready_trainer(settings, data) as trainer:
            fit(trainer, settings, data, None)
        return [{k: v for k, v in record.items() if k != "seconds"} for record in trainer.history]

    before = history()
    changed = {key for key, value in OTHER.items() if history(**{key: value}) != before}
    assert set(OTHER) - changed == find_method(method).ignored
