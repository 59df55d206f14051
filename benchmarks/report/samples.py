"""What the sample explorer looks through: numbers packed by column, and the samples themselves."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from i2moe_plugin.benchmarks.data.thumbnails import thumbnail
from i2moe_plugin.benchmarks.report.page import as_json
from i2moe_plugin.benchmarks.report.text import without_controls
from i2moe_plugin.benchmarks.run.store import Run
from i2moe_plugin.interpretation.local import matter, pushes
from i2moe_plugin.tasks import Classification, Multilabel

if TYPE_CHECKING:
    from i2moe_plugin.benchmarks.data.preview import Preview
    from i2moe_plugin.interpretation import Outputs

#: Samples of all runs together that a page holds, and of each run at least.
SAMPLES, FEWEST = 16_000, 500
#: Bytes of pictures, text and features that a page holds, where there is room for them.
BUDGET = 9_000_000
CLASSES, MOST_CLASSES = 5, 8
TEXT_LIMIT = 1200
CHANNELS, STEPS, FEATURES = 6, 60, 64


def limit_for(runs: int) -> int:
    """Return how many samples of each run a page of that many runs holds."""
    return max(SAMPLES // max(runs, 1), FEWEST)


def chosen_rows(ids: Sequence[str], limit: int) -> NDArray[np.intp]:
    """Return at most ``limit`` rows, drawn by a hash of the id: the same samples in every run."""
    if len(ids) <= limit:
        return np.arange(len(ids))
    order = sorted(range(len(ids)), key=lambda row: _rank(ids[row]))
    return np.array(sorted(order[:limit]))


def pack_run(run: Run, limit: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Pack a run's samples, and apart from them what it shares with runs on the same samples.

    Text goes into lists, numbers into base64 of little-endian arrays.
    """
    whole = run.interpretable()
    outputs = whole.rows(chosen_rows(whole.sample_id.tolist(), limit))
    expert_outputs, weights = outputs.mixture()
    shown = matter(outputs, CLASSES)[:, :MOST_CLASSES]
    places = np.maximum(shown, 0)
    correct, agree = outputs.correct, outputs.agree
    push, against = pushes(outputs)
    shared = {
        "ids": [without_controls(name) for name in outputs.sample_id.tolist()],
        "label": [without_controls(outputs.describe(one)) for one in outputs.target],
        "labels": _label_lists(outputs),
    }
    own = {
        "experts": list(outputs.expert_labels),
        "classes": [without_controls(name) for name in outputs.class_names],
        "total": len(whole),
        "task": outputs.task.name,
        "decision": [without_controls(outputs.describe(one)) for one in outputs.decided],
        "correct": None if correct is None else correct.astype(int).tolist(),
        "agree": None if agree is None else agree.astype(int).tolist(),
        "against": against,
        "shape": [len(outputs), shown.shape[1], len(outputs.experts)],
        "shown": _packed(shown, "<i2"),
        "weights": _packed(weights, "<f4"),
        "push": _packed(push, "<f4"),
        "outputs": _packed(
            np.take_along_axis(expert_outputs, places[:, None, :], 2).transpose(0, 2, 1), "<f4"
        ),
        "prediction": _packed(np.take_along_axis(outputs.prediction, places, 1), "<f4"),
    }
    return own, shared


class Media:
    """Pictures, text and features of samples, until the page is full.

    Attributes:
        samples: by data set and id, what is shown of each sample.
        left_out: by data set, how many samples found no place any more.
    """

    def __init__(self, budget: int = BUDGET) -> None:
        self.samples: dict[str, dict[str, list[dict[str, Any]]]] = {}
        self.left_out: dict[str, int] = {}
        self._left = budget

    def add(
        self,
        dataset: str,
        ids: Sequence[str],
        show: Callable[[str], list[Preview]],
        share: float = 1.0,
        advance: Callable[[int], None] = lambda steps: None,
    ) -> None:
        """Take in samples in the order of their hash, within a share of the room that is left."""
        room = int(self._left * share)
        kept = self.samples.setdefault(dataset, {})
        for name in sorted(ids, key=_rank):
            if room > 0:
                items = [_item(one) for one in show(name)]
                size = len(as_json({name: items}))
                room -= size
                self._left -= size
                if items and room >= 0:
                    kept[without_controls(name)] = items
            advance(1)
        self.left_out[dataset] = len(ids) - len(kept)


def _item(shown: Preview) -> dict[str, Any]:
    value: Any
    if shown.kind == "image":
        value = thumbnail(shown.value)
    elif shown.kind == "text":
        value = without_controls(str(shown.value), TEXT_LIMIT)
    elif shown.kind == "series":
        columns = np.asarray(shown.value, dtype=float).T[:CHANNELS]
        value = [_short(_thin(column)) for column in columns]
    else:
        value = _short(np.asarray(shown.value, dtype=float)[:FEATURES])
    whole = np.shape(shown.value)[-1] if shown.kind in ("series", "features") else 0
    return {
        "modality": without_controls(shown.modality),
        "kind": shown.kind,
        "names": [without_controls(name, 40) for name in shown.names[: max(CHANNELS, FEATURES)]],
        "value": value,
        "of": int(whole),
    }


def _thin(column: NDArray[Any]) -> NDArray[Any]:
    if len(column) <= STEPS:
        return column
    return np.array([part.mean() for part in np.array_split(column, STEPS)])


def _short(values: NDArray[Any]) -> list[float | None]:
    return [float(f"{one:.4g}") if np.isfinite(one) else None for one in values]


def _label_lists(outputs: Outputs) -> list[list[int]] | None:
    """Return the classes that each sample is in, for filtering."""
    if isinstance(outputs.task, Multilabel):
        return [np.flatnonzero(row).tolist() for row in outputs.target]
    if isinstance(outputs.task, Classification):
        return [[int(label)] for label in outputs.target]
    return None


def _packed(values: NDArray[Any], kind: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype=kind).tobytes()).decode()


def _rank(name: str) -> bytes:
    return hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
