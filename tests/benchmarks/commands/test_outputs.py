"""What commands say and how they end: quiet, verbose, plain, without colour, exit codes, shells."""

import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from i2moe_plugin import errors
from i2moe_plugin.benchmarks.cli import main
from i2moe_plugin.benchmarks.commands import list as lists
from i2moe_plugin.errors import I2MoEError, UnknownNameError

DOCUMENT = Path(__file__).parents[3] / "docs" / "command_line.md"
SMALL = ["--set", "latent_dim=8", "--set", "encoder_hidden=8", "--device", "cpu", "--epochs", "2"]


def invoke(*arguments, **options):
    return CliRunner().invoke(main, [str(argument) for argument in arguments], **options)


def commands(group=main, path=()):
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


COMMANDS = dict(commands())


@pytest.fixture
def line(small_htad, tmp_path):
    where = ["--data-root", small_htad, "--out", tmp_path / "runs"]
    return ["run", "--fusion", "concat", "--seeds", "1", *where, *SMALL]


# How much is said.


def test_quiet_shows_the_result_alone(line):
    usual, quiet = invoke(*line), invoke(*line, "-q", "--fresh")
    assert (usual.exit_code, quiet.exit_code) == (0, 0)
    assert quiet.stderr == ""
    for word in ("vanilla", "Verdict:"):
        assert word in quiet.stdout
    for word in ("Cost:", "Note:", "Runs:"):
        assert word not in quiet.stdout
    assert "Runs:" in usual.stdout


def test_verbose_shows_epochs_files_and_where_settings_come_from(line):
    result = invoke(*line, "--jobs", 1, "-v")
    assert result.exit_code == 0, result.output
    for method in ("vanilla", "i2moe"):
        for epoch in (1, 2):
            assert re.search(
                rf"htad concat {method} seed 0 epoch {epoch}: train loss [\d.]+.*valid loss [\d.]+",
                result.stderr,
            )
        assert re.search(rf"{method} seed 0 finished: \S+htad-concat-{method}-seed0", result.stderr)
    settings = result.stdout[result.stdout.index("Settings") :]
    assert re.search(r"latent_dim +8 +given", settings)
    assert re.search(r"patches +4 +default", settings)


def test_quiet_and_verbose_are_no_pair(line):
    assert invoke(*line, "-q", "-v").exit_code == 2


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_prints_json(path):
    with click.Context(COMMANDS[path]) as context:
        names = {name for p in COMMANDS[path].get_params(context) for name in p.opts}
    assert "--json" in names


# How it looks.


@pytest.mark.parametrize("what", lists.LISTS)
def test_lists_are_tables_that_fit_and_are_plain_where_piped(what):
    result = invoke("list", what)
    text = result.stdout.splitlines()
    assert all(len(row) <= 80 for row in text)
    assert not re.search(r"[\u2500-\u257f\x1b]", result.stdout)
    names = [row["name"] for row in json.loads(invoke("list", what, "--json").stdout)]
    first = [row.split(" ")[0] for row in text]
    assert [name for name in names if name not in first] == []


def test_verbose_lists_have_every_fact():
    result = " ".join(invoke("list", "backbones", "-v").stdout.split())
    for row in json.loads(invoke("list", "backbones", "--json").stdout):
        for value in filter(None, row.values()):
            assert " ".join(value.split()) in result


def on_a_terminal(arguments, **environment):
    """What a command writes to a terminal of 80 columns."""
    pty = pytest.importorskip("pty", reason="needs a pseudo-terminal")
    here, there = pty.openpty()
    variables = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR")}
    variables |= {"TERM": "xterm-256color", "COLUMNS": "80", **environment}
    command = [sys.executable, "-m", "i2moe_plugin.benchmarks.cli", *arguments]
    process = subprocess.Popen(command, stdout=there, stderr=there, env=variables)
    os.close(there)
    found = b""
    while True:
        try:
            block = os.read(here, 65536)
        except OSError:
            break
        if not block:
            break
        found += block
    os.close(here)
    process.wait()
    return found.decode()


@pytest.mark.posix
def test_a_terminal_gets_lines_and_colour_unless_there_is_to_be_none():
    assert "│" in on_a_terminal(["list", "methods"])
    wrong = ["run", "--set", "lrr=1"]
    coloured, plain = (on_a_terminal(wrong, **env) for env in ({}, {"NO_COLOR": "1"}))
    assert "\x1b[31m" in coloured
    assert "\x1b[3" not in plain
    assert "unknown setting 'lrr'" in plain
    assert "\x1b[3" not in on_a_terminal(["list", "backbones"], NO_COLOR="1")


# How it ends.


def kinds_of_errors():
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]
    return [kind for kind in kinds if issubclass(kind, I2MoEError)]


@pytest.mark.parametrize("kind", kinds_of_errors(), ids=lambda kind: kind.__name__)
@pytest.mark.parametrize(("command", "code"), [(["run"], 1), (["regress", "--baseline", "x"], 2)])
def test_our_errors_end_with_a_message_and_the_code_of_the_command(
    kind, command, code, monkeypatch
):
    error = UnknownNameError("thing", "x", ["y"]) if kind is UnknownNameError else kind("because")

    def fail(*_, **__):
        raise error

    monkeypatch.setattr("i2moe_plugin.benchmarks.experiments.run", fail)
    monkeypatch.setattr("i2moe_plugin.benchmarks.regression.baseline.read_baseline", fail)
    result = invoke(*command)
    assert result.exit_code == code
    assert str(error) in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--version"], 0),
        (["run", "--help"], 0),
        (["list", "methods"], 0),
        (["nonsense"], 2),
        (["run", "--nonsense"], 2),
        (["run", "--jobs", "many"], 2),
        (["run", "--jobs", "1", "--jobs", "2"], 2),
        (["explain"], 2),
        (["run", "--dataset", "nonsense"], 1),
        (["run", "--data-root", "nowhere"], 1),
        (["explain", "nowhere", "--sample", "x"], 1),
        (["data", "verify", "mosi", "--data-root", "nowhere"], 1),
        (["check", "nonsense"], 1),
        (["regress", "--baseline", "nowhere"], 2),
        (["suite", "nonsense"], 1),
    ],
    ids=str,
)
def test_exit_codes(arguments, code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = invoke(*arguments)
    assert result.exit_code == code
    assert "Traceback" not in result.output
    assert bool(result.stderr) == (code == 2 or (code == 1 and arguments[0] != "data"))


def test_the_document_names_every_exit_code():
    text = DOCUMENT.read_text(encoding="utf-8")
    table = text[text.index("## Exit codes") :]
    assert re.findall(r"^\| (\d+) \|", table, re.MULTILINE) == ["0", "1", "2", "130", "143"]


# Shells.


@pytest.mark.posix
def test_bash_completes_commands_and_options(tmp_path):
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("needs bash")
    (tmp_path / "i2moe-bench").write_text(
        f"#!{sys.executable}\nfrom i2moe_plugin.benchmarks.cli import main\n"
        'main(prog_name="i2moe-bench")\n'
    )
    (tmp_path / "i2moe-bench").chmod(0o755)
    (block,) = re.findall(r"^```bash\n(eval .*?)^```", DOCUMENT.read_text(), re.M | re.S)
    script = f"""
{block}
try() {{ COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
         _i2moe_bench_completion i2moe-bench; echo "${{COMPREPLY[@]}}"; }}
try i2moe-bench ru
try i2moe-bench run --lat
try i2moe-bench run --save
try i2moe-bench runs pr
try i2moe-bench suite --precision bf
"""
    path = os.pathsep.join([str(tmp_path), os.environ["PATH"]])
    done = subprocess.run(
        [bash, "-c", script], env=os.environ | {"PATH": path}, capture_output=True, text=True
    )
    assert done.stdout.splitlines() == ["run runs", "", "--save-config", "prune", "bf16-mixed"], (
        done.stderr
    )
