"""The packaged data sets: what is fitted on which rows, and every way they can be wrong."""

import os
import subprocess
import sys

import numpy as np
import pytest

from i2moe_plugin.benchmarks.data.open import open_dataset
from i2moe_plugin.benchmarks.data.splits import SPLITS
from i2moe_plugin.benchmarks.datasets import emoji
from i2moe_plugin.benchmarks.datasets.embedded import EMBEDDED
from i2moe_plugin.errors import DatasetError

FACTS = {
    "htad": (7, (970, 208, 208)),
    "brca": (5, (538, 115, 116)),
    "emoji": (9, (1334, 285, 287)),
}


def shipped(name):
    """The arrays of the packaged file."""
    with np.load(EMBEDDED / f"{name}.npz") as archive:
        return {key: archive[key].copy() for key in archive.files}


def write(folder, name, **changes):
    """The packaged file with some arrays changed; None drops one."""
    folder.mkdir(exist_ok=True)
    arrays = shipped(name) | changes
    np.savez(folder / f"{name}.npz", **{k: v for k, v in arrays.items() if v is not None})
    return folder


@pytest.fixture(autouse=True)
def _quick_words(monkeypatch):
    monkeypatch.setattr(emoji, "WORD_EPOCHS", 1)


@pytest.mark.parametrize("name", FACTS)
def test_facts(name):
    data = open_dataset(name)
    classes, sizes = FACTS[name]
    assert tuple(len(data.sample_ids(split)) for split in SPLITS) == sizes
    assert data.task.num_outputs == classes


@pytest.mark.parametrize("name", ["htad", "brca"])
def test_scaling_is_fitted_on_training_rows_alone(name, tmp_path):
    data = open_dataset(name)
    train = data.features("train")
    varying = train.std(0) > 1e-3
    np.testing.assert_allclose(train.mean(0), 0, atol=1e-3)
    np.testing.assert_allclose(train.std(0)[varying], 1, atol=1e-3)
    # Changing test rows changes nothing in the training features.
    arrays = shipped(name)
    for modality in data.modalities:
        arrays[modality][arrays["split"] == 2] *= 10
    other = open_dataset(name, write(tmp_path, name, **arrays))
    np.testing.assert_array_equal(other.features("train"), train)
    assert not np.allclose(other.features("test"), data.features("test"))


def test_features_that_are_constant_in_training_are_0(tmp_path):
    arrays = shipped("htad")
    arrays["audio"][arrays["split"] == 0, 0] = 0.1
    data = open_dataset("htad", write(tmp_path, "htad", **arrays))
    for split in SPLITS:
        assert not data.features(split)[:, 0].any()


def test_brca_imputes_by_training_medians_and_marks_what_was_missing(whole):
    arrays = shipped("brca")
    clinical, split = arrays["clinical"].astype(np.float64), arrays["split"]
    gaps = np.isnan(clinical)
    marked = gaps[split == 0].any(0)
    filled = np.where(gaps, np.nanmedian(clinical[split == 0], 0), clinical)
    oracle = np.concatenate([filled, gaps[:, marked]], 1)
    oracle -= oracle[split == 0].mean(0)
    deviation = oracle[split == 0].std(0)
    oracle /= np.where(deviation == 0, 1, deviation)
    ours = whole(open_dataset("brca"), "train")[3].numpy()
    np.testing.assert_allclose(ours, oracle[split == 0], atol=1e-4)


def test_emoji_vocabulary_is_the_training_rows(monkeypatch, whole):
    seen = {}
    import gensim.models

    original = gensim.models.Word2Vec

    def spy(sentences, **options):
        seen["sentences"] = sentences
        return original(sentences, **options)

    monkeypatch.setattr(gensim.models, "Word2Vec", spy)
    data = open_dataset("emoji", word_vectors=4)
    arrays = shipped("emoji")
    texts = arrays["text"][arrays["split"] == 0]
    assert seen["sentences"] == [str(text).lower().split() for text in texts]
    assert whole(data, "test")[1].shape == (287, 4)


def test_emoji_vectors_are_the_same_in_another_process():
    code = (
        "import hashlib\n"
        "from i2moe_plugin.benchmarks.datasets import emoji\n"
        "emoji.WORD_EPOCHS = 1\n"
        "texts = [f'word{i % 7} word{i % 5} other' for i in range(90)]\n"
        "values = emoji.fit_word_means(texts, 3)(texts)\n"
        "print(hashlib.sha256(values.tobytes()).hexdigest())"
    )
    outs = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outs) == 1


def test_what_was_fitted_takes_rows_of_other_files(whole):
    """A column's transform needs nothing of the training data any more."""
    data = open_dataset("htad")
    column = data.prepare().loader("train", batch_size=1).dataset.columns[0]
    values = shipped("htad")
    found = column.transform(values["audio"][values["split"] == 2])
    np.testing.assert_array_equal(found, whole(data, "test")[0].numpy())


def nan_at(row):
    values = np.zeros((1386, 16), dtype=np.float32)
    values[row, 2] = np.nan
    return values


BROKEN = {
    "lacks audio": {"audio": None},
    "lacks split": {"split": None},
    "NaN or infinite values, the first in row 5, column 2": {"accelerometer": nan_at(5)},
    "differ in their number of rows: audio 3": {"audio": np.zeros((3, 36), dtype=np.float32)},
    "expected floats": {"audio": np.zeros((1386, 36), dtype=np.int32)},
    r"expected floats \[N, F\]": {"audio": np.zeros((1386, 3, 12), dtype=np.float32)},
    "lie outside the 7 classes": {"label": np.full(1386, 7, dtype=np.uint8)},
    "label must be integers": {"label": np.zeros(1386, dtype=np.float32)},
    "no training sample of": {"label": np.zeros(1386, dtype=np.uint8)},
    "split must hold": {"split": np.full(1386, 3, dtype=np.uint8)},
    "the valid split is empty": {"split": np.repeat([0, 2], 693).astype(np.uint8)},
    "audio holds Python objects": {"audio": np.array([{}] * 1386, dtype=object)},  # never unpickled
}


@pytest.mark.parametrize("message", BROKEN)
def test_broken_contents(tmp_path, message):
    folder = write(tmp_path, "htad", **BROKEN[message])
    with pytest.raises(DatasetError, match=message) as caught:
        open_dataset("htad", folder)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("how", ["truncated", "flipped", "offsets"])
def test_emoji_with_damaged_pictures(tmp_path, how):
    arrays = shipped("emoji")
    if how == "offsets":
        arrays["image_offset"][3] = arrays["image_offset"][2]
    elif how == "flipped":
        arrays["image_webp"][:20] = 0
    else:
        arrays["image_offset"][1:-1] -= 30
    with pytest.raises(DatasetError, match=r"picture \d+: not a readable image|image_offset"):
        open_dataset("emoji", write(tmp_path, "emoji", **arrays))
