"""Robustness of finished runs: level 0 is the run itself, and all else a plain restatement."""

import json
import math
import re
import shutil

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from i2moe_plugin.benchmarks.cli import main
from i2moe_plugin.benchmarks.data.batches import SplitDataset, Values
from i2moe_plugin.benchmarks.report.robustness import robustness_panels
from i2moe_plugin.benchmarks.robustness import absence, curves, subject
from i2moe_plugin.benchmarks.robustness.corruption import Corruption, corrupt
from i2moe_plugin.benchmarks.robustness.summary import effective_robustness, relative_robustness
from i2moe_plugin.benchmarks.run.store import Run, RunStore
from i2moe_plugin.errors import ConfigError

METHODS = ("vanilla", "i2moe", "ensemble", "evidence")


def invoke(*words):
    return CliRunner().invoke(main, [str(word) for word in words])


def copied(run, folder):
    return Run.load(shutil.copytree(run.path, folder / run.name))


@pytest.mark.parametrize("method", METHODS)
def test_level_0_and_all_modalities_are_the_runs_own_result_to_the_digit(runs, method):
    run = runs[method, 0]
    measured = curves.measure_curves(run)
    own = run.result["test"][measured["metric"]]
    assert list(measured["curves"]) == ["audio", "accelerometer", curves.ALL]
    assert {one["values"][0] for one in measured["curves"].values()} == {own}
    assert all(len(set(one["values"])) > 1 for one in measured["curves"].values())
    assert absence.measure_absence(run)["values"]["audio + accelerometer"] == own


def test_methods_of_one_seed_meet_the_same_corrupted_samples(runs):
    batches = []
    for method in ("vanilla", "i2moe"):
        opened = subject.Subject.load(runs[method, 1])
        one = Corruption.of("audio", opened.train, 0)
        seed = opened.predictor.settings.seed
        batches.append(next(iter(opened.batches(corrupt(opened.test, {0: one}, 0.5, seed)))))
    for ours, theirs in zip(*batches, strict=True):
        assert torch.equal(ours, theirs)
    other = next(iter(opened.batches(corrupt(opened.test, {0: one}, 0.5, 2))))
    assert not torch.equal(other[0], batches[0][0])
    assert torch.equal(other[1], batches[0][1])


@pytest.mark.parametrize("method", ["vanilla", "i2moe"])
@pytest.mark.parametrize("fill", ["mean", "zero"])
def test_an_absent_modality_is_filled_as_said(runs, method, fill):
    run = runs[method, 0]
    found = absence.measure_absence(run, fill)
    opened = subject.Subject.load(run)
    model = opened.predictor.trainer.model.eval()
    values = {}
    with torch.no_grad():
        inputs = [torch.cat(column) for column in zip(*opened.batches(opened.test), strict=True)]
        train = [torch.cat(column) for column in zip(*opened.batches(opened.train), strict=True)]
        *xs, target = inputs
        for gone in (0, 1):
            latents = [encoder(x) for encoder, x in zip(model.encoders, xs, strict=True)]
            mean = model.encoders[gone](train[gone]).mean(0)
            latents[gone] = mean.expand_as(latents[gone]) * (fill == "mean")
            if method == "vanilla":
                said = model.backbone(latents, None)[0]
            else:
                outputs = torch.stack([one(latents, None)[0] for one in model.bank.experts])
                said = (outputs * model.reweighting(latents, None).T[..., None]).sum(0)
            name = opened.data.modalities[1 - gone]
            values[name] = float((said.argmax(1) == target).float().mean())
    for name, value in values.items():
        assert found["values"][name] == pytest.approx(value)


def test_what_is_kept_is_not_computed_again_and_a_stopped_one_goes_on(runs, tmp_path, monkeypatch):
    run = copied(runs["i2moe", 0], tmp_path)
    whole = curves.measure_curves(run)
    files = sorted((run.path / "robustness").glob("curve-*.json"))
    assert len(files) == 3
    files[1].unlink()
    asked = []
    score = subject.Subject.score
    monkeypatch.setattr(
        subject.Subject, "score", lambda self, *a, **k: asked.append(1) or score(self, *a, **k)
    )
    assert curves.measure_curves(run) == whole
    assert len(asked) == len(curves.LEVELS)
    monkeypatch.setattr(subject.Subject, "load", None)
    assert curves.measure_curves(run) == whole
    assert curves.kept_curves(run) == whole
    run.check()  # the run itself is as it was


def test_a_damaged_result_is_computed_again_and_never_shown(runs, tmp_path):
    run = copied(runs["vanilla", 0], tmp_path)
    whole = curves.measure_curves(run)
    for number, file in enumerate(sorted((run.path / "robustness").glob("curve-*.json"))):
        record = json.loads(file.read_text())
        record["values"] = [["a"] * 11, [0.5], "x"][number % 3]
        file.write_text(json.dumps(record))
    assert curves.kept_curves(run) is None
    for file in (run.path / "robustness").glob("*.json"):
        file.write_text("{")
    assert curves.measure_curves(run) == whole


def test_both_measures_are_those_of_multibench():
    ours = [0.9, 0.85, 0.8, 0.8, 0.7, 0.6, 0.6, 0.5, 0.5, 0.4, 0.3]
    late = [0.8, 0.8, 0.7, 0.6, 0.6, 0.5, 0.5, 0.4, 0.4, 0.3, 0.3]
    area = sum((ours[i] + ours[i + 1]) * 0.1 / 2 for i in range(10))
    assert relative_robustness(ours) == pytest.approx(area)
    moved = [value + ours[0] - late[0] for value in late]
    gained = sum(one - other for one, other in zip(ours, moved, strict=True))
    assert effective_robustness(ours, late) == pytest.approx(gained)
    assert effective_robustness(ours, late, higher=False) == pytest.approx(-gained)
    for higher in (True, False):  # of itself it is 0, which is shown without a minus
        assert str(effective_robustness(ours, ours, higher)) == "0.0"


def test_subsets_of_many_modalities_are_bounded():
    assert len(absence.present_subsets(6)) == 63
    assert [len(one) for one in absence.present_subsets(7)] == [7] + [6] * 7 + [1] * 7


# Kinds.


def split_of(values, transform=None, held=None):
    column = Values(values, transform, held) if transform else Values(values, torch.as_tensor)
    return SplitDataset([column], torch.zeros(len(values)), np.arange(len(values)))


@pytest.mark.parametrize(
    ("name", "shape", "kind"),
    [
        ("x", (5,), "table"),
        ("audio", (5,), "table"),
        ("x", (6, 3), "series"),
        ("audio", (30, 2), "audio"),
        ("x", (3, 8, 6), "image"),
        ("x", (1, 8, 6), "image"),
        ("audio", (1, 8, 16), "audio"),
        ("x", (2, 8, 6), "array"),
        ("x", (1, 4, 4, 4), "array"),
    ],
)
@pytest.mark.parametrize("level", [0.3, 1.0])
def test_a_modality_is_corrupted_as_what_it_is(name, shape, kind, level):
    values = np.random.default_rng(0).normal(2, 3, (20, *shape)).astype(np.float32)
    split = split_of(values)
    found = Corruption.of(name, split, 0)
    assert found.kind == kind
    made, _ = split_of(values).__getitems__(range(20))
    noisy, _ = corrupt(split, {0: found}, level, 0).__getitems__(range(20))
    assert (noisy.shape, noisy.dtype) == (made.shape, made.dtype)
    assert not torch.equal(noisy, made)
    assert torch.isfinite(noisy).all()
    alone, _ = corrupt(split, {0: found}, level, 0).__getitems__([7])
    assert torch.equal(alone[0], noisy[7])  # whatever stands beside it
    assert corrupt(split, {0: found}, 0, 0) is split


def test_pictures_of_whole_numbers_stay_so():
    values = np.random.default_rng(0).integers(9, 200, (20, 3, 8, 6)).astype(np.uint8)
    split = split_of(values)
    found = Corruption.of("x", split, 0)
    assert (found.low.max(), found.high.min()) == (0, 255)
    noisy, _ = corrupt(split, {0: found}, 0.5, 0).__getitems__(range(20))
    assert noisy.dtype == torch.uint8


class Padded:
    """Series of varying length, with NaN where padding would be looked at."""

    def __getitem__(self, rows):
        lengths = torch.tensor([1 + int(row) % 4 for row in rows])
        values = torch.ones(len(rows), 5, 2)
        values[torch.arange(5) >= lengths[:, None]] = -7
        return values, lengths


def test_padding_stays_as_it_is():
    split = SplitDataset([Padded()], torch.zeros(12), np.arange(12))
    found = Corruption.of("x", split, 0)
    assert found.kind == "series"
    assert (found.deviation == 0).all()  # of the steps that are there
    (values, lengths), _ = corrupt(split, {0: found}, 1.0, 0).__getitems__(range(12))
    real = torch.arange(5) < lengths[:, None]
    assert (values[~real] == -7).all()
    assert (values[real] == 0).all()


def test_text_is_corrupted_before_it_becomes_numbers():
    texts = ["several words", "other sentence", "of it"] * 4
    seen = []

    def numbers(given):
        seen.append(list(given))
        return torch.tensor([[float(len(text))] for text in given])

    split = split_of(texts, numbers, held=numbers(texts))
    found = Corruption.of("x", split, 0)
    assert found.kind == "text"
    corrupt(split, {0: found}, 1.0, 0).__getitems__([0, 2])
    assert seen[-1][0] != texts[0]
    assert seen[-1][1] == texts[2]


def test_numbers_of_words_are_left_out_with_a_reason():
    with pytest.raises(ConfigError, match="read as numbers of words"):
        Corruption.of("x", split_of(np.arange(12).reshape(4, 3)), 0)


# The command.


def test_the_command_shows_curves_and_writes_pictures(trained, tmp_path):
    plot = tmp_path / "a" / "p.svg"
    shown = invoke("robustness", trained, "--plot", plot)
    assert shown.exit_code == 0, shown.output
    assert "concat on htad: audio corrupted, as table; test accuracy %" in shown.output
    assert "Effective robustness is against vanilla concat, MultiBench's late fusion." in (
        shown.output
    )
    text = plot.read_text()
    assert "accuracy" in text
    assert "without corruption" in text
    again = tmp_path / "q.svg"
    invoke("robustness", trained, "--plot", again)
    assert again.read_text() == text
    picture = invoke("robustness", trained, "--plot", tmp_path / "p.png")
    assert picture.exit_code == 0
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


def test_json_has_every_seed_both_measures_and_comparisons(trained, runs):
    record = json.loads(invoke("robustness", trained, "--json").stdout)
    (group,) = record["groups"]
    assert record["levels"] == [level / 10 for level in range(11)]
    assert {curve["method"] for curve in group["curves"]} == set(METHODS)
    for curve in group["curves"]:
        table = np.array([curve["values"][str(seed)] for seed in range(3)])
        np.testing.assert_allclose(curve["mean"], table.mean(0))
        half = 4.302652729911275 * table.std(0, ddof=1) / math.sqrt(3)
        np.testing.assert_allclose(curve["low"], table.mean(0) - half, atol=1e-12)
        areas = [relative_robustness(row) for row in table]
        assert curve["relative"]["mean"] == pytest.approx(np.mean(areas))
        if curve["method"] == "vanilla":
            assert curve["effective"]["mean"] == pytest.approx(0)
            assert curve["comparison"] is None
        else:
            assert curve["comparison"]["seeds"] == 3


def test_runs_on_splits_drawn_anew_all_count(tmp_path, htad, training):
    """Means are over all runs; intervals are of the corrected resampled t test over splits."""
    places = [f"{split}:{seed}" for split in (1, 2, 3) for seed in (0, 1)]
    out = training(tmp_path / "runs", htad(tmp_path / "htad"), "--splits", 3,
                   methods=("vanilla", "i2moe"), seeds=2)  # fmt: skip
    samples = next(iter(RunStore(out))).result["samples"]
    share = samples["test"] / samples["train"]

    def over_splits(values):
        means = [np.mean([values[f"{split}:{seed}"] for seed in (0, 1)]) for split in (1, 2, 3)]
        half = 4.302652729911275 * math.sqrt((1 / 3 + share) * np.var(means, ddof=1))
        return np.mean(means), np.mean(means) - half, np.mean(means) + half

    def check(one, ours, theirs):
        assert list(ours) == places
        mean, low, high = over_splits(ours)
        assert (one["mean"], one["low"], one["high"]) == pytest.approx((mean, low, high))
        if one is not theirs:
            mean, low, high = over_splits({place: ours[place] - theirs[place] for place in places})
            found = one["compared"]
            assert found["splits"] == 3
            assert (found["difference"], found["low"]) == pytest.approx((mean, low))
            assert "splits" in found["rests_on"]

    (group,) = json.loads(invoke("robustness", out, "--json").stdout)["groups"]
    vanilla, ours = (
        next(one for one in group["curves"] if (one["method"], one["modality"]) == (name, "audio"))
        for name in ("vanilla", "i2moe")
    )
    check({**ours["relative"], "compared": ours["comparison"]},
          ours["relative"]["values"], vanilla["relative"]["values"])  # fmt: skip
    half_corrupted = {place: values[5] for place, values in ours["values"].items()}
    assert (ours["mean"][5], ours["low"][5]) == pytest.approx(over_splits(half_corrupted)[:2])
    (group,) = json.loads(invoke("robustness", out, "--absent", "--json").stdout)["groups"]
    vanilla, ours = (one["subsets"][1] for one in group["methods"])
    check({**ours, "compared": ours["comparison"]}, ours["values"], vanilla["values"])


def test_json_of_absence_has_methods_side_by_side(trained):
    shown = invoke("robustness", trained, "--absent")
    assert shown.exit_code == 0, shown.output
    assert "Absent, for I2MoE: random (own)." in shown.output
    assert "the models of the modalities that are there" in re.sub(r"\s+", " ", shown.output)
    record = json.loads(invoke("robustness", trained, "--absent", "--json").stdout)
    (group,) = record["groups"]
    assert next(one["method"] for one in group["methods"]) == "vanilla"
    names = ["audio + accelerometer", "audio", "accelerometer"]
    for one in group["methods"]:
        assert [row["present"] for row in one["subsets"]] == names


def test_a_report_shows_what_is_kept_and_computes_nothing(trained, runs, monkeypatch):
    invoke("robustness", trained)
    invoke("robustness", trained, "--absent")
    monkeypatch.setattr(subject.Subject, "load", None)
    panels = robustness_panels(list(runs.values()))
    titles = [panel["title"] for panel in panels]
    assert titles[:2] == ["Corrupted modalities", "Absent modalities, filled by the method"]
    assert len(panels[0]["table"]["rows"]) == 4 * 3 * 11
    assert "I2MoE: random (own)" in panels[1]["note"]


def test_runs_whose_data_is_gone_are_left_out_with_the_reason(tmp_path, htad, training):
    out = training(tmp_path / "runs", htad(tmp_path / "htad"), methods=("vanilla",), seeds=1)
    (tmp_path / "htad").rename(tmp_path / "gone")
    shown = invoke("robustness", out)
    assert shown.exit_code == 1
    assert "no run could be measured" in shown.stderr
    found = invoke("robustness", out, "--data-root", tmp_path / "gone", "--json")
    assert found.exit_code == 0, found.output
    (group,) = json.loads(found.stdout)["groups"]
    assert group["curves"][0]["low"] == [None] * 11  # of one seed there is no interval


def test_late_fusion_is_the_reference_of_other_backbones(tmp_path, htad, training):
    data = htad(tmp_path / "htad")
    for fusion in ("lrtf", "concat"):
        training(tmp_path / "runs", data, methods=("vanilla",), fusion=fusion, seeds=1)
    record = json.loads(invoke("robustness", tmp_path / "runs", "--json").stdout)
    groups = {group["name"]: group for group in record["groups"]}
    assert groups["lrtf on htad"]["reference"].startswith("vanilla concat, MultiBench's")
    own, late = (
        next(one for one in groups[f"{name} on htad"]["curves"] if one["modality"] == "audio")
        for name in ("lrtf", "concat")
    )
    expected = effective_robustness(own["values"]["0"], late["values"]["0"])
    assert own["effective"]["mean"] == pytest.approx(expected)
    alone = [run.path for run in RunStore(tmp_path / "runs") if "-lrtf-" in run.name]
    (group,) = json.loads(invoke("robustness", *alone, "--json").stdout)["groups"]
    assert "as there are no runs of late fusion" in group["reference"]


@pytest.mark.parametrize(
    ("words", "said", "code"),
    [
        (["--plot", "x.pdf"], "a plot ends in .svg or .png", 1),
        (["--absent", "--plot", "x.svg"], "leave --absent out", 2),
        (["--fill", "noise"], "is not one of", 2),
    ],
)
def test_mistakes_are_told(trained, words, said, code):
    shown = invoke("robustness", trained, *words)
    assert shown.exit_code == code
    assert said in re.sub(r"\s+", " ", shown.output)
