"""Checks, reports and the command."""

import json
import math
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from i2moe_plugin.benchmarks.cli import main
from i2moe_plugin.benchmarks.regression.baseline import Tolerances, read_baseline
from i2moe_plugin.benchmarks.regression.checks import Check, compare_cells
from i2moe_plugin.benchmarks.regression.measuring import Measurement
from i2moe_plugin.benchmarks.regression.reports import junit, markdown, verdict

CELL = Measurement(
    cell="htad lrtf i2moe",
    settings={"lr": 0.1},
    data="abc",
    metric="accuracy",
    scores=[0.8, 0.9, None],
    losses={"training: total": [1.0, 0.5], "test: task": [0.0]},
    parameters=100,
    trained=["encoders.0", "bank.experts.1"],
    operators={"training": 1000, "prediction": 100},
    flops={"training": 5000, "prediction": 0},
    seconds=2.0,
)
TOLERANCES = Tolerances()


def outcomes(**changes):
    """What is not the same after these changes."""
    after = CELL.model_copy(update=changes)
    checks = compare_cells([CELL], [after], TOLERANCES)
    return {check.name: check.outcome for check in checks if check.outcome != "same"}


def test_nothing_moved():
    assert outcomes() == {}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"data": "x"}, {"data and splits": "regression"}),
        ({"settings": {"lr": 0.2}}, {"settings": "moved"}),
        ({"parameters": 101}, {"parameters": "regression"}),
        ({"trained": ["encoders.0"]}, {"parts with a gradient": "regression"}),
        ({"trained": [*CELL.trained, "x"]}, {"parts with a gradient": "regression"}),
        ({"metric": "auroc"}, {"AUROC on test data": "regression"}),
        ({"operators": {"training": 1050, "prediction": 100}}, {"operators in training": "moved"}),
        ({"operators": {"training": 1051, "prediction": 95}},
         {"operators in training": "regression", "operators in prediction": "moved"}),
        ({"flops": {"training": 4900, "prediction": 1}},
         {"FLOPs in training": "regression", "FLOPs in prediction": "regression"}),
        ({"seconds": 3.0}, {}),
        ({"seconds": 3.01}, {"relative time": "regression"}),
        ({"seconds": 0.1}, {"relative time": "moved"}),
        ({"seconds": None}, {}),
        ({"error": "bad"}, {"training": "regression"}),
        ({"cell": "other"}, {"cell": "regression"}),
    ],
)  # fmt: skip
def test_what_moved(changes, expected):
    assert outcomes(**changes) == expected


def test_scores_move_within_the_margin_either_way():
    name = "accuracy on test data"
    complete = CELL.model_copy(update={"scores": [0.8, 0.9, 0.7]})
    for shift, outcome in ((0.015, "moved"), (-0.015, "moved"), (0.03, "regression"), (-0.03, "regression")):  # noqa: E501  # fmt: skip
        after = complete.model_copy(update={"scores": [s + shift for s in complete.scores]})
        checks = compare_cells([complete], [after], TOLERANCES)
        assert {c.name: c.outcome for c in checks}[name] == outcome
    undefined = CELL.model_copy(update={"scores": [0.8, None, None]})
    assert {c.name: c.outcome for c in compare_cells([CELL], [undefined], TOLERANCES)}[name] == (
        "regression"
    )


@given(st.floats(-10, 10), st.floats(-0.01, 0.01))
def test_losses_by_the_formula(value, change):
    before = CELL.model_copy(update={"losses": {"a": [1.0, value]}})
    after = CELL.model_copy(update={"losses": {"a": [1.0, value + change]}})
    (check,) = [c for c in compare_cells([before], [after], TOLERANCES) if c.name == "loss, a"]
    moved = abs((value + change) - value)
    expected = "regression" if moved > 1e-4 * abs(value) + 1e-5 else "moved" if moved else "same"
    assert check.outcome == expected


def test_losses_that_appear_vanish_or_are_undefined():
    for losses in ({}, {**CELL.losses, "new": [1.0]}, {**CELL.losses, "test: task": [None]},
                   {**CELL.losses, "test: task": [0.0, 0.0]}):  # fmt: skip
        assert "regression" in outcomes(losses=losses).values()


CHECKS = [
    Check("a <cell>", "x & y", "regression", "1 | 2 \x00 before"),
    Check("a <cell>", "z", "moved", "a little"),
    Check("b", "z", "same", ""),
]


def test_junit_is_what_servers_read():
    root = ElementTree.fromstring(junit(CHECKS, 1.5))
    assert root.tag == "testsuites"
    first, second = root.findall("testsuite")
    assert (first.get("tests"), first.get("failures"), second.get("failures")) == ("2", "1", "0")
    (failure,) = root.iter("failure")
    assert failure.get("message") == "1 | 2 ? before"
    assert [case.get("name") for case in root.iter("testcase")] == ["x & y", "z", "z"]


def invoke(*arguments, **environment):
    done = CliRunner(env={"GITHUB_STEP_SUMMARY": None, **environment}).invoke(
        main, ["regress", *map(str, arguments)]
    )
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


@pytest.mark.usefixtures("_probes_measured_once")
def test_the_command(gate, tmp_path):
    path, xml, summary = tmp_path / "in" / "ci.json", tmp_path / "gate.xml", tmp_path / "page.md"
    update = ("--baseline", path, "--update", "--no-time")
    assert invoke(*update, "--suite", gate).exit_code == 2  # without a reason
    assert not path.exists()
    done = invoke(*update, "--suite", gate, "--reason", "first")
    assert done.exit_code == 0, done.output
    assert read_baseline(path).suite["datasets"][0]["root"].startswith("..")

    passed = invoke(
        "--baseline", path, "--no-time", "--junit", xml, GITHUB_STEP_SUMMARY=str(summary)
    )
    assert passed.exit_code == 0, passed.output
    assert "Passed" in passed.stdout
    assert "**Passed" in summary.read_text()
    assert ElementTree.parse(xml).getroot().get("name") == "i2moe-bench regress"

    document = json.loads(path.read_text())
    document["cells"][0]["losses"]["test: task"][0] += 0.1
    path.write_text(json.dumps(document))
    failed = invoke("--baseline", path, "--no-time", "--summary", summary, "--junit", xml)
    assert failed.exit_code == 1
    assert "loss, test: task" in " ".join(failed.stdout.split())
    assert "--update --reason" in failed.stdout
    assert summary.read_text().count("## Regression gate") == 2  # appended, as CI asks for
    assert list(ElementTree.parse(xml).getroot().iter("failure"))
    as_json = json.loads(invoke("--baseline", path, "--no-time", "--json").stdout)
    assert as_json["passed"] is False

    again = invoke(*update, "--reason", "losses are meant")
    assert again.exit_code == 0
    assert [change.reason for change in read_baseline(path).history] == [
        "first",
        "losses are meant",
    ]
    assert invoke("--baseline", path, "--no-time").exit_code == 0


def test_a_broken_setup_is_neither_pass_nor_regression(gate, tmp_path):
    path = tmp_path / "ci.json"
    missing = invoke("--baseline", path)
    assert (missing.exit_code, "--update --reason" in missing.stderr) == (2, True)
    for text in ("{", "{}", '{"format": 1}'):
        path.write_text(text)
        assert invoke("--baseline", path).exit_code == 2
    for suite, said in (("nosuch", "no suite"), (tmp_path, "neither a file")):
        done = invoke(
            "--baseline", tmp_path / "x.json", "--update", "--reason", "y", "--suite", suite
        )
        assert (done.exit_code, said in done.stderr) == (2, True)
    assert invoke("--baseline", path, "--suite", gate).exit_code == 2
    lost = gate.read_text().replace("root: data", "root: nowhere")
    (tmp_path / "lost.yaml").write_text(lost)
    done = invoke("--baseline", tmp_path / "y.json", "--update", "--reason", "y", "--suite",
                  tmp_path / "lost.yaml")  # fmt: skip
    assert (done.exit_code, "no such file" in done.stderr) == (2, True)
    gone = gate.read_text().replace("- lrtf", "- lrft")
    (tmp_path / "gone.yaml").write_text(gone)
    done = invoke("--baseline", tmp_path / "y.json", "--update", "--reason", "y", "--suite",
                  tmp_path / "gone.yaml")  # fmt: skip
    assert (done.exit_code, "Did you mean 'lrtf'" in done.stderr) == (2, True)


def test_summary_and_verdict():
    from i2moe_plugin.benchmarks.regression.baseline import Baseline, Change

    change = Change(when="2026-01-02T03:04:05", reason="a | b", version="1")
    baseline = Baseline(suite={}, machine={}, history=[change], cells=[])
    text = markdown(CHECKS, baseline, ["torch: 1 in the baseline, 2 here"])
    assert "Baseline of 2026-01-02: a \\| b" in text
    assert "| **failed** | a <cell> | x & y | 1 \\| 2" in text
    assert verdict(CHECKS).startswith("Failed: 1 of 3 checks of 2 cells, 1 more moved")
    assert math.isfinite(len(text))
