"""ADNI: four kinds of files joined by subject, everything fitted on training subjects alone."""

import csv
import gzip
import json
import struct
import sys
from functools import partial

import h5py
import nibabel
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import sparse, stats
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from i2moe_plugin.benchmarks.data.open import open_dataset
from i2moe_plugin.benchmarks.data.registry import datasets
from i2moe_plugin.benchmarks.data.splits import SPLITS
from i2moe_plugin.benchmarks.datasets.adni import TEMPLATE, modes
from i2moe_plugin.benchmarks.formats.anndata import read_h5ad
from i2moe_plugin.benchmarks.run.model import build_model
from i2moe_plugin.benchmarks.run.settings import resolve
from i2moe_plugin.errors import DatasetError

NAME = "adni"
SIZES = {"count": 90}
opened = partial(open_dataset, NAME)

KEYS = dict(zip(SPLITS, ("training", "validation", "testing"), strict=True))
TABLES = ("clinical", "biospecimen")
GENES = "genomic/genomic_merged.h5ad"
MAPS = "image/ADNI_G.npy"
SCANS = "image/ADNI_subj.txt"


def rows_of(path):
    with path.open() as file:
        return list(csv.reader(file))


def split_file(folder):
    return json.loads((folder / "PTID_splits.json").read_text())


def genotypes(folder):
    with h5py.File(folder / GENES) as file:
        names = file["obs/_index"].asstr()[:].tolist()
        return dict(zip(names, file["X"][:], strict=True))


def latest_maps(folder):
    """Each subject's newest scan, looked for line by line."""
    maps, found = np.load(folder / MAPS), {}
    for row, line in enumerate((folder / SCANS).read_text().split()):
        subject, date = line.rsplit("_", 1)
        found[subject] = max(found.get(subject, ("", None)), (date, row))
    return {subject: maps[row] for subject, (_, row) in found.items()}


def table(folder, name):
    header, *rows = rows_of(folder / name / f"{name}_merged_mean.csv")
    kept = [place for place, column in enumerate(header) if place and "PTADDX" not in column]
    return {row[0]: np.array([float(row[place]) for place in kept]) for row in rows}


def batch(data, name):
    (found,) = data.prepare().loader(name, batch_size=1000)
    return found


# What is in a batch


def test_subjects_are_those_with_all_modalities_in_the_lists_order(drawn):
    everywhere = set(latest_maps(drawn)) & set(genotypes(drawn))
    everywhere &= set(table(drawn, "clinical")) & set(table(drawn, "biospecimen"))
    data = opened(drawn)
    for name in SPLITS:
        expected = [i for i in split_file(drawn)[KEYS[name]] if i in everywhere]
        assert data.sample_ids(name) == expected
        assert 0 < len(expected) < len(split_file(drawn)[KEYS[name]]) or name != "train"


def test_labels_are_diagnoses_less_one(drawn):
    truth = {row[1]: float(row[2]) - 1 for row in rows_of(drawn / "label.csv")[1:]}
    data = opened(drawn)
    for name in SPLITS:
        assert data.labels(name).tolist() == [truth[i] for i in data.sample_ids(name)]
        assert torch.equal(batch(data, name)[-1], torch.as_tensor(data.labels(name)))
    assert data.task.num_outputs == 3


def test_volumes_are_latest_scans_in_the_template_standardised_on_training_subjects(drawn):
    data, maps = opened(drawn), latest_maps(drawn)
    grey = nibabel.load(drawn / TEMPLATE).get_fdata() == 150
    train = np.stack([maps[i] for i in data.sample_ids("train")])
    volumes = batch(data, "test")[0].numpy()
    assert volumes.shape[1:] == (12, 14, 12)
    for volume, subject in zip(volumes, data.sample_ids("test"), strict=True):
        expected = np.zeros(grey.shape)
        expected[grey] = maps[subject]
        expected = (expected - train.mean()) / train.std()
        np.testing.assert_allclose(volume, expected, atol=1e-5)


def test_genotypes_are_filled_with_training_modes_and_scaled_to_training_ranges(drawn):
    data, genes = opened(drawn), genotypes(drawn)
    train = np.stack([genes[i] for i in data.sample_ids("train")])
    mode = stats.mode(train, axis=0, nan_policy="omit").mode
    low, high = np.nanmin(train, 0), np.nanmax(train, 0)
    test = np.stack([genes[i] for i in data.sample_ids("test")])
    assert np.isnan(test).any()
    filled = np.where(np.isnan(test), mode, test)
    expected = 2 * (filled - low) / (high - low) - 1
    np.testing.assert_allclose(batch(data, "test")[1].numpy(), expected, atol=1e-5)


@given(
    values=arrays(
        np.float64,
        array_shapes(min_dims=2, max_dims=2, max_side=9),
        elements=st.sampled_from([0.0, 1.0, 2.0, -0.5, np.nan]),
    )
)
def test_modes_are_scikit_learns(values):
    imputer = SimpleImputer(strategy="most_frequent", keep_empty_features=True).fit(values)
    assert np.array_equal(modes(values), imputer.statistics_)


def test_tables_leave_out_what_tells_the_diagnosis(drawn):
    header = rows_of(drawn / "clinical/clinical_merged_mean.csv")[0]
    assert "PTADDX_BIN0" in header
    data = opened(drawn)
    for place, name in enumerate(TABLES, start=2):
        expected = np.stack([table(drawn, name)[i] for i in data.sample_ids("valid")])
        np.testing.assert_allclose(batch(data, "valid")[place].numpy(), expected, atol=1e-6)
    assert batch(data, "valid")[2].shape[1] == len(header) - 2


def test_an_empty_cell_is_the_training_subjects_mean(sample):
    data = opened(sample)
    subject, train = data.sample_ids("test")[0], data.sample_ids("train")
    path = sample / "biospecimen/biospecimen_merged_mean.csv"
    mean = np.mean([table(sample, "biospecimen")[i][0] for i in train])
    lines = path.read_text().splitlines()
    lines = [
        ",".join([subject, "", *line.split(",")[2:]]) if line.startswith(subject) else line
        for line in lines
    ]
    path.write_text("\n".join(lines) + "\n")
    assert float(batch(opened(sample), "test")[3][0, 0]) == pytest.approx(mean, abs=1e-6)


def test_true_and_false_are_1_and_minus_1(sample):
    """Tables of newer pandas have them in place of 1 and -1."""
    path = sample / "clinical/clinical_merged_mean.csv"
    before = batch(opened(sample), "test")[2]
    header, *lines = path.read_text().splitlines()
    words = {"1": "True", "1.0": "True", "-1": "False", "-1.0": "False"}
    lines = [",".join(words.get(cell, cell) for cell in line.split(",")) for line in lines]
    path.write_text("\n".join([header, *lines]) + "\n")
    assert "True" in path.read_text()
    assert torch.equal(batch(opened(sample), "test")[2], before)


def test_nothing_of_other_splits_is_in_a_statistic(sample):
    """The release fits modes, ranges, mean and deviation on all subjects."""
    data = opened(sample)
    before = batch(data, "train")
    others = {i for name in ("valid", "test") for i in data.sample_ids(name)}
    maps = np.load(sample / MAPS)
    lines = (sample / SCANS).read_text().split()
    maps[[line.rsplit("_", 1)[0] in others for line in lines]] *= 100
    np.save(sample / MAPS, maps)
    with h5py.File(sample / GENES, "r+") as file:
        names = file["obs/_index"].asstr()[:].tolist()
        rows = [row for row, name in enumerate(names) if name in others]
        for row in rows:
            file["X"][row] = 7.0
    for name in TABLES:
        path = sample / name / f"{name}_merged_mean.csv"
        header, *lines = path.read_text().splitlines()
        lines = [
            ",".join([line.split(",")[0], *["50"] * line.count(",")])
            if line.split(",")[0] in others
            else line
            for line in lines
        ]
        path.write_text("\n".join([header, *lines]) + "\n")
    after = batch(opened(sample), "train")
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_constant_columns_and_constant_volumes_give_no_nan(sample):
    with h5py.File(sample / GENES, "r+") as file:
        file["X"][:, 0] = 1.0
        file["X"][:, 1] = np.nan
    np.save(sample / MAPS, np.ones_like(np.load(sample / MAPS)))
    data = opened(sample)
    for name in SPLITS:
        assert all(column.isfinite().all() for column in batch(data, name)[:4])


def test_without_common_ids_minus_2_stands_for_what_is_missing(drawn):
    data, common = opened(drawn, common_ids=False), opened(drawn)
    have = [set(latest_maps(drawn)), set(genotypes(drawn)), *(set(table(drawn, n)) for n in TABLES)]
    lacking = 0
    for name in SPLITS:
        columns = batch(data, name)
        assert set(common.sample_ids(name)) <= set(data.sample_ids(name))
        for place, subject in enumerate(data.sample_ids(name)):
            for column, there in zip(columns, have, strict=False):
                gone = bool((column[place] == -2).all())
                assert gone == (subject not in there)
                lacking += gone
    assert lacking


def test_people_see_a_slice_and_the_tables_columns(drawn):
    image, genes, clinical, biospecimen = opened(drawn).preview("test", 0)
    assert image.value.shape == (14, 12, 3)
    assert genes.value.shape == (120,)
    for shown in (clinical, biospecimen):
        path = drawn / shown.modality / f"{shown.modality}_merged_mean.csv"
        assert list(shown.names) == [n for n in rows_of(path)[0][1:] if n != "PTADDX_BIN0"]
        assert len(shown.names) == len(shown.value)


@pytest.mark.parametrize(("method", "count"), [("vanilla", 1_072_131), ("i2moe", 6_696_728)])
def test_the_recipes_model_has_the_papers_number_of_parameters(method, count, drawn):
    """Its table 6 counts fusion, experts and reweighting, without encoders."""
    settings, _ = resolve("adni", "transformer", {})
    model = build_model(settings.model_copy(update={"method": method}), opened(drawn))
    found = {n: p.numel() for n, p in model.named_parameters() if not n.startswith("encoders.")}
    assert sum(found.values()) == count


# AnnData


def write_sparse(file, matrix, kind):
    group = file.create_group("X")
    group.attrs.update({"encoding-type": kind, "shape": matrix.shape})
    for name in ("data", "indices", "indptr"):
        group[name] = getattr(matrix, name)


def rewrite_x(folder, kind):
    with h5py.File(folder / GENES, "r+") as file:
        dense = np.nan_to_num(file["X"][:])
        del file["X"]
        write_sparse(file, getattr(sparse, kind)(dense), kind)
    return dense


@pytest.mark.parametrize("kind", ["csr_matrix", "csc_matrix"])
def test_a_sparse_matrix_is_read_as_the_dense_one(kind, sample):
    dense = rewrite_x(sample, kind)
    matrix, _ = read_h5ad(sample / GENES)
    assert matrix.shape == dense.shape
    assert np.array_equal(matrix[np.array([5, 0, 5])], dense[[5, 0, 5]])
    assert np.array_equal(matrix.columns(3, 9), dense[:, 3:9])
    found = batch(opened(sample), "test")[1]
    with h5py.File(sample / GENES, "r+") as file:
        del file["X"]
        file["X"] = dense
    assert torch.equal(batch(opened(sample), "test")[1], found)


def test_row_names_in_every_form_that_anndata_writes(sample):
    before = read_h5ad(sample / GENES)[1]
    with h5py.File(sample / GENES, "r+") as file:
        table = file["obs"]
        del table["_index"]
        table.attrs["_index"] = "subject"
        labels = sorted(before)
        group = table.create_group("subject")  # a categorical column
        group["categories"] = np.array(labels, dtype=object)
        group["codes"] = [labels.index(name) for name in before]
    assert read_h5ad(sample / GENES)[1] == before
    with h5py.File(sample / GENES, "r+") as file:
        del file["obs/subject"]
        group = file["obs"].create_group("subject")  # a column that may lack values
        group["values"] = np.array(before, dtype=object)
        group["mask"] = np.zeros(len(before), bool)
    assert read_h5ad(sample / GENES)[1] == before
    with h5py.File(sample / GENES, "r+") as file:
        file["obs/subject/mask"][3] = True
    with pytest.raises(DatasetError, match="obs/subject lacks some names"):
        read_h5ad(sample / GENES)


WILD = sparse.csr_matrix((np.ones(2), np.array([0, 1]), np.array([0, *[2] * 87])), (87, 120))
WILD.indices[1] = 10**6  # beyond the columns
ANNDATA = [
    ("obs", None, "obs should be a group"),
    ("obs", np.zeros(3, dtype=[("index", "S5")]), r"before 0\.7"),
    ("obs/_index", None, "lacks obs/_index"),
    ("obs/_index", lambda names: [names[1], *names[1:]], "listed twice"),
    ("obs/_index", lambda names: names[:-1], "X has 87 rows, and obs 86 names"),
    ("X", np.full((3, 3), "a", dtype=object), "X is .*; expected numbers"),
    ("X", lambda matrix: matrix[0], "X is .*; expected numbers"),
    ("X", None, "lacks the array 'X'"),
    ("X", lambda matrix: matrix + np.inf, "infinite"),
    ("X", WILD, "not a readable h5ad file"),
]


@pytest.mark.parametrize(("key", "value", "reason"), ANNDATA)
def test_bad_anndata_files(key, value, reason, sample):
    with h5py.File(sample / GENES, "r+") as file:
        if callable(value):
            value = value(file[key][:])
        del file[key]
        if sparse.issparse(value):
            write_sparse(file, value, "csr_matrix")
        elif value is not None:
            file[key] = value
    with pytest.raises(DatasetError, match=reason) as error:
        opened(sample).prepare()
    assert "genomic_merged.h5ad" in str(error.value)


def test_a_matrix_of_another_kind(sample):
    with h5py.File(sample / GENES, "r+") as file:
        file.move("X", "before")
        file.create_group("X").attrs["encoding-type"] = "awkward"
    with pytest.raises(DatasetError, match="X is a group of kind 'awkward'"):
        opened(sample).prepare()


# Other bad files


def change_template(folder, change):
    """Rewrite the NIfTI file's bytes."""
    content = bytearray(gzip.decompress((folder / TEMPLATE).read_bytes()))
    change(content)
    (folder / TEMPLATE).write_bytes(gzip.compress(bytes(content)))


def test_a_template_without_nibabel_says_how_to_install_it(drawn, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "nibabel", None)
    for use in (lambda: opened(drawn), lambda: datasets.get("adni").write_sample(tmp_path / "new")):
        with pytest.raises(DatasetError, match=r'pip install "i2moe-plugin\[adni\]"'):
            use()
    assert not (tmp_path / "new").exists()


def test_bad_templates(sample):
    good = (sample / TEMPLATE).read_bytes()

    def no_grey(content):
        content[352:] = bytes(len(content) - 352)

    def flat(content):
        struct.pack_into("<8h", content, 40, 2, 12, 168, 1, 1, 1, 1, 1)

    def huge(content):
        struct.pack_into("<8h", content, 40, 3, 30000, 30000, 30000, 1, 1, 1, 1)

    def negative(content):
        struct.pack_into("<8h", content, 40, 3, -12, 14, 12, 1, 1, 1, 1)

    for change, reason in (
        (no_grey, "no voxel has the value 150"),
        (flat, r"expected a volume \[X, Y, Z\]"),
        (huge, "not a readable NIfTI file"),
        (negative, "NIfTI"),
    ):
        change_template(sample, change)
        with pytest.raises(DatasetError, match=reason) as error:
            opened(sample)
        assert "DS222.nii.gz" in str(error.value)
        (sample / TEMPLATE).write_bytes(good)


def test_a_template_that_unpacks_without_end(sample, monkeypatch):
    monkeypatch.setattr("i2moe_plugin.benchmarks.formats.nifti.LARGEST", 1 << 20)
    (sample / TEMPLATE).write_bytes(gzip.compress(bytes(2 << 20)))
    with pytest.raises(DatasetError, match="unpacks to more than 1 MB"):
        opened(sample)


def test_bad_maps(sample):
    maps = np.load(sample / MAPS)
    holed = maps.copy()
    holed[:, 3] = np.nan
    for value, reason in (
        (maps[:, :-1], "one column for each voxel of grey matter"),
        (maps.astype(int), "expected floats"),
        (holed, "holds NaN"),
    ):
        np.save(sample / MAPS, value)
        with pytest.raises(DatasetError, match=reason) as error:
            opened(sample).prepare()
        assert "ADNI_G.npy" in str(error.value)


def test_a_damaged_map_of_a_test_subject_is_met_when_it_is_read(sample):
    maps = np.load(sample / MAPS)
    subject = opened(sample).sample_ids("test")[0]
    lines = (sample / SCANS).read_text().split()
    maps[[line.startswith(subject) for line in lines], 5] = np.nan
    np.save(sample / MAPS, maps)
    with pytest.raises(DatasetError, match=r"ADNI_G\.npy holds 1 NaN or infinite values"):
        batch(opened(sample), "test")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("002_S_0295", "is not of the form PTID_date"),
        ("002_S_0295_yesterday", "not a readable list of scans"),
        ("002_S_0295_2006-13-45", "not a readable list of scans"),
        ("caf\xe9", "not a readable list of scans"),
    ],
)
def test_bad_lists_of_scans(line, reason, sample):
    lines = (sample / SCANS).read_text().split()
    text = "\n".join([line, *lines[1:]]) + "\n"
    (sample / SCANS).write_bytes(text.encode("latin-1"))
    with pytest.raises(DatasetError, match=f"ADNI_subj.txt: .*{reason}"):
        opened(sample)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("0,002_S_1,4.0", "DIAGNOSIS is 1, 2 or 3; it holds 4.0"),
        ("0,002_S_1,nan", "DIAGNOSIS, row 1: 'nan' is not a number"),
        ("0,002_S_1,CN", "is not a number"),
    ],
)
def test_bad_labels(row, reason, sample):
    header, _, *lines = (sample / "label.csv").read_text().splitlines()
    (sample / "label.csv").write_text("\n".join([header, row, *lines]) + "\n")
    with pytest.raises(DatasetError, match=f"label.csv.*{reason}"):
        opened(sample)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("PTID,A\n", "has no subjects"),
        ("PTID\n002_S_1\n", "has no features"),
        ("PTID,PTADDX_BIN0\n002_S_1,1\n", "has no features"),
        ("PTID,A\n002_S_1,x\n", "column A, row 1: 'x' is not a number"),
        ("PTID,A\n002_S_1,inf\n", "column A, row 1: 'inf' is not a number"),
        ("PTID,A\n1,1\n1,2\n", "listed twice"),
    ],
)
def test_bad_tables(content, reason, sample):
    (sample / "clinical/clinical_merged_mean.csv").write_text(content)
    with pytest.raises(DatasetError, match=f"clinical_merged_mean.csv.*{reason}"):
        opened(sample)


def test_verify_says_all_that_differs_from_the_published_files(sample):
    (sample / "SAMPLE.txt").unlink()
    problems = "\n".join(datasets.get("adni").verify(sample))
    assert "ADNI_G.npy: V is 664, but 84090 as published" in problems
    assert "DS222.nii.gz: its sha256 is not the published one" in problems


def test_every_modality_of_a_sample_tells_something(tmp_path):
    datasets.get("adni").write_sample(tmp_path / "adni")
    data = opened(tmp_path / "adni")
    train, test = ([c.flatten(1).numpy() for c in batch(data, n)[:4]] for n in ("train", "test"))
    for fit, judged in zip(train, test, strict=True):
        model = LogisticRegression(C=0.01, max_iter=500).fit(fit, data.labels("train"))
        scores = model.predict_proba(judged)
        assert roc_auc_score(data.labels("test"), scores, multi_class="ovr") > 0.6
