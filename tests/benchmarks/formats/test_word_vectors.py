"""Words of texts and their vectors: gensim's own writer is the oracle; broken files are refused."""

import gzip
import re

import numpy as np
import pytest
from gensim.models import KeyedVectors
from hypothesis import example, given
from hypothesis import strategies as st

from i2moe_plugin.benchmarks.formats.word_vectors import (
    Texts,
    claimed_vectors,
    mean_vectors,
    words_of,
)
from i2moe_plugin.errors import DatasetError

WORDS = ["plot", "a", "N", ",", "Plot"]


@pytest.fixture
def vectors():
    known = KeyedVectors(6)
    known.add_vectors(WORDS, np.random.default_rng(0).normal(size=(5, 6)).astype("f4"))
    return known


def written(vectors, path):
    vectors.save_word2vec_format(str(path), binary=".bin" in path.name)
    return path


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("In 1984, a Man", ["in", "N", ",", "a", "man"]),
        ("it's <br />over<br />now", ["it", "'", "s", "over", "now"]),
        ("x#y_z|[w]*~^`+v", ["x", "y", "z", "w", "v"]),
        ("http://a.b/c 1\nnot http://x", ["L", "not", "http", ":", "/", "/", "x"]),
        ('.: "?!" (/);', list('.:"?!"(/);')),
        ("a1b22", ["a", "N", "b", "N"]),
        ("naïve & $5", ["naïve", "&", "$", "N"]),
        ("", []),
    ],
)
def test_words_are_those_of_the_published_features(text, words):
    assert words_of(text) == words


@given(st.text(max_size=60))
@example("<br />" * 3)
def test_words_hold_no_space_and_no_digit(text):
    for word in words_of(text):
        assert word
        assert not re.search(r"[\s0-9~*+^`_#\[\]|]", word)


@pytest.mark.parametrize("name", ["v.bin", "v.bin.gz", "v.txt", "v.txt.gz"])
def test_the_mean_of_known_words(name, vectors, tmp_path):
    path = written(vectors, tmp_path / name)
    texts = ["a plot, 12", "Plot unknown", "", "unknown", "a a plot"]
    found = np.concatenate(list(mean_vectors(path, Texts(texts.__getitem__, len(texts)))))
    expected = [
        np.mean([vectors[w] for w in ("a", "plot", ",", "N")], 0),
        vectors["plot"],  # in lower case
        np.zeros(6),
        np.zeros(6),
        (2 * vectors["a"] + vectors["plot"]) / 3,
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert found.dtype == np.float32
    assert claimed_vectors(path) == (5, 6)


def test_many_texts_come_in_blocks(vectors, tmp_path):
    path = written(vectors, tmp_path / "v.bin")
    texts = Texts(lambda row: "plot" if row % 2 else "a", 2500)
    blocks = list(mean_vectors(path, texts))
    assert [len(block) for block in blocks] == [1024, 1024, 452]
    np.testing.assert_array_equal(np.concatenate(blocks)[1::2], np.tile(vectors["plot"], (1250, 1)))


def read(path):
    return list(mean_vectors(path, Texts(lambda _: "plot a N ,", 1)))


def problem(path):
    try:
        (block,) = read(path)
    except DatasetError as error:
        return str(error)
    assert np.isfinite(block).all()
    return None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"5\n",
        b"five 6\n" + bytes(200),
        b"-5 6\n" + bytes(200),
        b"5 6 7\n" + bytes(200),
        b"3000000 300\n" + bytes(200),
        b"5 6\n" + bytes(100),
        b"\xff" * 300,
        b"1 1000000000000\n" + bytes(50),
    ],
)
@pytest.mark.parametrize("name", ["v.bin", "v.txt", "v.bin.gz"])
def test_broken_files_are_refused_before_memory_is_taken(name, content, tmp_path):
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    with pytest.raises(DatasetError, match=re.escape(str(path))):
        read(path)


@given(
    fraction=st.floats(0, 0.999), place=st.floats(0, 1, exclude_max=True), mask=st.integers(1, 255)
)
def test_damage_is_a_data_set_error_or_no_matter(fraction, place, mask, tmp_path_factory, damage):
    known = KeyedVectors(6)
    known.add_vectors(WORDS, np.ones((5, 6), "f4"))
    for name in ("v.bin", "v.txt"):
        path = written(known, tmp_path_factory.mktemp("words") / name)
        content = path.read_bytes()
        damage.flip(path, place, mask=mask)
        assert problem(path) is None or str(path) in problem(path)
        damage.replace(path, content)
        damage.truncate(path, fraction)
        found = problem(path)
        if found is None:
            assert fraction > 0.8, "gensim takes a last line of one number for one of many"
        else:
            assert str(path) in found


def test_vectors_that_are_not_finite(tmp_path):
    known = KeyedVectors(2)
    known.add_vectors(["a"], np.array([[np.nan, 1]], "f4"))
    with pytest.raises(DatasetError, match="NaN"):
        read(written(known, tmp_path / "v.bin"))
