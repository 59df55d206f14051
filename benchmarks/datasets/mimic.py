"""MIMIC-IV as the I2MoE paper uses it: laboratory values, notes and codes; death within a year.

File names, row order and split are the released loader's (``src/common/datasets/mimic.py``).
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from i2moe_plugin.benchmarks.data.batches import Values
from i2moe_plugin.benchmarks.data.cards import Card, File, Key
from i2moe_plugin.benchmarks.data.contents import Contents, Modality
from i2moe_plugin.benchmarks.data.open import dataloader_of
from i2moe_plugin.benchmarks.data.registry import register_dataset
from i2moe_plugin.benchmarks.data.source import DataFolder
from i2moe_plugin.benchmarks.data.splits import LISTED, listed
from i2moe_plugin.benchmarks.datasets.samples import mimic as drawn
from i2moe_plugin.benchmarks.encoders import feature_encoder
from i2moe_plugin.benchmarks.formats.arrays import read_tensor
from i2moe_plugin.benchmarks.formats.reading import check_array, same_length, single
from i2moe_plugin.benchmarks.formats.tables import numbers, read_csv
from i2moe_plugin.errors import DatasetError
from i2moe_plugin.tasks import Classification

CLASS_WEIGHTS = (0.25, 0.75)  # the paper's, in the loss
MODALITIES = ("lab", "note", "code")
PHYSIONET = (
    "Make an account at https://physionet.org, become a credentialed user "
    "(https://physionet.org/settings/credentialing/), do the CITI course that PhysioNet asks for "
    "(https://physionet.org/about/citi-course/), and sign the data use agreement on the data's page"
)

CARD = Card(
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
            tuple(Key(key, (name,), "text", "subject_ids") for name, key in LISTED.items()),
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


@register_dataset("mimic", card=CARD, modalities=MODALITIES, draw=drawn.write)
def read(folder: DataFolder) -> Contents:
    """Three feature vectors a patient; dies within one year, or not.

    Features are as published; a missing value (NaN) is 0, as in the released loader. Encoders are
    patch embeddings for token backbones, as in the released code; else MLPs.

    Args:
        folder: with labels.csv, the three tensors and PTID_splits_mimic.json.

    Raises:
        DatasetError: damaged files, tensors whose rows are not those of labels.csv, labels other
            than 0 and 1, or an id twice.
    """
    path = folder / "labels.csv"
    table = read_csv(path, ("subject_id", "one_year_mortality"))
    ids = [cell.strip() for cell in table["subject_id"]]
    labels = numbers(path, "one_year_mortality", table["one_year_mortality"])
    wrong = sorted(set(labels.tolist()) - {0.0, 1.0}, key=str)
    if wrong:
        raise DatasetError(f"{path}: one_year_mortality is 0 or 1; it holds {wrong[:5]}.")
    tensors = {f"{name}_x.pt": _features(folder / f"{name}_x.pt") for name in MODALITIES}
    same_length(folder.path, {"labels.csv": labels, **tensors})
    rows, notes = listed(
        folder / "PTID_splits_mimic.json", {one: row for row, one in enumerate(ids)}
    )
    return Contents(
        splits=folder.split(rows, ids, classes=labels),
        modalities=[
            Modality(
                name,
                Values.in_memory(values, np.nan_to_num),
                partial(feature_encoder, values.shape[1]),
                tabular=True,
            )
            for name, values in zip(MODALITIES, tensors.values(), strict=True)
        ],
        target=torch.from_numpy(labels.astype(np.int64)),
        task=Classification(2, class_weights=CLASS_WEIGHTS),
        class_names=("survived", "died"),
        notes=notes,
    )


get_dataloader = dataloader_of("mimic")


def _features(path: Path) -> NDArray[np.float32]:
    """Return a tensor [N, F]."""
    values = read_tensor(path)
    check_array(str(path), values, ("N", "F"))
    values = single(values)
    if np.isinf(values).any():
        raise DatasetError(f"{path}: holds infinite or huge values.")
    return values
