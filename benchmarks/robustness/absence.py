"""What a run is worth where only some of its modalities are there at test time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import combinations
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch

from i2moe_plugin.benchmarks.attribution.kept import all_kept
from i2moe_plugin.benchmarks.data.batches import IncompleteColumn, SplitDataset
from i2moe_plugin.benchmarks.robustness.curves import headline
from i2moe_plugin.benchmarks.robustness.subject import FOLDER, Subject, kept_beside, numbers
from i2moe_plugin.benchmarks.run.store import Run
from i2moe_plugin.errors import ConfigError
from i2moe_plugin.evidence import Evidence
from i2moe_plugin.incomplete import rows_with
from i2moe_plugin.interactions.masking import create_masking

Fill = Literal["own", "mean", "zero"]
FILLS: tuple[Fill, ...] = get_args(Fill)
#: With more modalities than these, of subsets only all, those without one, and single ones.
MOST_FOR_ALL = 6
FORMAT = 2
JOINED = " + "


def present_subsets(modalities: int) -> list[tuple[int, ...]]:
    """List the subsets of modalities that are looked at, the whole first, then by size.

    >>> present_subsets(2), len(present_subsets(3)), len(present_subsets(8))
    ([(0, 1), (0,), (1,)], 7, 17)
    """
    sizes = range(modalities, 0, -1)
    if modalities > MOST_FOR_ALL:
        sizes = [modalities, modalities - 1, 1]  # type: ignore[assignment]
    return [subset for size in sizes for subset in combinations(range(modalities), size)]


def measure_absence(
    run: Run,
    fill: Fill = "own",
    root: str | Path | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> dict[str, Any]:
    """Test a run with each subset of its modalities; computed once and kept.

    Args:
        run: the run.
        fill: what stands for an absent modality's latent: ``own``, the method's own way (zeros for
            vanilla, the masking of I2MoE and its variants, the models of the others for evidence);
            ``mean``, the mean latent over training samples; ``zero``.
        root: where its data set lies, if it was moved.
        advance: called with 1 when it is done.

    Returns:
        ``metric``; ``fill``, in words; of each subset, named by its modalities, ``values``, and
        ``bare``: how many test samples have none of it.

    Raises:
        ConfigError: a fill that there is not.
        DatasetError, RunError: see :meth:`Subject.load`.
        TrainingError: a prediction is not finite.
    """
    if fill not in FILLS:
        raise ConfigError(f"fill is one of {', '.join(FILLS)}, not {fill!r}.")

    def compute() -> dict[str, Any]:
        subject = Subject.load(run, root)
        words = _fill(subject, fill)
        names = subject.data.modalities
        every = range(len(names))
        values = {
            JOINED.join(names[place] for place in subset): subject.score(
                absent=[place for place in every if place not in subset]
            )
            for subset in present_subsets(len(names))
        }
        bare = {
            JOINED.join(names[place] for place in subset): without_any(subject.test, subset)
            for subset in present_subsets(len(names))
        }
        return {"filled_by": words, "values": values, "bare": bare}

    record = kept_beside(run, "absence", {"fill": fill, "absence": FORMAT}, compute)
    advance(1)
    return _as_measured(run, record)


def kept_absence(run: Run, fill: Fill = "own") -> dict[str, Any] | None:
    """Return what :func:`measure_absence` kept of a run before; computes nothing.

    Returns:
        None where nothing is kept, or it is damaged.
    """
    for record in all_kept(run, "absence", FOLDER):
        with suppress(KeyError, TypeError, ValueError, AttributeError):
            if (record["key"]["fill"], record["key"]["absence"]) == (fill, FORMAT):
                return _as_measured(run, record)
    return None


def _as_measured(run: Run, record: Mapping[str, Any]) -> dict[str, Any]:
    values = dict(zip(record["values"], numbers(record["values"].values()), strict=True))
    bare = {str(name): int(count) for name, count in record["bare"].items()}
    return {
        "metric": headline(run),
        "fill": str(record["filled_by"]),
        "values": values,
        "bare": bare,
    }


def without_any(split: SplitDataset, subset: Sequence[int]) -> int:
    """Count the samples of a split that lack each of these modalities."""
    columns = [split.columns[place] for place in subset]
    missing = [one.missing[split.rows] for one in columns if isinstance(one, IncompleteColumn)]
    if len(missing) < len(columns):
        return 0
    return int(np.logical_and.reduce(missing).sum())


def _fill(subject: Subject, fill: Fill) -> str:
    """Choose what stands for an absent modality, and say it."""
    model = subject.predictor.trainer.model.eval()
    if isinstance(model, Evidence):
        return "nothing: predicted by the models of the modalities that are there"
    if fill == "own":
        masking = getattr(model, "masking", None)
        return "zeros (own)" if masking is None else f"{subject.predictor.settings.masking} (own)"
    masking = create_masking(fill, model.latents)
    trainer = subject.predictor.trainer
    masking.to(trainer.fabric.device)
    if fill == "mean":
        with torch.no_grad():
            for *inputs, _ in trainer.fabric.to_device(_tuples(subject)):
                # What stands for what a sample lacks is no latent of a training sample.
                masking.observe(*model.encode(inputs).of_rows(rows_with(inputs)))
    model.fill_absent_by(masking)
    return "mean latent over training samples" if fill == "mean" else "zeros"


def _tuples(subject: Subject) -> Sequence[Any]:
    return [tuple(batch) for batch in subject.batches(subject.train)]
