"""Experiments on splits that are drawn anew: which runs there are, and how they are compared."""

import csv
import io
import json
import math

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from scipy import stats

from i2moe_plugin.benchmarks.cli import main
from i2moe_plugin.benchmarks.data.open import open_dataset
from i2moe_plugin.benchmarks.experiments import compare, load_run, run
from i2moe_plugin.benchmarks.grid.formats import FORMATS
from i2moe_plugin.benchmarks.report.build import build
from i2moe_plugin.benchmarks.report.groups import group_runs
from i2moe_plugin.benchmarks.run.collect import SampleViewer, find_runs
from i2moe_plugin.errors import ConfigError

SETTINGS = {"epochs": 1, "latent_dim": 8, "encoder_hidden": 8, "device": "cpu"}
SPLITS, SEEDS, METHODS = 3, 2, ("vanilla", "i2moe")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("splits")


@pytest.fixture(scope="module")
def root(place, htad):
    return htad(place / "htad")


def trained(place, root, **more):
    options = {"splits": SPLITS, "out": place / "runs", "jobs": 1, **more}
    settings = {"settings": SETTINGS, "root": root, "progress": False}
    return run("htad", "concat", METHODS, SEEDS, **settings, **options)


@pytest.fixture(scope="module")
def found(place, root):
    return trained(place, root)


@pytest.fixture(scope="module")
def own(place, root):
    return trained(place, root, splits=None)


def printed(*arguments):
    done = CliRunner().invoke(main, [*map(str, arguments)])
    assert done.exit_code == 0, done.output
    return done.stdout


def restated(ours, reference, share):
    """The corrected resampled t interval, from the accuracies by split and seed."""
    splits = sorted({place.split(":")[0] for place in ours})
    means = [
        sum(ours[p] - reference[p] for p in ours if p.startswith(f"{split}:")) / SEEDS
        for split in splits
    ]
    mean, count = sum(means) / len(means), len(means)
    variance = sum((one - mean) ** 2 for one in means) / (count - 1)
    half = stats.t.ppf(0.975, count - 1) * math.sqrt((1 / count + share) * variance)
    return mean, mean - half, mean + half


def test_each_split_with_each_seed_is_a_run_with_its_own_samples(found, place, root):
    names = [one.name for one in found.runs]
    assert len(set(names)) == SPLITS * SEEDS * len(METHODS)
    for one in found.runs:
        data = open_dataset("htad", root, split=one.split)
        assert one.split in ("1", "2", "3")
        assert f"-seed{one.seed}-split{one.split}-" in one.name
        assert one.settings["splits"] == data.split_hash()
        assert one.outputs("sample_id")["sample_id"].tolist() == data.sample_ids("test")
        assert one.result["samples"] == {"train": 60, "valid": 15, "test": 15}
    assert len({one.settings["splits"] for one in found.runs}) == SPLITS


def test_the_verdict_is_the_corrected_test_and_says_what_it_covers(found):
    vanilla, ours = (cell.values("accuracy") for cell in found.results.cells)
    assert list(ours) == [f"{split}:{seed}" for split in "123" for seed in range(SEEDS)]
    mean, low, high = restated(ours, vanilla, 15 / 60)
    row = found.table.query("method == 'i2moe' and metric == 'accuracy'").iloc[0]
    assert (row.difference, row.low, row.high) == pytest.approx((mean, low, high), abs=1e-12)
    assert (row.seeds, row.runs) == (SEEDS, SEEDS * SPLITS)
    for words in ("3 splits", "corrected resampled t test", "fresh splits of this data and seeds"):
        assert words in found.verdict


def test_without_splits_the_verdict_covers_seeds_alone(place, root):
    several = run("htad", "concat", METHODS, 3, settings=SETTINGS, root=root, progress=False,
                  out=place / "own", jobs=1)  # fmt: skip
    assert "(paired over 3 seeds, on this one split alone)" in several.verdict


def test_the_command_prints_what_the_function_returns(found, place, root):
    options = ["run", "--fusion", "concat", "--data-root", root, "--seeds", SEEDS]
    options += ["--splits", SPLITS, "--out", place / "runs"]
    options += [f"--set={key}={value}" for key, value in SETTINGS.items()]
    record = json.loads(printed(*options, "--json"))
    assert record == json.loads(json.dumps(found.as_dict()))
    assert record["splits"] == ["1", "2", "3"]
    text = " ".join(printed(*options).split())
    assert f"Verdict: {found.verdict}" in text
    assert "mean ± deviation over 3 splits and 2 seeds" in text
    assert "Mean weight of each expert ± deviation over 3 splits and 2 seeds" in text
    assert "what would run, of seeds 0, 1 on 3 splits" in " ".join(
        printed(*options, "--dry-run").split()
    )
    assert "(12 finished before)" in text


def test_one_at_a_time_or_several_gives_the_same(found, place, root):
    other = trained(place, root, out=place / "two", jobs=2)
    for one, two in zip(found.results.cells, other.results.cells, strict=True):
        assert one.values("accuracy") == two.values("accuracy")


def test_simple_models_are_means_over_splits(found, root):
    from sklearn.dummy import DummyClassifier

    shares = []
    for split in ("1", "2", "3"):
        data = open_dataset("htad", root, split=split)
        simple = DummyClassifier().fit(data.features("train"), data.labels("train"))
        shares.append(simple.score(data.features("test"), data.labels("test")))
    constant = next(one for one in found.results.baselines if one.kind == "a constant")
    assert constant.test["accuracy"] == pytest.approx(np.mean(shares))


def test_own_runs_and_runs_on_drawn_splits_are_never_mixed(found, own, place):
    groups = group_runs(find_runs([place / "runs"]).runs)
    assert len(groups) == 2
    for group in groups:
        kinds = [one.split == "own" for one in group.runs()]
        assert len(set(kinds)) == 1
        assert len(kinds) in (SEEDS * len(METHODS), SPLITS * SEEDS * len(METHODS))


def test_compare_and_report_come_to_the_same(found, place):
    vanilla, i2moe = (next(one for one in found.runs if one.method == method) for method in METHODS)
    item = compare(vanilla.path, i2moe.path, equivalent_within=5).comparisons["i2moe"]
    table = found.results.entries[("concat", "i2moe"), ("htad", "accuracy")].comparison
    assert item == table
    group = next(g for g in group_runs([*found.runs]) if g.cells)
    entry = group.table.entries[("concat", "i2moe"), ("htad", "accuracy")]
    assert entry.comparison == table
    report = build([place / "runs"], place / "report.html")
    assert "fresh splits of this data and seeds" in report.path.read_text(encoding="utf-8")


def test_compare_does_not_pair_a_drawn_split_with_the_own(found, own):
    one, two = (next(r for r in e.runs if r.method == "i2moe") for e in (found, own))
    with pytest.raises(ConfigError, match="no seed in common"):
        compare([one], [two])


def test_a_run_opens_its_own_split_again(found, root):
    one = next(run for run in found.runs if run.split == "2" and run.method == "i2moe")
    predicted = load_run(one.path).predict(split="test")
    known = one.outputs("sample_id", "prediction")
    assert predicted.outputs.sample_id.tolist() == known["sample_id"].tolist()
    viewer = SampleViewer(one, root)
    assert viewer.show(known["sample_id"][0])
    assert not viewer.missing


def test_folds(place, root):
    folds = trained(place, root, splits="kfold:3", out=place / "folds")
    tested = [one.outputs("sample_id")["sample_id"] for one in folds.runs
              if one.method == "i2moe" and one.seed == 0]  # fmt: skip
    assert sorted(np.concatenate(tested)) == sorted(f"htad-{row}" for row in range(90))
    assert {one.split for one in folds.runs} == {"1of3", "2of3", "3of3"}


def test_a_suite(place, root):
    grid = {"datasets": [{"name": "htad", "root": str(root)}], "fusions": ["concat"],
            "methods": [*METHODS], "settings": SETTINGS, "seeds": SEEDS}  # fmt: skip
    (place / "grid.yaml").write_text(yaml.safe_dump(grid))
    options = ["suite", place / "grid.yaml", "--splits", SPLITS, "--out", place / "runs"]
    record = json.loads(printed(*options, "--json"))
    assert record["splits"] == ["1", "2", "3"]
    (entry,) = (one for one in record["entries"] if one["method"] == "i2moe")
    assert entry["comparison"]["splits"] == SPLITS
    assert any("covers fresh splits" in note for note in record["notes"])
    assert any("drawn anew" in note for note in record["notes"])
    text = " ".join(printed(*options).split())
    assert "over 3 splits and seeds 0, 1" in text
    assert (place / "runs" / "suites" / "grid-splits-3.md").is_file()


@pytest.mark.parametrize("asked", ["1", "several", "kfold:1"])
def test_splits_that_cannot_be(asked):
    done = CliRunner().invoke(main, ["run", "--splits", asked])
    assert done.exit_code == 2
    assert "how many splits to draw" in done.output


@pytest.mark.parametrize("form", ["markdown", "latex", "csv", "json"])
def test_the_table_in_every_format(found, place, root, form):
    options = ["run", "--fusion", "concat", "--data-root", root, "--seeds", SEEDS]
    options += ["--splits", SPLITS, "--out", place / "runs", "--format", form]
    options += [f"--set={key}={value}" for key, value in SETTINGS.items()]
    text = printed(*options)
    if form == "json":
        assert json.loads(text) == json.loads(json.dumps(found.as_dict()))
        return
    assert text == FORMATS[{"markdown": "md", "latex": "tex", "csv": "csv"}[form]](found.results)
    mean = np.mean([*found.results.cells[0].values("accuracy").values()])
    if form == "csv":
        rows = [*csv.DictReader(io.StringIO(text))]
        assert float(rows[0]["mean"]) == mean
        assert [float(end) for end in rows[0]["sample_interval"].split()] == [
            *found.results.cells[0].sampling.intervals["accuracy"]
        ]
    else:
        assert f" {100 * mean:.2f} " in text
        assert "fresh splits of this data and seeds" in text
        assert "0 comparisons" not in text


def test_what_is_told_of_test_samples_is_of_one_split(place, root):
    """Parts in bits, how stable weights are: of the same samples over seeds."""
    found = run("htad", "concat", ["i2moe", "evidence"], 2, settings=SETTINGS, root=root, splits=2,
                out=place / "evidence", jobs=1, progress=False)  # fmt: skip
    assert [one.runs for one in found.results.cells[1].evidence()] == [2]
    assert "Parts in bits are of split 1 alone." in found.results.cells[1].every_note
    report = build([place / "evidence"], place / "evidence.html")
    assert report.problems == []
    text = report.path.read_text(encoding="utf-8")
    assert "mean over 2 seeds of split 1" in text
    assert "I2MoE, split 2, seed 1" in text
