"""How much a command says: ``-q``, the result and errors alone; ``-v``, more lines."""

from __future__ import annotations

import click

#: Where a command keeps it, in its context.
KEY = f"{__name__}.level"


def level() -> int:
    """Return -1 under ``-q``, 1 under ``-v``, and otherwise 0."""
    context = click.get_current_context(silent=True)
    return 0 if context is None else int(context.meta.get(KEY, 0))


def quiet() -> bool:
    """Whether nothing but the result and errors is to be shown."""
    return level() < 0


def verbose() -> bool:
    """Whether more is to be shown than usual."""
    return level() > 0


def note(text: str) -> None:
    """Say something on standard error, unless the command is to be quiet."""
    if not quiet():
        click.echo(text, err=True)


def detail(text: str) -> None:
    """Say something on standard error that is shown with ``-v`` alone."""
    if verbose():
        click.echo(text, err=True)
