"""MMHS150K: labels by majority, words of training tweets alone, and every bad input."""

import json
import math
import re
from collections import Counter
from functools import partial

import numpy as np
import pytest
from gensim.models import KeyedVectors
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from i2moe_plugin.benchmarks.data.open import open_dataset
from i2moe_plugin.benchmarks.data.registry import datasets
from i2moe_plugin.benchmarks.data.splits import SPLITS
from i2moe_plugin.benchmarks.datasets.mmhs150k import (
    LISTS,
    TWEETS,
    is_hate,
    majority,
)
from i2moe_plugin.benchmarks.encoders import vgg
from i2moe_plugin.errors import DatasetError

NAME = "mmhs150k"
SIZES = {"tweets": 30}
opened = partial(open_dataset, NAME)


def tweets(folder):
    return json.loads((folder / TWEETS).read_text())


def ids(folder, split):
    return (folder / LISTS[split]).read_text().split()


def change(folder, number, **fields):
    """Change fields of a tweet; None drops one."""
    content = tweets(folder)
    content[number] = {k: v for k, v in (content[number] | fields).items() if v is not None}
    (folder / TWEETS).write_text(json.dumps(content))


# Labels


@given(labels=st.lists(st.integers(0, 5), min_size=1, max_size=5))
def test_hate_is_what_more_than_half_see(labels):
    assert is_hate(labels) == (np.mean(np.array(labels) > 0) > 0.5)
    chosen = majority(labels)
    assert (chosen > 0) == is_hate(labels)
    if chosen:
        counts = Counter(label for label in labels if label)
        assert counts[chosen] == max(counts.values())
        tied = [label for label in labels if counts[label] == counts[chosen]]
        assert chosen == tied[0]


def test_labels_and_splits_are_the_files(drawn):
    content = tweets(drawn)
    binary, six = opened(drawn), opened(drawn, label="six")
    for name in SPLITS:
        listed = ids(drawn, name)
        assert binary.sample_ids(name) == listed
        votes = [content[one]["labels"] for one in listed]
        assert binary.labels(name).tolist() == [int(sum(v > 0 for v in vs) >= 2) for vs in votes]
        assert six.labels(name).tolist() == [majority(vs) for vs in votes]
    assert binary.class_names == ("not hate", "hate")
    assert len(six.class_names) == six.task.num_outputs == 6
    assert binary.fingerprint() != six.fingerprint()


# Text


def test_text_is_tf_idf_of_training_words(drawn, sample_of):
    """The oracle restates scikit-learn's documented formula, word by word."""
    data, content = opened(drawn), tweets(drawn)
    counted = {
        one: Counter(
            re.findall(r"#?\w\w+", re.sub(r"https?://\S+|@\w+", " ", tweet["tweet_text"].lower()))
        )
        for one, tweet in content.items()
    }
    train = ids(drawn, "train")
    seen = sorted({word for one in train for word in counted[one]})
    weight = {
        w: math.log((1 + len(train)) / (1 + sum(w in counted[one] for one in train))) + 1
        for w in seen
    }
    for name in SPLITS:
        for row, one in enumerate(ids(drawn, name)[:4]):
            expected = np.array(
                [
                    weight[w] * (1 + math.log(counted[one][w])) if counted[one][w] else 0
                    for w in seen
                ]
            )
            expected /= np.linalg.norm(expected) or 1
            np.testing.assert_allclose(sample_of(data, name, row)[0], expected, atol=1e-6)


def test_links_and_names_are_no_words(sample, sample_of):
    train = ids(sample, "train")
    for number, one in enumerate(train):
        change(sample, one, tweet_text=f"@user{number} HTTPS://T.CO/{one} word https://t.co/x")
    assert sample_of(opened(sample), "train", 0)[0].tolist() == [1.0]


def test_the_vocabulary_is_limited_to_the_most_frequent(drawn, sample_of):
    wide, narrow = opened(drawn), opened(drawn, vocabulary=5)
    assert sample_of(narrow, "train", 0)[0].shape == (5,)
    assert len(sample_of(wide, "train", 0)[0]) > 5


def test_text_in_pictures_is_added_where_asked_for(sample, sample_of):
    one = ids(sample, "train")[0]
    (sample / "img_txt" / f"{one}.json").write_text(json.dumps({"img_text": "inscription"}))
    plain, more = opened(sample), opened(sample, image_text=True)
    assert more.preview("train", 0)[0].value == plain.preview("train", 0)[0].value + "\ninscription"
    assert len(sample_of(more, "train", 0)[0]) > len(sample_of(plain, "train", 0)[0])
    first = more.fingerprint()
    (sample / "img_txt" / f"{one}.json").write_text(json.dumps({"img_text": "another"}))
    assert opened(sample, image_text=True).fingerprint() != first
    assert opened(sample).fingerprint() == plain.fingerprint()
    (sample / "img_txt" / f"{one}.json").write_text("[]")
    with pytest.raises(DatasetError, match=f"{one}.json.*img_text"):
        opened(sample, image_text=True).prepare(frozen=False)


def test_word_vectors_in_place_of_tf_idf(sample, tmp_path, sample_of):
    known = KeyedVectors(3)
    known.add_vectors(["grim", "day"], np.array([[1, 2, 3], [3, 2, 1]], "f4"))
    known.save_word2vec_format(str(tmp_path / "v.bin"), binary=True)
    change(sample, ids(sample, "train")[0], tweet_text="Grim day!")
    data = opened(sample, words=tmp_path / "v.bin")
    assert sample_of(data, "train", 0)[0].tolist() == [2, 2, 2]
    with pytest.raises(DatasetError, match="nowhere"):
        opened(sample, words="nowhere")


def test_tweets_are_shown_as_they_are_but_for_halves_of_characters(sample):
    one = ids(sample, "train")[0]
    change(sample, one, tweet_text="a\x1b]0;x\x07b \u202egnp.exe \ud800 <b>")
    (text, picture) = opened(sample).preview("train", 0)
    assert text.value == "a\x1b]0;x\x07b \u202egnp.exe ? <b>"
    assert picture.value.dtype == np.uint8
    assert max(picture.value.shape[:2]) <= 512


# Batches, encoders


def test_real_files_are_compared_with_the_published_numbers(sample, monkeypatch):
    (sample / "SAMPLE.txt").unlink()
    monkeypatch.setattr(vgg, "find_weights", lambda *args, **options: None)
    problems = datasets.get("mmhs150k").verify(sample)
    assert [re.findall(r"\d+", problem) for problem in problems] == [
        ["18", "134823"],
        ["6", "5000"],
        ["6", "10000"],
    ]


# Bad input


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"labels": None}, "labels"),
        ({"labels": []}, "labels"),
        ({"labels": [0, 6, 0]}, "labels"),
        ({"labels": [0, -1, 0]}, "labels"),
        ({"labels": [0, 1.0, 0]}, "labels"),
        ({"labels": [True, False, True]}, "labels"),
        ({"labels": "NotHate"}, "labels"),
        ({"tweet_text": None}, "tweet_text"),
        ({"tweet_text": 5}, "tweet_text"),
    ],
)
def test_tweets_without_text_or_labels(fields, reason, sample):
    one = ids(sample, "valid")[0]
    change(sample, one, **fields)
    with pytest.raises(DatasetError, match=f"{TWEETS}: tweet {one}: {reason}"):
        opened(sample)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("[]", "expected an object"),
        ("{}", "has no tweet"),
        ("{", "not a readable json"),
        ("[" * 100000, "not a readable json"),
    ],
)
def test_tweets_of_another_kind(content, reason, sample):
    (sample / TWEETS).write_text(content)
    with pytest.raises(DatasetError, match=f"{TWEETS}.*{reason}"):
        opened(sample)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "lists no tweets"),
        (b"../../x\n", "not a number"),
        (b"12 \xff\n", "not a readable"),
        (b"1\n", "has no tweet 1"),
    ],
)
def test_lists_of_another_kind(content, reason, sample, damage):
    damage.replace(sample / LISTS["test"], content)
    with pytest.raises(DatasetError, match=reason):
        opened(sample)


def test_a_tweet_in_two_splits(sample):
    text = (sample / LISTS["test"]).read_text() + ids(sample, "train")[0]
    (sample / LISTS["test"]).write_text(text)
    with pytest.raises(DatasetError, match="twice"):
        opened(sample)


def test_no_words_at_all(sample):
    for one in ids(sample, "train"):
        change(sample, one, tweet_text="! ?")
    with pytest.raises(DatasetError, match=TWEETS):
        opened(sample).prepare(frozen=False)


def test_pictures_that_are_none(sample, thumbnails, damage):
    train = ids(sample, "train")
    damage.truncate(sample / "img_resized" / f"{train[2]}.jpg")
    Image.new("1", (20000, 20000)).save(sample / "img_resized" / f"{train[5]}.jpg", format="PNG")
    with pytest.raises(DatasetError, match=rf"2 inputs(.|\n)*{train[2]}(.|\n)*{train[5]}"):
        opened(sample).prepare()
