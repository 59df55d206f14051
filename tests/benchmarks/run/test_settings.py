from importlib import resources
from importlib.metadata import entry_points

import pytest
import yaml
from click.testing import CliRunner

from i2moe_plugin.benchmarks.cli import main
from i2moe_plugin.benchmarks.data.open import open_dataset
from i2moe_plugin.benchmarks.datasets import datasets
from i2moe_plugin.benchmarks.run import recipes
from i2moe_plugin.benchmarks.run import settings as module
from i2moe_plugin.benchmarks.run.recipes import load_recipe, tuned_recipe, tuned_recipes
from i2moe_plugin.benchmarks.run.settings import (
    RunSettings,
    parse_assignments,
    resolve,
    setting_names,
)
from i2moe_plugin.errors import ConfigError


def test_all_problems_are_reported_at_once():
    with pytest.raises(ConfigError) as caught:
        resolve(
            "htd",
            "lrft",
            {"epochz": 3, "lr": -1.0, "batch_size": "many", "masking": "randm"},
        )
    message = str(caught.value)
    for part in ("'htad'", "'lrtf'", "'epochs'", "lr=-1.0", "batch_size='many'", "'random'"):
        assert part in message
    assert len(caught.value.problems) == 6


def test_open_ended_settings_are_checked_too():
    with pytest.raises(ConfigError) as caught:
        resolve("htad", "lrtf", {"fusion.rnk": 8, "data.augmnt": True})
    assert "'rank'" in str(caught.value)
    assert "data set 'htad' has no setting 'augmnt'" in str(caught.value)


def test_later_sources_win(monkeypatch):
    recipe = {
        "settings": {
            "lr": {"value": 0.1, "source": "paper"},
            "epochs": {"value": 7, "source": "paper"},
        },
        "fusions": {"lrtf": {"lr": {"value": 0.2, "source": "script"}}},
    }
    monkeypatch.setattr(module, "load_recipe", lambda _: recipe)
    settings, sources = resolve("htad", "lrtf", {"epochs": 9, "fusion.rank": 3})
    assert (settings.lr, settings.epochs) == (0.2, 9)
    assert settings.fusion_settings == {  # complete, with every default
        "rank": 3,
        "output_dim": 64,
        "head_hidden": 128,
        "head_dropout": 0.0,
    }
    assert sources == {"lr": "script", "epochs": "given", "fusion.rank": "given"}
    assert resolve("htad", "concat", {})[0].lr == 0.1


def test_assignments():
    given = ["lr=1e-4", "a.b=x=y", "flag=true", "n=null", "text=abc", "day=2000-06-01"]
    assert parse_assignments(given) == {
        "lr": 1e-4,
        "day": "2000-06-01",
        "a.b": "x=y",
        "flag": True,
        "n": None,
        "text": "abc",
    }
    with pytest.raises(ConfigError) as caught:
        parse_assignments(["novalue", "x=[1", "=3"])
    assert len(caught.value.problems) == 3


def test_assignments_construct_nothing():
    with pytest.raises(ConfigError):
        parse_assignments(["x=!!python/object/apply:os.system ['true']"])


@pytest.mark.parametrize(
    ("given", "instead", "taken"),
    [
        ({"plan": "fastest"}, "plan=auto", {"plan": "auto"}),
        ({"compile": True}, "not compiled", {"compile": False}),
    ],
)
def test_what_goes_is_accepted_for_a_version_and_does_nothing(given, instead, taken):
    plain, _ = resolve("htad", "lrtf", {})
    with pytest.warns(DeprecationWarning, match=instead):
        settings, _ = resolve("htad", "lrtf", given)
    assert {key: getattr(settings, key) for key in taken} == taken
    assert settings.identity() == plain.identity()


def test_identity_covers_what_decides_the_numbers():
    settings = RunSettings(dataset="htad", fusion="lrtf")
    assert settings.identity() == RunSettings(dataset="htad", fusion="lrtf").identity()
    assert settings.identity(data="1") != settings.identity(data="2")
    # How many processes load the data does not change a number; where it runs is told apart by
    # the caller, which knows what "auto" is.
    same = settings.model_copy(update={"workers": 2, "device": "cpu"})
    assert same.identity() == settings.identity()
    for change in (
        {"lr": 0.5},
        {"seed": 1},
        {"method": "vanilla"},
        {"fusion_settings": {"rank": 2}},
    ):
        assert settings.model_copy(update=change).identity() != settings.identity()


@pytest.mark.parametrize("name", datasets.names())
def test_recipes_hold_known_settings_each_with_its_source(name):
    recipe = load_recipe(name)
    assert recipe, f"{name} has no recipe"
    parts = [recipe["settings"], *recipe.get("fusions", {}).values()]
    for part in parts:
        for key, cell in part.items():
            assert set(cell) == {"value", "source"}, key
            assert len(cell["source"]) > 5, key
            assert key in setting_names() or key.startswith(("fusion.", "data.")), key
    for fusion in ("lrtf", "concat", *recipe.get("fusions", {})):
        resolve(name, fusion, {})


def test_every_recipe_belongs_to_a_data_set():
    folder = resources.files("i2moe_plugin.benchmarks.recipes")
    names = {file.name.removesuffix(".yaml") for file in folder.iterdir() if ".yaml" in file.name}
    sources = {point.name for point in entry_points(group="i2moe_plugin.datasets.sources")}
    assert names <= set(datasets.names()) | sources


def test_recipe_of_another_shape_is_refused(tmp_path, monkeypatch):
    (tmp_path / "htad.yaml").write_text(yaml.safe_dump(["not", "a", "recipe"]))
    monkeypatch.setattr(recipes.resources, "files", lambda _: tmp_path)
    with pytest.raises(ConfigError, match="recipe htad"):
        load_recipe("htad")


@pytest.mark.parametrize(("dataset", "fusion"), tuned_recipes())
def test_tuned_recipes_were_tuned_alike_on_the_data_that_ship(dataset, fusion):
    recipe = tuned_recipe(dataset, fusion)
    tuned = recipe["tuned"]
    assert tuned["data"] == open_dataset(dataset).content_hash()
    assert not {*tuned["seeds"]} & {*range(10)}, "run takes these by default"
    assert {"vanilla", "i2moe"} <= {*recipe["methods"]}
    for method, found in tuned["methods"].items():
        trials = found["finished"] + found["pruned"] + found["failed"]
        assert trials == tuned["trials"]
        settings, sources = resolve(dataset, fusion, {}, recipe=recipe, method=method)
        for key, cell in recipe["methods"][method].items():
            assert (getattr(settings, key), sources[key]) == (cell["value"], cell["source"])


def test_a_tuned_recipe_that_does_not_ship_is_refused():
    with pytest.raises(
        ConfigError, match=r"no tuned recipe of lrtf on icons ships; .*lrtf on htad"
    ):
        tuned_recipe("icons", "lrtf")
    given = ["run", "--recipe", "tuned", "--dataset", "icons", "--fusion", "lrtf"]
    done = CliRunner().invoke(main, given)
    assert (done.exit_code, done.stdout) == (1, "")
    assert "i2moe-bench tune --fusion lrtf --dataset icons" in " ".join(done.stderr.split())
