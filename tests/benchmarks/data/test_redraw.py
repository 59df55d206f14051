"""Splits drawn anew: sizes, classes and groups against counts; what is fitted, against files."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedKFold

from i2moe_plugin.benchmarks.data.open import open_dataset
from i2moe_plugin.benchmarks.data.redraw import MOST_SPLITS, Redraw, split_names
from i2moe_plugin.benchmarks.data.splits import SPLITS, consecutive
from i2moe_plugin.errors import ConfigError

sizes = st.tuples(st.integers(12, 90), st.integers(4, 25), st.integers(4, 25))
classes = st.integers(1, 5)
numbers = st.integers(1, 50)


def counts(labels, rows, most):
    return np.bincount(labels[rows], minlength=most)


@given(sizes, classes, numbers, st.randoms(use_true_random=False))
def test_a_random_split_has_the_own_sizes_and_shares_of_classes(own, most, number, random):
    labels = np.array([random.randrange(most) for _ in range(sum(own))])
    rows = Redraw(number).rows(consecutive(*own), labels)
    assert [len(rows[name]) for name in SPLITS] == list(own)
    assert sorted(np.concatenate(list(rows.values()))) == list(range(sum(own)))
    everywhere = counts(labels, slice(None), most)
    for name, size in zip(SPLITS, own, strict=True):
        share = everywhere * size / sum(own)
        # Two parts take turns in each class: both are off by less than one.
        assert (np.abs(counts(labels, rows[name], most) - share) < 2 + 1e-9).all()
    assert (counts(labels, rows["train"], most) > 0).tolist() == (everywhere > 0).tolist()


@given(st.integers(2, 7), st.integers(30, 90), classes, st.randoms(use_true_random=False))
def test_folds_test_each_sample_once_in_scikit_learns_shares(folds, count, most, random):
    labels = np.array([random.randrange(most) for _ in range(count)])
    own = consecutive(count - 12, 6, 6)
    drawn = [Redraw(number, folds).rows(own, labels) for number in range(1, folds + 1)]
    assert sorted(np.concatenate([rows["test"] for rows in drawn])) == list(range(count))
    for rows in drawn:
        assert sorted(np.concatenate(list(rows.values()))) == list(range(count))
    if (np.bincount(labels)[np.unique(labels)] >= folds).all():
        known = StratifiedKFold(folds).split(labels, labels)
        theirs = [counts(labels, test, most) for _, test in known]
        for rows, other in zip(drawn, theirs, strict=True):
            assert (np.abs(counts(labels, rows["test"], most) - other) <= 1).all()


@given(sizes, classes, numbers, st.integers(12, 20), st.integers(0, 100))
def test_groups_stay_together_and_sizes_are_about_the_own(own, most, number, groups, seed):
    random = np.random.default_rng(seed)
    of_group = random.permutation(np.arange(sum(own)) % groups)
    labels = random.integers(most, size=sum(own))
    rows = Redraw(number).rows(consecutive(*own), labels, of_group)
    inside = [set(of_group[rows[name]]) for name in SPLITS]
    assert sum(map(len, inside)) == len(set.union(*inside)) == len(set(of_group))
    largest = np.bincount(of_group).max()
    for name, size in zip(SPLITS, own, strict=True):
        assert abs(len(rows[name]) - size) <= 2 * largest


def test_drawings_differ_and_are_repeatable():
    own, labels = consecutive(60, 20, 20), np.arange(100) % 4
    first, again, second = (Redraw(number).rows(own, labels) for number in (1, 1, 2))
    assert all((first[name] == again[name]).all() for name in SPLITS)
    assert not np.array_equal(first["test"], second["test"])


def test_rows_that_are_in_no_split_stay_out():
    own = {"train": np.arange(5, 40), "valid": np.arange(45, 50), "test": np.arange(50, 60)}
    rows = Redraw(3).rows(own, np.arange(100) % 2)
    assert sorted(np.concatenate(list(rows.values()))) == [*range(5, 40), *range(45, 60)]


def test_labels_are_drawn_by_their_combination():
    labels = np.array([[0, 0], [0, 1], [1, 1]])[np.arange(300) % 3]
    rows = Redraw(1).rows(consecutive(200, 50, 50), labels)
    shares = labels[rows["test"]].mean(0)
    assert shares == pytest.approx([1 / 3, 2 / 3], abs=0.03)


@pytest.mark.parametrize("name", ["0", "6of5", "x", "", "1of", "-1", "12345"])
def test_names_that_are_no_split(name):
    with pytest.raises(ConfigError, match="neither 'own'"):
        Redraw.of(name)


@pytest.mark.parametrize("asked", ["1", "kfold:1", "many", "", "-3", str(MOST_SPLITS + 1), 1.5])
def test_numbers_of_splits_that_cannot_be(asked):
    with pytest.raises(ConfigError, match="how many splits"):
        split_names(asked)


@pytest.mark.parametrize("number", [2, "kfold:3"])
def test_names_are_those_that_redraw_reads(number):
    assert [str(Redraw.of(name)) for name in split_names(number)] == list(split_names(number))


def test_too_few_groups():
    with pytest.raises(ConfigError, match="2 groups are too few"):
        Redraw(1).rows(consecutive(10, 5, 5), None, np.arange(20) % 2)


@pytest.mark.parametrize("split", ["1", "2of4"])
def test_what_is_fitted_is_fitted_anew(small_htad, tmp_path, whole, split):
    """A file whose own split is the one drawn gives the same batches."""
    data = open_dataset("htad", small_htad, split=split)
    with np.load(small_htad / "htad.npz") as file:
        arrays = dict(file)
    ids = [f"htad-{row}" for row in range(len(arrays["label"]))]
    codes = {one: code for code, name in enumerate(SPLITS) for one in data.sample_ids(name)}
    arrays["split"] = np.array([codes[one] for one in ids], dtype=np.uint8)
    (tmp_path / "drawn").mkdir()
    np.savez(tmp_path / "drawn" / "htad.npz", **arrays)
    other = open_dataset("htad", tmp_path / "drawn")
    for name in SPLITS:
        for one, two in zip(whole(data, name), whole(other, name), strict=True):
            assert (one == two).all()
    assert not any("drawn anew" in note for note in other.notes)
    assert any("drawn anew" in note and "by class" in note for note in data.notes)


def test_the_data_are_the_same_and_the_splits_are_not(small_htad):
    own, drawn = (open_dataset("htad", small_htad, split=split) for split in ("own", "1"))
    assert own.content_hash() == drawn.content_hash()
    assert own.split_hash() != drawn.split_hash()


def test_multibenchs_loaders_draw_none(mosi, checkout):
    with pytest.raises(ConfigError, match="splits of their own"):
        open_dataset("mosi", mosi, loader="multibench", split="1")
