"""The stored baseline: its suite, what was measured, where, and why it was rewritten."""

from __future__ import annotations

import datetime
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from i2moe_plugin import __version__
from i2moe_plugin.benchmarks.grid.cells import Grid
from i2moe_plugin.benchmarks.grid.spec import SuiteFile, expand, read_suite
from i2moe_plugin.benchmarks.regression.measuring import Measurement
from i2moe_plugin.benchmarks.regression.probes import Probe
from i2moe_plugin.benchmarks.run.files import write_json
from i2moe_plugin.errors import ConfigError

FORMAT = 1


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Tolerances(_Strict):
    """How far each may move before the gate fails.

    Attributes:
        score: of the mean over seeds, in the metric's own units (0.02: two points of accuracy).
        loss: relative, of every single loss; beyond ``loss_floor``.
        loss_floor: absolute.
        operators, flops: relative, in either direction.
        seconds: relative, slower only.
    """

    score: float = Field(0.02, gt=0)
    loss: float = Field(1e-4, gt=0)
    loss_floor: float = Field(1e-5, ge=0)
    operators: float = Field(0.05, ge=0)
    flops: float = Field(0.01, ge=0)
    seconds: float = Field(0.5, ge=0)


class Change(_Strict):
    """A rewriting of the baseline."""

    when: str
    reason: str
    version: str


class Baseline(_Strict):
    """What a suite measured when it was last meant to change; :func:`read_baseline` reads one.

    Attributes:
        suite: the suite's file, as it was; relative roots in it are relative to the baseline.
        machine: versions and processor of the measuring.
        history: newest last.
        probes: single parts; an older baseline has none, and they are then not measured.
    """

    format: int = FORMAT
    suite: dict[str, Any]
    tolerances: Tolerances = Tolerances()
    machine: dict[str, str]
    history: list[Change]
    cells: list[Measurement]
    probes: list[Probe] = []

    def grid(self, path: Path) -> Grid:
        """Expand the suite of the baseline that lies at this path to what is to be measured."""
        try:
            return expand(SuiteFile(**self.suite), path.stem, path.parent)
        except ValidationError as error:
            raise ConfigError(f"{path}: its suite cannot be read ({error}).") from error


def read_baseline(path: Path) -> Baseline:
    """Read the baseline in a file."""
    how = "i2moe-bench regress --baseline FILE --update --reason TEXT writes one."
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: no baseline there ({error}). {how}") from error
    try:
        return Baseline.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ConfigError(
            f"{path}: not a baseline of format {FORMAT} ({where}: {first['msg']}). {how}"
        ) from error


def suite_for(given: str | None, baseline: Path) -> tuple[dict[str, Any], Grid]:
    """Return the keys and the grid of the suite to write a baseline of; one ships for this."""
    raw, _, folder, _ = read_suite(given or "regression")
    for part in [raw, *raw.get("parts", [])]:
        for item in part.get("datasets") or []:
            if isinstance(item, dict) and item.get("root"):
                item["root"] = os.path.relpath(folder / item["root"], baseline.parent or ".")
    return raw, expand(SuiteFile(**raw), baseline.stem, baseline.parent)


def write_baseline(
    path: Path,
    suite: dict[str, Any],
    cells: list[Measurement],
    probes: list[Probe],
    reason: str,
    before: Baseline | None,
) -> Baseline:
    """Write a baseline; the history goes on, and tolerances stay."""
    if not reason.strip():
        raise ConfigError("a baseline is rewritten with a reason: --update --reason TEXT.")
    broken = [f"{cell.cell}: {cell.error}" for cell in cells if cell.error]
    broken += [f"{probe.name}: {probe.error}" for probe in probes if probe.error]
    if broken:
        raise ConfigError([f"no baseline of what fails: {problem}" for problem in broken])
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    baseline = Baseline(
        suite=suite,
        tolerances=before.tolerances if before else Tolerances(),
        machine=measured_on(),
        history=[
            *(before.history if before else []),
            Change(when=now, reason=reason.strip(), version=__version__),
        ],
        cells=cells,
        probes=probes,
    )
    write_json(path, baseline.model_dump())
    return baseline


def measured_on() -> dict[str, str]:
    """Return what figures may depend on beside the code: versions, processor and system."""
    import torch

    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": metadata.version("numpy"),
        "processor": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
        "system": platform.system(),
    }
