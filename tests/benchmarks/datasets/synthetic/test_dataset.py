"""The drawn sets as data sets: opened, described and trained on like any other."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from i2moe_plugin.benchmarks.cli import main
from i2moe_plugin.benchmarks.data.open import open_dataset
from i2moe_plugin.benchmarks.data.registry import datasets
from i2moe_plugin.benchmarks.datasets.synthetic import GENERATORS, generator
from i2moe_plugin.benchmarks.datasets.synthetic.dataset import truth_of
from i2moe_plugin.benchmarks.run.recipes import load_recipe
from i2moe_plugin.benchmarks.run.settings import resolve
from i2moe_plugin.errors import ConfigError, UnknownNameError


@pytest.mark.parametrize("name", GENERATORS)
def test_every_generator_is_a_data_set(name):
    data = open_dataset(f"synthetic:{name}", samples=400, seed=3)
    drawn = generator(name, samples=400).draw(3)
    assert data.modalities == tuple(f"x{m + 1}" for m in range(len(drawn.modalities)))
    for split, rows in drawn.splits.items():
        np.testing.assert_array_equal(data.labels(split), drawn.labels[rows])
        assert data.sample_ids(split) == [f"{name}-{row}" for row in rows]
    *inputs, _ = next(iter(data.prepare().loader("train", batch_size=280)))
    for x, raw in zip(inputs, drawn.modalities, strict=True):
        rows = raw[drawn.splits["train"]]
        np.testing.assert_allclose(x, (rows - rows.mean(0)) / rows.std(0), atol=1e-4)


def test_every_setting_is_part_of_the_fingerprint():
    given = {"samples": 400}
    ways = [{}, {"seed": 1}, {"samples": 402}, {"label_noise": 0.1}, {"dims": [20, 10]}]
    prints = {open_dataset("synthetic:hdxor-synergy", **given | way).fingerprint() for way in ways}
    assert len(prints) == len(ways)
    again = open_dataset("synthetic:hdxor-synergy", **given)
    assert again.fingerprint() in prints


def test_settings_reach_the_generator():
    data = open_dataset("synthetic:hdxor-synergy", modalities=3, dims=[7, 6, 5], samples=100)
    *inputs, _ = next(iter(data.prepare().loader("test", batch_size=2)))
    assert [x.shape[1] for x in inputs] == [7, 6, 5]
    options = {"label_noise": 0.2, "seed": 4, "modalities": None, "dims": None}
    assert truth_of("synthetic:hdxor-synergy", options) == (
        generator("hdxor-synergy", label_noise=0.2).truth(4)
    )


@pytest.mark.parametrize("name", ["hdxor-redundancy", "pid-redundancy", "bool-and", "ring"])
def test_the_description_states_the_truth(name):
    done = CliRunner().invoke(main, ["data", "describe", f"synthetic:{name}", "--json"])
    assert done.exit_code == 0, done.output
    more = json.loads(done.stdout)["more"]
    truth = generator(name).truth()
    redundancy = truth.parts.redundancy
    assert f"redundancy {redundancy:.3f}" in more["truth in bits (additive)"]
    if name == "ring":  # three share in pairs: more than the minimum rule counts
        assert more["redundancy by the minimum rule"] == f"{truth.redundancy_most:.3f} bit"
        assert truth.redundancy_most < redundancy
    else:
        assert more["redundancy lies between"].startswith(f"{redundancy:.3f} and ")
        assert truth.redundancy_most >= redundancy - 1e-9


def test_wrong_names_and_settings_are_refused():
    with pytest.raises(UnknownNameError, match="hdxor-synergy"):
        datasets.get("synthetic:hdxor-sinergy")
    with pytest.raises(ConfigError, match=r"data\.samples='many'"):
        open_dataset("synthetic:bool-and", samples="many")
    with pytest.raises(ConfigError, match="2 to 4 modalities, not 9"):
        open_dataset("synthetic:hdxor-synergy", modalities=9)


def test_the_sets_share_one_recipe():
    settings, sources = resolve("synthetic:ring", "concat", {})
    recipe = load_recipe("synthetic:bool-or")["settings"]
    assert settings.epochs == recipe["epochs"]["value"]
    assert sources["epochs"] == recipe["epochs"]["source"]


def test_the_number_of_modalities_is_the_sets_own_setting():
    given = {"data.modalities": 3, "data.samples": 100}
    settings, _ = resolve("synthetic:hdxor-synergy", "concat", given)
    data = open_dataset(settings.dataset, **settings.data_settings)
    assert data.modalities == ("x1", "x2", "x3")


def test_the_note_leads_to_the_truth_of_the_settings_that_were_drawn():
    """The description is of the defaults: of other settings its bits are wrong."""
    name = "synthetic:bool-xor"
    (plain,) = open_dataset(name, samples=400).notes
    assert plain.endswith(f"are known: i2moe-bench data describe {name}.")
    (note,) = open_dataset(name, samples=400, label_noise=0.2).notes
    assert "of the default ones by i2moe-bench data describe" in note
    call = note[note.index("truth_of(") : note.index("; of the default")]
    found = eval(call, {"truth_of": truth_of})
    assert found.parts.synergy == pytest.approx(1 - 0.7219, abs=1e-3)  # 1 - H(0.2)
    assert "of these settings" in open_dataset(name, samples=400, seed=1).notes[0]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("bool-xor", {"samples": 10**10}),
        ("bool-xor", {"dim": 10**5}),
        ("hdxor-synergy", {"samples": 10**8}),
        ("hdxor-synergy", {"dims": [10**9, 3]}),
        ("ring", {"samples": 10**8}),
        ("pid-mix1", {"dim": 10**8}),
    ],
)
def test_what_would_fill_the_memory_is_refused_before_it_is_drawn(name, options):
    with pytest.raises(ConfigError, match="ask for fewer samples or dimensions"):
        open_dataset(f"synthetic:{name}", **options)
