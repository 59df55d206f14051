"""How a run's metric falls as one modality, or all of them, are corrupted more and more."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from i2moe_plugin.benchmarks.attribution.kept import all_kept
from i2moe_plugin.benchmarks.data.batches import IncompleteColumn
from i2moe_plugin.benchmarks.robustness.corruption import Corruption, corrupt
from i2moe_plugin.benchmarks.robustness.subject import FOLDER, Subject, kept_beside, numbers
from i2moe_plugin.benchmarks.run.store import Run
from i2moe_plugin.errors import ConfigError

#: MultiBench's levels.
LEVELS = tuple(level / 10 for level in range(11))
#: Stands for all modalities that can be corrupted, together.
ALL = "all together"
FORMAT = 1
_FROZEN = "the features of a frozen network are corrupted, not what that network reads"


def measure_curves(
    run: Run, root: str | Path | None = None, advance: Callable[[int], None] = lambda _: None
) -> dict[str, Any]:
    """Test a run at every level of corruption of every modality; each is computed once and kept.

    Corruption is drawn from the run's seed, the modality, the level and the sample: methods of one
    seed meet the same samples.

    Args:
        run: the run.
        root: where its data set lies, if it was moved.
        advance: called with the number of curves done.

    Returns:
        ``metric``; ``curves``: for each modality ``kind``, ``note`` and ``values``, one for each
        of :data:`LEVELS`; ``left_out``: why a modality cannot be corrupted, where that is so.

    Raises:
        DatasetError, RunError: see :meth:`Subject.load`.
        TrainingError: a prediction is not finite.
    """
    measured = _Measured(run, root)
    curves: dict[str, Any] = {}
    left_out: dict[str, str] = {}
    names = list(run.result["modalities"])
    for name in [*names, ALL]:
        record = kept_beside(run, "curve", {"of": name, "curve": FORMAT}, lambda: measured(name))  # noqa: B023
        _sort(name, record, curves, left_out)
        advance(1)
    return {"metric": headline(run), "curves": curves, "left_out": left_out}


def kept_curves(run: Run) -> dict[str, Any] | None:
    """Return what :func:`measure_curves` kept of a run before, for what shows it; computes nothing.

    Returns:
        None where nothing is kept; what is damaged is left out.
    """
    curves: dict[str, Any] = {}
    left_out: dict[str, str] = {}
    for record in all_kept(run, "curve", FOLDER):
        with suppress(KeyError, TypeError, ValueError):
            name = str(record["key"]["of"])
            if name in (*run.result["modalities"], ALL):
                _sort(name, record, curves, left_out)
    if not curves:
        return None
    order = [name for name in (*run.result["modalities"], ALL) if name in curves]
    curves = {name: curves[name] for name in order}
    return {"metric": headline(run), "curves": curves, "left_out": left_out}


def _sort(
    name: str, record: Mapping[str, Any], curves: dict[str, Any], left_out: dict[str, str]
) -> None:
    """Put a kept record to the curves, or to what is left out."""
    if record["reason"]:
        left_out[name] = str(record["reason"])
        return
    values = numbers(record["values"])
    if len(values) != len(LEVELS):
        raise ValueError(f"{len(values)} values for {len(LEVELS)} levels")
    curves[name] = {"kind": str(record["kind"]), "note": str(record["note"]), "values": values}


def headline(run: Run) -> str:
    """Return the metric that methods are compared by."""
    return str(run.result.get("headline", run.result["metric"]))


def _note(subject: Subject, name: str) -> str:
    """Say what must stand beside the curve of a modality."""
    test, notes = subject.test, [_FROZEN] if name in subject.frozen else []
    column = test.columns[list(subject.data.modalities).index(name)]
    if isinstance(column, IncompleteColumn) and (lack := int(column.missing[test.rows].sum())):
        notes.append(f"{lack} of {len(test.rows)} test samples lack it, and stay as they are")
    return "; ".join(notes)


class _Measured:
    """Measures curves of one run, whose model is rebuilt when it is first needed."""

    def __init__(self, run: Run, root: str | Path | None) -> None:
        self._run, self._root = run, root
        self._subject: Subject | None = None
        self._corruptions: dict[int, Corruption] = {}
        self._reasons: dict[str, str] = {}

    def __call__(self, name: str) -> dict[str, Any]:
        """Measure the curve of a modality, or of all together."""
        subject = self._open()
        names = list(subject.data.modalities)
        places = [*range(len(names))] if name == ALL else [names.index(name)]
        chosen = {place: self._corruptions[place] for place in places if place in self._corruptions}
        reason = self._reasons.get(name, "")
        if name == ALL and len(chosen) < 2:
            reason = "fewer than two modalities can be corrupted."
        if reason:
            return {"reason": reason}
        kinds = dict.fromkeys(one.kind for one in chosen.values())
        return {
            "reason": "",
            "kind": ", ".join(kinds),
            "note": "" if name == ALL else _note(subject, name),
            "values": list(self._values(subject, chosen)),
        }

    def _values(self, subject: Subject, chosen: Mapping[int, Corruption]) -> Iterator[float]:
        seed = subject.predictor.settings.seed
        for level in LEVELS:
            yield subject.score(corrupt(subject.test, dict(chosen), level, seed))

    def _open(self) -> Subject:
        if self._subject is None:
            self._subject = Subject.load(self._run, self._root)
            for place, name in enumerate(self._subject.data.modalities):
                try:
                    self._corruptions[place] = Corruption.of(name, self._subject.train, place)
                except ConfigError as error:
                    self._reasons[name] = str(error)
        return self._subject
