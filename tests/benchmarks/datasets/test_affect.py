"""The affect pickles: read as MultiBench reads them, in its batches, without its defects."""

import os
import pickle
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from i2moe_plugin import Classification, ConfigError, SignClassification, SignedRegression
from i2moe_plugin.backbones.latents import encode_one
from i2moe_plugin.benchmarks.data import affect_file
from i2moe_plugin.benchmarks.data.open import open_dataset
from i2moe_plugin.benchmarks.data.registry import datasets
from i2moe_plugin.benchmarks.data.splits import SPLITS
from i2moe_plugin.benchmarks.datasets import mosi, mustard, urfunny
from i2moe_plugin.benchmarks.datasets.mosi import get_dataloader
from i2moe_plugin.benchmarks.encoders import EncoderSettings
from i2moe_plugin.errors import DatasetError
from i2moe_plugin.tasks import HIGHER_IS_BETTER

opened = partial(open_dataset, "mosi")

NAMES = ["mosi", "mosi-regression", "mosei", "mustard", "urfunny"]
MODALITIES = ("vision", "audio", "text")
each = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(scope="session")
def samples(tmp_path_factory):
    """Each data set's sample; not to be changed."""
    folder = tmp_path_factory.mktemp("affect")
    for name in NAMES:
        datasets.get(name).write_sample(folder / name, clips=36)
    return folder


def tiny(count=4, time=6, widths=(2, 3, 4), seed=0):
    """A pickle's content: sequences of known lengths at the end of the time."""
    rng = np.random.default_rng(seed)
    content = {}
    for split in SPLITS:
        part = {
            name: rng.normal(size=(count, time, width)).astype("f4")
            for name, width in zip(MODALITIES, widths, strict=True)
        }
        lengths = rng.integers(1, time + 1, count)
        for row, length in enumerate(lengths):
            for name in MODALITIES:
                part[name][row, : time - length] = 0
        part["labels"] = rng.choice([-1.5, 0.0, 2.0], (count, 1, 1)).astype("f4")
        part["labels"][:2, 0, 0] = (0, 1)
        part["id"] = np.array([[f"{split}{row}", "0.5", "1.5"] for row in range(count)])
        content[split] = part
    return content


@pytest.fixture
def write(tmp_path):
    def write(content, name="mosi_data.pkl") -> Path:
        (tmp_path / name).write_bytes(pickle.dumps(content))
        return tmp_path

    return write


# An independent restatement of MultiBench's datasets/affect/get_data.py


def restated(part, *, max_seq_len, max_pad, z_norm=False, aligned=True):
    """Per kept sample: the three sequences as MultiBench's ``Affectdataset`` gives them."""
    part = {key: np.array(value) for key, value in part.items()}
    kept = [row for row in range(len(part["text"])) if part["text"][row].sum() != 0]
    part["audio"][part["audio"] == -np.inf] = 0
    items = []
    for row in kept:
        sequences = [torch.tensor(part[name][row]) for name in MODALITIES]
        starts = [s.nonzero()[0][0] for s in sequences]
        if aligned:
            starts = [starts[2]] * 3
        sequences = [s[start:].float() for s, start in zip(sequences, starts, strict=True)]
        if z_norm:
            sequences = [
                torch.nan_to_num((s - s.mean(0, keepdim=True)) / s.std(0, keepdim=True))
                if len(s) > 1
                else torch.zeros_like(s)
                for s in sequences
            ]
        if max_pad:
            sequences = [s[:max_seq_len] for s in sequences]
            sequences = [
                torch.cat([s, torch.zeros(max_seq_len - len(s), s.shape[1])]) for s in sequences
            ]
        items.append(sequences)
    return kept, items


@pytest.mark.parametrize("z_norm", [False, True])
@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("max_seq_len", [3, 6, 9])
def test_max_pad_batches_are_multibenchs(write, z_norm, aligned, max_seq_len):
    content = tiny(9)
    content["train"]["text"][4] = 0
    content["train"]["audio"][5, -1, 1] = -np.inf
    loaders = mosi.get_dataloader(
        write(content),
        batch_size=4,
        max_seq_len=max_seq_len,
        max_pad=True,
        train_shuffle=False,
        z_norm=z_norm,
        aligned=aligned,
    )
    for split, loader in zip(SPLITS, loaders, strict=True):
        kept, items = restated(
            content[split], max_seq_len=max_seq_len, max_pad=True, z_norm=z_norm, aligned=aligned
        )
        *found, labels = (torch.cat(column) for column in zip(*loader, strict=True))
        for modality, values in enumerate(found):
            assert values.dtype == torch.float32
            expected = torch.stack([item[modality] for item in items])
            torch.testing.assert_close(values, expected, atol=1e-5, rtol=1e-4)
        expected = torch.tensor(content[split]["labels"][kept, 0])
        assert torch.equal(labels, expected)


@pytest.mark.parametrize("aligned", [False, True])
def test_packed_batches_are_multibenchs(write, aligned):
    content = tiny(9, time=60)
    content["valid"]["text"][0] = 0
    loaders = get_dataloader(write(content), 4, aligned=aligned, train_shuffle=False)
    for split, loader in zip(SPLITS, loaders, strict=True):
        kept, items = restated(content[split], max_seq_len=50, max_pad=False, aligned=aligned)
        row = 0
        for sequences, lengths, indices, labels in loader:
            batch = items[row : row + len(labels)]
            for modality in range(3):
                expected = [item[modality] for item in batch]  # not cut at max_seq_len
                padded = torch.nn.utils.rnn.pad_sequence(expected, batch_first=True)
                assert torch.equal(sequences[modality], padded)
                assert lengths[modality].tolist() == [len(s) for s in expected]
            assert indices.tolist() == [[row + k] for k in range(len(labels))]
            assert torch.equal(
                labels, torch.tensor(content[split]["labels"][kept, 0])[row : row + len(labels)]
            )
            row += len(labels)
        assert row == len(kept)


def test_flattened_batches_are_multibenchs(write):
    content = tiny(5)
    train, *_ = get_dataloader(
        write(content), 5, flatten_time_series=True, train_shuffle=False, task="classification"
    )
    _, items = restated(content["train"], max_seq_len=50, max_pad=False)
    ((sequences, lengths, _, labels),) = train
    for modality in range(3):
        flat = [item[modality].flatten() for item in items]
        padded = torch.nn.utils.rnn.pad_sequence(flat, batch_first=True)
        assert torch.equal(sequences[modality], padded)
        assert lengths[modality].tolist() == [len(row) for row in flat]
    assert labels.dtype == torch.int64
    padded, *_ = get_dataloader(write(content), 5, 6, max_pad=True, flatten_time_series=True)
    assert [column.shape for column in next(iter(padded))] == [(5, 12), (5, 18), (5, 24), (5, 1)]


@pytest.mark.parametrize(
    ("module", "name", "task", "expected"),
    [
        (mosi, "mosi_data.pkl", None, [0.0, 1.0, -1.5]),
        (mosi, "mosi_data.pkl", "regression", [0.0, 1.0, -1.5]),
        (mosi, "mosi_data.pkl", "classification", [0, 1, 0]),
        (mustard, "sarcasm.pkl", None, [-1.0, 1.0, -1.0]),
        (mustard, "sarcasm.pkl", "classification", [0, 1, 0]),
        (urfunny, "humor.pkl", "regression", [-1.0, 1.0, -1.0]),
        (urfunny, "humor.pkl", "classification", [0, 1, 0]),
    ],
)
def test_labels_are_multibenchs(write, module, name, task, expected):
    content = tiny(3)
    for part in content.values():
        if module is mosi:
            part["labels"] = np.array([0, 1, -1.5], dtype="f4").reshape(3, 1, 1)
        else:
            part["labels"] = np.array([[0], [1], [0]])
    train, *_ = module.get_dataloader(
        write(content, name), task=task, train_shuffle=False, data_type=name[:-4].split("_")[0]
    )
    labels = next(iter(train))[-1]
    assert labels[:, 0].tolist() == expected
    assert labels.dtype == (torch.int64 if task == "classification" else torch.float32)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"data_type": "humor"}, "'humor' is not mosi's, 'mosi'"),
        ({"task": "ranking"}, "neither 'classification' nor 'regression'"),
        ({"robust_test": True}, "not offered"),
        ({"raw_path": "mosi.hdf5"}, "not offered"),
    ],
)
def test_what_multibenchs_call_does_not_take_is_said(write, options, reason):
    with pytest.raises(ConfigError, match=reason):
        get_dataloader(write(tiny()), **options)


# What a run reads


def test_sequences_are_cut_and_carry_their_lengths(write, sample_of):
    content = tiny(9, time=12)
    folder = write(content)
    data = opened(folder, max_seq_len=5)
    _, items = restated(content["test"], max_seq_len=5, max_pad=False)
    (batch,) = data.prepare().loader("test", batch_size=9)
    for modality in range(3):
        values, lengths = batch[modality]
        expected = [item[modality][:5] for item in items]
        assert lengths.tolist() == [len(s) for s in expected]
        assert torch.equal(values, torch.nn.utils.rnn.pad_sequence(expected, batch_first=True))
    one = sample_of(data, "test", 2)
    assert one[0][0].shape == (items[2][0][:5].shape[0], 2)
    assert one[0][1] == min(5, len(items[2][0]))
    padded = opened(folder, max_seq_len=20, max_pad=True)
    assert [x.shape for x in next(iter(padded.prepare().loader("test", batch_size=2)))[:3]] == [
        (2, 20, 2), (2, 20, 3), (2, 20, 4)
    ]  # fmt: skip


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
def test_values_that_are_no_number_count_as_zero(write, bad):
    """MOSI's audio holds -inf; I2MoE's nan_to_num makes that -3.4e38, MultiBench keeps NaN."""
    content = tiny()
    clean = {split: {k: v.copy() for k, v in part.items()} for split, part in content.items()}
    for name in MODALITIES:
        content["train"][name] = content["train"][name].astype("f8")
        content["train"][name][:, -1, 1] = bad
        clean["train"][name][:, -1, 1] = 0
    found = next(iter(opened(write(content)).prepare().loader("train", batch_size=4)))
    expected = next(iter(opened(write(clean)).prepare().loader("train", batch_size=4)))
    for (one, lengths), (two, others) in zip(found[:3], expected[:3], strict=True):
        assert torch.equal(one, two)
        assert torch.equal(lengths, others)


def test_clips_without_words_are_left_out(write):
    content = tiny(6)
    content["train"]["text"][[1, 4]] = 0
    data = opened(write(content))
    assert data.sample_ids("train") == [f"train{row}_0.5_1.5" for row in (0, 2, 3, 5)]
    assert len(data.sample_ids("valid")) == 6
    assert any("2 of 18 samples of mosi_data.pkl have no text" in note for note in data.notes)
    np.testing.assert_array_equal(
        data.labels("train"), content["train"]["labels"][[0, 2, 3, 5], 0, 0]
    )


def test_large_files_stay_on_disk_and_give_the_same(write, monkeypatch):
    folder = write(tiny(40))
    held = [
        list(opened(folder).prepare().loader(s, batch_size=7, seed=1, shuffle=True)) for s in SPLITS
    ]
    monkeypatch.setattr(affect_file, "IN_MEMORY", 0)
    monkeypatch.setattr(affect_file, "BLOCK", 3)
    data = opened(folder)
    columns = data.prepare().loader("train", batch_size=7).dataset.columns
    assert not any(isinstance(kept.array, np.ndarray) for c in columns for kept in c.parts.arrays)
    read = [list(data.prepare().loader(s, batch_size=7, seed=1, shuffle=True)) for s in SPLITS]
    for one, two in zip(held, read, strict=True):
        for a, b in zip(one, two, strict=True):
            for (v, n), (w, m) in zip(a[:3], b[:3], strict=True):
                assert torch.equal(v, w)
                assert torch.equal(n, m)
            assert torch.equal(a[3], b[3])


def test_no_statistic_is_taken_of_any_split(write, sample_of):
    """Standardising is each sequence's own: other rows change nothing, test or training."""
    content = tiny(8)
    first = sample_of(opened(write(content), z_norm=True), "train", 3)
    content["test"] = tiny(8, seed=9)["test"]
    content["train"]["vision"][:2] *= 100
    again = sample_of(opened(write(content), z_norm=True), "train", 3)
    for one, two in zip(first[:3], again[:3], strict=True):
        assert torch.equal(one[0], two[0])


def test_standardised_sequences(write):
    content = tiny(5, time=12)
    content["train"]["vision"][:, :, 0] = 7  # never changes: 0, and not 0/0 or a huge number
    (batch,) = (
        opened(write(content), z_norm=True, aligned=True).prepare().loader("train", batch_size=5)
    )
    for values, lengths in batch[:3]:
        for row, length in enumerate(lengths.tolist()):
            steps = values[row, :length]
            assert torch.isfinite(steps).all()
            if length > 1:
                assert steps.mean(0).abs().max() < 1e-5
    values, lengths = batch[0]
    assert values[:, :, 0].abs().max() == 0
    row = int(lengths.argmax())
    assert values[row, : lengths[row], 1].std().item() == pytest.approx(1, abs=1e-5)


# Tasks


@each
def test_tasks_and_labels(name, samples):
    data = open_dataset(name, samples / name)
    labels = np.concatenate([data.labels(split) for split in SPLITS])
    if name in ("mustard", "urfunny"):
        assert data.task == Classification(2)
        assert set(labels.tolist()) == {0, 1}
    else:
        criterion = "mae" if name == "mosei" else "smooth_l1"  # MultiBench's, I2MoE's
        regression = SignedRegression(criterion=criterion)
        assert data.task == (SignClassification() if name == "mosi" else regression)
        assert labels.dtype == np.float32
        assert labels.min() < 0 < labels.max()
        assert (labels == 0).any()
    assert data.metric in HIGHER_IS_BETTER
    assert data.selection == ("loss" if name in ("mosi-regression", "mosei") else "")
    assert data.modalities == MODALITIES


def test_mean_absolute_errors_are_of_scores_not_signs(write):
    """I2MoE's released test loop overwrites the labels with their signs first."""
    content = tiny(6)
    data = open_dataset("mosi-regression", write(content))
    labels = data.labels("test")
    prediction = np.zeros((6, 1), dtype="f4")
    found = data.task.metrics(prediction, labels)
    assert found["mae"] == pytest.approx(np.abs(content["test"]["labels"]).mean())
    assert found["mae"] != pytest.approx((labels > 0).mean())


@pytest.mark.parametrize("values", [[0, 1, 2], [0.5, 1, 0], [-1, 0, 1]])
def test_yes_and_no_are_two(write, values):
    content = tiny(3)
    for part in content.values():
        part["labels"] = np.array([[-1], [1], [1]])
    data = open_dataset("mustard", write(content, "sarcasm.pkl"))
    assert data.labels("train").tolist() == [0, 1, 1]
    for part in content.values():
        part["labels"] = np.array(values)[:, None]
    with pytest.raises(DatasetError, match="expected 0 and 1, or -1 and 1"):
        open_dataset("mustard", write(content, "sarcasm.pkl"))


# Ids


def test_ids_that_stand_twice_are_told_apart_and_said(write):
    content = tiny(3)
    content["train"]["id"] = np.array(["a", "a", "b"])
    content["test"]["id"] = np.array(["a", "c", "d"])
    data = opened(write(content))
    assert data.sample_ids("train") == ["a", "a#2", "b"]
    assert data.sample_ids("test") == ["a#3", "c", "d"]
    assert any("1 ids of mosi_data.pkl stand in more than one split" in note for note in data.notes)
    content["test"]["id"] = np.array(["x", "c", "d"])
    assert not any("more than one split" in note for note in opened(write(content)).notes)


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (np.array([[b"v", b"0"], [b"v", b"1"], [b"w", b"0"]]), ["v_0", "v_1", "w_0"]),
        (np.array([["v", 0.5], ["v", 1], ["w", 2]], dtype=object), ["v_0.5", "v_1", "w_2"]),
        ([3, 4, 5], ["3", "4", "5"]),
        (["é", "b", "c"], ["é", "b", "c"]),
        (np.array([[7], [8], [9]]), ["7", "8", "9"]),
        (None, ["train-0", "train-1", "train-2"]),
    ],
)
def test_ids_of_many_kinds(write, ids, expected):
    content = tiny(3)
    content["train"]["id"] = ids
    if ids is None:
        for part in content.values():
            del part["id"]
    assert opened(write(content)).sample_ids("train") == expected


# Files


def test_a_pickle_of_another_name_is_taken_by_its_path(write, sample_of):
    folder = write(tiny(widths=(35, 74, 300)), "mosi_raw.pkl")
    data = opened(folder / "mosi_raw.pkl")
    assert data.root == folder / "mosi_raw.pkl"
    assert sample_of(data, "train", 0)[1][0].shape[1] == 74
    assert datasets.get("mosi").card.files[0].path == "mosi_data.pkl"
    train, *_ = get_dataloader(str(folder / "mosi_raw.pkl"), max_pad=True)
    assert next(iter(train))[0].shape[2] == 35


def spoil(key, change):
    def do(content):
        *way, last = key.split("/")
        part = content
        for step in way:
            part = part[step]
        if change is None:
            del part[last]
        else:
            part[last] = change(part[last]) if callable(change) else change

    return do


SPOILT = {
    "no labels": (spoil("train/labels", None), r"train/labels"),
    "one label less": (spoil("train/labels", lambda x: x[1:]), "differ in their number of rows"),
    "one id less": (spoil("train/id", lambda x: x[1:]), "train/id has 3 rows"),
    "no rows": (
        lambda c: c["test"].update({k: v[:0] for k, v in c["test"].items()}),
        "has no rows",
    ),
    "no steps": (spoil("train/vision", lambda x: x[:, :0]), r"expected numbers \[N, T, F\]"),
    "text for numbers": (spoil("train/text", [["a"]] * 4), r"expected numbers \[N, T, F\]"),
    "labels of text": (spoil("train/labels", ["good"] * 4), "expected numbers"),
    "labels that are no number": (spoil("test/labels", lambda x: x * np.nan), "NaN or infinite"),
    "labels of nothing": (spoil("test/labels", lambda x: x[:, :, :0]), "labels are empty"),
    "another width": (spoil("test/audio", lambda x: x[:, :, 1:]), "audio has features of"),
    "another length": (spoil("train/audio", lambda x: x[:, 1:]), r"data\.aligned=false"),
    "no words at all": (spoil("valid/text", lambda x: x * 0), "no sample of valid has any text"),
    "nothing": (lambda c: c.clear(), "lacks the array"),
    "an array in place of a split": (spoil("train", np.zeros(3)), "lacks the array"),
    "a group in place of an array": (spoil("train/text", {"x": np.zeros(3)}), "is a group"),
    "objects": (spoil("train/text", np.array([None, {}], dtype=object)), "train/text holds"),
}


@pytest.mark.parametrize("lengths", [True, False])
def test_mmsas_file_is_named_as_such(write, lengths):
    content = tiny()
    for split, part in content.items():
        part["regression_labels"] = part.pop("labels")[:, 0, 0]
        part["text_bert"] = np.zeros((4, 3, 6))
        part["raw_text"] = np.array(["so what"] * 4)
        part["id"] = [f"{split}$_${row}" for row in range(4)]
        if lengths:
            part["audio_lengths"] = [6, 5, 4, 3]
    path = write(content)
    with pytest.raises(DatasetError, match=r"mosi_data\.pkl: this is MMSA's file"):
        opened(path)
    (problem,) = datasets.get("mosi").verify(path)
    assert "MMSA" in problem


@pytest.mark.parametrize("what", SPOILT)
def test_files_that_lack_what_they_should_hold(write, what):
    change, reason = SPOILT[what]
    content = tiny()
    change(content)
    with pytest.raises(DatasetError, match=reason) as error:
        opened(write(content))
    assert "mosi_data.pkl" in str(error.value)
    assert "converted" not in str(error.value)  # the cache's


def test_modalities_that_are_not_aligned_are_read_when_told_so(write, sample_of):
    content = tiny(time=6)
    for part in content.values():
        part["audio"] = np.tile(part["audio"], (1, 10, 1))
    folder = write(content)
    data = opened(folder, aligned=False)
    assert sample_of(data, "train", 0)[1][1] > 50 - 1
    assert sample_of(data, "train", 0)[0][1] <= 6


def test_a_modality_of_zeros_is_a_sequence_of_zeros(write, sample_of):
    """MultiBench raises IndexError where the modalities are not aligned."""
    content = tiny()
    content["train"]["vision"][1] = 0
    values, length = sample_of(opened(write(content), aligned=False), "train", 1)[0]
    assert length == 6
    assert not values.any()


def test_a_hostile_pickle_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'made'}",)

    content = tiny()
    content["train"]["text"] = np.array([Evil()], dtype=object)
    (tmp_path / "mosi_data.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(DatasetError, match="system, which is not data; nothing of it was run"):
        opened(tmp_path)
    assert not (tmp_path / "made").exists()
    assert "system" in str(datasets.get("mosi").verify(tmp_path))
    assert not (tmp_path / "made").exists()


# Encoders


@pytest.mark.parametrize("max_pad", [False, True])
def test_tokens_may_be_the_steps(write, max_pad):
    """In place of patches of the last state, which the contract tries."""
    data = opened(write(tiny(5)), max_pad=max_pad, max_seq_len=6, tokens="steps").prepare()
    *inputs, _ = next(iter(data.loader("train", batch_size=5)))
    encoders = data.encoders(EncoderSettings(latents="tokens", dim=6, hidden=8))
    for encoder, x in zip(encoders, inputs, strict=True):
        latent, mask = encode_one(encoder, x)
        assert type(encoder.network).__name__ == "GRU"
        assert latent.shape[::2] == (5, 6)
        assert (mask is None) == max_pad
        assert mask is None or (~mask).sum(1).tolist() == x[1].tolist()


# The sample


def test_a_sample_has_24_clips_at_least(tmp_path):
    with pytest.raises(ConfigError, match="at least 24"):
        datasets.get("mosi").write_sample(tmp_path / "d", clips=10)


def test_each_modality_of_the_sample_tells_something_and_words_with_voice_more(tmp_path):
    """A line through the features' means over time; then with voice times words."""
    from sklearn.linear_model import RidgeCV
    from sklearn.model_selection import cross_val_score

    datasets.get("mosi").write_sample(tmp_path / "mosi")
    data = opened(tmp_path / "mosi")
    (batch,) = data.prepare().loader("train", batch_size=1000)
    score = batch[3].numpy()
    means = [(values.sum(1) / lengths[:, None]).numpy() for values, lengths in batch[:3]]

    def explained(x):
        line = RidgeCV(np.logspace(-2, 4, 13))
        return cross_val_score(line, x, score, cv=5, scoring="r2").mean()

    alone = [explained(x) for x in means]
    assert all(share > 0.02 for share in alone), alone
    moods = [x - x.mean(0) for x in means]
    first = [m @ np.linalg.svd(m, full_matrices=False)[2][0] for m in moods]
    together = np.stack([*first], 1)
    product = np.column_stack([together, together[:, 1] * together[:, 2]])
    assert explained(together) > max(alone)
    assert explained(product) > explained(together) + 0.1
