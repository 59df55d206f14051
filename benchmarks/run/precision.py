"""``precision=auto``: bfloat16 where a training step of the run is measured to be faster in it."""

from __future__ import annotations

import contextlib
import hashlib
import os
from itertools import islice
from pathlib import Path
from typing import Any

from i2moe_plugin.benchmarks.data.open import OpenedDataset
from i2moe_plugin.benchmarks.run.environment import (
    create_fabric,
    multiplies_bfloat16,
    resolve_device,
    training_threads,
)
from i2moe_plugin.benchmarks.run.files import disk_errors_explained, read_json, write_json
from i2moe_plugin.benchmarks.run.model import create_trainer
from i2moe_plugin.benchmarks.run.settings import RunSettings
from i2moe_plugin.errors import RunError

#: bfloat16 has 8 bits of precision and not 24: it is taken for a gain that one notices alone.
WORTH = 1.1
_STEPS, _ROUNDS = 4, 3


def settle_precision(
    settings: RunSettings, data: OpenedDataset, folder: Path, most_threads: int | None = None
) -> tuple[RunSettings, str]:
    """Put ``32`` or ``bf16-mixed`` in place of ``auto``; other settings stay as they are.

    A clock decides, so that the same command may choose otherwise on another machine, or on a busy
    one. What was chosen is therefore kept in the folder of the runs: all methods and seeds there
    are trained in the same precision, and a stopped run goes on as it began.

    Args:
        settings: complete.
        data: the opened data set.
        folder: where the runs go.
        most_threads: see :func:`~i2moe_plugin.benchmarks.run.execute.execute`.

    Returns:
        the settings; and a note that says what was chosen and why, empty where nothing was.
    """
    if settings.precision != "auto":
        return settings, ""
    alone: dict[str, Any] = {"method": "vanilla", "seed": 0, "patience": None, "devices": 1}
    same = settings.model_copy(update=alone)
    kind = resolve_device(settings.device).type
    about = f"{same.model_dump_json(exclude={'devices', 'strategy'})} {data.fingerprint()} {kind}"
    path = folder / f"precision-{hashlib.sha256(about.encode()).hexdigest()[:8]}.json"
    if not path.exists():
        chosen, why = _choose(same, data, most_threads)
        _write_first(path, {"precision": chosen, "note": why})
    found = read_json(path)
    precision, note = found.get("precision"), found.get("note")
    if precision not in ("32", "bf16-mixed") or not isinstance(note, str):
        raise RunError(f"{path}: it names no precision; remove it to measure anew.")
    return settings.model_copy(update={"precision": precision}), note


def step_seconds(
    settings: RunSettings, data: OpenedDataset, most_threads: int | None = None
) -> dict[str, float]:
    """Return the seconds of a training step in ``32`` and in ``bf16-mixed``.

    Of a model of its own for each, on the first training batches: the fastest of some rounds, which
    take turns. A round is some steps and the prediction of one batch.

    Args:
        settings: complete.
        data: the opened data set.
        most_threads: measure on no more CPU threads than these.
    """
    options: dict[str, Any] = {"batch_size": settings.batch_size, "seed": settings.seed}
    trainers, batches = {}, {}
    for precision in ("32", "bf16-mixed"):
        chosen = settings.model_copy(update={"precision": precision, "force_precision": True})
        trainers[precision] = create_trainer(chosen, data, create_fabric(chosen))
        prepared = data.prepare(trainers[precision].fabric.device)
        batches[precision] = [*islice(prepared.loader("train", **options), _STEPS)]
    seconds = dict.fromkeys(trainers, float("inf"))
    for epochs in range(1, _ROUNDS + 2):
        for precision, trainer in trainers.items():
            some = batches[precision]
            with training_threads(settings, trainer.model, most_threads):
                trainer.fit(some, some[:1], epochs)
            if epochs > 1:  # the first finds its plan
                taken = trainer.history[-1]["seconds"] / len(some)
                seconds[precision] = min(seconds[precision], taken)
    return seconds


def _write_first(path: Path, record: dict[str, str]) -> None:
    """Write a file that is not there; another process may have been quicker, and then its stays."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    write_json(aside, record)
    with disk_errors_explained(path):
        try:
            with contextlib.suppress(FileExistsError):
                os.link(aside, path)
        finally:
            aside.unlink(missing_ok=True)


def _choose(
    settings: RunSettings, data: OpenedDataset, most_threads: int | None
) -> tuple[str, str]:
    device = resolve_device(settings.device).type
    if device == "mps":
        return "32", "precision=auto: trained in 32, since bf16-mixed is not tried on mps."
    if device == "cpu" and multiplies_bfloat16() is False:
        return "32", (
            "precision=auto: trained in 32, since this processor has no bfloat16 arithmetic "
            "(avx512_bf16 or amx_bf16)."
        )
    seconds = step_seconds(settings, data, most_threads)
    plain, mixed = seconds["32"], seconds["bf16-mixed"]
    chosen = "bf16-mixed" if plain >= WORTH * mixed else "32"
    return chosen, (
        f"precision=auto: trained in {chosen}, since a step of vanilla took {1e3 * plain:.2g} ms "
        f"in 32 and {1e3 * mixed:.2g} ms in bf16-mixed here."
    )
