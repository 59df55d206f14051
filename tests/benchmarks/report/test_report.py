"""The page as a file: what is in it, what is not, and how large it is."""

import base64
import hashlib
import json
import re
import time
from collections import Counter
from html.parser import HTMLParser

import numpy as np
import pytest
from click.testing import CliRunner

from i2moe_plugin import Classification, Multilabel
from i2moe_plugin.benchmarks.cli import main
from i2moe_plugin.benchmarks.data.preview import Preview
from i2moe_plugin.benchmarks.grid.failures import Failures
from i2moe_plugin.benchmarks.report.build import (
    LARGEST_OF_MANY,
    MOST_DRAWN,
    _drawn,
    build,
)
from i2moe_plugin.benchmarks.report.groups import comparison_rows, group_runs, verdict_sentence
from i2moe_plugin.benchmarks.report.page import as_json
from i2moe_plugin.benchmarks.report.panels import MOST_CLASSES, run_panels
from i2moe_plugin.benchmarks.report.samples import Media, chosen_rows, limit_for, pack_run
from i2moe_plugin.benchmarks.run.collect import find_runs
from i2moe_plugin.benchmarks.run.settings import RunSettings
from i2moe_plugin.benchmarks.statistics.paired import compare
from i2moe_plugin.errors import TrainingError

MEGABYTES_20 = 20_000_000


class Elements(HTMLParser):
    """Every element with its attributes, and every script's text."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.found, self.scripts, self._open = [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag == "script":
            self._open = dict(attrs).get("id", "")
            self.scripts.append([self._open, dict(attrs).get("type"), ""])

    def handle_endtag(self, tag):
        if tag == "script":
            self._open = None

    def handle_data(self, data):
        if self._open is not None:
            self.scripts[-1][2] += data


@pytest.fixture(scope="module")
def page(hostile_page):
    return hostile_page.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def elements(page):
    return Elements(page)


def part(elements, name):
    (text,) = [text for key, _, text in elements.scripts if key == f"data-{name}"]
    return json.loads(text)


def test_nothing_is_loaded_from_anywhere(elements):
    for tag, attributes in elements.found:
        assert tag not in ("link", "iframe", "object", "embed", "base", "img", "form action")
        assert not {"src", "srcset", "action", "data", "poster"} & set(attributes), tag
        assert attributes.get("href", "#").startswith("#")
        assert not [name for name in attributes if name.startswith("on")]


def test_only_the_pages_own_scripts_may_run(elements):
    (policy,) = [
        attributes["content"]
        for tag, attributes in elements.found
        if attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy.startswith("default-src 'none'; ")
    scripts = [text for _, kind, text in elements.scripts if kind is None]
    digests = {base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts}
    assert set(re.findall(r"'sha256-([^']+)'", policy)) == digests
    assert len(scripts) == 4
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert "unsafe" not in rules["script-src"]
    assert "http" not in policy


def test_hostile_text_is_text(page, elements):
    assert "<script>window.hacked" not in page
    assert "<img" not in page.split("<script")[0]
    assert "{{7*7}}" in page  # shown as it is, not computed
    assert len(elements.scripts) == 4 + 4
    for _, kind, text in elements.scripts:
        if kind == "application/json":
            assert not set("<>&\u2028\u2029") & set(text)
            json.loads(text)


def test_every_figure_has_words_data_and_a_name(elements):
    figures = part(elements, "figures")
    plots = [a for tag, a in elements.found if "plot" in a.get("class", "").split()]
    assert len(plots) == sum(map(len, figures.values())) > 40
    assert all(a["role"] == "img" and len(a["aria-label"]) > 40 for a in plots)
    for panels in figures.values():
        for panel in panels:
            assert panel["figure"]["data"]
            assert panel["table"]["rows"]
            assert all(len(row) == len(panel["table"]["columns"]) for row in panel["table"]["rows"])


def test_beside_every_figure_of_weights_stands_what_a_weight_is_not(elements):
    for key, panels in part(elements, "figures").items():
        for panel in panels:
            if panel["title"].startswith("Weights"):
                assert "does not show that the interaction is in the data" in panel["note"], key


def test_what_is_not_in_it_is_told(page):
    assert "is not the file the manifest describes" in page
    assert "stopped before it was finished" in page
    assert "the data set labels is not at hand" in page


def test_the_comparison_is_that_of_the_runs(tmp_path, write_run):
    runs = []
    for seed in range(4):
        for method in ("vanilla", "i2moe"):
            if (seed, method) != (3, "vanilla"):  # a seed without its pair
                runs.append(write_run(tmp_path, seed=seed, method=method))
    write_run(tmp_path, seed=0, lr=0.5)
    groups = group_runs(find_runs([tmp_path]).runs)
    assert [group.name for group in groups] == [
        "concat on drawn, settings 1",
        "concat on drawn, settings 2",
    ]
    (group,) = [group for group in groups if len(group.cells) == 2]
    values = {
        method: [run.result["test"]["accuracy"] for run in runs if run.method == method]
        for method in ("vanilla", "i2moe")
    }
    expected = compare("accuracy", values["vanilla"], values["i2moe"][:3])
    row = next(
        row
        for row in comparison_rows([group])
        if row["method"] == "I2MoE" and row["metric"] == "accuracy %"
    )
    assert row["verdict"] == expected.verdict
    assert row["difference"][1] == expected.difference
    assert row["value"][1] == pytest.approx(np.mean(values["i2moe"]))
    assert row["seeds"] == 4
    assert "paired over 3 seeds" in verdict_sentence(group)
    (other,) = [one for one in groups if one is not group]
    assert "nothing to compare" in verdict_sentence(other)


@pytest.mark.parametrize("task", [Classification(9), Multilabel(23)])
def test_packed_numbers_are_those_stored(tmp_path, write_run, task):
    run = write_run(tmp_path, task, samples=50)
    own, shared = pack_run(run, 20)
    packed = json.loads(as_json(own | shared))
    count, width, experts = packed["shape"]
    assert (count, packed["total"]) == (20, 50)
    outputs = run.interpretable()

    def array(name, kind):
        return np.frombuffer(base64.b64decode(packed[name]), kind)

    shown = array("shown", "<i2").reshape(count, width)
    said = array("outputs", "<f4").reshape(count, width, experts)
    prediction = array("prediction", "<f4").reshape(count, width)
    weights = array("weights", "<f4").reshape(count, experts)
    place = {name: row for row, name in enumerate(outputs.sample_id.tolist())}
    for i, name in enumerate(packed["ids"]):
        row = place[name]
        np.testing.assert_array_equal(weights[i], outputs.weights[row])
        for k, c in enumerate(shown[i]):
            if c >= 0:
                np.testing.assert_array_equal(said[i, k], outputs.expert_outputs[row, :, c])
                assert prediction[i, k] == outputs.prediction[row, c]
        assert packed["correct"][i] == outputs.correct[row]
        assert packed["agree"][i] == outputs.agree[row]
        assert packed["label"][i] == outputs.describe(outputs.target[row])


def test_the_same_samples_are_drawn_from_every_run():
    ids = [f"s{i}" for i in range(1000)]
    rows = chosen_rows(ids, 100)
    again = chosen_rows(ids[::-1], 100)
    assert {ids[row] for row in rows} == {ids[::-1][row] for row in again}
    assert len(rows) == 100
    assert sorted(rows.tolist()) == rows.tolist()
    assert chosen_rows(ids, 2000).tolist() == list(range(1000))
    # Spread over the split, not its beginning.
    assert 300 < np.mean(rows) < 700
    assert [limit_for(n) for n in (1, 8, 100)] == [16000, 2000, 500]


def test_media_stop_where_the_page_is_full():
    picture = np.random.default_rng(0).integers(0, 255, (200, 300, 3), dtype=np.uint8)
    media = Media(budget=50_000)
    ids = [f"s{i}" for i in range(100)]
    media.add(
        "data", ids, lambda name: [Preview("x", "image", picture), Preview("y", "text", name)]
    )
    kept = media.samples["data"]
    assert 0 < len(kept) < 100
    assert media.left_out["data"] == 100 - len(kept)
    assert len(json.dumps(kept)) < 70_000
    assert all(items[1]["value"] == name for name, items in kept.items())
    media.add("more", ids, lambda name: [])
    assert media.samples["more"] == {}


def test_json_survives_a_script_element():
    value = {"a": "</script><!--&\u2028", "b": [1, None, float("nan")]}
    text = as_json(value)
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == {"a": "</script><!--&\u2028", "b": [1, None, None]}


def test_the_command(tmp_path, write_run):
    write_run(tmp_path / "runs")
    write_run(tmp_path / "runs", method="vanilla")
    file = tmp_path / "page.html"
    arguments = ["report", str(tmp_path / "runs"), "-o", str(file), "--no-data"]
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert f"wrote {file}: 2 runs, " in result.stdout
    assert "(--no-data)" in result.stderr
    assert "(--no-data)" in file.read_text(encoding="utf-8")
    result = CliRunner().invoke(main, ["report", str(tmp_path), "-o", str(file)])
    assert (result.exit_code, "no run and no folder of runs" in result.stderr) == (1, True)
    away = tmp_path / "no" / "page.html"
    result = CliRunner().invoke(main, ["report", str(tmp_path / "runs"), "-o", str(away)])
    assert (result.exit_code, "cannot write" in result.stderr) == (1, True)


def test_failures_of_a_suite_are_told_with_their_reason(tmp_path, write_run):
    write_run(tmp_path, method="vanilla")
    settings = RunSettings(dataset="drawn", fusion="concat", seed=3)
    error = TrainingError("the loss is not finite <b>at all</b>")
    Failures(tmp_path).add("drawn-concat-i2moe-seed3", "identity", settings, error)
    made = build([tmp_path], tmp_path / "page.html", with_data=False)
    assert made.problems == [("drawn-concat-i2moe-seed3", f"failed: {error}")]
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "the loss is not finite &lt;b&gt;at all&lt;/b&gt;" in text


def test_runs_selected_by_the_loss_are_compared_by_their_metric(tmp_path, write_run):
    for method in ("vanilla", "i2moe"):
        write_run(tmp_path / "runs", method=method, selection="loss")
    groups = group_runs(find_runs([tmp_path / "runs"]).runs)
    headlines = {row["metric"] for row in comparison_rows(groups) if row["headline"]}
    assert headlines == {"accuracy %"}
    build([tmp_path / "runs"], tmp_path / "page.html", with_data=False)


def test_vanilla_runs_alone_make_a_page(tmp_path, write_run):
    write_run(tmp_path / "runs", method="vanilla")
    build([tmp_path / "runs"], tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert 'id="samples"' not in text.split("<script")[0]
    assert "nothing to compare" in text


@pytest.mark.slow
def test_a_page_of_eight_runs_stays_small(tmp_path, write_run, write_page, drawn_settings):
    for seed in range(8):
        write_run(tmp_path, Multilabel(23), seed=seed, **drawn_settings(2000))
    made = write_page(tmp_path, samples=2000)
    assert made.size <= MEGABYTES_20
    assert [note for note in made.notes if "without their modalities" not in note] == []


def test_a_run_of_many_samples_is_drawn_from_and_said_so(tmp_path, write_run):
    for seed in range(2):
        write_run(tmp_path / "runs", samples=9000, seed=seed)
    made = build([tmp_path / "runs"], tmp_path / "page.html", with_data=False)
    assert made.size < MEGABYTES_20
    assert "8,000 of 9,000 test samples" in made.notes[0]
    assert "8,000 of 9,000 test samples" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_of_many_classes_some_are_drawn_and_it_is_said(tmp_path, write_run):
    run = write_run(tmp_path / "runs", Classification(90), samples=180)
    panels, _ = run_panels(run, None)
    (by_class,) = [panel for panel in panels if panel["title"] == "Weights by class"]
    assert by_class["note"].startswith(f"Of 90 classes, the {MOST_CLASSES} that have most")
    assert len({row[0] for row in by_class["table"]["rows"]}) == MOST_CLASSES


def test_a_page_of_many_runs_draws_some_of_every_group_and_tells_of_all(tmp_path, write_run):
    runs = [
        write_run(tmp_path / "runs", fusion=fusion, method=method, seed=seed)
        for fusion in ("concat", "lrtf", "tensor")
        for method in ("vanilla", "i2moe")
        for seed in range(6)
    ]
    made = build([tmp_path / "runs"], tmp_path / "page.html", with_data=False)
    assert made.runs == len(runs) == 36
    assert made.notes[0].startswith(f"Figures and samples are of {MOST_DRAWN} of 36 runs")
    groups = group_runs(find_runs([tmp_path / "runs"]).runs)
    drawn = list(_drawn(groups).values())
    assert len(drawn) == MOST_DRAWN
    assert Counter((run.settings["fusion"], run.method) for run in drawn) == {
        (fusion, method): MOST_DRAWN // 6
        for fusion in ("concat", "lrtf", "tensor")
        for method in ("vanilla", "i2moe")
    }
    rows = comparison_rows(groups)
    assert {row["seeds"] for row in rows} == {6}
    assert made.size < LARGEST_OF_MANY


@pytest.mark.slow
def test_a_page_of_a_hundred_runs_takes_half_a_minute(tmp_path, write_run):
    for run in range(100):
        method = "vanilla" if run % 2 else "i2moe"
        write_run(tmp_path / "runs", samples=2000, method=method, seed=run // 2 % 5,
                  latent_dim=8 + run // 10)  # fmt: skip
    start = time.process_time()
    made = build([tmp_path / "runs"], tmp_path / "page.html", with_data=False)
    # Beside other work, which shares cores and caches, a process takes up to twice its time.
    assert time.process_time() - start < 90
    assert made.size < LARGEST_OF_MANY
