"""Samples for a trained model: of new files, or of the data set that it was trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from i2moe_plugin.benchmarks.data.batches import SplitDataset
from i2moe_plugin.benchmarks.data.contents import Learned, Modality, check_some_there, lacking
from i2moe_plugin.benchmarks.encoders import EncoderSettings
from i2moe_plugin.tasks import Classification, Task

#: A split of a data set, or all of them.
Part = Literal["train", "valid", "test", "all"]
#: A folder or a file; or each modality's values, by its name.
Source = str | Path | Mapping[str, Any]
#: Reads samples of a source (None: none at all) by what training taught a model of that task, with
#: classes of these names.
Reread = Callable[[Source | None, Part, Learned, Task, Sequence[str]], "Samples"]


@dataclass(frozen=True)
class Samples:
    """Samples as a trained model reads them.

    Attributes:
        ids: their names, in order.
        batches: batch size -> batches ``(x_1, ..., x_M, y)``, in order; ``y`` means nothing where
            there are no targets.
        encoders: settings -> untrained encoders of these batches.
        example: gives two samples as a batch, in the shapes that the model was built on.
        target: [N] or [N, ...], or None.
        unlabelled: the places of samples whose target is missing.
        incomplete: the modalities that some samples lack.
        notes: what must stand beside the predictions.
    """

    ids: Sequence[str]
    batches: Callable[[int], Iterable[Any]] = field(repr=False)
    encoders: Callable[[EncoderSettings], list[nn.Module]] = field(repr=False)
    example: Callable[[], list[Any]] = field(repr=False)
    target: NDArray[Any] | None = field(default=None, repr=False)
    unlabelled: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, int), repr=False)
    incomplete: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def samples_from(
    modalities: Sequence[Modality],
    rows: NDArray[np.int64],
    task: Task,
    target: Tensor | None,
    **facts: Any,
) -> Samples:
    """Return the samples of these rows.

    Args:
        modalities: in the order of training.
        rows: numbers of rows.
        task: of the model.
        target: of all rows, or None.
        **facts: the other attributes of :class:`Samples`.
    """
    check_some_there(modalities)
    stand_in = target
    if stand_in is None:
        count = int(rows.max(initial=-1)) + 1
        stand_in = torch.zeros(count, task.num_outputs)
        if isinstance(task, Classification):
            stand_in = torch.zeros(count, dtype=torch.long)
    data = SplitDataset([modality.column for modality in modalities], stand_in, rows)
    return Samples(
        batches=lambda batch_size: data.loader(batch_size=batch_size),
        encoders=lambda settings: [modality.encoder(settings) for modality in modalities],
        incomplete=lacking(modalities),
        target=None if target is None else target.numpy()[rows],
        **facts,
    )
