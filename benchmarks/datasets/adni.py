"""ADNI as the I2MoE paper uses it: brain volumes, genotypes, clinical and biospecimen tables.

File names and contents are the released loader's (``src/common/datasets/adni.py``) and those of
Flex-MoE's preprocessing, which makes them. Everything fitted (the genotypes' modes and ranges, the
volumes' mean and deviation) is fitted on training ids alone; the release fits on all.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from i2moe_plugin.benchmarks.data.base import BatchSplit, SplitName
from i2moe_plugin.benchmarks.data.cards import Card, File, Key
from i2moe_plugin.benchmarks.data.files import FileDataset, single
from i2moe_plugin.benchmarks.data.id_splits import SPLIT_KEYS, listed_rows
from i2moe_plugin.benchmarks.data.preview import Preview, preview_of
from i2moe_plugin.benchmarks.data.registry import register_dataset
from i2moe_plugin.benchmarks.data.samples import writing_sample
from i2moe_plugin.benchmarks.datasets.samples import adni as adni_sample
from i2moe_plugin.benchmarks.datasets.samples.adni_files import (
    import_nibabel,
    read_labels,
    read_scans,
    read_table,
    read_template,
)
from i2moe_plugin.benchmarks.encoders import EncoderSettings, feature_encoder, volume_encoder
from i2moe_plugin.benchmarks.formats.anndata import read_h5ad
from i2moe_plugin.benchmarks.formats.readers import (
    Rows,
    check_finite,
    read_npy,
    same_length,
)
from i2moe_plugin.errors import ConfigError, DatasetError
from i2moe_plugin.tasks import Classification

DIAGNOSES = ["cognitively normal", "mild cognitive impairment", "dementia"]
TEMPLATE = "image/BLSA_SPGR+MPRAGE_averagetemplate_muse_seg_DS222.nii.gz"
MISSING = -2.0  # what stands for every value of a modality that a subject lacks
BLOCK = 4096  # columns at once, while modes and ranges are looked for


class Range(NamedTuple):
    """What genotypes are filled and scaled with; [F] each."""

    mode: NDArray[Any]
    scale: NDArray[Any]
    offset: NDArray[Any]


@register_dataset("adni")
class ADNI(FileDataset):
    """Four modalities a subject; cognitively normal, mild cognitive impairment, or dementia.

    The volume [X, Y, Z] (91 x 109 x 91 as published) holds the subject's latest scan in the
    template's grey matter and 0 elsewhere, standardised. Genotypes are scaled to [-1, 1]; a missing
    one is the column's most frequent. The tables come scaled in their files; an empty cell is the
    column's mean. Volumes and genotypes are read when asked for.

    Args:
        root: the folder; data/adni if not told.
        common_ids: take the subjects that have all four modalities alone, as the paper; otherwise
            -2 stands for every value of what a subject lacks.

    Raises:
        DatasetError: missing or damaged files, rows that do not fit the subjects, a diagnosis other
            than 1, 2 and 3, or nibabel is not installed.
    """

    card = Card(
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
                tuple(Key(key, (name,), "text", "PTIDs") for name, key in SPLIT_KEYS.items()),
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
    modalities = ("image", "genomic", "clinical", "biospecimen")

    def __init__(self, root: str | Path | None = None, common_ids: bool = True) -> None:
        if not isinstance(common_ids, bool):
            raise ConfigError(f"data.common_ids is true or false, not {common_ids!r}.")
        super().__init__(root)
        self.common_ids = common_ids
        ids, self._labels = read_labels(self.folder / "label.csv")
        self._grey = read_template(self.folder / TEMPLATE)
        self._maps, scans = self._read_image()
        self._genotypes, genotyped = read_h5ad(self.folder / "genomic/genomic_merged.h5ad")
        tables = [
            read_table(self.folder / name / f"{name}_merged_mean.csv")
            for name in self.modalities[2:]
        ]
        self._tables = [values for values, _, _ in tables]
        self._names = [names for _, _, names in tables]
        subjects = [genotyped, *(who for _, who, _ in tables)]
        places = [scans, *({i: row for row, i in enumerate(who)} for who in subjects)]
        #: [N, 4]: the row of each labelled subject in each modality's file; -1 where it is not.
        self._places = np.array([[where.get(i, -1) for where in places] for i in ids])
        here = self._places >= 0
        used = (np.all if common_ids else np.any)(here, axis=1)
        rows = {i: row for row, i in enumerate(ids) if used[row]}
        self._set_splits(listed_rows(self.folder / "PTID_splits.json", rows), ids)

    @property
    def task(self) -> Classification:
        """One of three diagnoses."""
        return Classification(len(DIAGNOSES), auroc="ovr")

    @property
    def class_names(self) -> list[str]:
        return list(DIAGNOSES)

    def prepare(self, device: torch.device | str = "cpu", progress: bool = False) -> None:
        """Fit on training ids, which reads all of their volumes and genotypes."""
        _ = self._volume_statistics, self._genotype_range, self._filled_tables

    def split(self, name: SplitName) -> BatchSplit:
        """Items (volume [X, Y, Z], genotypes [P], clinical [C], biospecimen [B], diagnosis)."""
        self.prepare()
        return _Subjects(self, self._rows[name])

    def show(self, name: SplitName, index: int) -> list[Preview]:
        """A slice through the volume's middle, genotypes, and tables with their columns' names."""
        *inputs, _ = self.split(name)[index]
        names = [[], [], *self._names]
        return [preview_of(*one) for one in zip(self.modalities, inputs, names, strict=True)]

    def labels(self, name: SplitName) -> NDArray[Any]:
        return self._labels[self._rows[name]]

    def encoders(self, settings: EncoderSettings) -> list[nn.Module]:
        """The paper's 3-D CNN for volumes; patch embeddings of the others, or MLPs for vectors."""
        widths = [self._genotypes.shape[1], *(table.shape[1] for table in self._tables)]
        return [volume_encoder(settings), *(feature_encoder(width, settings) for width in widths)]

    def _told(self) -> dict[str, Any]:
        return {"common_ids": self.common_ids}

    @classmethod
    def write_sample(cls, folder: Path, seed: int = 0, count: int = 300) -> None:
        """Draw subjects in the published format, with a template of 12 x 14 x 12 voxels."""
        import_nibabel()
        with writing_sample(folder, "ADNI", seed) as aside:
            adni_sample.write(aside, count, seed)

    def columns(self, subjects: NDArray[Any]) -> tuple[Tensor, ...]:
        """A batch of every modality, of these rows of label.csv."""
        places = self._places[subjects].T
        fit = self._genotype_range
        with np.errstate(over="ignore"):  # of damaged numbers, which are looked for below
            genes = _taken(self._genotypes, places[1])
            genes = np.where(np.isnan(genes), fit.mode, genes) * fit.scale + fit.offset
            tables = [_taken(t, p) for t, p in zip(self._filled_tables, places[2:], strict=True)]
            parts = [self._volumes(places[0]), genes, *tables]
            for part, where in zip(parts, places, strict=True):
                part[where < 0] = MISSING
            batch = tuple(single(part) for part in parts)
        for name, part in zip(self.modalities, batch, strict=True):
            check_finite(f"{self.folder / name}", part.numpy())
        return batch

    def _volumes(self, places: NDArray[Any]) -> NDArray[np.float32]:
        """Standardised volumes [B, X, Y, Z] of these rows of ADNI_G.npy."""
        mean, deviation = self._volume_statistics
        volumes = np.full((len(places), self._grey.size), -mean / deviation, np.float32)
        volumes[:, self._grey.ravel()] = (_taken(self._maps, places) - mean) / deviation
        return volumes.reshape(-1, *self._grey.shape)

    def _read_image(self) -> tuple[Rows, dict[str, int]]:
        """The maps [S, V], and the row of each subject's latest scan."""
        path = self.folder / "image/ADNI_G.npy"
        maps = read_npy(path)
        voxels = int(self._grey.sum())
        if maps.ndim != 2 or maps.dtype.kind != "f" or maps.shape[1] != voxels:
            raise DatasetError(
                f"{path}: expected floats [S, {voxels}], one column for each voxel of grey matter "
                f"in {TEMPLATE}; it holds {maps.dtype} {list(maps.shape)}."
            )
        listed = self.folder / "image/ADNI_subj.txt"
        scans = read_scans(listed)
        same_length(listed.parent, {"ADNI_G.npy": maps, "ADNI_subj.txt": np.array(scans)})
        latest: dict[str, int] = {}
        for row, (subject, date) in enumerate(scans):
            if subject not in latest or date > scans[latest[subject]][1]:
                latest[subject] = row
        return maps, latest

    def _training_places(self, modality: int) -> NDArray[Any]:
        places = self._places[self._rows["train"], modality]
        found: NDArray[Any] = places[places >= 0]
        if not len(found):
            raise DatasetError(
                f"{self.folder}: no training subject has {self.modalities[modality]} data."
            )
        return found

    @cached_property
    def _volume_statistics(self) -> tuple[float, float]:
        """Mean and deviation of the training subjects' grey matter."""
        rows = self._training_places(0)
        sums = np.zeros(2)
        with np.errstate(over="ignore"):  # of damaged numbers
            for row in rows:
                voxels = np.asarray(self._maps[row], np.float64)
                sums += voxels.sum(), np.square(voxels).sum()
        mean, square = sums / (len(rows) * self._maps.shape[1])
        if not np.isfinite(square):
            path = self.folder / "image/ADNI_G.npy"
            raise DatasetError(f"{path}: holds NaN, infinite or huge values.")
        return float(mean), float(np.sqrt(max(square - mean**2, 0.0))) or 1.0

    @cached_property
    def _genotype_range(self) -> Range:
        """Each genotype's mode and range on training subjects, some columns at a time."""
        from sklearn.preprocessing import MinMaxScaler

        path = self.folder / "genomic/genomic_merged.h5ad"
        rows, width = self._training_places(1), self._genotypes.shape[1]
        parts = []
        for start in range(0, width, BLOCK):
            block = self._genotypes.columns(start, min(start + BLOCK, width))
            with np.errstate(over="ignore"):  # of damaged numbers
                block = block.astype(np.float32, copy=False)
            if np.isinf(block).any():
                raise DatasetError(f"{path}: X holds infinite or huge values.")
            block = block[rows]
            mode = modes(block)
            scaler = MinMaxScaler((-1, 1)).fit(np.where(np.isnan(block), mode, block))
            parts.append((mode, scaler.scale_, scaler.min_))
        return Range(*(np.concatenate(part) for part in zip(*parts, strict=True)))

    @cached_property
    def _filled_tables(self) -> list[NDArray[Any]]:
        from sklearn.impute import SimpleImputer

        filled = []
        for place, values in enumerate(self._tables, start=2):
            imputer = SimpleImputer(keep_empty_features=True)
            filled.append(imputer.fit(values[self._training_places(place)]).transform(values))
        return filled


get_dataloader = ADNI.get_dataloader


class _Subjects(BatchSplit):
    """A split; batches are made by the data set."""

    def __init__(self, data: ADNI, rows: NDArray[Any]) -> None:
        self.data, self.rows = data, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, indices: list[int]) -> tuple[Any, ...]:
        subjects = self.rows[indices]
        labels = torch.from_numpy(self.data._labels[subjects])
        return (*self.data.columns(subjects), labels)


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


def _taken(values: Rows, places: NDArray[Any]) -> NDArray[Any]:
    """Rows of these numbers as float64; where there is none (-1), row 0 stands in."""
    return np.asarray(values[np.maximum(places, 0)], np.float64)
