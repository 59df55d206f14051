"""The Python interface gives what the commands print."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

import i2moe_plugin
from i2moe_plugin.backbones.entry import backbones
from i2moe_plugin.benchmarks import experiments
from i2moe_plugin.benchmarks.cli import main
from i2moe_plugin.benchmarks.experiments import (
    FinishedRun,
    compare,
    compare_across,
    load_run,
    open_store,
    run,
)
from i2moe_plugin.benchmarks.statistics.paired import compare as compare_values
from i2moe_plugin.benchmarks.statistics.paired import holm
from i2moe_plugin.errors import ConfigError, RunError
from i2moe_plugin.interpretation import evidence
from i2moe_plugin.methods import FOR_TOKENS, METHODS

SETTINGS = {"epochs": 2, "latent_dim": 8, "encoder_hidden": 8, "device": "cpu"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("experiments")


@pytest.fixture(scope="module")
def found(place, htad):
    root = htad(place / "htad")
    return run(
        *("htad", "concat", ["vanilla", "i2moe", "ensemble"], 3),
        settings=SETTINGS,
        root=root,
        out=place / "runs",
        jobs=1,
        progress=False,
    )


def printed(*arguments):
    done = CliRunner().invoke(main, [*map(str, arguments)])
    assert done.exit_code == 0, done.output
    return done.stdout


def arguments(place):
    options = ["run", "--fusion", "concat", "--data-root", place / "htad", "--seeds", 3]
    options += ["--method", "i2moe", "--method", "ensemble", "--out", place / "runs"]
    for key, value in SETTINGS.items():
        options += ["--set", f"{key}={value}"]
    return options


def test_the_command_prints_what_the_function_returns(found, place):
    assert json.loads(printed(*arguments(place), "--json")) == json.loads(
        json.dumps(found.as_dict())
    )
    text = " ".join(printed(*arguments(place)).split())
    for line in found.verdict.splitlines():
        assert f"Verdict: {line}" in text
    assert "(9 finished before)" in text


def test_the_table_is_that_of_the_runs(found):
    table = found.table.set_index(["method", "metric"])
    for method in ("vanilla", "i2moe", "ensemble"):
        values = [one.result["test"]["accuracy"] for one in found.runs if one.method == method]
        row = table.loc[method, "accuracy"]
        assert row["mean"] == pytest.approx(np.mean(values))
        assert row["deviation"] == pytest.approx(np.std(values, ddof=1))
        assert row["seeds"] == 3
    assert table.loc["vanilla", "accuracy"].isna()["difference"]
    assert "<table" in found._repr_html_()
    assert len(found.plot().data) == 3


def test_a_run_is_loaded_with_its_model(found, tmp_path):
    (one, *_) = [one for one in found.runs if one.method == "i2moe"]
    again = load_run(str(one.path))
    assert isinstance(again, FinishedRun)
    assert sum(p.numel() for p in again.model().parameters()) == again.result["parameters"]
    sample = again.outputs("sample_id")["sample_id"][0]
    assert again.explain(sample).explanation.sample_id == sample
    assert "accuracy" in again._repr_html_()
    with pytest.raises(RunError, match="no such file"):
        load_run(tmp_path)


def test_comparing_groups_is_comparing_their_values(found, place):
    groups = [[one for one in found.runs if one.method == m] for m in ("vanilla", "i2moe")]
    both = compare(*groups, metric="auroc")
    values = [[one.result["test"]["auroc"] for one in group] for group in groups]
    assert both.comparisons["i2moe"] == compare_values("auroc", *values)
    runs = place / "runs"
    patterns = [runs / "*-vanilla-*", runs / "*-i2moe-*", groups[0][0].path]
    assert compare(*patterns[:2], metric="auroc").as_dict() == both.as_dict()
    assert compare(patterns[2], patterns[1], metric="auroc").as_dict() == both.as_dict()


def test_several_are_corrected_and_equivalence_is_asked_in_points(found, place):
    runs = place / "runs"
    patterns = [runs / f"*-{m}-*" for m in ("vanilla", "i2moe", "ensemble")]
    several = compare(*patterns, metric="accuracy", equivalent_within=100)
    items = several.comparisons.values()
    tested = [item.p for item in items if item.p is not None]
    assert [i.p_adjusted for i in items if i.p is not None] == pytest.approx(holm(tested))
    assert {one.margin for one in several.equivalences.values()} == {1.0}
    assert several.verdict.count("is equivalent to vanilla within 100 points on accuracy.") == 2
    options = ["compare", *patterns, "--metric", "accuracy", "--equivalent-within", 100]
    assert json.loads(printed(*options, "--json")) == json.loads(json.dumps(several.as_dict()))
    text = " ".join(printed(*options).split())
    for line in several.verdict.splitlines():
        assert f"Verdict: {line}" in text
    assert several.table["group"].tolist() == ["vanilla", "i2moe", "ensemble"]


def test_what_cannot_be_compared_is_refused(found, place, tmp_path, htad):
    runs = place / "runs"
    vanilla = runs / "*-vanilla-*"
    other = run(
        *("htad", "concat", ["i2moe"], [7]),
        settings=SETTINGS,
        root=place / "htad",
        out=tmp_path / "other",
        progress=False,
    )
    fewer = run(
        *("htad", "concat", ["i2moe"], 1),
        settings=SETTINGS,
        root=htad(tmp_path / "htad", samples=80),
        out=tmp_path / "fewer",
        progress=False,
    )
    for groups, reason in (
        ([vanilla], "at least two groups"),
        ([vanilla, runs], "runs of 3 kinds"),
        ([vanilla, vanilla], "two groups are of one kind"),
        ([vanilla, tmp_path / "no*"], "no pattern that fits"),
        ([vanilla, other.runs], "no seed in common"),
        ([vanilla, fewer.runs], "tested on other samples"),
        ([vanilla, []], "has no runs"),
    ):
        with pytest.raises(ConfigError, match=reason):
            compare(*groups)
    with pytest.raises(ConfigError, match="no metric 'mae' in common; try accuracy"):
        compare(vanilla, runs / "*-i2moe-*", metric="mae")


def test_the_package_itself_has_the_names():
    for name in ("run", "load_run", "compare", "open_store", "Experiment", "PretrainedModel"):
        assert getattr(i2moe_plugin, name) is getattr(experiments, name)
    data = i2moe_plugin.open_dataset("htad")
    assert "audio, accelerometer" in data._repr_html_()


def test_the_commands_print_a_runs_explanation_and_predictions(found, place):
    one = next(one for one in found.runs if one.method == "i2moe")
    sample = str(one.outputs("sample_id")["sample_id"][0])
    explained = one.explain(sample)
    shown = json.loads(printed("explain", one.path, "--sample", sample, "--no-data", "--json"))
    told = explained.as_dict(missing="left out by --no-data")
    assert shown == json.loads(json.dumps(told))
    assert sample in explained._repr_html_()
    predicted = one.predict(split="test")
    said = json.loads(printed("predict", one.path, "--split", "test", "--json"))
    assert said == json.loads(json.dumps(predicted.as_dict()))
    assert sample in predicted._repr_html_()


def test_a_store_shows_its_runs(found, place, tmp_path):
    store = open_store(place / "runs")
    assert len(store) == 9
    assert {one.name for one in store} == {one.name for one in found.runs}
    chosen = store.select(method="i2moe", seed=1)
    assert [(one.method, one.seed) for one in chosen] == [("i2moe", 1)]
    rows = store.table.set_index("run")
    for one in store:
        assert rows.loc[one.name, "value"] == one.result["test"]["accuracy"]
    assert "<table" in store._repr_html_()
    with pytest.raises(ConfigError, match="no run has a setting"):
        store.select(sed=1)
    with pytest.raises(RunError, match="no such folder of runs"):
        open_store(tmp_path / "nothing")
    assert len(open_store(tmp_path)) == 0


@pytest.mark.parametrize(
    ("methods", "fusion"),
    [
        (["vanilla", name], "token-transformer" if method.tokens else "lrtf")
        for name, method in METHODS.items()
        if ":" not in name and name != "vanilla"
    ],
    ids=lambda value: value if isinstance(value, str) else value[1],
)
def test_methods_on_tokens_get_a_backbone_that_takes_them(monkeypatch, methods, fusion):
    asked = []

    def methods_grid(dataset, name, *_, **__):
        asked.append(name)
        raise ConfigError("stop here")

    home = "i2moe_plugin.benchmarks.experiments"
    monkeypatch.setattr(f"{home}.experiment.methods_grid", methods_grid)
    monkeypatch.setattr(f"{home}.across.methods_grid", methods_grid)
    with pytest.raises(ConfigError, match="stop here"):
        run("icons", methods=methods)
    with pytest.raises(ConfigError, match="stop here"):
        compare_across(["icons"], methods=methods)
    for command in ("run", "compare"):
        told = [command, "--dataset", "icons", "--method", methods[0], "--method", methods[1]]
        assert CliRunner().invoke(main, told).exit_code == 1
    assert asked == [fusion] * 4


def test_methods_that_need_or_pool_tokens_or_are_their_controls_are_on_tokens():
    needing = {
        name
        for name, method in METHODS.items()
        if method.pooled or getattr(method.build, "tokens", False)
    }
    on_tokens = {name for name, method in METHODS.items() if method.tokens}
    assert on_tokens == needing | {"sparse-gate"}
    assert backbones.get(FOR_TOKENS).latents == "tokens"


def test_a_log_gets_a_line_for_each_run(found, place):
    done = CliRunner().invoke(main, [str(one) for one in [*arguments(place), "--json"]])
    json.loads(done.stdout)
    lines = done.stderr.splitlines()
    assert [line.split()[0] for line in lines] == [f"{n}/9" for n in range(1, 10)]
    value = next(one for one in found.runs if one.method == "vanilla").result["test"]["accuracy"]
    assert f"vanilla seed 0: finished before, test accuracy % {100 * value:.2f}" in lines[0]


def test_intervals_over_samples_are_a_bootstrap_of_the_mean_over_seeds(found):
    from i2moe_plugin.tasks import task_from

    random = np.random.default_rng(1)
    for method in ("vanilla", "i2moe"):
        runs = [one for one in found.runs if one.method == method]
        outputs = [one.outputs("prediction", "target") for one in runs]
        task, count = task_from(runs[0].result["task"]), len(outputs[0]["target"])
        for metric in ("accuracy", "auroc"):
            means = [
                np.mean([task.metric(metric, one["prediction"][some], one["target"][some])
                         for one in outputs])
                for some in random.integers(count, size=(150, count))
            ]  # fmt: skip
            low, high = np.nanquantile(means, [0.025, 0.975])
            row = found.table.query(f"method == '{method}' and metric == '{metric}'").iloc[0]
            wide = 0.3 * (high - low)
            assert (row.sample_low, row.sample_high) == pytest.approx((low, high), abs=wide)
        record = found.as_dict()["methods"][method]["metrics"]["auroc"]
        assert record["sample_interval"] == (row.sample_low, row.sample_high)


def test_errors_of_parts_are_over_the_groups_of_a_data_set(tmp_path):
    """Forty patients with ten samples each tell what forty do."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "clinic"
    folder.mkdir()
    patients = np.repeat(np.arange(40), 10)
    label = np.repeat(rng.integers(2, size=40), 10)
    label[:20] = np.repeat([0, 1], 10)
    for name in ("a", "b"):
        own = np.repeat(rng.normal(size=(40, 3)), 10, axis=0) + label[:, None]
        np.save(folder / f"{name}.npy", own + 0.1 * rng.normal(size=own.shape))
    rows = [f"{p},{y}" for p, y in zip(patients, label, strict=True)]
    (folder / "table.csv").write_text("\n".join(["patient,label", *rows]))
    features = "".join(f"  {m}: {{file: {m}.npy, kind: features}}\n" for m in ("a", "b"))
    (folder / "dataset.yaml").write_text(
        f"name: clinic\ntask: classification\nmodalities:\n{features}"
        "target: {file: table.csv, column: label}\ngroups: {file: table.csv, column: patient}\n"
        "split: {train: 0.6, valid: 0.2, test: 0.2, seed: 0}\n"
    )
    (one,) = run(
        *(str(folder), "concat", ["evidence"], 1),
        settings=SETTINGS,
        out=tmp_path / "runs",
        jobs=1,
        progress=False,
    ).runs
    outputs = one.interpretable()
    assert (len(outputs), outputs.units) == (80, 8)
    told = evidence(outputs)[0]
    assert (told.samples, told.groups) == (80, 8)
    fitted, models = outputs.evidence()
    parts = fitted.parts(models, outputs.target)[:, 0]
    moved = parts - parts.mean(0)
    sums = np.stack([moved[outputs.group == name].sum(0) for name in set(outputs.group)])
    copies = np.stack([c[:, 0].mean(0) for c in fitted.parts_of_copies(models, outputs.target)])
    variance = (sums**2).sum(0) * 8 / 7 / 80**2 + copies.var(0, ddof=1) / 2
    np.testing.assert_allclose(told.errors**2, variance, rtol=1e-6, atol=1e-15)
    assert len(outputs.probes) == 2
