"""What the gate says: in a sentence, to a CI job's page (Markdown), to a CI server (JUnit XML)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from i2moe_plugin.benchmarks.regression.baseline import Baseline
from i2moe_plugin.benchmarks.regression.checks import Check
from i2moe_plugin.benchmarks.run.files import disk_errors_explained
from i2moe_plugin.errors import counted

#: Characters that XML 1.0 has no way to write.
_UNWRITABLE = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def verdict(checks: Sequence[Check]) -> str:
    """Say the gate's answer in a sentence.

    >>> verdict([Check("a", "b", "same", ""), Check("a", "c", "moved", "")])
    'Passed: 2 checks of 1 cell, 1 moved within what is tolerated.'
    """
    cells = len({check.cell for check in checks})
    over = f"{counted(len(checks), 'check')} of {counted(cells, 'cell')}"
    failed = sum(check.outcome == "regression" for check in checks)
    moved = sum(check.outcome == "moved" for check in checks)
    if failed:
        return f"Failed: {failed} of {over}, {moved} more moved within what is tolerated."
    return f"Passed: {over}, {moved} moved within what is tolerated."


def differences(baseline: Baseline, now: dict[str, str]) -> list[str]:
    """Say how this machine differs from the baseline's, which may move last digits."""
    return [
        f"{key}: {baseline.machine.get(key)} in the baseline, {value} here"
        for key, value in now.items()
        if baseline.machine.get(key) != value
    ]


def moved_checks(checks: Sequence[Check]) -> list[Check]:
    """Return the checks that are not as they were, regressions first."""
    return sorted(
        (check for check in checks if check.outcome != "same"),
        key=lambda check: check.outcome != "regression",
    )


def markdown(checks: Sequence[Check], baseline: Baseline, notes: Sequence[str]) -> str:
    """Write a summary for a job's page."""
    last = baseline.history[-1]
    lines = ["## Regression gate", "", f"**{verdict(checks)}**", ""]
    lines.append(f"Baseline of {last.when[:10]}: {_pipe(last.reason)}")
    lines += ["", *(f"- {_pipe(note)}" for note in notes), ""]
    moved = moved_checks(checks)
    if moved:
        lines += ["| | cell | what | how |", "| --- | --- | --- | --- |"]
        for check in moved:
            mark = "**failed**" if check.outcome == "regression" else "moved"
            lines.append(f"| {mark} | {check.cell} | {check.name} | {_pipe(check.text)} |")
    return "\n".join(lines) + "\n"


def junit(checks: Sequence[Check], seconds: float) -> str:
    """Write JUnit XML: a suite for each cell, a case for each check."""
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
    """Return everything, for JSON."""
    return {
        "passed": all(check.outcome != "regression" for check in checks),
        "verdict": verdict(checks),
        "seconds": seconds,
        "notes": list(notes),
        "checks": [asdict(check) for check in checks],
    }


def write(path: Path, text: str, *, append: bool = False) -> None:
    """Write a report, or append it to a file."""
    with disk_errors_explained(path), path.open("a" if append else "w", encoding="utf-8") as file:
        file.write(text)


def _pipe(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
