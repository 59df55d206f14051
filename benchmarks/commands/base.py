"""What commands are made of: groups, commands that take an option once, commands that train."""

from __future__ import annotations

import atexit
import functools
import math
import os
import signal
import sys
import threading
import time
import types
import typing
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click
from click.core import ParameterSource

from i2moe_plugin.benchmarks.commands.config import (
    CONFIG,
    SAVE_CONFIG,
    settings_of,
    write_config,
)
from i2moe_plugin.errors import I2MoEError

#: What the command line says, as text by parameter, in a context's ``meta``.
GIVEN = f"{__name__}.given"
#: Seconds in which several signals count as one.
AT_ONCE = 2.0
#: Seconds after which a lost one is raised again.
LOST_FOR = 0.05


class Command(click.Command):
    """A command whose options, unless they are repeatable, are given at most once.

    Args:
        failure: what an error of this package is called, and the exit code it ends with.
    """

    def __init__(self, *args: Any, failure: tuple[str, int] = ("error", 1), **options: Any) -> None:
        super().__init__(*args, **options)
        self.failure = failure

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the command line."""
        ctx.meta[GIVEN], _, given = self.make_parser(ctx).parse_args(args=list(args))
        for option in dict.fromkeys(given):
            single = isinstance(option, click.Option) and not (option.multiple or option.is_flag)
            if single and given.count(option) > 1 and not ctx.resilient_parsing:
                raise click.UsageError(f"{option.opts[0]} is given twice; it takes one value.", ctx)
        try:
            return super().parse_args(ctx, args)
        except click.BadParameter as error:
            name = str(error.param.name) if error.param else ""
            if ctx.get_parameter_source(name) is not ParameterSource.DEFAULT_MAP:
                raise
            where = f"{error.message} It stands in the file of --config."
            raise click.BadParameter(where, ctx, error.param) from error


class TrainingCommand(Command):
    """A command that trains: it takes ``--set KEY=VALUE``, and short forms of some settings.

    The short forms are those that the settings' table marks. All of them reach the command as one
    argument, ``values``: what the user gave, by the setting's name.
    """

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the command's own parameters, and before ``--help`` settings and files of both."""
        *own, last = super().get_params(ctx)
        return [*own, *_setting_options(), CONFIG, SAVE_CONFIG, last]

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        from i2moe_plugin.benchmarks.run.settings import parse_assignments
        from i2moe_plugin.errors import ConfigError

        short = {str(option.name): option.opts[0] for option in _setting_options()[:-1]}
        assigned = parse_assignments(ctx.params.pop("assignments"))
        by_option: dict[bool, dict[str, Any]] = {False: {}, True: {}}  # in a file: their values
        for name in short:
            if (value := ctx.params.pop(name)) is not None:
                by_option[ctx.get_parameter_source(name) is ParameterSource.DEFAULT_MAP][name] = (
                    value
                )
        here, in_file = by_option[False], by_option[True]
        problems = [
            f"{short[name]} and --set {name} are the same; give one."
            for name in sorted(here.keys() & assigned.keys())
        ]
        written = settings_of(ctx)
        problems += [
            f"{short[name][2:]} and {name} under 'set' are the same; write one into the file."
            for name in sorted(in_file.keys() & written.keys())
        ]
        if problems:
            raise ConfigError(problems)
        values = {**written, **in_file, **here, **assigned}
        if (path := ctx.params.pop("save_config")) is not None:
            write_config(path, ctx, ctx.meta[GIVEN], values)
        ctx.params["values"] = values
        return super().invoke(ctx)


def setting_option(name: str) -> str:
    """Return how a setting is given: by its short form, or by ``--set``."""
    short = {str(option.name): option.opts[0] for option in _setting_options()[:-1]}
    return short.get(name, f"--set {name}")


@functools.cache
def _setting_options() -> tuple[click.Option, ...]:
    """Return ``--lr`` and the like, with types and help of the settings' table; then ``--set``."""
    from i2moe_plugin.benchmarks.run.settings import SHORT, RunSettings

    options = []
    for name, field in RunSettings.model_fields.items():
        if SHORT not in field.metadata:
            continue
        kinds = [kind for kind in _union(field.annotation) if kind is not types.NoneType]
        choices = typing.get_args(kinds[0])
        flag = kinds[0] is bool
        options.append(
            click.Option(
                [f"--{name.replace('_', '-')}"],
                type=None if flag else click.Choice(choices) if choices else kinds[0],
                is_flag=flag,
                default=None,
                help=f"{_sentence(field.description or '')}",
            )
        )
    assignments = click.Option(
        ["--set", "assignments"],
        multiple=True,
        metavar="KEY=VALUE",
        help="Any setting, see 'list settings'; repeatable.",
    )
    return (*options, assignments)


def _sentence(words: str) -> str:
    """Begin with a capital letter, leave the others as they are, and end with a full stop."""
    return f"{words[:1].upper()}{words[1:]}."


def _union(annotation: Any) -> Sequence[Any]:
    union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    return typing.get_args(annotation) if union else [annotation]


class Group(click.Group):
    """A group that shows errors of this package as messages, not as tracebacks."""

    command_class = Command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command.

        It ends with its own code for our errors, with 130 for Ctrl-C, and with 143 for SIGTERM.
        """
        if os.environ.get("NO_COLOR"):
            ctx.color = False
        with _interrupted_once():
            try:
                return super().invoke(ctx)
            except I2MoEError as error:
                command = self.commands.get(ctx.invoked_subcommand or "")
                name, code = getattr(command, "failure", ("error", 1))
                click.secho(f"{name}: ", fg="red", bold=True, nl=False, err=True)
                click.echo(str(error), err=True)
                ctx.exit(code)
            except KeyboardInterrupt as error:
                # What Python and torch do at their end is no place for another one.
                atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)
                word, code = (
                    ("terminated", 143) if isinstance(error, _Terminated) else ("interrupted", 130)
                )
                click.echo(
                    f"\n{word}: finished runs are kept; the same command goes on from there.",
                    err=True,
                )
                ctx.exit(code)


class _Terminated(KeyboardInterrupt):
    """SIGTERM: what a scheduler sends. It ends all that Ctrl-C ends."""


@contextmanager
def _interrupted_once() -> Iterator[None]:
    """Raise :class:`_Terminated` in the block on SIGTERM, and KeyboardInterrupt on Ctrl-C.

    One of them, where several come at once: a second one would break off what the first one ends,
    such as processes. One that is lost, since Python drops what is raised in a finaliser or beside
    a fork, is raised again.
    """
    last, process, here = -math.inf, os.getpid(), threading.get_ident()
    again: list[threading.Timer] = []

    def interrupt(number: int, _: object) -> None:
        nonlocal last
        if os.getpid() != process:  # a fork of a library's, told before it has answers of its own
            if number == signal.SIGTERM:
                os._exit(128 + number)
            return  # Ctrl-C reaches the first process too, which ends this one
        before, last = last, time.monotonic()
        if last - before > AT_ONCE:
            raise _Terminated if number == signal.SIGTERM else KeyboardInterrupt

    def raise_again(lost: Any) -> None:
        nonlocal last
        if not isinstance(lost.exc_value, KeyboardInterrupt):
            before_us(lost)
            return
        last = -math.inf
        number = signal.SIGTERM if isinstance(lost.exc_value, _Terminated) else signal.SIGINT
        # Later and not at once: what is raised here would be lost as well.
        again.append(threading.Timer(LOST_FOR, _tell, (here, number)))
        again[-1].daemon = True
        again[-1].start()

    if threading.current_thread() is not threading.main_thread():  # only that one is told
        yield
        return
    before_us, sys.unraisablehook = sys.unraisablehook, raise_again
    told = {signal.SIGTERM: signal.getsignal(signal.SIGTERM)}
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # nohup has it ignored
        told[signal.SIGINT] = signal.default_int_handler
    for number in told:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        sys.unraisablehook = before_us
        for timer in again:
            timer.cancel()
        for number, before in told.items():
            signal.signal(number, before)


def _tell(thread: int, number: signal.Signals) -> None:
    if sys.platform == "win32":
        signal.raise_signal(number)
    else:  # that thread and no other, since it may wait for something
        signal.pthread_kill(thread, number)
