"""Inline comparisons: what is trained, paired, corrected, ranked and drawn."""

import html
import io
import json
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image

from i2moe_plugin.benchmarks.cli import main
from i2moe_plugin.benchmarks.experiments import compare_across
from i2moe_plugin.benchmarks.experiments import run as run_experiment
from i2moe_plugin.benchmarks.report.ranking_picture import draw_ranking
from i2moe_plugin.benchmarks.statistics.equivalence import equivalent_pairs
from i2moe_plugin.benchmarks.statistics.paired import compare, holm
from i2moe_plugin.benchmarks.statistics.ranking import rank_methods
from i2moe_plugin.errors import ConfigError

SETTINGS = {"epochs": 1, "latent_dim": 8, "encoder_hidden": 8, "device": "cpu"}
FUSIONS = ("concat", "lrtf", "lf")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("across")


@pytest.fixture(scope="module")
def roots(place, htad, tmp_path_factory):
    """Two data sets: a small htad, and a folder of one's own."""
    import yaml

    folder = place / "own"
    folder.mkdir()
    random, label = np.random.default_rng(1), np.arange(60) % 2
    one = random.normal(size=(60, 3)) + label[:, None]
    np.savez(folder / "x.npz", one=one, two=random.normal(size=(60, 2)), label=label,
             split=np.array(["train", "train", "valid", "test"] * 15))  # fmt: skip
    spec = {
        "name": "own",
        "modalities": {
            key: {"file": "x.npz", "key": key, "kind": "features"} for key in ("one", "two")
        },
        "target": {"file": "x.npz", "key": "label"},
        "task": "classification",
        "split": {"file": "x.npz", "key": "split"},
    }
    (folder / "dataset.yaml").write_text(yaml.safe_dump(spec))
    return {"htad": str(htad(place / "htad")), "own": str(folder)}


@pytest.fixture(scope="module")
def found(place, roots):
    return compare_across(
        ["htad", roots["own"]],
        FUSIONS,
        ["vanilla"],
        3,
        settings=SETTINGS,
        roots={"htad": roots["htad"]},
        equivalent_within=5,
        out=place / "runs",
        jobs=1,
        progress=False,
    )


def invoke(*arguments):
    return CliRunner().invoke(main, [*map(str, arguments)])


def options(place, roots):
    given = ["compare", "--dataset", "htad", "--dataset", roots["own"], "--method", "vanilla"]
    given += ["--data-root", f"htad={roots['htad']}", "--seeds", 3, "--out", place / "runs"]
    given += [one for name in FUSIONS for one in ("--fusion", name)]
    given += [f"--set={key}={value}" for key, value in SETTINGS.items()]
    return [*given, "--equivalent-within", 5]


def test_each_pair_is_paired_by_seed_and_corrected_over_all(found):
    assert list(found.by_dataset) == ["htad", "folder:own"]
    raw, shown = [], []
    for one in found.by_dataset.values():
        assert list(one.values) == list(FUSIONS)
        for name in FUSIONS[1:]:
            pairs = ([*one.values["concat"].values()], [*one.values[name].values()])
            item = one.comparisons[name]
            oracle = compare(one.metric, *pairs)
            assert (item.difference, item.low, item.p) == (oracle.difference, oracle.low, oracle.p)
            assert one.equivalences[name] == equivalent_pairs(*pairs, 0.05)
            raw.append(oracle.p)
            shown.append(item.p_adjusted)
    tested = [p for p in raw if p is not None]
    assert [p for p in shown if p is not None] == pytest.approx(holm(tested))
    assert "corrected by Holm for 4 comparisons" in found.verdict


def test_ranks_are_of_the_means(found):
    means = [[np.mean([*one.values[name].values()]) for name in FUSIONS]
             for one in found.by_dataset.values()]  # fmt: skip
    oracle = rank_methods(FUSIONS, list(found.by_dataset), means, [True, True])
    assert found.ranking == oracle
    assert all(line in found.verdict for line in oracle.sentences)


def test_the_command_trains_nothing_anew_and_prints_the_same(found, place, roots):
    before = sorted(path.name for path in (place / "runs").iterdir())
    done = invoke(*options(place, roots), "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == json.loads(json.dumps(found.as_dict()))
    assert sorted(path.name for path in (place / "runs").iterdir()) == before
    assert found.verdict.splitlines()[0] in html.unescape(found._repr_html_())
    assert "folder:own concat vanilla seed 0:" in done.stderr  # where there are several
    quiet = invoke(*options(place, roots), "-q")
    assert (quiet.exit_code, quiet.stderr) == (0, "")
    picture = place / "ranks.svg"
    done = invoke(*options(place, roots), "--plot", picture)
    assert done.exit_code == 0, done.output
    text = " ".join(done.stdout.split())
    for line in found.by_dataset["htad"].verdict.splitlines():
        assert f"Verdict: {line}" in text
    words = "".join(ElementTree.parse(picture).getroot().itertext())
    assert all(name in words for name in FUSIONS)


def test_runs_are_those_of_run(found, place, roots):
    again = run_experiment("htad", "lrtf", ["vanilla"], 3, settings=SETTINGS, root=roots["htad"],
                           out=place / "runs", jobs=1, progress=False)  # fmt: skip
    assert again.results.reused == 3


def test_one_fusion_compares_vanilla_with_i2moe(place, roots):
    found = compare_across(
        ["htad"], ["concat"], seeds=1, settings=SETTINGS, roots={"htad": roots["htad"]},
        out=place / "runs", jobs=1, progress=False,
    )  # fmt: skip
    assert list(found.by_dataset["htad"].values) == ["vanilla", "i2moe"]
    assert found.ranking is None
    with pytest.raises(ConfigError, match="at least 2 data sets"):
        found.plot(place / "none.svg")


@pytest.mark.parametrize("ending", ["svg", "png", "pdf"])
def test_the_picture_is_the_same_every_time(tmp_path, ending):
    ranking = rank_methods(
        ["a", "<b>$", "c"], ["x", "y", "z"], [[3, 2, 1], [3, 1, 2], [3, 2, 1]], [True] * 3
    )
    for name in ("one", "two"):
        draw_ranking(ranking, tmp_path / f"{name}.{ending}")
    one, two = ((tmp_path / f"{name}.{ending}").read_bytes() for name in ("one", "two"))
    assert one == two
    if ending == "png":
        with Image.open(tmp_path / "one.png") as picture:
            assert picture.info["Description"] == " ".join(ranking.sentences)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["runs/a", "runs/b", "--fusion", "lrtf"], "leave out what says how to train"),
        ([], "give finished runs, or what to train"),
        (["--fusion", "concat", "--method", "i2moe"], "there is one thing to compare"),
        (["--fusion", "a", "--fusion", "b", "--plot", "x.gif"], "must end in .svg, .png, .pdf"),
        (["--fusion", "concat", "--fusion", "lf", "--data-root", "brca=x"], "is not compared"),
    ],
)
def test_what_cannot_be_compared(arguments, said):
    done = invoke("compare", *arguments)
    assert done.exit_code != 0
    assert said in " ".join(done.output.split())


@pytest.mark.parametrize("form", ["markdown", "latex", "csv"])
def test_the_tables_in_every_format(found, place, roots, form):
    done = invoke(*options(place, roots), "--format", form)
    assert done.exit_code == 0, done.output
    if form == "csv":
        rows = pd.read_csv(io.StringIO(done.stdout))
        assert list(rows["mean"]) == pytest.approx(list(found.table["mean"]))
        assert list(rows["dataset"]) == ["htad"] * 3 + ["folder:own"] * 3
        return
    mark = "- " if form == "markdown" else "% "
    for line in found.verdict.splitlines():
        assert f"{mark}{line}\n" in done.stdout
    for one in found.by_dataset.values():
        for values in one.values.values():
            assert f" {100 * np.mean([*values.values()]):.2f} " in done.stdout
