"""Options from a file: they are those of the command line, which stands over them."""

import json

import click
import pytest
import yaml
from click.testing import CliRunner

from i2moe_plugin.benchmarks.cli import main
from i2moe_plugin.benchmarks.commands.base import TrainingCommand
from i2moe_plugin.benchmarks.commands.config import parameters_in_files

TRAINING = {n: c for n, c in main.commands.items() if isinstance(c, TrainingCommand)}


def invoke(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def write(tmp_path):
    def file(content, name="config.yaml"):
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        return path

    return file


@pytest.fixture
def heard(monkeypatch):
    """What a run is asked to do, which is then not done."""
    found = []

    def run(*arguments, **options):
        found.append((arguments, options))
        raise click.exceptions.Exit(0)

    monkeypatch.setattr("i2moe_plugin.benchmarks.experiments.run", run)
    return found


#: Options of `run` as a command line has them, and as a file has.
SAID = [
    (["--fusion", "concat"], {"fusion": "concat"}),
    (["--seeds", "0,3"], {"seeds": [0, 3]}),
    (["--seeds", "7,"], {"seeds": [7]}),
    (["--seeds", "2"], {"seeds": 2}),
    (["--method", "ensemble", "--method", "i2moe"], {"method": ["ensemble", "i2moe"]}),
    (["--method", "ensemble"], {"method": "ensemble"}),
    (["--no-vanilla", "--jobs", "2"], {"no-vanilla": True, "jobs": 2}),
    (["--dataset", "010"], "dataset: 010"),
    (["--lr", "1e-3", "--set", "fusion.rank=8"], "lr: 1e-3\nset: {fusion.rank: 8}"),
    (["--set", "lr=1e-3"], "set:\n  lr: 1e-3"),
    (["--set", "data.names=[a, b]"], {"set": {"data.names": ["a", "b"]}}),
    (["--weights", "none"], {"weights": "none"}),
    (["--cluster", "local:2"], {"cluster": "local:2"}),
    ([], "{}"),
]


@pytest.mark.parametrize(("arguments", "content"), SAID, ids=lambda value: str(value)[:40])
def test_a_file_says_what_the_command_line_does(arguments, content, write, heard):
    for line in (arguments, ["--config", write(content)]):
        result = invoke("run", *line)
        assert result.exit_code == 0, result.output
    assert heard[0] == heard[1]


@pytest.mark.parametrize("arguments", [arguments for arguments, _ in SAID], ids=str)
def test_what_is_saved_makes_the_command_what_it_was(arguments, tmp_path, heard):
    saved, again = tmp_path / "one.yaml", tmp_path / "two.yaml"
    invoke("run", *arguments, "--save-config", saved)
    invoke("run", "--config", saved, "--save-config", again)
    assert heard[0] == heard[1]
    assert yaml.safe_load(saved.read_text()) == yaml.safe_load(again.read_text())


def test_the_command_line_stands_over_the_file(write, heard, tmp_path):
    path = write("fusion: concat\nseeds: 3\nlr: 1e-3\nepochs: 4\nset: {latent_dim: 8, patches: 2}")
    line = ("--seeds", 1, "--set", "lr=0.5", "--epochs", 2, "--set", "latent_dim=4")
    invoke("run", "--config", path, *line, "--save-config", tmp_path / "saved.yaml")
    invoke("run", "--config", tmp_path / "saved.yaml")
    for arguments, options in heard:
        assert arguments[1:4] == ("concat", ("vanilla", "i2moe"), (0,))
        assert options["settings"] == {"lr": 0.5, "epochs": 2, "latent_dim": 4, "patches": 2}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("fushion: concat", "run has no option 'fushion'. Did you mean 'fusion'"),
        ("data_root: x", "Did you mean 'data-root'"),
        ("config: x", "run has no option 'config'"),
        ("jobs: 1\njobs: 2", "jobs is written twice, in lines 1 and 2"),
        ("set: {lr: 1}\nset: {lr: 2}", "set is written twice"),
        ("set:\n  lr: 1\n  lr: 2", "lr is written twice"),
        ("lr: 1\nset: {lr: 2}", "lr and lr under 'set' are the same"),
        ("epochs:", "epochs: has no value"),
        ("jobs: [1, 2]", "jobs: expected one value"),
        ("method: [{a: b}]", "method: expected a value, or a list of values"),
        ("set: [a]", "set: expected settings by name"),
        ("- run", "expected a mapping of options"),
        ("a: &x 1\nb: *x", "aliases are not read"),
        ("fusion: !!python/object:os.system {}", "fusion: expected one value"),
        ("set: {lr: !!python/name:os.system }", "could not determine a constructor"),
        ("fusion: [", "not a readable YAML file"),
        ("set: {lrr: 1}", "unknown setting 'lrr'. Did you mean 'lr'"),
    ],
)
def test_what_a_file_cannot_say_is_refused(content, message, write):
    result = invoke("run", "--config", write(content))
    assert result.exit_code == 1
    assert message in " ".join(result.stderr.split())


def test_all_problems_of_a_file_are_told_at_once(write):
    result = invoke("run", "--config", write("fushion: a\njobs: [1]\nepochs:"))
    assert "3 problems in the settings" in result.stderr


def test_a_value_that_an_option_refuses_is_one_of_the_file(write):
    result = invoke("run", "--config", write("jobs: many"))
    assert result.exit_code == 2
    assert "'many' is not" in result.stderr
    assert "It stands in the file of --config." in result.stderr
    assert "It stands in" not in invoke("run", "--jobs", "many").stderr


@pytest.mark.parametrize("name", TRAINING)
def test_every_command_that_trains_takes_a_file(name):
    command = TRAINING[name]
    with click.Context(command) as context:
        keys = parameters_in_files(command, context)
    assert {"seeds", "out", "jobs", "lr", "json"} <= set(keys)
    assert not {"config", "save-config", "help", "set"} & set(keys)
    assert {"--config", "--save-config"} <= {n for p in command.get_params(context) for n in p.opts}


def test_the_runs_of_a_saved_file_are_those_of_the_command(tmp_path, small_htad):
    """The same identities: nothing is trained a second time."""
    small = ("--set", "latent_dim=8", "--set", "encoder_hidden=8", "--epochs", 1)
    where = ("--data-root", small_htad, "--out", tmp_path / "runs", "--device", "cpu")
    line = ("--fusion", "concat", "--seeds", 2, "--no-vanilla", *small, *where)
    saved = tmp_path / "saved.yaml"
    first = invoke("run", *line, "--save-config", saved, "--json")
    again = invoke("run", "--config", saved, "--json")
    assert (first.exit_code, again.exit_code) == (0, 0), first.output + again.output
    assert json.loads(first.stdout) == json.loads(again.stdout)
    assert len(list((tmp_path / "runs").glob("*/manifest.json"))) == 2
