"""Names of the user's are shown as they are: no markup, no emoji, in any command."""

import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import i2moe_plugin.benchmarks
from i2moe_plugin.benchmarks.cli import main
from i2moe_plugin.benchmarks.terminal.output import plain_console

BENCHMARKS = Path(i2moe_plugin.benchmarks.__file__).parent
CLASSES = ("[red]", ":smile:", "[/bold]")


def test_every_console_is_made_in_one_place():
    """Bars on standard error, below the terminal's package, name markup=False themselves."""
    made = [
        path.relative_to(BENCHMARKS).as_posix()
        for path in BENCHMARKS.rglob("*.py")
        if re.search(r"\bConsole\(", path.read_text(encoding="utf-8"))
    ]
    bars = {"data/fetch.py", "data/frozen.py", "experiments/progress.py"}
    assert set(made) == {"terminal/output.py", *bars}
    for bar in bars:
        text = (BENCHMARKS / bar).read_text(encoding="utf-8")
        assert 'TextColumn("{task.description}", markup=False)' in text


def test_markup_and_codes_of_emoji_are_text(capsys):
    plain_console(width=80).print("on folder:x: [red]here[/red] :smile: [nothing")
    assert capsys.readouterr().out == "on folder:x: [red]here[/red] :smile: [nothing\n"


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A folder and its runs; ``x`` between colons is a code of an emoji."""
    folder = tmp_path_factory.mktemp("plain")
    label = np.arange(60) % 3
    values = np.random.default_rng(0).normal(size=(60, 3)) + label[:, None]
    np.savez(folder / "v.npz", a=values, b=values)
    splits = ["train", "train", "valid", "test"]
    lines = [f"s{row}[red],{CLASSES[label[row]]},{splits[row // 3 % 4]}\n" for row in range(60)]
    (folder / "t.csv").write_text("id,y,split\n" + "".join(lines), encoding="utf-8")
    (folder / "dataset.yaml").write_text(
        "name: x\n"
        "title: 'Of [red] and :smile:'\n"
        "modalities:\n"
        "  a: {file: v.npz, key: a, kind: features}\n"
        "  b: {file: v.npz, key: b, kind: features}\n"
        "target: {file: t.csv, column: y}\n"
        "ids: {file: t.csv, column: id}\n"
        "task: classification\n"
        "split: {file: t.csv, column: split}\n",
        encoding="utf-8",
    )
    command = ["run", "--dataset", str(folder), "--fusion", "concat", "--seeds", "2"]
    command += ["--epochs", "1", "--device", "cpu", "--out", str(folder / "runs")]
    found = CliRunner().invoke(main, command, env={"COLUMNS": "150"})
    assert found.exit_code == 0, found.output
    return folder, found.output


def test_run_names_its_data_set_as_it_is(ran):
    assert "concat on folder:x: test split" in ran[1]


def test_explain_names_classes_and_samples_as_they_are(ran):
    (run, *_) = sorted((ran[0] / "runs").glob("*i2moe*"))
    found = CliRunner().invoke(
        main, ["explain", str(run), "--sample", "s9[red]"], env={"COLUMNS": "150"}
    )
    assert found.exit_code == 0, found.output
    for name in (*CLASSES, "s9[red]"):
        assert name in found.output


def test_describe_names_it_as_it_is(ran):
    described = CliRunner().invoke(main, ["data", "describe", str(ran[0])])
    assert "Of [red] and :smile:" in described.output
    assert f"task: classification, {len(CLASSES)} classes" in described.output
