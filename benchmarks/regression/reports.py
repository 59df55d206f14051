"""What the gate tells: a terminal, a CI job's page (Markdown), a CI server (JUnit XML)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from rich.console import Console
from rich.text import Text

from i2moe_plugin.benchmarks.regression.baseline import Baseline
from i2moe_plugin.benchmarks.regression.checks import Check
from i2moe_plugin.benchmarks.run.store import explained

#: Characters that XML 1.0 has no way to write.
_UNWRITABLE = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def verdict(checks: Sequence[Check]) -> str:
    """The gate's answer in a sentence.

    >>> verdict([Check("a", "b", "same", ""), Check("a", "c", "moved", "")])
    'Passed: 2 checks of 1 cell, 1 moved within what is tolerated.'
    """
    cells = len({check.cell for check in checks})
    over = f"{len(checks)} checks of {cells} cell{'s' * (cells != 1)}"
    failed = sum(check.outcome == "regression" for check in checks)
    moved = sum(check.outcome == "moved" for check in checks)
    if failed:
        return f"Failed: {failed} of {over}, {moved} more moved within what is tolerated."
    return f"Passed: {over}, {moved} moved within what is tolerated."


def differences(baseline: Baseline, now: dict[str, str]) -> list[str]:
    """How this machine differs from the baseline's, which may move last digits."""
    return [
        f"{key}: {baseline.machine.get(key)} in the baseline, {value} here"
        for key, value in now.items()
        if baseline.machine.get(key) != value
    ]


def show(console: Console, checks: Sequence[Check], notes: Sequence[str]) -> None:
    """What moved, failures first, and the verdict."""
    show_moved(console, checks)
    for note in notes:
        console.print(Text(f"Note: {note}", style="yellow"))
    console.print(Text(verdict(checks), style="bold"))


def show_moved(console: Console, checks: Sequence[Check]) -> None:
    """A line for each check that is not as it was."""
    for check in _moved(checks):
        bad = check.outcome == "regression"
        text = f"{'FAILED' if bad else 'moved'} {check.cell}: {check.name}: {check.text}"
        console.print(Text(text, style="bold red" if bad else "dim"), soft_wrap=True)


def markdown(checks: Sequence[Check], baseline: Baseline, notes: Sequence[str]) -> str:
    """A summary for a job's page."""
    last = baseline.history[-1]
    lines = ["## Regression gate", "", f"**{verdict(checks)}**", ""]
    lines.append(f"Baseline of {last.when[:10]}: {_pipe(last.reason)}")
    lines += ["", *(f"- {_pipe(note)}" for note in notes), ""]
    moved = _moved(checks)
    if moved:
        lines += ["| | cell | what | how |", "| --- | --- | --- | --- |"]
        for check in moved:
            mark = "**failed**" if check.outcome == "regression" else "moved"
            lines.append(f"| {mark} | {check.cell} | {check.name} | {_pipe(check.text)} |")
    return "\n".join(lines) + "\n"


def junit(checks: Sequence[Check], seconds: float) -> str:
    """JUnit XML: a suite for each cell, a case for each check."""
    root = ElementTree.Element("testsuites", name="i2moe-bench regress", time=f"{seconds:.3f}")
    for cell in dict.fromkeys(check.cell for check in checks):
        own = [check for check in checks if check.cell == cell]
        failed = sum(check.outcome == "regression" for check in own)
        counts = {"name": cell, "tests": str(len(own)), "failures": str(failed), "errors": "0"}
        suite = ElementTree.SubElement(root, "testsuite", counts)
        for check in own:
            case = ElementTree.SubElement(suite, "testcase", classname=cell, name=check.name)
            text = _UNWRITABLE.sub("?", check.text)
            if check.outcome == "regression":
                ElementTree.SubElement(case, "failure", message=text).text = text
            elif text:
                ElementTree.SubElement(case, "system-out").text = text
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def as_json(checks: Sequence[Check], notes: Sequence[str], seconds: float) -> dict[str, Any]:
    """Everything."""
    return {
        "passed": all(check.outcome != "regression" for check in checks),
        "verdict": verdict(checks),
        "seconds": seconds,
        "notes": list(notes),
        "checks": [check.as_dict() for check in checks],
    }


def write(path: Path, text: str, *, append: bool = False) -> None:
    """Write or append a report.

    Raises:
        RunError: it cannot be written.
    """
    with explained(path), path.open("a" if append else "w", encoding="utf-8") as file:
        file.write(text)


def _moved(checks: Sequence[Check]) -> list[Check]:
    return sorted(
        (check for check in checks if check.outcome != "same"),
        key=lambda check: check.outcome != "regression",
    )


def _pipe(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
