"""What a file expands to, and what is said of one that cannot be used."""

import functools
import math

import pytest
from torch import nn

from i2moe_plugin import Classification, LatentSpec, Multilabel, create_backbone, create_model
from i2moe_plugin.backbones.entry import backbones
from i2moe_plugin.benchmarks.datasets import datasets
from i2moe_plugin.benchmarks.grid.spec import SuiteFile, expand, load_suite, shipped_suites
from i2moe_plugin.benchmarks.statistics.paper import figures, find_figure
from i2moe_plugin.errors import ConfigError
from i2moe_plugin.model import Vanilla
from i2moe_plugin.tasks import Task
from i2moe_plugin.training import count_parameters

SMALL = {"datasets": ["htad"], "fusions": ["concat", "lrtf"], "methods": ["vanilla", "i2moe"]}


@functools.cache
def loaded(name):
    """A suite that ships."""
    return load_suite(name)


def suite(**keys):
    return expand(SuiteFile(**{**SMALL, **keys}), "small")


def test_a_grid_is_every_combination_once():
    found = suite(grid={"masking": ["zero", "random"], "lr": ["1e-3", 0.01]}, seeds=[4, 2])
    assert found.seeds == (4, 2)
    keys = [cell.key for cell in found.cells]
    assert len(set(keys)) == len(keys) == 2 * 2 * 2 * 2
    assert ("htad", "lrtf", "i2moe", "masking=zero", "lr=1e-3") in keys
    for cell in found.cells:
        settings = cell.settings
        assert (settings.dataset, settings.fusion, settings.method) == cell.key[:3]
        assert settings.masking == cell.variant["masking"]
        assert settings.lr == float(cell.variant["lr"])


def test_parts_take_what_they_leave_out_from_the_top():
    parts = [{"methods": ["vanilla"]}, {"fusions": ["lrtf"], "settings": {"epochs": 7}}]
    cells = suite(parts=parts).cells
    assert [cell.row for cell in cells] == [
        ("concat", "vanilla"),
        ("lrtf", "vanilla"),  # of the first part that has it
        ("lrtf", "i2moe"),
    ]
    assert [cell.settings.epochs for cell in cells] == [50, 50, 7]


def test_settings_of_a_name_and_by_hand_win_in_that_order():
    keys = {
        "settings": {"epochs": 1, "lr": 0.1, "fusion.head_hidden": 4},
        "fusions": [{"name": "concat", "settings": {"lr": 0.2}}],
        "datasets": [{"name": "htad", "root": "here", "settings": {"epochs": 2}}],
    }
    (first, _) = suite(**keys).cells
    assert (first.settings.epochs, first.settings.lr, first.root) == (2, 0.2, "here")
    assert first.settings.fusion_settings["head_hidden"] == 4
    by_hand = expand(
        SuiteFile(**{**SMALL, **keys}), "s", settings={"lr": 0.3}, roots={"htad": "/x"}
    )
    assert (by_hand.cells[0].settings.lr, by_hand.cells[0].root) == (0.3, "/x")


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("vanilla", ("htad", "lrtf", "vanilla", "masking=zero")),
        ({"masking": "random"}, ("htad", "lrtf", "i2moe", "masking=random")),
        ({"fusion": "concat", "method": "vanilla"}, ("htad", "concat", "vanilla", "masking=zero")),
        ("i2moe", None),  # itself
        ({"lr": 1}, None),  # nothing this suite varies
        (None, None),
    ],
)
def test_the_cell_compared_with(reference, expected):
    found = suite(grid={"masking": ["zero", "random"]})
    (cell,) = [c for c in found.cells if c.row == ("lrtf", "i2moe", "masking=zero")]
    assert cell.reference_key(reference) == expected


def test_only_is_a_choice_of_each_kind():
    spec = SuiteFile(**{**SMALL, "datasets": ["htad", "brca"]})
    cells = expand(spec, "s", only=["htad", "lrtf", "concat", "vanilla"]).cells
    assert [c.key for c in cells] == [("htad", "concat", "vanilla"), ("htad", "lrtf", "vanilla")]
    with pytest.raises(ConfigError, match=r"'lrft'\. Did you mean 'lrtf'"):
        expand(spec, "s", only=["lrft"])


def test_everything_wrong_is_said_at_once(suite_file):
    path = suite_file(
        datasets=["htda", "htad"],
        fusions=["lrft", {"name": "lrtf", "settings": {"fusion.rnk": 3}}],
        methods=["vanilla", "i2mo"],
        settings={"lr": "fast"},
    )
    with pytest.raises(ConfigError) as error:
        load_suite(path)
    problems = error.value.problems
    assert len(problems) == 5  # each once, however many cells have it
    for part in ("'htda'. Did you mean 'htad'", "'lrft'", "'rnk'", "'i2mo'", "lr='fast'"):
        assert sum(part in problem for problem in problems) == 1


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"datsets": []}, "datsets: there is no such key. Did you mean 'datasets'"),
        ({"fusions": [{"name": "lrtf", "seting": 3}]}, "fusions.0.seting"),
        ({"seeds": 0}, "a number from 1"),
        ({"seeds": [1, 1]}, "distinct"),
        ({"grid": {"masking": "zero"}}, "grid.masking: Input should be a valid list"),
        ({"datasets": []}, "needs datasets, fusions and methods"),
    ],
)
def test_files_that_are_none(suite_file, keys, said):
    with pytest.raises(ConfigError) as error:
        load_suite(suite_file(**keys))
    assert said in str(error.value)


def test_other_files(tmp_path):
    with pytest.raises(ConfigError, match=r"'tabel1': neither a file nor .*Did you mean 'table1'"):
        load_suite("tabel1")
    path = tmp_path / "x.yaml"
    for text, said in (
        ("a: [", "not readable as YAML"),
        ("- 1", "is a mapping"),
        ("1: 2", "words"),
    ):
        path.write_text(text)
        with pytest.raises(ConfigError, match=said):
            load_suite(str(path))
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not readable"):
        load_suite(str(path))


@pytest.mark.parametrize("name", sorted(shipped_suites()))
def test_what_ships_can_be_started(name):
    found = loaded(name)
    assert found.title == shipped_suites()[name]
    assert found.cells


def test_embedded_is_everything_embedded():
    datasets.get("synthetic:bool-and")  # what was asked for before does not count
    keys = {cell.key for cell in loaded("embedded").cells}
    cards = {n: datasets.get(n).card for n in datasets.names() if ":" not in n}
    names = [n for n, card in cards.items() if card.embedded and not card.extra]
    assert len(names) == 3
    assert cards["icons"].embedded, "it needs an extra, which a suite does not take for granted"
    assert keys == {
        (dataset, fusion, method)
        for dataset in names
        for fusion in backbones.names()
        for method in ("vanilla", "i2moe")
    }


@pytest.mark.parametrize(
    ("suite", "tables"),
    [
        ("table1", {"Table 1"}),
        ("table2", {"Table 2", "Table 1"}),  # vanilla beside each
        ("table4", {"Table 4", "Table 1"}),
        ("table5", {"Table 5"}),
        ("table6", {"Table 6"}),
    ],
)
def test_the_papers_tables_are_covered(suite, tables):
    """Every figure of a table has its cell in the suite of its name."""
    found = set()
    for cell in loaded(suite).cells:
        for metric in cell.metrics:
            settings = cell.settings
            names = (settings.dataset, settings.fusion, settings.method, metric)
            if find_figure(*names, cell.variant):
                found.add((*names, tuple(cell.variant.items())))
    wanted = {
        key
        for key, figure in figures().items()
        if figure.table == suite.replace("table", "Table ") and not key[1].endswith("-released")
    }
    assert wanted <= found
    assert {figures()[key].table for key in found} == tables


def test_figures_are_shares_and_say_their_table():
    figure = find_figure("adni", "transformer", "i2moe", "accuracy")
    assert (figure.value, figure.table) == (pytest.approx(0.6508), "Table 1")
    assert (
        find_figure("enrico", "transformer", "i2moe", "accuracy", {"masking": "mean"}).value == 0.5
    )
    assert find_figure("adni", "transformer", "i2moe", "accuracy", {"masking": "matched"}) is None
    for (*_, metric, _), figure in figures().items():
        if metric != "parameters_without_encoders":
            assert 0.2 < figure.value < 0.9


TASKS: dict[str, tuple[int, Task]] = {
    "adni": (4, Classification(3)),
    "mimic": (3, Classification(2)),
    "mmimdb": (2, Multilabel(23)),
    "mosi": (3, Classification(2)),
    "enrico": (2, Classification(20)),
}


@pytest.mark.parametrize("cell", loaded("table6").cells, ids=lambda cell: " ".join(cell.key))
def test_table_6_is_reproduced_to_the_parameter(cell):
    """The paper's counts, of fusion and reweighting without encoders."""
    settings = cell.settings
    modalities, task = TASKS[settings.dataset]
    latents = [LatentSpec(settings.latent_dim, settings.patches)] * modalities

    def backbone():
        return create_backbone("transformer", latents, task.num_outputs, **settings.fusion_settings)

    encoders = [nn.Identity() for _ in latents]
    if settings.method == "vanilla":
        model = Vanilla(encoders, latents, backbone(), task)
    else:
        model = create_model(
            "i2moe",
            encoders,
            latents,
            backbone,
            task,
            reweighting_hidden=settings.reweighting_hidden,
            reweighting_layers=settings.reweighting_layers,
        )
    figure = find_figure(*cell.key, "parameters_without_encoders")
    assert not math.isnan(figure.value)
    assert count_parameters(model) == figure.value
