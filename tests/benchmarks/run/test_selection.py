"""The metric that selects the epoch has to be defined on the validation split."""

import numpy as np
import pytest
from click.testing import CliRunner

from i2moe_plugin import Classification, Multilabel, Regression
from i2moe_plugin.benchmarks.cli import main
from i2moe_plugin.benchmarks.run.selection import check_selection
from i2moe_plugin.benchmarks.run.settings import RunSettings
from i2moe_plugin.errors import ConfigError
from i2moe_plugin.tasks import SignClassification, SignedRegression


class Data:
    """What is asked of an opened data set."""

    name, class_names, selection = "some", ("a", "b", "c"), ""
    incomplete = ()

    def __init__(self, task, valid, metric=""):
        self.task, self.valid, self.metric = task, np.asarray(valid), metric

    def labels(self, split):
        assert split == "valid"
        return self.valid


def settings_of(metric=None):
    return RunSettings(dataset="htad", fusion="concat", metric=metric)


CASES = [
    (Classification(3), [0, 1, 1], {"auroc"}),
    (Classification(3, auprc=True, auroc="ovo"), [2, 0], {"auroc", "auprc"}),
    (Classification(3), [0, 1, 2], set()),
    (Classification(2), [1, 1], {"auroc"}),
    (SignClassification(), [0.0, 0.0], {"accuracy_nonzero", "auroc"}),
    (SignClassification(), [0.0, 1.0, 1.0], set()),
    (Multilabel(2), [[0, 0], [0, 1]], set()),
    (Regression(1), [1.0, 1.0, 1.0], {"correlation"}),
    (Regression(2), [[1.0, 2.0], [1.0, 3.0]], {"correlation"}),
    (Regression(2), [[1.0, 2.0], [2.0, 3.0]], set()),
    (SignedRegression(), [0.0, 0.0], {"correlation", "accuracy_nonzero"}),
    (SignedRegression(), [0.5], {"correlation"}),
]


@pytest.mark.parametrize(("task", "valid", "undefined"), CASES)
def test_metrics_that_are_undefined_are_refused_and_others_are_offered(task, valid, undefined):
    data = Data(task, valid)
    for metric in task.metric_names:
        if metric not in undefined:
            check_selection(settings_of(metric), data)
            continue
        with pytest.raises(ConfigError, match="undefined on the validation split") as caught:
            check_selection(settings_of(metric), data)
        offered = {word.split("=")[1].rstrip(".") for word in str(caught.value).split()
                   if word.startswith("metric=")}  # fmt: skip
        assert offered == {*task.metric_names, "loss"} - undefined
    check_selection(settings_of("loss"), data)


def test_the_classes_that_are_not_there_are_named():
    with pytest.raises(ConfigError, match="which has no sample of 'b', 'c'"):
        check_selection(settings_of("auroc"), Data(Classification(3), [0, 0]))


def test_what_a_data_set_selects_by_is_checked_too():
    data = Data(Classification(3), [0, 1], metric="auroc")
    with pytest.raises(ConfigError, match="auroc"):
        check_selection(settings_of(), data)
    data.selection = "accuracy"
    check_selection(settings_of(), data)


@pytest.mark.parametrize("kind", ["run", "suite"])
def test_nothing_is_trained(tmp_path, htad, kind):
    """``run`` refuses; a suite notes it of the cell and goes on."""
    label = np.repeat([0, 1, 2], 30)
    split = np.tile([0, 1, 2], 30)
    split[(label == 2) & (split == 1)] = 0
    root = htad(tmp_path / "htad", label=label.astype(np.uint8), split=split.astype(np.uint8))
    out = tmp_path / "runs"
    common = ["--device", "cpu", "--out", str(out), "--set", "metric=auroc"]
    if kind == "run":
        found = CliRunner().invoke(
            main, ["run", "--dataset", "htad", "--data-root", str(root), "--seeds", "1", *common]
        )
        assert found.exit_code == 1
    else:
        suite = tmp_path / "suite.yaml"
        suite.write_text(
            f"title: t\ndatasets: [{{name: htad, root: {root}}}]\nfusions: [concat]\n"
            "methods: [vanilla]\nsettings: {epochs: 1, metric: auroc, device: cpu}\nseeds: 1\n"
        )
        found = CliRunner().invoke(main, ["suite", str(suite), "--out", str(out)])
    assert "undefined on the validation split" in " ".join(found.output.split()), found.output
    assert not list(out.glob("htad-*"))
