"""Results beside a run, so that they are computed once."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

from i2moe_plugin import __version__
from i2moe_plugin.benchmarks.run.files import json_ready, read_json, write_json
from i2moe_plugin.benchmarks.run.store import Run
from i2moe_plugin.errors import RunError

log = logging.getLogger(__name__)

FOLDER = "features"
FORMAT = 4  # of the records; part of their key


def kept(
    run: Run,
    kind: str,
    key: Mapping[str, Any],
    compute: Callable[[], dict[str, Any]],
    folder: str = FOLDER,
) -> dict[str, Any]:
    """What was computed for this run and key before, or is computed now and kept.

    It lies in a folder of the run, outside its manifest, and goes with it.

    Args:
        run: the run.
        kind: of the record, such as ``sample`` or ``study``.
        key: everything that decides the result, beside the run.
        compute: gives a record for JSON.
        folder: its name.
    """
    facts = {
        "kind": kind,
        "identity": run.manifest["identity"],
        "version": __version__,
        "format": FORMAT,
        **key,
    }
    name = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]
    path = run.path / folder / f"{kind}-{name}.json"
    if path.is_file():
        try:
            found = read_json(path)
            if found.get("key") == facts:
                return found
        except RunError:
            log.warning("%s is damaged and is computed again.", path)
    # Through JSON, so that what is computed and what is kept are the same.
    record: dict[str, Any] = json.loads(json.dumps(json_ready({"key": facts, **compute()})))
    try:
        path.parent.mkdir(exist_ok=True)
        write_json(path, record)
    except (OSError, RunError) as error:
        log.warning("the result cannot be kept beside the run (%s).", error)
    return record


def all_kept(run: Run, kind: str, folder: str = FOLDER) -> list[dict[str, Any]]:
    """What is kept of a kind beside a run, of this version; damaged files are left out."""
    found = []
    for path in sorted((run.path / folder).glob(f"{kind}-*.json")):
        try:
            record = read_json(path)
        except RunError:
            continue
        key = record.get("key", {})
        facts = (key.get("identity"), key.get("version"), key.get("format"))
        if facts == (run.manifest["identity"], __version__, FORMAT):
            found.append(record)
    return found
