"""The panels of a report about words and patches."""

from __future__ import annotations

import json

import pytest

from i2moe_plugin.benchmarks.attribution.kept import FOLDER
from i2moe_plugin.benchmarks.attribution.sample import explain_features
from i2moe_plugin.benchmarks.attribution.study import study_features
from i2moe_plugin.benchmarks.attribution.subject import StudyOptions
from i2moe_plugin.benchmarks.attribution.trained import TrainedRun
from i2moe_plugin.benchmarks.data.layouts import Layout
from i2moe_plugin.benchmarks.encoders.pretrained import TextTokens
from i2moe_plugin.benchmarks.report import features
from i2moe_plugin.benchmarks.report.build import build
from i2moe_plugin.benchmarks.report.heat import LINE, heat_panel
from i2moe_plugin.benchmarks.run.store import Run


@pytest.fixture(scope="module")
def explained(trained_runs):
    """A run beside which a study and a sample are kept."""
    run = Run.load(trained_runs())
    trained = TrainedRun.open(run)
    options = StudyOptions(samples=3, shares=(0.2, 0.5), repeats=1, pairs=3, draws=4)
    study_features(trained, options)
    explain_features(trained, trained.ids[0], pairs=3, draws=4)
    return run


def test_panels_show_what_is_kept(explained):
    panels = features.feature_panels(explained)
    titles = [panel["title"] for panel in panels]
    assert any("faithful" in title for title in titles)
    assert any(title.startswith("Words and patches") for title in titles)
    for panel in panels:
        assert panel["alt"]
        assert panel["table"]["rows"]
        json.dumps(panel, allow_nan=False)
    without = [panel["title"] for panel in features.feature_panels(explained, with_data=False)]
    assert without == [title for title in titles if "faithful" in title or "by importance" in title]


def test_the_page_holds_them(explained, tmp_path):
    build([explained.path], tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Are the explanations faithful" in page
    assert "data:image/webp;base64" in page


def test_a_run_that_was_not_looked_at_says_how(trained_runs):
    run = Run.load(trained_runs("fl-i2moe", "style"))
    assert "--features" in features.explained_note(run)
    assert features.feature_panels(run) == []
    assert features.explained_note(Run.load(trained_runs("vanilla", "style"))) == ""


def test_two_seeds_give_an_interval_and_one_none(explained):
    assert features.seeds_panel([explained]) is None
    file, *_ = (explained.path / FOLDER).glob("study-*.json")  # other tests may have made some
    record = json.loads(file.read_text())
    area = record["scopes"]["mixture"]["explainers"]

    class Seed:
        method, split = "dense", "2of5"

        def __init__(self, seed):
            self.seed = seed

    def kept(run, kind):
        for found in area.values():
            if "area_above_random" in found:
                found["area_above_random"]["comprehensiveness"]["mean"] = 0.1 * (1 + run.seed)
        return [json.loads(json.dumps(record))]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(features, "all_kept", kept)
        panel = features.seeds_panel([Seed(0), Seed(1)])
    assert "of dense faithful" in panel["title"]
    assert "all of split 2of5" in panel["note"]
    for name, seeds, mean, low, high in panel["table"]["rows"]:
        assert (name, seeds) in [(one, 2) for one in area if one != "random"]
        assert mean == pytest.approx(0.15, abs=1e-4)
        # Student's with one degree of freedom: 12.706 x deviation / sqrt(2)
        assert high - mean == pytest.approx(12.706 * 0.0707107 / 2**0.5, rel=1e-3)
        assert mean - low == pytest.approx(high - mean, rel=1e-3)


def test_long_texts_and_many_patches_have_a_place_each(explained):
    file, *_ = (explained.path / FOLDER).glob("sample-*.json")
    record = json.loads(file.read_text())
    words = [{"text": f"word{n}", "tokens": [n]} for n in range(320)]
    record["modalities"][0] |= {"words": words}
    record["modalities"][1] |= {"grid": [16, 16]}
    for probe in record["pairs"]:
        for pair in probe["pairs"]:
            pair |= {"mean": 1.0, "standard_error": 0.1}
    for scope in record["scopes"]:
        scope["importance"] = [[n / 320 for n in range(320)], [n / 256 for n in range(256)]]
        scope["words"] = [scope["importance"][0], None]
    panel = heat_panel(record)
    traces = panel["figure"]["data"]
    texts, pictures, marks = traces[:5], traces[5:10], traces[10:]
    assert all(len(trace["text"]) == 40 for trace in texts)
    assert panel["figure"]["layout"]["height"] >= 5 * 40 * LINE
    assert len(pictures) == 5
    assert len(panel["table"]["rows"]) == 5 * (320 + 256)
    # The same numbers stand on the words and on the patches of the highest pairs.
    assert len(marks) == 2 * 2
    for words, patches in (marks[:2], marks[2:]):
        numbers = [sorted(",".join(mark["text"]).split(",")) for mark in (words, patches)]
        assert numbers[0] == numbers[1] == ["1", "2", "3"]


def test_nothing_in_a_record_becomes_markup(explained):
    file, *_ = (explained.path / FOLDER).glob("sample-*.json")
    record = json.loads(file.read_text())
    record["modalities"][0]["words"][0]["text"] = "<b>x</b>"
    figure = json.dumps(heat_panel(record)["figure"])
    assert "<b>" not in figure


def test_layouts_name_their_candidates():
    text = TextTokens("a", (1, 2), ((0, 0), (0, 1)), (True, False))
    assert Layout(text).candidates.tolist() == [False, True]
    assert Layout(grid=(2, 3)).candidates.shape == (6,)
