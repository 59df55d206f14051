"""``--config FILE``: a command's options from YAML; ``--save-config FILE`` writes one.

The options of the file become click's ``default_map``: they pass the same checks as those of the
command line, which stand over them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from i2moe_plugin.errors import ConfigError, DatasetError, did_you_mean

#: The key of settings, by name, as ``--set`` takes them.
SETTINGS = "set"
#: Options that are said on the command line alone.
_NOT_IN_FILES = {"config", "save-config", "dry-run", "help"}
_CONTENT = f"{__name__}.content"


def _read(ctx: click.Context, _param: click.Parameter, path: Path | None) -> None:
    if path is None or ctx.resilient_parsing:
        return
    options, settings = read_config(path, ctx.command, ctx)
    known = parameters_in_files(ctx.command, ctx)
    ctx.default_map = {str(known[key].name): value for key, value in options.items()}
    ctx.meta[_CONTENT] = options, settings


CONFIG = click.Option(
    ["--config"],
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    is_eager=True,
    expose_value=False,
    callback=_read,
    help="Options from this YAML file; those given here stand over it.",
)
SAVE_CONFIG = click.Option(
    ["--save-config"],
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write what was given as such a file, before anything runs.",
)


def parameters_in_files(command: click.Command, ctx: click.Context) -> dict[str, click.Parameter]:
    """Return what a file may hold: options by their long name, arguments by their name."""
    found = {}
    for parameter in command.get_params(ctx):
        key = str(parameter.name)
        if isinstance(parameter, click.Option):
            long = next((name for name in parameter.opts if name.startswith("--")), None)
            if long is None or parameter.hidden:
                continue
            key = long.removeprefix("--")
        if key not in _NOT_IN_FILES | {SETTINGS}:
            found[key] = parameter
    return found


def read_config(
    path: Path, command: click.Command, ctx: click.Context
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read a file of options.

    Scalars stay the text that is written there, as on a command line; settings under ``set`` are
    numbers, truths and lists.

    Args:
        path: the file.
        command: whose options they are.
        ctx: of the command.

    Returns:
        options by the name of their key; and settings by name.

    Raises:
        ConfigError: missing, not YAML, a key written twice, unknown or of the wrong form; names
            all problems.
    """
    import yaml

    from i2moe_plugin.benchmarks.formats.tables import load_typed_yaml, read_yaml
    from i2moe_plugin.benchmarks.run.settings import yaml_number

    try:
        raw = read_yaml(path)
    except DatasetError as error:
        raise ConfigError(str(error)) from error
    if raw is None:
        raw = {}
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: expected a mapping of options, such as 'dataset: htad'.")
    known = parameters_in_files(command, ctx)
    options: dict[str, Any] = {}
    problems = []
    for key, value in raw.items():
        if key == SETTINGS:
            continue
        if key not in known:
            names = [*known, SETTINGS]
            problems.append(
                f"{path}: {command.name} has no option {key!r}.{did_you_mean(key, names)} "
                f"It has: {', '.join(names)}."
            )
            continue
        try:
            options[key] = _as_given(known[key], value)
        except ValueError as error:
            problems.append(f"{path}: {key}: {error}.")
    settings = raw.get(SETTINGS) or {}
    if settings and isinstance(settings, dict):
        try:
            settings = load_typed_yaml(path.read_text(encoding="utf-8-sig")).get(SETTINGS) or {}
        except yaml.YAMLError as error:
            raise ConfigError(f"{path}: not readable as YAML ({error}).") from error
    elif settings:
        problems.append(
            f"{path}: {SETTINGS}: expected settings by name, such as '{SETTINGS}: {{lr: 0.001}}'."
        )
    if problems:
        raise ConfigError(problems)
    return options, {str(name): yaml_number(value) for name, value in settings.items()}


def _as_given(parameter: click.Parameter, value: Any) -> Any:
    """Return a value as the command line gives it: text, or a list of it for a repeatable option.

    Raises:
        ValueError: it has another form.
    """
    if parameter.multiple or parameter.nargs != 1:
        if isinstance(value, dict):
            value = [f"{key}={item}" for key, item in value.items()]
        items = value if isinstance(value, list) else [value]
        if not all(isinstance(item, str) for item in items):
            raise ValueError("expected a value, or a list of values")
        return items
    if isinstance(value, list) and parameter.name == "seeds":  # the one option that takes a list
        value = ",".join([*map(str, value), *([""] if len(value) == 1 else [])])
    if value is None:
        raise ValueError("has no value; leave the key out, or give one")
    if not isinstance(value, str):
        raise ValueError("expected one value")
    return value


def settings_of(ctx: click.Context) -> dict[str, Any]:
    """Return the settings of the command's file; none where it has no file."""
    return dict(ctx.meta.get(_CONTENT, ({}, {}))[1])


def write_config(
    path: Path, ctx: click.Context, given: Mapping[str, Any], settings: Mapping[str, Any]
) -> None:
    """Write a file that makes the command what it is now.

    Args:
        path: the file.
        ctx: of the command.
        given: what its command line says, as text, by parameter.
        settings: all that were given, by short form, by ``--set`` or by a file.

    Raises:
        RunError: it cannot be written.
    """
    from i2moe_plugin.benchmarks.run.files import write_text
    from i2moe_plugin.benchmarks.run.settings import SHORT, RunSettings

    short = {name for name, field in RunSettings.model_fields.items() if SHORT in field.metadata}
    content = dict(ctx.meta.get(_CONTENT, ({}, {}))[0])
    for key, parameter in parameters_in_files(ctx.command, ctx).items():
        if parameter.name in short:  # under 'set', with all others
            content.pop(key, None)
        elif given.get(str(parameter.name)) not in (None, (), []):
            value = given[str(parameter.name)]
            content[key] = list(value) if isinstance(value, (list, tuple)) else value
        if key in content and getattr(parameter, "is_flag", False):
            content[key] = click.BOOL.convert(content[key], parameter, ctx)
    if settings:
        content[SETTINGS] = dict(settings)
    command = ctx.command_path
    import yaml

    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    write_text(path, f"# {command} --config {path.name}\n{text}")
