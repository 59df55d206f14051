"""What ``--json`` prints keeps its shape: users' scripts read it.

``json_shapes.json`` holds the keys and types that each command prints. A key that goes, or changes
its type, is a change of behaviour: deprecate it first. To write the file anew after one was added:
``python tests/benchmarks/commands/test_json_shapes.py``.
"""

import json
import sys
from pathlib import Path

import click
import pytest
import yaml
from click.testing import CliRunner

from i2moe_plugin.benchmarks.cli import main

RECORDED = Path(__file__).with_name("json_shapes.json")
SMALL = ["--set", "latent_dim=8", "--set", "encoder_hidden=8", "--device", "cpu", "--epochs", "2"]
GRID = {
    "datasets": [{"name": "htad", "root": "htad"}],
    "fusions": ["concat"],
    "methods": ["vanilla", "i2moe"],
    "settings": {"epochs": 2, "latent_dim": 8, "encoder_hidden": 8, "device": "cpu"},
    "seeds": 3,
}


def shape(value):
    """Types in place of values; of a list its first item, and nothing of how long it is."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shape(item) for item in value[:1]]
    return type(value).__name__


def printed(*arguments):
    result = CliRunner().invoke(main, [*map(str, arguments), "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)  # all of it: nothing else stands there


def every_command(group=main, path=()):
    """The names of all commands that are registered."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from every_command(command, (*path, name))
        else:
            yield " ".join((*path, name))


def commands(folder, data):
    """Each command's name and what it prints, on the small data set in ``folder/htad``."""
    out = folder / "runs"
    one = ["--fusion", "concat", "--data-root", data, "--seeds", 3, "--out", out, *SMALL]
    yield "run", printed("run", *one)
    run = next(path for path in sorted(out.iterdir()) if "-i2moe-" in path.name)
    yield "explain", printed("explain", run, "--sample", "htad-75", "--data-root", data)
    vanilla = next(path for path in sorted(out.iterdir()) if "-vanilla-" in path.name)
    yield "compare", printed("compare", vanilla, run, "--equivalent-within", 1)
    yield "plot", printed("plot", run, "--what", "curves", "-o", folder / "curves.svg")
    yield "predict", printed("predict", run)
    yield "robustness", printed("robustness", vanilla, run)
    yield "robustness --absent", printed("robustness", vanilla, run, "--absent")
    (folder / "grid.yaml").write_text(yaml.safe_dump(GRID))
    yield "suite", printed("suite", folder / "grid.yaml", "--out", out)
    search = ("--fusion", "concat", "--data-root", data, "--seeds", 2, "--trials", 2, *SMALL)
    yield "tune", printed("tune", *search, "--out", out)
    yield "parity", printed("parity", *one)
    gate = folder / "gate.json"
    written = CliRunner().invoke(
        main,
        [
            *("regress", "--baseline", str(gate), "--update", "--reason", "first", "--no-time"),
            *("--suite", str(folder / "grid.yaml")),
        ],
    )
    assert written.exit_code == 0, written.output
    yield "regress", printed("regress", "--baseline", gate, "--no-time")
    yield "check", printed("check", "concat")
    for what in ("backbones", "datasets", "settings", "methods"):
        yield f"list {what}", printed("list", what)
    yield "export", printed("export", run, "-o", folder / "model")
    yield "tune", printed("tune", *one, "--trials", 1)
    yield "runs list", printed("runs", "list", out)
    yield "runs show", printed("runs", "show", run)
    yield "runs rm", printed("runs", "rm", run, "--dry-run")
    yield "runs prune", printed("runs", "prune", out, "--dataset", "htad", "--dry-run")
    yield "report", printed("report", run, "-o", folder / "page.html", "--no-data")
    truth = {**GRID, "datasets": ["synthetic:bool-xor"], "seeds": 1}
    (folder / "truth.yaml").write_text(yaml.safe_dump(truth))
    yield "audit", printed("audit", folder / "truth.yaml", "--no-intershap", "--out", out)
    yield "interactions", printed("interactions", "htad", "--data-root", data)
    yield "data sample", printed("data", "sample", "mosi", folder / "mosi")
    yield "data convert", printed("data", "convert", "mosi", "--data-root", folder / "mosi")
    mosi = ("mosi", "--data-root", folder / "mosi")
    with pytest.MonkeyPatch.context() as patch:  # both take long, or a network
        patch.setattr("i2moe_plugin.benchmarks.data.fetch.fetch", lambda *_: [folder / "mosi"])
        yield "data fetch", printed("data", "fetch", *mosi)
        patch.setattr("i2moe_plugin.benchmarks.speed.table.run", lambda **_: {"shapes": []})
        yield "speed", printed("speed")
    yield "data list", printed("data", "list")
    yield "data status", printed("data", "status", "htad", "--data-root", data)
    yield "data describe", printed("data", "describe", "mosi")
    yield "data verify", printed("data", "verify", "htad")


def missing(old, new, where=""):
    """What ``old`` has and ``new`` has not, or has as another type; null goes with any."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key, value in old.items():
            if key not in new:
                yield f"{where}.{key} is gone"
            else:
                yield from missing(value, new[key], f"{where}.{key}")
    elif isinstance(old, list) and isinstance(new, list):
        if old and new:
            yield from missing(old[0], new[0], f"{where}[]")
    elif old != new and {old, new} != {"int", "float"} and "NoneType" not in (old, new):
        yield f"{where} was {old}, and is {new}"


@pytest.fixture(scope="module")
def found(tmp_path_factory, htad, _probes_measured_once):
    folder = tmp_path_factory.mktemp("shapes")
    return {name: shape(value) for name, value in commands(folder, htad(folder / "htad"))}


RECORD = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}


@pytest.mark.parametrize("command", RECORD)
def test_nothing_that_was_printed_is_gone(found, command):
    assert list(missing(RECORD[command], found[command])) == []


def test_every_command_is_recorded(found):
    assert set(found) == set(RECORD)


def test_no_command_is_left_out(found):
    assert {name.partition(" --")[0] for name in found} == set(every_command())


def test_a_lost_key_is_seen():
    assert list(missing({"a": {"b": "int"}}, {"a": {}})) == [".a.b is gone"]
    assert list(missing([{"a": "str"}], [{"a": "list"}])) == ["[].a was str, and is list"]


if __name__ == "__main__":
    import tempfile

    sys.path.insert(0, str(Path(__file__).parents[1]))
    from conftest import write_htad

    with tempfile.TemporaryDirectory() as place:
        now = Path(place)
        shapes = {n: shape(v) for n, v in commands(now, write_htad(now / "htad"))}
        RECORDED.write_text(json.dumps(shapes, indent=1) + "\n")
