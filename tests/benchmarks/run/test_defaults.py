"""Settings for data without a recipe: by size, under what a user or a recipe says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from i2moe_plugin.benchmarks.run.defaults import DEFAULTS, defaults_for, fill_in, said_of
from i2moe_plugin.benchmarks.run.recipes import load_recipe
from i2moe_plugin.benchmarks.run.settings import RunSettings, resolve
from i2moe_plugin.tasks import Classification, Multilabel, Regression

FREE = "folder:mine"


TASKS = [Classification(3), Multilabel(4), Regression(1)]


@given(st.integers(0, 10**9), st.sampled_from(TASKS))
def test_every_size_gives_settings_that_can_be_used(samples, task):
    found = RunSettings(dataset=FREE, fusion="concat", **defaults_for(samples, task))
    assert 32 <= found.batch_size <= 256
    assert defaults_for(samples + 1, task)["batch_size"] >= found.batch_size
    assert found.metric == (None if isinstance(task, Regression) else "loss")


@given(st.dictionaries(st.sampled_from(sorted(DEFAULTS)), st.just(7)), st.sampled_from(TASKS))
def test_what_the_user_says_stays(said, task):
    settings = RunSettings(dataset=FREE, fusion="concat").model_copy(update=said)
    found, sources = fill_in(settings, dict.fromkeys(said, "given"), 500, task)
    assert {key: getattr(found, key) for key in said} == said
    expected = {key: value for key, value in defaults_for(500, task).items() if key not in said}
    assert {key: getattr(found, key) for key in expected} == expected
    assert {key for key, source in sources.items() if source != "given"} == expected.keys()
    sentence = said_of(found, sources)
    assert all(f"{key} " in sentence for key in expected)
    assert all(f"{key} " not in sentence for key in said)


@pytest.mark.parametrize("dataset", ["htad", "mosi", "enrico"])
def test_a_recipe_is_left_as_it_is(dataset):
    assert load_recipe(dataset)
    settings, sources = resolve(dataset, "concat", {})
    assert fill_in(settings, sources, 10, TASKS[0]) == (settings, sources)
    assert said_of(settings, sources) == ""
