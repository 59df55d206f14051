"""The report of the benchmark, and its command."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree

import pytest
from click.testing import CliRunner
from matplotlib.figure import Figure

from i2moe_plugin.benchmarks.cli import main
from i2moe_plugin.benchmarks.speed import table


def row(gain, goal, **more):
    ratio = {"median": gain, "low": gain - 0.1, "high": gain + 0.1, "rounds": 5}
    return {
        "shape": "ENRICO", "backbone": "lrtf", "modalities": 2, "plan": "stacked",
        "milliseconds": {"naive": 10 * gain, "loop": 12.0, "auto": 10.0},
        "faster": {"loop": ratio, "auto": ratio}, "goal": goal, **more,
        "without": dict.fromkeys(("loop", "batched", "torch-dropout", "unkept"), ratio),
    }  # fmt: skip


def growth():
    sizes = {"modalities": (2, 4, 8), "batch": (8, 64), "width": (64, 128)}
    return [
        {
            "backbone": backbone, "axis": axis, "modalities": value, "batch": value,
            "width": value, "pairs": (value + 2) * (value + 1), "milliseconds": 0.5 * value,
        }
        for backbone in ("lrtf", "transformer")
        for axis, values in sizes.items()
        for value in values
    ]  # fmt: skip


@pytest.fixture
def result():
    count = {"operators": 10, "gflop": 0.5}
    return {
        "machine": {"threads": 2, "torch": "2", "capability": "AVX2"},
        "peak_gflops": {"float32": 100.0, "bfloat16": 200.0},
        "training": [row(2.04, 2.0), row(1.79, 1.8)],
        "bf16": [row(3.0, 4.0)],
        "inference": [row(1.0, 1.5)],
        "counts": [
            {"shape": "ENRICO", "backbone": "lrtf"}
            | dict.fromkeys(("vanilla", "naive", "auto", "stacked"), count)
        ],
        "memory": {"naive": 280.0, "auto": 250.0},
        "profile": [{"operator": "aten::mm", "share": 0.5, "calls": 3}],
        "fraction_of_peak": 0.55,
        "growth": growth(),
    }


def test_a_goal_is_met_from_its_figure_on(result):
    rows = [line for line in table.markdown(result).splitlines() if line.startswith("| lrtf")]
    assert [line.rstrip(" |").rsplit("| ", 1)[1] for line in rows[:4]] == ["yes", "no", "no", "no"]
    assert "| 20.4 | 12.0 | 10.0 | 2.04 (1.94 to 2.14) | 2.04 |" in rows[0]


def test_every_table_is_one(result):
    blocks, block = [], []
    for line in [*table.markdown(result).splitlines(), ""]:
        if line.startswith("|"):
            block.append(line.count("|"))
        elif block:
            blocks.append(block)
            block = []
    assert len(blocks) == 5
    assert all(len(set(block)) == 1 and len(block) >= 3 for block in blocks)


def test_the_report_is_written(result, tmp_path):
    paths = table.write(result, tmp_path / "new" / "speed")
    assert [path.name for path in paths] == ["speed.json", "speed.md", "growth.svg"]
    assert json.loads(paths[0].read_text()) == result
    picture = paths[2].read_text()
    ElementTree.fromstring(picture)
    assert picture == table.plot(result["growth"])


def test_growth_is_drawn_beside_linear_growth(result, monkeypatch):
    figures = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *a, **k: (figures.append(self), save(self, *a, **k))
    )
    table.plot(result["growth"])
    ((first, batch, width),) = (figure.axes for figure in figures)
    measured, linear = first.lines[:2]
    assert list(measured.get_xdata()) == [24, 120, 720]  # M(M+1)(M+2) at 2, 4 and 8
    assert list(measured.get_ydata()) == [1.0, 2.0, 4.0]
    assert list(linear.get_ydata()) == [1.0, 5.0, 30.0]
    assert [len(axes.lines) for axes in (first, batch, width)] == [4, 4, 4]
    assert list(batch.lines[2].get_xdata()) == [8, 64]


def test_goals_follow_the_backbone_and_its_modalities():
    shapes = {
        (shape.backbone, shape.name): shape for shape in (*table.TRANSFORMERS, *table.LOW_RANK)
    }
    assert table._goal(shapes["transformer", "IMDB"]) == 1.8
    assert table._goal(shapes["lrtf", "ENRICO"]) == 2.0
    assert table._goal(shapes["lrtf", "ADNI"]) == 3.0


def test_the_command_measures_and_writes(result, monkeypatch, tmp_path):
    monkeypatch.setattr(table, "run", lambda quick, say: result)
    done = CliRunner().invoke(main, ["speed", "--quick", "--json", "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "growth.svg").is_file()
    assert json.loads(done.stdout)["training"][0]["goal"] == 2.0
