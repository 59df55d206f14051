"""The runs of a folder that failed, kept with their reasons, so that they are not tried again."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from i2moe_plugin.benchmarks.run.files import read_json, write_json
from i2moe_plugin.benchmarks.run.settings import RunSettings
from i2moe_plugin.errors import I2MoEError, RunError

FAILED = ".failed"


class Failures:
    """The runs of a folder that failed: ``<runs>/.failed/<run>.json``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / FAILED

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Give every failure: run, identity, dataset, fusion, method, seed, error, reason, when."""
        for path in sorted(self.folder.glob("*.json")):
            found = _read(path)
            if found is not None:
                yield found

    def reason(self, run: str) -> str | None:
        """Return why the run of this name failed; None where it did not."""
        found = _read(self.folder / f"{run}.json")
        return None if found is None else str(found["reason"])

    def add(self, run: str, identity: str, settings: RunSettings, error: Exception) -> str:
        """Write a failure down, and return its reason in one line."""
        reason = in_one_line(error)
        facts = {name: getattr(settings, name) for name in ("dataset", "fusion", "method", "seed")}
        when = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        failure = {"error": type(error).__name__, "reason": reason, "when": when}
        record = {"run": run, "identity": identity, **facts, **failure}
        write_json(self.folder / f"{run}.json", record)
        return reason

    def forget(self, run: str) -> None:
        """Forget a run that is to be tried again, or has been finished."""
        (self.folder / f"{run}.json").unlink(missing_ok=True)


def in_one_line(error: Exception) -> str:
    """Return an error's message in one line: our own as it is, any other with its type.

    >>> in_one_line(ValueError("not in\\nthe mood"))
    'ValueError: not in the mood'
    """
    text = " ".join(str(error).split())
    return text if isinstance(error, I2MoEError) else f"{type(error).__name__}: {text}"


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = read_json(path)
    except RunError:
        return None
    return found if "reason" in found else None
