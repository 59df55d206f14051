"""ADNI as the I2MoE paper uses it: brain volumes, genotypes, clinical and biospecimen tables.

File names and contents are the released loader's (``src/common/datasets/adni.py``) and those of
Flex-MoE's preprocessing, which makes them. Everything fitted (the genotypes' modes and ranges, the
volumes' mean and deviation) is fitted on training ids alone; the release fits on all.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from i2moe_plugin.benchmarks.data.cards import Card, File, Key
from i2moe_plugin.benchmarks.data.contents import Contents, Later, Modality
from i2moe_plugin.benchmarks.data.open import dataloader_of
from i2moe_plugin.benchmarks.data.registry import register_dataset
from i2moe_plugin.benchmarks.data.source import DataFolder
from i2moe_plugin.benchmarks.data.splits import LISTED, listed
from i2moe_plugin.benchmarks.datasets.samples import adni as drawn
from i2moe_plugin.benchmarks.encoders import feature_encoder, volume_encoder
from i2moe_plugin.benchmarks.formats.anndata import Matrix, read_h5ad
from i2moe_plugin.benchmarks.formats.arrays import read_npy
from i2moe_plugin.benchmarks.formats.nifti import read_volume
from i2moe_plugin.benchmarks.formats.reading import (
    Rows,
    check_array,
    check_finite,
    check_ids,
    same_length,
    single,
)
from i2moe_plugin.benchmarks.formats.tables import numbers, read_csv, read_lines
from i2moe_plugin.errors import DatasetError
from i2moe_plugin.tasks import Classification

DIAGNOSES = ("cognitively normal", "mild cognitive impairment", "dementia")
TEMPLATE = "image/BLSA_SPGR+MPRAGE_averagetemplate_muse_seg_DS222.nii.gz"
#: The file of each modality.
FILES = {
    "image": "image/ADNI_G.npy",
    "genomic": "genomic/genomic_merged.h5ad",
    "clinical": "clinical/clinical_merged_mean.csv",
    "biospecimen": "biospecimen/biospecimen_merged_mean.csv",
}
MODALITIES = tuple(FILES)
GREY = 150  # grey matter's value in the template
MISSING = -2.0  # what stands for every value of a modality that a subject lacks
BLOCK = 4096  # columns at once, while modes and ranges are looked for
#: Clinical columns that tell when symptoms began or dementia was diagnosed.
TELLING = ("PTCOGBEG", "PTADDX", "PTADBEG")

CARD = Card(
    title="ADNI: diagnosis from brain volumes, genotypes, clinical and biospecimen tables",
    source="Alzheimer's Disease Neuroimaging Initiative, https://adni.loni.usc.edu; "
    "preprocessed as https://github.com/UNITES-Lab/Flex-MoE/tree/main/data/adni says",
    licence="ADNI Data Use Agreement",
    citation="Petersen et al. Alzheimer's Disease Neuroimaging Initiative (ADNI): clinical "
    "characterization. Neurology 74, 2010.",
    files=(
        File(
            "label.csv",
            "one subject a row",
            (
                Key("PTID", ("N",), "text", "the subject, as 002_S_0295"),
                Key("DIAGNOSIS", ("N",), "text", "1 normal, 2 impaired, 3 dementia"),
            ),
        ),
        File(
            "PTID_splits.json",
            "the subjects of each split",
            tuple(Key(key, (name,), "text", "PTIDs") for name, key in LISTED.items()),
        ),
        File(
            "image/ADNI_G.npy",
            "RAVENS maps: grey matter's density, one scan a row",
            (Key("", ("S", "V"), "f", "voxels of the template's grey matter"),),
        ),
        File("image/ADNI_subj.txt", "each scan's name, a line: PTID_date"),
        File(
            TEMPLATE,
            "the template's regions, NIfTI-1, 91 x 109 x 91 voxels of 2 mm; 150 is grey matter",
            sha256="ee7ed74c1381ad204d534207d52dd77d0337d5ec1917df2f541151252c27a633",
        ),
        File(
            "genomic/genomic_merged.h5ad",
            "AnnData: genotypes, one subject a row",
            (
                Key("X", ("G", "P"), "number", "copies of an allele; NaN: missing", True),
                Key("X/data", None, "number", "the same as a sparse matrix", True),
                Key("obs/_index", ("G",), "text", "PTIDs", True),
            ),
        ),
        File(
            "clinical/clinical_merged_mean.csv",
            "one subject a row: history, examination, demography, medication, vital signs",
            (Key("PTID", ("C",), "text", "the subject; other columns are features"),),
        ),
        File(
            "biospecimen/biospecimen_merged_mean.csv",
            "one subject a row: APOE genotype, biomarkers of cerebrospinal fluid",
            (Key("PTID", ("B",), "text", "the subject; other columns are features"),),
        ),
    ),
    splits="the id lists of PTID_splits.json, about 70/15/15 % of the 2,380 subjects with all "
    "modalities; the lists are not published",
    sizes=(("V", 84090),),
    how_to_get="Apply at https://ida.loni.usc.edu/collaboration/access/appApply.jsp?"
    "project=ADNI (see https://adni.loni.usc.edu), download what "
    "https://github.com/UNITES-Lab/Flex-MoE/tree/main/data/adni lists for each modality, and "
    "run its preprocessing; the template lies there too, in image/. PTID_splits.json (lists "
    "training, validation and testing of PTIDs) is not published: write your own.",
    access="request",
)


@register_dataset("adni", card=CARD, modalities=MODALITIES, draw=drawn.write)
def read(folder: DataFolder, common_ids: bool = True) -> Contents:
    """Four modalities a subject; cognitively normal, mild cognitive impairment, or dementia.

    The volume [X, Y, Z] (91 x 109 x 91 as published) holds the subject's latest scan in the
    template's grey matter and 0 elsewhere, standardised; its encoder is the paper's 3-D CNN.
    Genotypes are scaled to [-1, 1]; a missing one is the column's most frequent. The tables come
    scaled in their files; an empty cell is the column's mean. Volumes and genotypes are read when
    asked for.

    Args:
        folder: as Flex-MoE's preprocessing leaves it.
        common_ids: take the subjects that have all four modalities alone, as the paper; otherwise
            -2 stands for every value of what a subject lacks.

    Raises:
        DatasetError: damaged files, rows that do not fit the subjects, a diagnosis other than 1, 2
            and 3, or nibabel is not installed.
    """
    ids, labels = _read_labels(folder / "label.csv")
    grey: NDArray[np.bool_] = read_volume(folder / TEMPLATE) == GREY  # [X, Y, Z]
    if not grey.any():
        raise DatasetError(f"{folder / TEMPLATE}: no voxel has the value {GREY}, grey matter's.")
    maps, scans = _read_image(folder, int(grey.sum()))
    genotypes, genotyped = read_h5ad(folder / FILES["genomic"])
    tables = [_read_table(folder / FILES[name]) for name in MODALITIES[2:]]
    subjects = [genotyped, *(who for _, who, _ in tables)]
    rows_of = [scans, *({one: row for row, one in enumerate(who)} for who in subjects)]
    #: [N, 4]: the row of each labelled subject in each modality's file; -1 where it is not.
    places = np.array([[where.get(one, -1) for where in rows_of] for one in ids])
    used = (np.all if common_ids else np.any)(places >= 0, axis=1)
    known = {one: row for row, one in enumerate(ids) if used[row]}
    rows, notes = listed(folder / "PTID_splits.json", known)
    splits = folder.split(rows, ids, classes=labels)

    def training(modality: int) -> NDArray[np.int64]:
        found: NDArray[np.int64] = places[splits["train"], modality]
        found = found[found >= 0]
        if not len(found):
            raise DatasetError(f"{folder}: no training subject has {MODALITIES[modality]} data.")
        return found

    def modality(number: int, values: Rows, fit: Any, encoder: Any, names: Any = ()) -> Modality:
        name = MODALITIES[number]
        where = str(folder / FILES[name])
        fitted = Later(lambda: fit(where, values, training(number)))
        column = Placed(where, values, places[:, number], fitted)
        return Modality(name, column, encoder, names, prepare=fitted.prepare)

    return Contents(
        splits=splits,
        modalities=[
            modality(0, maps, partial(fit_volumes, grey), volume_encoder),
            modality(1, genotypes, fit_genotypes, partial(feature_encoder, genotypes.shape[1])),
            *(
                modality(number, values, fit_table, partial(feature_encoder, len(names)), names)
                for number, (values, _, names) in enumerate(tables, start=2)
            ),
        ],
        target=torch.from_numpy(labels),
        task=Classification(len(DIAGNOSES), auroc="ovr"),
        class_names=DIAGNOSES,
        notes=notes,
        decisive=lambda: {"common_ids": common_ids},
    )


get_dataloader = dataloader_of("adni")


@dataclass(frozen=True)
class Placed:
    """A modality's column; subjects have the place -1 where its file lacks them."""

    where: str
    values: Rows
    places: NDArray[np.int64]
    transform: Callable[[Any], Any]

    def __getitem__(self, rows: NDArray[np.int64]) -> Tensor:
        places = self.places[rows]
        with np.errstate(over="ignore", invalid="ignore"):  # of damaged numbers, found below
            # Where there is none, row 0 stands in.
            values = np.asarray(self.values[np.maximum(places, 0)], np.float64)
            batch = np.array(self.transform(values))
            batch[places < 0] = MISSING
            batch = single(batch)
        check_finite(self.where, batch)
        return torch.from_numpy(batch)


@dataclass(frozen=True)
class Volumes:
    """Grey matter [B, V] as standardised volumes [B, X, Y, Z]; 0 is what is no grey matter."""

    grey: NDArray[np.bool_]
    mean: float
    deviation: float

    def __call__(self, values: NDArray[np.float64]) -> NDArray[np.float32]:
        nothing = -self.mean / self.deviation
        volumes = np.full((len(values), self.grey.size), nothing, np.float32)
        volumes[:, self.grey.ravel()] = (values - self.mean) / self.deviation
        return volumes.reshape(-1, *self.grey.shape)


def fit_volumes(
    grey: NDArray[np.bool_], where: str, maps: Rows, rows: NDArray[np.int64]
) -> Volumes:
    """Mean and deviation of the training subjects' grey matter."""
    sums = np.zeros(2)
    with np.errstate(over="ignore"):  # of damaged numbers
        for row in rows:
            voxels = np.asarray(maps[row], np.float64)
            sums += voxels.sum(), np.square(voxels).sum()
    mean, square = sums / (len(rows) * maps.shape[1])
    if not np.isfinite(square):
        raise DatasetError(f"{where}: holds NaN, infinite or huge values.")
    return Volumes(grey, float(mean), float(np.sqrt(max(square - mean**2, 0.0))) or 1.0)


@dataclass(frozen=True)
class Genotypes:
    """Copies of alleles [B, P], filled with modes and scaled; [P] each."""

    mode: NDArray[Any]
    scale: NDArray[Any]
    offset: NDArray[Any]

    def __call__(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        found: NDArray[np.float64] = np.where(np.isnan(values), self.mode, values)
        return found * self.scale + self.offset


def fit_genotypes(where: str, values: Matrix, rows: NDArray[np.int64]) -> Genotypes:
    """Return each genotype's mode and range on training subjects, some columns at a time."""
    from sklearn.preprocessing import MinMaxScaler

    width = values.shape[1]
    parts = []
    for start in range(0, width, BLOCK):
        block = values.columns(start, min(start + BLOCK, width))
        with np.errstate(over="ignore"):  # of damaged numbers
            block = block.astype(np.float32, copy=False)
        if np.isinf(block).any():
            raise DatasetError(f"{where}: X holds infinite or huge values.")
        block = block[rows]
        mode = modes(block)
        scaler = MinMaxScaler((-1, 1)).fit(np.where(np.isnan(block), mode, block))
        parts.append((mode, scaler.scale_, scaler.min_))
    return Genotypes(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def fit_table(_: str, values: NDArray[np.float64], rows: NDArray[np.int64]) -> Any:
    """Return what puts the training subjects' mean into empty cells."""
    from sklearn.impute import SimpleImputer

    return SimpleImputer(keep_empty_features=True).fit(values[rows]).transform


def modes(values: NDArray[Any]) -> NDArray[Any]:
    """The most frequent value of each column of [N, F], the least of equals; NaN does not count.

    For all columns at once: scikit-learn's imputer takes a millisecond for each of 300,000.
    A column of NaN alone gives 0.
    """
    ordered = np.sort(values, axis=0)  # NaN come last
    rows = np.arange(len(ordered))[:, None]
    starts = np.where(ordered != np.roll(ordered, 1, axis=0), rows, 0)
    counts = np.where(np.isnan(ordered), 0, rows - np.maximum.accumulate(starts, axis=0) + 1)
    found: NDArray[Any] = np.take_along_axis(ordered, counts.argmax(0)[None], axis=0)[0]
    return np.nan_to_num(found)


def _read_image(folder: DataFolder, voxels: int) -> tuple[Rows, dict[str, int]]:
    """Return the maps [S, V], and the row of each subject's latest scan."""
    path, listed_scans = folder / FILES["image"], folder / "image/ADNI_subj.txt"
    maps = read_npy(path)
    where = f"{path}, one column for each voxel of grey matter in {TEMPLATE},"
    check_array(where, maps, ("S", voxels), kinds="f")
    scans = _read_scans(listed_scans)
    same_length(path.parent, {path.name: maps, listed_scans.name: np.array(scans)})
    latest: dict[str, int] = {}
    for row, (subject, date) in enumerate(scans):
        if subject not in latest or date > scans[latest[subject]][1]:
            latest[subject] = row
    return maps, latest


def _read_scans(path: Path) -> list[tuple[str, Any]]:
    """Return the subject and the date of each line, ``002_S_0295_2006-04-18``."""
    import pandas as pd

    lines = read_lines(path, "list of scans")
    parts = [re.fullmatch(r"([^_]+_[^_]+_[^_]+)_(?:.*_)?([^_]+)", line) for line in lines]
    found = [part for part in parts if part is not None]
    if len(found) < len(lines):
        wrong = lines[parts.index(None)]
        raise DatasetError(f"{path}: {wrong[:60]!r} is not of the form PTID_date.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # dates of no one form, which pandas would guess
            dates = pd.to_datetime([part[2] for part in found])
    except (ValueError, UserWarning) as error:
        raise DatasetError(f"{path}: not a readable list of scans ({error}).") from error
    return [(part[1], date) for part, date in zip(found, dates, strict=True)]


def _read_labels(path: Path) -> tuple[list[str], NDArray[np.int64]]:
    """Return the subjects, and their diagnoses from 0 to 2."""
    table = read_csv(path, ("PTID", "DIAGNOSIS"))
    ids = [cell.strip() for cell in table["PTID"]]
    check_ids(str(path), ids)
    values = numbers(path, "DIAGNOSIS", table["DIAGNOSIS"])
    wrong = sorted({str(value) for value in values[~np.isin(values, (1, 2, 3))].tolist()})
    if wrong:
        raise DatasetError(f"{path}: DIAGNOSIS is 1, 2 or 3; it holds {', '.join(wrong[:5])}.")
    return ids, values.astype(np.int64) - 1


def _read_table(path: Path) -> tuple[NDArray[np.float64], list[str], tuple[str, ...]]:
    """Return a table's values [N, F], NaN where a cell is empty; its subjects; its columns' names.

    The columns that tell the diagnosis are left out.
    """
    table = read_csv(path)
    first, *columns = table
    ids = [cell.strip() for cell in table[first]]
    check_ids(str(path), ids)
    names = tuple(name for name in columns if not name.startswith(TELLING))
    if not ids or not names:
        raise DatasetError(f"{path}: has no {'subjects' if names else 'features'}.")
    values = np.stack([_column(path, name, table[name]) for name in names], 1)
    return values, ids, names


def _column(path: Path, name: str, cells: Sequence[str]) -> NDArray[np.float64]:
    truths = {"True": "1", "False": "-1"}
    values = numbers(path, name, [truths.get(c, c) for c in cells], missing=float("nan"))
    if np.isinf(values).any():
        raise DatasetError(f"{path}: column {name} holds infinite values.")
    return np.asarray(values)
