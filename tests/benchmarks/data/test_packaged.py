"""The packaged data sets, and every way their files can be broken."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from i2moe_plugin.backbones.latents import latent_specs
from i2moe_plugin.benchmarks.data.base import SPLITS, EpochShuffle
from i2moe_plugin.benchmarks.datasets import brca, datasets, emoji, htad, open_dataset
from i2moe_plugin.benchmarks.encoders import EncoderSettings
from i2moe_plugin.errors import ConfigError, DatasetError

FACTS = {
    "htad": (1386, 7, (970, 208, 208)),
    "brca": (769, 5, (538, 115, 116)),
    "emoji": (1906, 9, (1334, 285, 287)),
}


def write_htad(folder, **changes):
    """The packaged file with some arrays changed; None drops one."""
    with np.load(htad.HTAD._path(None)) as archive:
        arrays = {key: archive[key].copy() for key in archive.files} | changes
    folder.mkdir(exist_ok=True)
    np.savez(folder / "htad.npz", **{k: v for k, v in arrays.items() if v is not None})
    return folder


@pytest.fixture(scope="module", params=sorted(FACTS))
def data(request):
    return open_dataset(request.param)


@pytest.fixture
def quick_words(monkeypatch):
    monkeypatch.setattr(emoji, "WORD_EPOCHS", 1)


def test_facts(data):
    samples, classes, sizes = FACTS[data.name]
    assert tuple(len(data.sample_ids(name)) for name in SPLITS) == sizes
    assert sum(sizes) == samples
    assert data.task.num_outputs == len(data.class_names) == classes
    assert datasets.get(data.name).status().ready
    assert data.card.licence
    assert data.card.source


def test_no_sample_is_in_two_splits(data):
    ids = [set(data.sample_ids(name)) for name in SPLITS]
    assert sum(map(len, ids)) == len(set.union(*ids)) == FACTS[data.name][0]


@pytest.mark.parametrize("module", [htad, brca, emoji])
@pytest.mark.usefixtures("quick_words")
def test_multibench_call(module):
    loaders = module.get_dataloader(None, batch_size=7, num_workers=0, train_shuffle=True)
    assert len(loaders) == 3
    *inputs, target = next(iter(loaders[0]))
    assert {len(x) for x in inputs} == {7}
    assert target.dtype == torch.int64
    assert not torch.equal(next(iter(loaders[0]))[-1], next(iter(loaders[0]))[-1])  # shuffled
    assert torch.equal(next(iter(loaders[2]))[-1], next(iter(loaders[2]))[-1])


def test_unshuffled_training_loader_keeps_the_order():
    train, _, _ = htad.get_dataloader(batch_size=2000, train_shuffle=False)
    data = open_dataset("htad")
    assert torch.equal(next(iter(train))[-1], torch.as_tensor(data.labels("train")))


def test_workers_do_not_change_the_batches():
    data = open_dataset("htad").prepare()
    options = {"batch_size": 100, "shuffle": True, "seed": 3}
    zero, two = (
        [batch[-1] for batch in data.loader("train", num_workers=n, **options)] for n in (0, 2)
    )
    assert all(torch.equal(a, b) for a, b in zip(zero, two, strict=True))


@pytest.mark.parametrize("latents", ["vector", "tokens"])
def test_encoders_give_what_was_asked_for(data, latents):
    prepared = data.prepare()
    encoders = prepared.encoders(EncoderSettings(latents=latents, dim=6, hidden=5, patches=3))
    *inputs, _ = next(iter(prepared.loader("train", batch_size=4)))
    for spec in latent_specs(encoders, inputs):
        assert spec.shape == ((6,) if latents == "vector" else (3, 6))


@pytest.mark.parametrize("name", ["htad", "brca"])
def test_scaling_is_fitted_on_training_rows_alone(name, tmp_path):
    data = open_dataset(name)
    train = data.features("train")
    varying = train.std(0) > 1e-3
    np.testing.assert_allclose(train.mean(0), 0, atol=1e-3)
    np.testing.assert_allclose(train.std(0)[varying], 1, atol=1e-3)
    # Changing test rows changes nothing in the training features.
    path = datasets.get(name).build._path(None)
    with np.load(path) as archive:
        arrays = {key: archive[key].copy() for key in archive.files}
    for modality in data.modalities:
        arrays[modality][arrays["split"] == 2] *= 10
    np.savez(tmp_path / path.name, **arrays)
    other = open_dataset(name, tmp_path)
    np.testing.assert_array_equal(other.features("train"), train)
    assert not np.allclose(other.features("test"), data.features("test"))


def test_brca_imputes_by_training_medians_and_marks_what_was_missing():
    data = open_dataset("brca")
    with np.load(brca.BRCA._path(None)) as archive:
        clinical, split = archive["clinical"].astype(np.float64), archive["split"]
    gaps = np.isnan(clinical)
    marked = gaps[split == 0].any(0)
    filled = np.where(gaps, np.nanmedian(clinical[split == 0], 0), clinical)
    oracle = np.concatenate([filled, gaps[:, marked]], 1)
    oracle -= oracle[split == 0].mean(0)
    deviation = oracle[split == 0].std(0)
    oracle /= np.where(deviation == 0, 1, deviation)
    ours = whole(data, "train")[3].numpy()
    np.testing.assert_allclose(ours, oracle[split == 0], atol=1e-4)


def test_emoji_vocabulary_is_the_training_rows(monkeypatch):
    seen = {}
    import gensim.models

    original = gensim.models.Word2Vec

    def spy(sentences, **options):
        seen["sentences"] = sentences
        return original(sentences, **{**options, "epochs": 1})

    monkeypatch.setattr(gensim.models, "Word2Vec", spy)
    data = open_dataset("emoji", word_vectors=4)
    with np.load(emoji.Emoji._path(None)) as archive:
        texts = archive["text"][archive["split"] == 0]
    assert seen["sentences"] == [str(text).lower().split() for text in texts]
    assert whole(data, "test")[1].shape == (287, 4)


def test_emoji_vectors_are_the_same_in_another_process():
    code = (
        "from i2moe_plugin.benchmarks.datasets import emoji;"
        "emoji.WORD_EPOCHS = 1; emoji.Emoji._pictures = lambda self, data: data['label'];"
        "d = emoji.Emoji(word_vectors=3);"
        "print(hashlib.sha256(d.split('valid').columns[1].numpy().tobytes()).hexdigest())"
    )
    outs = {
        subprocess.run(
            [sys.executable, "-c", "import hashlib;" + code],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outs) == 1


def test_settings_are_checked():
    with pytest.raises(ConfigError, match="word_vectors"):
        open_dataset("emoji", word_vector=3)
    with pytest.raises(DatasetError, match="at least 1"):
        open_dataset("emoji", word_vectors=0)


def whole(data, split):
    return next(iter(data.prepare().loader(split, batch_size=10_000)))


def nan_at(row):
    values = np.zeros((1386, 16), dtype=np.float32)
    values[row, 2] = np.nan
    return values


BROKEN = {
    "lacks audio": {"audio": None},
    "lacks split": {"split": None},
    "NaN or infinite values, the first in row 5, column 2": {"accelerometer": nan_at(5)},
    "has 3 samples": {"audio": np.zeros((3, 36), dtype=np.float32)},
    "floats": {"audio": np.zeros((1386, 36), dtype=np.int32)},
    "must be floats": {"audio": np.zeros((1386, 3, 12), dtype=np.float32)},
    "lie outside the 7 classes": {"label": np.full(1386, 7, dtype=np.uint8)},
    "label must be integers": {"label": np.zeros(1386, dtype=np.float32)},
    "no training sample of": {"label": np.zeros(1386, dtype=np.uint8)},
    "split must hold": {"split": np.full(1386, 3, dtype=np.uint8)},
    "the valid split is empty": {"split": np.repeat([0, 2], 693).astype(np.uint8)},
    "holds": {"audio": np.array([{}] * 1386, dtype=object)},
}


@pytest.mark.parametrize("message", [key for key in BROKEN if key != "holds"])
def test_broken_contents(tmp_path, message):
    folder = write_htad(tmp_path, **BROKEN[message])
    with pytest.raises(DatasetError, match=message) as caught:
        open_dataset("htad", folder)
    assert "htad.npz" in str(caught.value)


def test_objects_are_never_unpickled(tmp_path):
    folder = write_htad(tmp_path, **BROKEN["holds"])
    with pytest.raises(DatasetError, match=r"not a readable npz file|damaged"):
        open_dataset("htad", folder)


def test_missing_file(tmp_path):
    with pytest.raises(DatasetError, match="no such file"):
        open_dataset("htad", tmp_path)
    assert not htad.HTAD.status(tmp_path).ready


@settings(max_examples=40)
@given(st.data())
def test_truncated_and_flipped_bytes(tmp_path_factory, data):
    content = htad.HTAD._path(None).read_bytes()
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        position = data.draw(st.integers(0, len(content) - 1))
        flipped = content[position] ^ data.draw(st.integers(1, 255))
        content = content[:position] + bytes([flipped]) + content[position + 1 :]
    folder = tmp_path_factory.mktemp("htad")
    (folder / "htad.npz").write_bytes(content)
    try:
        opened = open_dataset("htad", folder)
    except DatasetError:
        return
    assert len(opened.labels("train")) == 970  # a byte that carries nothing


@pytest.mark.parametrize("damage", ["truncated", "flipped", "offsets"])
def test_emoji_with_damaged_pictures(tmp_path, damage):
    with np.load(emoji.Emoji._path(None)) as archive:
        arrays = {key: archive[key].copy() for key in archive.files}
    if damage == "offsets":
        arrays["image_offset"][3] = arrays["image_offset"][2]
    elif damage == "flipped":
        arrays["image_webp"][:20] = 0
    else:
        arrays["image_offset"][1:-1] -= 30
    np.savez(tmp_path / "emoji.npz", **arrays)
    with pytest.raises(DatasetError, match=r"picture \d+ is unreadable|image_offset"):
        open_dataset("emoji", tmp_path)


def test_each_epoch_has_its_own_order():
    sampler = EpochShuffle(50, seed=1)
    orders = []
    for epoch in (1, 2, 1):
        sampler.set_epoch(epoch)
        orders.append(list(sampler))
    assert orders[0] == orders[2] != orders[1]
    assert sorted(orders[0]) == list(range(50))
    assert list(EpochShuffle(50, seed=2)) != list(EpochShuffle(50, seed=3))
