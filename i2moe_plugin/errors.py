"""The typed errors of the package.

Every message says what was expected, what came, and what to do. A command line shows the message
alone; a library user catches :class:`I2MoEError` or one of its children.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any


class I2MoEError(Exception):
    """The base of every error that this package raises on purpose."""


class ConfigError(I2MoEError, ValueError):
    """Settings that cannot be used; lists every problem found, not only the first.

    Attributes:
        problems: one sentence for each problem.
    """

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        if len(self.problems) == 1:
            super().__init__(self.problems[0])
        else:
            lines = "".join(f"\n  - {problem}" for problem in self.problems)
            super().__init__(f"{len(self.problems)} problems in the settings:{lines}")


class RegistrationError(I2MoEError):
    """A name that cannot be registered: taken, malformed, or of something that cannot be built."""


class UnknownNameError(I2MoEError, LookupError):
    """A name that is not registered; the message offers close matches."""

    def __init__(self, kind: str, name: str, known: Iterable[str], hint: str = "") -> None:
        self.kind, self.name, self.known, self.hint = kind, name, sorted(known), hint
        super().__init__(
            f"unknown {kind} {name!r}.{did_you_mean(name, self.known)}"
            f" Known: {', '.join(self.known) or 'none'}.{' ' + hint if hint else ''}"
        )

    def __reduce__(self) -> tuple[type[UnknownNameError], tuple[Any, ...]]:
        """Pickle what it was made of: an exception's own way would pass the message alone."""
        return type(self), (self.kind, self.name, self.known, self.hint)


class PluginError(I2MoEError):
    """A user's plugin file or module that cannot be imported."""


class ShapeError(I2MoEError, ValueError):
    """A tensor of the wrong rank, width, batch size or number of modalities."""


class BackboneError(I2MoEError):
    """A backbone that cannot be built with these settings, or whose output breaks the contract."""


class ChangesLatentsError(BackboneError):
    """A backbone that changes the latents it is given, which the other experts see too."""


class DatasetError(I2MoEError):
    """Data that is missing, damaged or not in its published format; names file and reason."""


class TrainingError(I2MoEError):
    """Training that cannot go on, for instance a loss that is no longer finite."""


class RunError(I2MoEError):
    """A run directory that cannot be written, or that is not what its manifest says."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Write a sentence with the close matches of a mistyped name, or nothing.

    >>> did_you_mean("lrft", ["concat", "lrtf"])
    " Did you mean 'lrtf'?"
    """
    matches = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    return f" Did you mean {' or '.join(map(repr, matches))}?" if matches else ""


def counted(count: int, noun: str) -> str:
    """Write how many there are of something.

    >>> counted(1, "run"), counted(1200, "run")
    ('1 run', '1,200 runs')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def enumerated(names: Sequence[str], most: int = 10) -> str:
    """Write names in a sentence: the first ``most``, then how many more there are.

    >>> enumerated("abcdefghijklm")
    'a, b, c, d, e, f, g, h, i, j and 3 more'
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def listed(problems: Sequence[str], limit: int = 10) -> str:
    """Write problems as indented lines: the first ``limit``, then how many more there are.

    >>> print(listed(["a", "b", "c"], limit=2))
      - a
      - b
      - and 1 more
    """
    shown = [*problems[:limit]]
    if len(problems) > limit:
        shown.append(f"and {len(problems) - limit} more")
    return "\n".join(f"  - {problem}" for problem in shown)
