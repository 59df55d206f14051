"""How a command shows what it found: how much of it, and tables as what."""

from __future__ import annotations

import click

#: Where a command keeps it, in its context.
KEY = f"{__name__}.level"
#: And where it keeps what tables are written as.
FORM = f"{__name__}.form"


def level() -> int:
    """Return -1 under ``-q``, 1 under ``-v``, and otherwise 0."""
    context = click.get_current_context(silent=True)
    return 0 if context is None else int(context.meta.get(KEY, 0))


def form() -> str:
    """Return what tables are to be written as, such as ``csv``; empty: shown for people."""
    context = click.get_current_context(silent=True)
    found = "" if context is None else str(context.meta.get(FORM, ""))
    return "" if found == "json" else found


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
