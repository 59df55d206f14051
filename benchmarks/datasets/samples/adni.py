"""A small drawn data set in ADNI's format.

Each diagnosis has its own pattern in every modality, weakly; and in each, three subjects in ten
show the pattern of another diagnosis. So any modality alone often errs, and all together seldom.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from i2moe_plugin.benchmarks.datasets.samples.files import write_csv, write_id_lists
from i2moe_plugin.benchmarks.formats.hdf5_writing import writing_hdf5
from i2moe_plugin.benchmarks.formats.nifti import import_nibabel

VOXELS = (12, 14, 12)
GENOTYPES, CLINICAL, BIOSPECIMEN = 120, 24, 10
CONFUSED = 0.3
LACKING = 0.03  # of the subjects lack a modality, in each


def write(folder: Path, seed: int = 0, count: int = 300) -> None:
    """Write every file of so many subjects, with a template of 12 x 14 x 12 voxels."""
    import_nibabel()
    draw = np.random.default_rng(seed)
    diagnosis = draw.permutation(np.arange(count) % 3)
    sites, numbers = draw.integers(2, 142, count), draw.permutation(7000)[:count]
    ids = [f"{site:03d}_S_{number:04d}" for site, number in zip(sites, numbers, strict=True)]
    for name in ("image", "genomic", "clinical", "biospecimen"):
        (folder / name).mkdir()
    _write_image(folder / "image", ids, _pattern(diagnosis, draw), draw)
    _write_genotypes(folder / "genomic/genomic_merged.h5ad", ids, _pattern(diagnosis, draw), draw)
    for name, width in (("clinical", CLINICAL), ("biospecimen", BIOSPECIMEN)):
        path = folder / name / f"{name}_merged_mean.csv"
        _write_table(path, ids, _pattern(diagnosis, draw), width, draw)
    rows = zip(range(count), ids, (diagnosis + 1.0).tolist(), strict=True)
    write_csv(folder / "label.csv", ["", "PTID", "DIAGNOSIS"], rows)
    write_id_lists(folder / "PTID_splits.json", ids, draw)


def _pattern(diagnosis: NDArray[np.int64], draw: np.random.Generator) -> NDArray[np.int64]:
    """Return the diagnosis whose pattern a modality shows."""
    others = (diagnosis + draw.integers(1, 3, len(diagnosis))) % 3
    return np.where(draw.random(len(diagnosis)) < CONFUSED, others, diagnosis)


def _some(count: int, draw: np.random.Generator) -> NDArray[np.int64]:
    """Return the subjects that have a modality, in an order of its own."""
    return draw.permutation(count)[: round(count * (1 - LACKING))]


def _write_image(
    folder: Path, ids: list[str], shown: NDArray[np.int64], draw: np.random.Generator
) -> None:
    """A round brain of white matter within grey matter, whose lower part shrinks with disease."""
    nibabel = import_nibabel()
    places = np.moveaxis(np.indices(VOXELS), 0, -1) - (np.array(VOXELS) - 1) / 2
    radius = np.linalg.norm(places / (np.array(VOXELS) / 2), axis=-1)
    template = np.select([radius < 0.4, radius < 0.6, radius < 0.95], [50, 250, 150], 0)
    template[radius < 0.2] = 10
    image = nibabel.Nifti1Image(template.astype(np.float32), np.diag([2.0, 2.0, 2.0, 1.0]))
    nibabel.save(image, folder / "BLSA_SPGR+MPRAGE_averagetemplate_muse_seg_DS222.nii.gz")
    grey = template == 150
    lower = (places[..., 2] < 0)[grey]
    scans, maps = [], []
    for subject in _some(len(ids), draw):
        for year in range(2006, 2007 + int(draw.random() < 0.3)):  # the later scan shows it
            loss = 0.15 * shown[subject] if year == 2007 or draw.random() < 0.9 else 0.0
            density = 1 - loss * lower + 0.25 * draw.normal(size=lower.size)
            scans.append(f"{ids[subject]}_{year}-{draw.integers(1, 13):02d}-15")
            maps.append(np.maximum(density, 0))
    order = draw.permutation(len(scans))
    np.save(folder / "ADNI_G.npy", np.array(maps)[order])
    (folder / "ADNI_subj.txt").write_text("".join(f"{scans[i]}\n" for i in order), encoding="utf-8")


def _write_genotypes(
    path: Path, ids: list[str], shown: NDArray[np.int64], draw: np.random.Generator
) -> None:
    """Copies of an allele; of one in six it is more frequent with disease. As AnnData writes it."""
    import h5py

    subjects = _some(len(ids), draw)
    frequency = draw.uniform(0.2, 0.6, GENOTYPES) + np.where(
        np.arange(GENOTYPES) % 6 == 0, 0.12 * shown[subjects, None], 0.0
    )
    genotypes = draw.binomial(2, frequency).astype(np.float32)
    genotypes[draw.random(genotypes.shape) < 0.01] = np.nan
    columns = {
        "obs": [ids[subject] for subject in subjects],
        "var": [f"rs{number}" for number in draw.permutation(900_000)[:GENOTYPES] + 100_000],
    }
    with writing_hdf5(path, track_order=True) as file:
        file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        array = file.create_dataset("X", data=genotypes)
        array.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
        for name, names in columns.items():
            group = file.create_group(name)
            group.attrs.update(
                {"encoding-type": "dataframe", "encoding-version": "0.2.0", "_index": "_index"}
            )
            group.attrs.create("column-order", np.array([], dtype=h5py.string_dtype()))
            index = group.create_dataset("_index", data=names, dtype=h5py.string_dtype())
            index.attrs.update({"encoding-type": "string-array", "encoding-version": "0.2.0"})
        for name in ("layers", "obsm", "obsp", "uns", "varm", "varp"):
            group = file.create_group(name)
            group.attrs.update({"encoding-type": "dict", "encoding-version": "0.1.0"})


def _write_table(
    path: Path,
    ids: list[str],
    shown: NDArray[np.int64],
    width: int,
    draw: np.random.Generator,
) -> None:
    """Features in [-1, 1], the second half two-valued, and one that tells of a later diagnosis."""
    subjects = _some(len(ids), draw)
    pattern = draw.normal(size=(3, width))
    values = 0.35 * pattern[shown[subjects]] + draw.normal(size=(len(subjects), width))
    values = np.clip(values / 3, -1, 1).round(6)
    values[:, width // 2 :] = np.where(values[:, width // 2 :] > 0, 1, -1)
    names = [f"FEATURE{place}" for place in range(width)]
    rows = [[ids[subject], *row] for subject, row in zip(subjects, values.tolist(), strict=True)]
    if path.stem.startswith("clinical"):
        names.append("PTADDX_BIN0")
        rows = [[*row, float(label)] for row, label in zip(rows, shown[subjects], strict=True)]
    write_csv(path, ["PTID", *names], rows)
