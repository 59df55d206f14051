"""A finished run, opened again with its model and its data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from i2moe_plugin.attribution.tokens import TokenModel, Tokens, mean_tokens
from i2moe_plugin.benchmarks.data.batches import IncompleteColumn
from i2moe_plugin.benchmarks.data.layouts import Layout
from i2moe_plugin.benchmarks.data.open import OpenedDataset
from i2moe_plugin.benchmarks.run.saved import SavedModel
from i2moe_plugin.benchmarks.run.store import Run
from i2moe_plugin.benchmarks.run.trained import data_of, rebuild
from i2moe_plugin.errors import ConfigError, RunError, did_you_mean

#: How far outputs may lie from those that the run stored, of the largest of them.
TOLERANCE = 1e-2
BATCH = 64
FILLS = ("mean", "zero")


@dataclass(frozen=True, eq=False)
class TrainedRun:
    """A run's model, and the test samples it is asked about.

    Attributes:
        run: the run.
        data: its data set.
        model: its model, on the CPU.
    """

    run: Run
    data: OpenedDataset
    model: TokenModel

    @classmethod
    def open(cls, run: Run, root: str | Path | None = None) -> TrainedRun:
        """Open a run again.

        Args:
            run: a finished run.
            root: where its data set lies; where it lay when the run was made by default.

        Raises:
            RunError: weights that are damaged or of another model.
            ConfigError: a run whose experts take vectors.
            DatasetError: the data set is not at hand, or has other samples than the run was tested
                on.
        """
        saved = SavedModel.of(run)
        data = data_of(saved, None if root is None else str(root))
        model = rebuild(saved, data.prepare(), data.task)
        return cls(run, data, TokenModel(model, saved.scale))

    @cached_property
    def ids(self) -> list[str]:
        """The ids of the test samples."""
        return self.data.sample_ids("test")

    @cached_property
    def whole(self) -> NDArray[np.bool_]:
        """Which test samples have every modality, [N]; what stands for a modality is noise."""
        split = self._test
        gone = [
            column.missing[split.rows]
            for column in split.columns
            if isinstance(column, IncompleteColumn)
        ]
        return ~np.logical_or.reduce([np.zeros(len(split), dtype=bool), *gone])

    @property
    def _test(self) -> Any:
        return self.data.prepare("cpu").loader("test", batch_size=1).dataset

    @cached_property
    def fill(self) -> list[Tensor]:
        """The training data's mean token of each modality, [D]."""
        loader = self.data.prepare("cpu").loader("train", batch_size=BATCH)
        return mean_tokens(self.model, loader)

    def filled_by(self, fill: str) -> list[Tensor]:
        """What stands for an absent token of each modality: its ``mean`` token, or ``zero``, [D].

        Raises:
            ConfigError: another word.
        """
        if fill not in FILLS:
            raise ConfigError(
                f"fill must be one of {', '.join(FILLS)}, not {fill!r}.{did_you_mean(fill, FILLS)}"
            )
        if fill == "mean":
            return self.fill
        return [torch.zeros(spec.dim) for spec in self.model.model.latents]

    def rows(self, ids: Sequence[str]) -> list[int]:
        """The places of test samples.

        Raises:
            ConfigError: an id that there is not.
        """
        place = {name: row for row, name in enumerate(self.ids)}
        for name in ids:
            if name not in place:
                raise ConfigError(
                    f"no test sample {name!r}.{did_you_mean(name, place)} For instance "
                    f"{', '.join(self.ids[:3])}."
                )
        return [place[name] for name in ids]

    def tokens(self, rows: Sequence[int]) -> Tokens:
        """The tokens of test samples.

        Raises:
            ConfigError: one of them lacks a modality.
            RunError: the model does not say of them what the run stored.
        """
        lacking = [self.ids[row] for row in rows if not self.whole[row]]
        if lacking:
            others = [name for name, has in zip(self.ids, self.whole, strict=True) if has][:3]
            raise ConfigError(
                f"the sample {lacking[0]!r} lacks a modality, and what stands in its place is "
                "drawn anew each time: there are no tokens to explain by. "
                + (
                    f"Others have all, for instance {', '.join(others)}."
                    if others
                    else "So do all."
                )
            )
        *inputs, _ = self._test.__getitems__(list(rows))
        special = self._special(rows, inputs)
        tokens = self.model.encode(inputs, special)
        self._check(rows, tokens)
        return tokens

    def layouts(self, row: int) -> list[Layout | None]:
        """What a sample's tokens stand for."""
        return self.data.layouts("test", row)

    def _special(self, rows: Sequence[int], inputs: Sequence[Any]) -> list[Tensor | None]:
        layouts = [self.layouts(row) for row in rows]
        found: list[Tensor | None] = []
        for m, x in enumerate(inputs):
            own = [layout[m] for layout in layouts]
            if any(layout is None for layout in own):
                found.append(None)
                continue
            width = (x[0] if isinstance(x, (tuple, list)) else x).shape[1]
            mask = torch.zeros(len(rows), width, dtype=torch.bool)
            for place, layout in enumerate(own):
                assert layout is not None
                there = torch.from_numpy(layout.candidates)
                mask[place, : len(there)] = ~there
            found.append(mask)
        return found

    def _check(self, rows: Sequence[int], tokens: Tokens) -> None:
        """Compare what the model says with what was stored when it was tested."""
        order = np.argsort(rows)
        stored: NDArray[Any] = self.run.outputs("prediction", rows=np.asarray(rows)[order])[
            "prediction"
        ]
        found = []
        with torch.no_grad():
            for _, part in tokens.chunks(BATCH):
                found.append(self.model.outputs("mixture", part.latents, part.padding))
        said = torch.cat(found).numpy()[order]
        scale = self.model.scale
        if scale is not None:  # beside a large mean, everything would be near enough
            said, stored = (
                scale.standardise(torch.from_numpy(each.astype(np.float64))).numpy()
                for each in (said, stored)
            )
        furthest = float(np.abs(said - stored).max())
        if not furthest <= TOLERANCE * max(1.0, float(np.abs(stored).max())):
            raise RunError(
                f"{self.run.path}: its model now says something else than it said when it was "
                f"tested (by up to {furthest:.3g}): the data, the encoders or the program have "
                "changed. Train it again."
            )
