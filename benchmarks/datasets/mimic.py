"""MIMIC-IV as the I2MoE paper uses it: laboratory values, notes and codes; death within a year.

File names, row order and split are the released loader's (``src/common/datasets/mimic.py``).
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from i2moe_plugin.benchmarks.data.base import ArraySplit, SplitName
from i2moe_plugin.benchmarks.data.cards import Card, File, Key
from i2moe_plugin.benchmarks.data.files import FileDataset
from i2moe_plugin.benchmarks.data.id_splits import SPLIT_KEYS, listed_rows, write_split
from i2moe_plugin.benchmarks.data.registry import register_dataset
from i2moe_plugin.benchmarks.data.samples import writing_sample
from i2moe_plugin.benchmarks.encoders import EncoderSettings, feature_encoder
from i2moe_plugin.benchmarks.formats.readers import (
    numbers,
    read_csv,
    read_tensor,
    same_length,
)
from i2moe_plugin.errors import DatasetError
from i2moe_plugin.tasks import Classification

CLASS_WEIGHTS = (0.25, 0.75)
PHYSIONET = (
    "Make an account at https://physionet.org, become a credentialed user "
    "(https://physionet.org/settings/credentialing/), do the CITI course that PhysioNet asks for "
    "(https://physionet.org/about/citi-course/), and sign the data use agreement on the data's page"
)


@register_dataset("mimic")
class MIMIC(FileDataset):
    """Three feature vectors a patient; dies within one year, or not.

    Features are as published; a missing value (NaN) is 0, as in the released loader.

    Args:
        root: the folder; data/mimic if not told.

    Raises:
        DatasetError: missing or damaged files, tensors whose rows are not those of labels.csv,
            labels other than 0 and 1, or an id twice.
    """

    card = Card(
        title="MIMIC-IV: one-year mortality from laboratory values, notes and codes",
        source="Johnson et al., MIMIC-IV v3.1, PhysioNet; preprocessed as in the I2MoE paper, "
        "appendix E.4",
        licence="PhysioNet Credentialed Health Data License 1.5.0",
        citation="Johnson et al. MIMIC-IV, a freely accessible electronic health record dataset. "
        "Scientific Data 10, 2023.",
        files=(
            File(
                "labels.csv",
                "one patient a row, in the tensors' order",
                (
                    Key("subject_id", ("N",), "text", "MIMIC-IV's number of the patient"),
                    Key("one_year_mortality", ("N",), "text", "1: died within a year; else 0"),
                ),
            ),
            File("lab_x.pt", "laboratory values", (Key("", ("N", "L"), "number", "features"),)),
            File("note_x.pt", "clinical notes", (Key("", ("N", "T"), "number", "features"),)),
            File("code_x.pt", "diagnosis codes", (Key("", ("N", "C"), "number", "features"),)),
            File(
                "PTID_splits_mimic.json",
                "the patients of each split",
                tuple(Key(key, (name,), "text", "subject_ids") for name, key in SPLIT_KEYS.items()),
            ),
        ),
        splits="the id lists of PTID_splits_mimic.json, about 70/15/15 % of 9,003 patients; the "
        "lists and the tensors' widths are not published",
        how_to_get=f"{PHYSIONET}, https://physionet.org/content/mimiciv/3.1/ (and its notes, "
        "https://physionet.org/content/mimic-iv-note/). Make the tensors as appendix E.4 of the "
        "I2MoE paper (https://arxiv.org/abs/2505.19190) says; neither they nor the split is "
        "published. Put all five files into one folder.",
        access="agreement",
    )
    modalities = ("lab", "note", "code")

    def __init__(self, root: str | Path | None = None) -> None:
        super().__init__(root)
        path = self.folder / "labels.csv"
        table = read_csv(path, ("subject_id", "one_year_mortality"))
        ids = [cell.strip() for cell in table["subject_id"]]
        labels = numbers(path, "one_year_mortality", table["one_year_mortality"])
        wrong = sorted(set(labels.tolist()) - {0.0, 1.0}, key=str)
        if wrong:
            raise DatasetError(f"{path}: one_year_mortality is 0 or 1; it holds {wrong[:5]}.")
        self._labels = torch.from_numpy(labels.astype(np.int64))
        columns = [_features(self.folder / f"{name}_x.pt") for name in self.modalities]
        same_length(
            self.folder,
            {
                "labels.csv": labels,
                **{f"{n}_x.pt": c for n, c in zip(self.modalities, columns, strict=True)},
            },
        )
        self._columns = [torch.from_numpy(column) for column in columns]
        path = self.folder / "PTID_splits_mimic.json"
        self._set_splits(listed_rows(path, {i: row for row, i in enumerate(ids)}), ids)

    @property
    def task(self) -> Classification:
        """Binary, with the paper's class weights in the loss."""
        return Classification(2, class_weights=CLASS_WEIGHTS)

    @property
    def class_names(self) -> list[str]:
        return ["survived", "died"]

    def split(self, name: SplitName) -> ArraySplit:
        rows = torch.from_numpy(self._rows[name])
        return ArraySplit([column[rows] for column in self._columns], self._labels[rows])

    def labels(self, name: SplitName) -> NDArray[Any]:
        return self._labels.numpy()[self._rows[name]]

    def features(self, name: SplitName) -> NDArray[Any]:
        return np.concatenate([column.numpy()[self._rows[name]] for column in self._columns], 1)

    def encoders(self, settings: EncoderSettings) -> list[nn.Module]:
        """Patch embeddings for token backbones, as in the released code; else MLPs."""
        return [feature_encoder(column.shape[1], settings) for column in self._columns]

    @classmethod
    def write_sample(cls, folder: Path, seed: int = 0, count: int = 800) -> None:
        """Draw patients in the published format.

        Each modality has evidence of its own, all share some, and the signs of a value of the
        laboratory and one of the notes matter only together.
        """
        draw = np.random.default_rng(seed)
        shared, own = draw.normal(size=count), draw.normal(size=(3, count))
        signs = draw.choice([-1.0, 1.0], size=(2, count))
        risk = shared + 0.8 * own.sum(0) + 1.5 * signs.prod(0) + 0.5 * draw.normal(size=count)
        label = (risk > np.quantile(risk, 0.7)).astype(np.int64)
        ids = np.sort(draw.choice(np.arange(10_000_000, 20_000_000), count, replace=False))
        with writing_sample(folder, "MIMIC-IV", seed) as aside:
            for place, (name, width) in enumerate((("lab", 48), ("note", 96), ("code", 64))):
                values = draw.normal(size=(count, width)).astype(np.float32)
                values[:, 0] += 1.5 * own[place]
                values[:, 1] += 1.5 * shared
                if place < 2:
                    values[:, 2:5] += 1.5 * signs[place, :, None]
                if name == "lab":  # what was not measured
                    values[:, 5:][draw.random((count, width - 5)) < 0.02] = np.nan
                torch.save(torch.from_numpy(values), aside / f"{name}_x.pt")
            with (aside / "labels.csv").open("w", encoding="utf-8", newline="") as file:
                table = csv.writer(file, lineterminator="\n")
                table.writerow(["subject_id", "one_year_mortality"])
                table.writerows(zip(ids.tolist(), label.tolist(), strict=True))
            write_split(aside / "PTID_splits_mimic.json", ids.tolist(), draw)


get_dataloader = MIMIC.get_dataloader


def _features(path: Path) -> NDArray[np.float32]:
    """A tensor [N, F] as float32, with 0 where it is NaN."""
    values = read_tensor(path)
    if values.ndim != 2 or not values.shape[1] or values.dtype.kind not in "fiub":
        raise DatasetError(
            f"{path}: expected numbers [N, F], not {values.dtype} {list(values.shape)}."
        )
    with np.errstate(over="ignore"):  # of damaged numbers, which are looked for
        values = values.astype(np.float32)
    if np.isinf(values).any():
        raise DatasetError(f"{path}: holds infinite or huge values.")
    return np.where(np.isnan(values), np.float32(0), values)
