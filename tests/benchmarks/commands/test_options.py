"""Options of every command: short forms of settings, and what cannot be given twice."""

import re

import click
import pytest
from click.testing import CliRunner

from i2moe_plugin.benchmarks.cli import main
from i2moe_plugin.benchmarks.commands.base import Command, Group, TrainingCommand
from i2moe_plugin.benchmarks.grid import cells
from i2moe_plugin.benchmarks.run.settings import SHORT, RunSettings, resolve
from i2moe_plugin.errors import ConfigError


def invoke(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def commands(group=main, path=()):
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


COMMANDS = dict(commands())


def single_options(command):
    """The options that take one value."""
    with click.Context(command) as context:
        for option in command.get_params(context):
            if isinstance(option, click.Option) and not (option.multiple or option.is_flag):
                yield option


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_no_option_of_one_value_is_taken_twice(path):
    command = COMMANDS[path]
    assert isinstance(command, Command)
    for option in single_options(command):
        for name in option.opts:
            result = invoke(*path, name, "1", f"{name}=2" if name.startswith("--") else name, "3")
            assert result.exit_code == 2
            assert f"{option.opts[0]} is given twice; it takes one value." in result.stderr
    assert not isinstance(main, Command)  # nothing but groups is without


def test_groups_answer_for_their_commands():
    assert isinstance(main, Group)
    assert all(isinstance(c, (Command, Group)) for c in main.commands.values())


SHORT_SETTINGS = [
    name for name, field in RunSettings.model_fields.items() if SHORT in field.metadata
]


@pytest.mark.parametrize(
    "path", [path for path, c in COMMANDS.items() if isinstance(c, TrainingCommand)], ids=" ".join
)
def test_short_forms_are_those_of_the_settings(path):
    """Each marked setting has one, with its words; and none is declared by hand."""
    command = COMMANDS[path]
    written = " ".join(invoke(*path, "--help").stdout.split())
    for name in SHORT_SETTINGS:
        assert f"--{name.replace('_', '-')}" in written
        description = RunSettings.model_fields[name].description or ""
        assert description[:1].upper() + description[1:] in written
    assert not {option.name for option in command.params} & set(RunSettings.model_fields) - {
        "dataset",
        "fusion",
        "seed",
    }


def test_the_forms_that_scripts_rely_on():
    wanted = "epochs batch_size lr interaction_weight masking temperature precision plan compile"
    assert set(
        f"{wanted} memory_budget device devices strategy workers loader patience "
        "force_precision".split()
    ) == set(SHORT_SETTINGS)


@pytest.mark.parametrize(
    ("short", "long"),
    [
        (["--lr", "0.02", "--masking", "zero"], ["lr=0.02", "masking=zero"]),
        (["--batch-size", "7", "--plan", "loop", "--memory-budget", "9"],
         ["batch_size=7", "plan=loop", "memory_budget=9"]),
    ],
)  # fmt: skip
def test_a_short_form_is_the_setting(monkeypatch, short, long):
    found = []

    def stop(dataset, fusion, values, **_):
        found.append(resolve(dataset, fusion, values)[0])
        raise ConfigError("seen")

    monkeypatch.setattr(cells, "resolve", stop)
    assert invoke("run", *short).exit_code == 1
    assert invoke("run", *(part for item in long for part in ("--set", item))).exit_code == 1
    assert found[0] == found[1] != RunSettings(dataset="htad", fusion="lrtf")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--lr", "fast"], 2, "'--lr'"),
        (["--plan", "quickest"], 2, "'--plan'"),
        (["--lr", "-1"], 1, "lr=-1.0 cannot be used"),
        (["--set", "evidence.joint=0"], 1, " evidence.joint=0 cannot be used"),
        (["--lr", "0.1", "--set", "lr=0.2"], 1, "--lr and --set lr are the same; give one."),
        (["--set", "lr=0.1", "--set", "lr=0.1"], 1, "--set lr is given twice"),
        (["--no-vanilla", "--method", "vanilla"], 2, "--no-vanilla leaves out"),
        (["--seed", "3", "--seeds", "3"], 2, "give --seeds alone"),
        *((["--seeds", seeds], 2, "'--seeds'") for seeds in ("0", "x", "1,1", "-1", "")),
        (["--seeds", "3", "--seeds", "4"], 2, "--seeds is given twice"),
        (["--fusion", "concat", "--fusion", "lrtf"], 2, "--fusion is given twice"),
        (["--dataset", "htad", "--dataset=brca"], 2, "--dataset is given twice"),
        (["--format", "csv", "--json"], 2, "--json and --format csv"),
        (["--format", "csv", "--dry-run"], 2, "--dry-run has no results for --format csv"),
    ],
)
def test_what_contradicts_itself_is_refused(arguments, code, words):
    result = invoke("run", *arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    assert words in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    "path",
    [path for path, one in COMMANDS.items() if any(o.name == "form" for o in single_options(one))],
)
def test_one_output_at_a_time(path):
    subject = ["embedded"] if path == ("suite",) else []
    result = invoke(*path, *subject, "--format", "markdown", "--json")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--format markdown cannot be given together" in " ".join(result.stderr.split())


def test_what_finished_runs_leave_no_choice_about_is_named_by_its_option():
    options = ["--seeds", "3", "--lr", "0.1", "--set", "weight_decay=1"]
    result = invoke("compare", "a", "b", *options)
    assert result.exit_code == 2
    assert "(--seeds, --lr, --set weight_decay)" in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("given", "seeds"), [("3", (0, 1, 2)), ("0,3,7", (0, 3, 7)), ("7,", (7,)), ("0,", (0,))]
)
def test_seeds(given, seeds):
    (option,) = [o for o in single_options(COMMANDS["suite",]) if o.name == "seeds"]
    with click.Context(COMMANDS["suite",]) as context:
        assert option.process_value(context, given) == seeds


def test_a_folder_of_a_data_set_is_given_once():
    result = invoke("suite", "embedded", "--data-root", "a=x", "--data-root", "a=y")
    assert (result.exit_code, "given once" in result.stderr) == (2, True)


def test_seed_is_deprecated(small_htad, tmp_path):
    given = ["run", "--fusion", "concat", "--data-root", small_htad, "--out", tmp_path,
             "--epochs", 1, "--device", "cpu", "--no-vanilla"]  # fmt: skip
    with pytest.warns(DeprecationWarning, match="--seed 7"):
        old = invoke(*given, "--seed", 7)
    assert old.exit_code == 0, old.output
    assert re.search(r"--seed 7 is deprecated.* use --seeds 7, \(a list of one\)\.", old.stderr)
    new = invoke(*given, "--seeds", "7,")
    assert "1 in" in new.stdout
    assert "(1 finished before)" in " ".join(new.stdout.split())
    assert "deprecated" not in new.stderr
